"""Airflow's API server below a path, behind Nginx: follow every link of the page and of the menu through Nginx."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from html import unescape
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import uvicorn
from airflow.api_fastapi.app import cached_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

question, home = json.loads(sys.argv[1]), Path(os.environ["HOME"])
port, front = question["port"], question["front"]
(home / "nginx.conf").write_text(f"""
daemon off; pid {home}/nginx.pid; error_log {home}/nginx.log;
events {{}}
http {{
  access_log off; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  server {{ listen 127.0.0.1:{front};
    location /team/airflow/ {{ proxy_pass http://127.0.0.1:{port}; proxy_set_header Host $http_host; }} }}
}}
""")
server = uvicorn.Server(uvicorn.Config(cached_app(apps="all"), host="127.0.0.1", port=port, log_level="error"))
threading.Thread(target=server.run, daemon=True).start()
nginx = subprocess.Popen([question["nginx"], "-e", f"{home}/nginx.log", "-c", f"{home}/nginx.conf"])
try:
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline, "the API server does not start"
        time.sleep(0.05)
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="alice", role="user"))
    with httpx.Client(headers={"Cookie": f"_token={token}"}, trust_env=False, timeout=60) as client:
        for _ in range(100):
            try:
                client.get(f"http://127.0.0.1:{front}/")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        menu = client.get(f"http://127.0.0.1:{front}/team/airflow/api/v2/plugins", headers={"Authorization": f"Bearer {token}"})
        views = {view["name"]: view["href"] for plugin in menu.json()["plugins"] for view in plugin["external_views"]}
        run = {"{DAG_ID}": "monthly_retrain", "{RUN_ID}": "scheduled__2026-09"}
        seen = {"visited": {}, "views": {}}
        for name, href in views.items():
            for field, value in run.items():
                href = href.replace(field, value)
            answer = client.get(urljoin(f"http://127.0.0.1:{front}", href))
            seen["views"][name] = answer.status_code if answer.is_success else answer.text
        page = urljoin(f"http://127.0.0.1:{front}", views["Legal models"])
        text = client.get(page).text
        for link in re.findall(r'(?:href|src)="([^"]+)"', text):
            address = urljoin(page, unescape(link))
            if urlsplit(address).port == front:
                parts = urlsplit(address)
                path = parts.path + (f"?{parts.query}" if parts.query else "")
                seen["visited"][path] = client.get(address).status_code
        action = re.search(r'<form method="post" action="([^"]+)"', text)
        seen["form"] = urlsplit(urljoin(page, action[1])).path if action else ""
finally:
    nginx.terminate()
    nginx.wait(timeout=20)
print(json.dumps(seen))
sys.stdout.flush()
os._exit(0)
