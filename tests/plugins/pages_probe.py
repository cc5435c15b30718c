"""Serve the page in Airflow's own API server application and fetch it as nobody, as a stranger, and as the admin."""

import json
import os
import sys

from airflow.api_fastapi.app import cached_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi.testclient import TestClient

question = json.loads(sys.argv[1])
application = cached_app(apps="all")
answer = {}
with TestClient(application, base_url="http://127.0.0.1:8080") as client:
    manager = get_auth_manager()
    admin = manager.generate_jwt(SimpleAuthManagerUser(username="admin", role="admin"))
    viewer = manager.generate_jwt(SimpleAuthManagerUser(username="eve", role="viewer"))
    nobody = manager.generate_jwt(SimpleAuthManagerUser(username="mallory", role=None))
    old = manager.generate_jwt(SimpleAuthManagerUser(username="admin", role="admin"), expiration_time_in_seconds=-60)
    head, body, _ = admin.split(".")
    cookies = {"none": None, "forged": f"{head}.{body}.AAAA", "expired": old, "no role": nobody, "viewer": viewer, "admin": admin}
    for name, token in cookies.items():
        client.cookies.clear()
        headers = {"Cookie": f"_token={token}"} if token else {}
        answered = client.get("/legal-models/page", headers=headers)
        answer[name] = {"status": answered.status_code, "text": answered.text, "headers": dict(answered.headers)}
    client.cookies.clear()
    answer["post"] = {"status": client.post("/legal-models/page", headers={"Cookie": f"_token={admin}"}).status_code}
    answer["bearer"] = {"status": client.get("/legal-models/page", headers={"Authorization": f"Bearer {admin}"}).status_code}
    answer["script"] = {"status": 0, "text": client.get("/legal-models/links.js").text}
    answer["start"] = [
        {"status": got.status_code, "text": got.text, "headers": dict(got.headers)}
        for got in (
            client.get(place, headers={"Accept-Encoding": "identity"})
            for place in ("/", "/dags/monthly_retrain", "/api/v2/version")
        )
    ]
    menu = client.get("/api/v2/plugins", headers={"Authorization": f"Bearer {admin}"}).json()["plugins"]
    answer["views"] = [view for plugin in menu for view in plugin["external_views"]]
print(json.dumps(answer))
sys.stdout.flush()
os._exit(0)
