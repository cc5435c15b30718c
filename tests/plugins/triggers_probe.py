"""Serve Airflow's own API server application on a port and send it what the test asks for, as several users."""

import json
import os
import sys
import threading
import time

question = json.loads(sys.argv[1])
prefix = question.get("prefix", "")
os.environ["AIRFLOW__API__BASE_URL"] = f"http://127.0.0.1:{question['port']}{prefix}"
os.environ["AIRFLOW__API__SECRET_KEY"] = "a key that every worker of the API server has"

import httpx  # noqa: E402
import uvicorn  # noqa: E402
from airflow.api_fastapi.app import cached_app, get_auth_manager  # noqa: E402
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser  # noqa: E402

server = uvicorn.Server(uvicorn.Config(cached_app(apps="all"), host="127.0.0.1", port=question["port"], log_level="error"))
threading.Thread(target=server.run, daemon=True).start()
deadline = time.monotonic() + 60
while not server.started:
    assert time.monotonic() < deadline, "the API server does not start"
    time.sleep(0.05)


def headers(role):
    if role is None:
        return {}
    return {"Authorization": f"Bearer {get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=role, role=role))}"}


BODIES = {  # what JSON in a file of the test cannot hold
    "utf-16": json.dumps({"logical_date": None, "conf": {"p95_s": 1e9}}).encode("utf-16"),
    "utf-8 with its mark": b"\xef\xbb\xbf" + json.dumps({"logical_date": None, "conf": {"p95_s": 1e9}}).encode(),
    "no Unicode": b'{"logical_date": null, "conf": {"base": "\xff\xfe"}}',
    "nested": b'{"logical_date": null, "conf": {"base": ' + b"[" * 200_000 + b"]" * 200_000 + b"}}",
    "long integer": b'{"logical_date": null, "conf": {"seed": ' + b"9" * 100_000 + b"}}",
    "integer": b'{"logical_date": null, "conf": {"seed": ' + b"9" * 400 + b"}}",
    "not a number": b'{"logical_date": null, "conf": {"p95_s": NaN}}',
    "infinite": b'{"logical_date": null, "conf": {"p95_s": 1e999}}',
    "days that are no number": b'{"logical_date": null, "conf": {"older_than_days": NaN}}',
    "half a character": b'{"logical_date": null, "conf": {"base": "\\ud800"}}',
    "half a character as a name": b'{"logical_date": null, "conf": {"\\ud800": 1}}',
    "nul": b'{"logical_date": null, "conf": {"base": "a\\u0000b"}}',
    "named twice": b'{"logical_date": null, "conf": {"p95_s": "0.5 s"}, "conf": {"p95_s": "9 s"}}',
    "many names": json.dumps({"logical_date": None, "conf": {f"name{n}": n for n in range(40_000)}}).encode(),
    "blanks": json.dumps({"logical_date": None, "conf": {"epochs": "1" + " " * 500_000 + "x"}}).encode(),
    "too large": b'{"logical_date": null, "conf": {"base": "' + b"x" * 3_000_000 + b'"}}',
    "empty": b"",
    "a list": b"[]",
    "conf is a text": b'{"logical_date": null, "conf": "x"}',
}


def send(asked):
    body = BODIES[asked["raw"]] if "raw" in asked else json.dumps(asked["body"]).encode()
    sent = {"Content-Type": "application/json", **headers(asked.get("role", "user")), **asked.get("headers", {})}
    content = (body[at : at + 65536] for at in range(0, len(body), 65536)) if asked.get("chunked") else body
    address = f"http://127.0.0.1:{question['port']}{prefix}{asked.get('path', '/api/v2/dags/monthly_retrain/dagRuns')}"
    began = time.monotonic()
    try:
        answer = httpx.post(address, content=content, headers=sent, trust_env=False, timeout=60)
    except httpx.TransportError as error:
        return {"status": type(error).__name__, "seconds": time.monotonic() - began}
    return {"status": answer.status_code, "text": answer.text, "seconds": time.monotonic() - began}


answers = [send(asked) for asked in question["asked"]]
with httpx.Client(trust_env=False, headers=headers("admin"), timeout=60) as api:
    found = api.get(f"http://127.0.0.1:{question['port']}{prefix}/api/v2/dags/~/dagRuns", params={"limit": 100}).json()
print(json.dumps({"answers": answers, "runs": [[run["dag_id"], run["conf"]] for run in found["dag_runs"]]}))
sys.stdout.flush()
os._exit(0)
