"""Follow links to MLflow in Airflow's own API server application, as nobody, as a stranger and as a viewer."""

import json
import os
import sys

from airflow.api_fastapi.app import cached_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi.testclient import TestClient

question = json.loads(sys.argv[1])
answer = []
with TestClient(cached_app(apps="all"), base_url="http://127.0.0.1:8080", follow_redirects=False) as client:
    manager = get_auth_manager()
    tokens = {role: manager.generate_jwt(SimpleAuthManagerUser(username="u", role=role)) for role in ("viewer", None)}
    for asked in question["asked"]:
        client.cookies.clear()
        headers = {"Cookie": f"_token={tokens[asked['role']]}"} if "role" in asked else {}
        headers |= {"Sec-Fetch-Dest": "iframe"} if asked.get("frame") else {}
        for name, value in asked.get("environment", {}).items():
            os.environ[name] = value
        got = client.get("/mlflow-run/open", params=asked["query"], headers=headers)
        answer.append({"status": got.status_code, "to": got.headers.get("location"), "text": got.text})
    client.cookies.clear()
    viewer = {"Authorization": f"Bearer {tokens['viewer']}"}
    views = [
        view for plugin in client.get("/api/v2/plugins", headers=viewer).json()["plugins"] for view in plugin["external_views"]
    ]
print(json.dumps({"answers": answer, "views": views}))
sys.stdout.flush()
os._exit(0)
