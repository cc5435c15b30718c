"""Serve Airflow's own API server application on a port and override a refusal on the page, as several users."""

import json
import os
import re
import sys
import threading
import time

question = json.loads(sys.argv[1])
os.environ["AIRFLOW__API__BASE_URL"] = address = f"http://127.0.0.1:{question['port']}"
os.environ["AIRFLOW__API__SECRET_KEY"] = "a key that every worker of the API server has"

import httpx  # noqa: E402
import uvicorn  # noqa: E402
from airflow.api_fastapi.app import cached_app, get_auth_manager  # noqa: E402
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser  # noqa: E402

application = cached_app(apps="all")
server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=question["port"], log_level="error"))
threading.Thread(target=server.run, daemon=True).start()
deadline = time.monotonic() + 60
while not server.started:
    assert time.monotonic() < deadline, "the API server does not start"
    time.sleep(0.05)

manager = get_auth_manager()
DAG, RUN = "monthly_retrain", "manual__refused"


def client(name, role):
    token = manager.generate_jwt(SimpleAuthManagerUser(username=name, role=role))
    return httpx.Client(base_url=address, headers={"Cookie": f"_token={token}"}, trust_env=False, timeout=60), token


users = {name: client(name, role)[0] for name, role in (("alice", "user"), ("bob", "user"), ("eve", "viewer"))}
api = httpx.Client(
    base_url=f"{address}/api/v2",
    headers={"Authorization": f"Bearer {client('root', 'admin')[1]}"},
    trust_env=False,
    timeout=60,
)


def state():
    return api.get(f"/dags/{DAG}/dagRuns/{RUN}/taskInstances/release").json()["state"]


made = api.post(f"/dags/{DAG}/dagRuns", json={"dag_run_id": RUN, "logical_date": None})
assert made.status_code == 200, made.text
skipped = api.patch(f"/dags/{DAG}/dagRuns/{RUN}/taskInstances/release", json={"new_state": "skipped"})
assert skipped.status_code == 200, skipped.text

REASON = "The court's new form is due on Monday."


visited = []


def page(name):
    return users[name].get("/legal-models/page").text


def token_of(name):
    found = re.search(r'name="token" value="([^"]+)"', page(name))
    return found[1] if found else ""


def post(name, path="override", **form):
    given = {"dag": DAG, "run": RUN, "token": token_of(name), "reason": REASON} | form
    answered = users[name].post(f"/legal-models/{path}", data={key: text for key, text in given.items() if text is not None})
    if answered.next_request is not None:
        followed = users[name].get(answered.next_request.url)
        visited.append(f"{followed.status_code} {followed.url.path}")
    return answered.status_code, answered.text


def sign(name, run=RUN, dag=DAG):
    from pages import signer

    return signer().dumps([name, dag, run])


answer = {"before": state(), "paused before": api.get(f"/dags/{DAG}").json()["is_paused"], "refused": {}}
refused = answer["refused"]
refused["no session"] = httpx.post(f"{address}/legal-models/override", data={"run": RUN}, trust_env=False).status_code
refused["no token"] = post("alice", token=None)[0]
refused["bob's token"] = post("alice", token=token_of("bob"))[0]
refused["token of another run"] = post("alice", token=sign("alice", "manual__other"))[0]
refused["viewer without a form"] = post("eve")[0]
refused["viewer with a token"] = post("eve", token=sign("eve"))[0]
refused["the same run of another DAG"] = post("alice", dag="quarterly_retrain", token=sign("alice"))[0]
refused["no such run of that DAG"] = post("alice", dag="quarterly_retrain", token=sign("alice", dag="quarterly_retrain"))[0]
refused["no such run"] = post("alice", run="manual__other", token=sign("alice", "manual__other"))[0]
refused["outside the folder"] = post("alice", run="..", token=sign("alice", ".."))[0]
refused["no reason"] = post("alice", reason="  ")[0]
answer["viewer sees a form"] = "<form" in page("eve")
answer["asked"] = post("alice")[0]
answer["alice's page"], answer["bob's page"] = page("alice"), page("bob")
number = re.search(r'name="number" value="(\d+)"', answer["bob's page"])[1]
refused["the same person"] = post("alice", "override-confirm", number=number, token=sign("alice"))[0]
refused["confirm without token"] = post("bob", "override-confirm", number=number, token=None)[0]
refused["confirm as viewer"] = post("eve", "override-confirm", number=number, token=sign("eve"))[0]
refused["no number"] = post("bob", "override-confirm", number="x")[0]
answer["still"] = state()
answer["confirmed"] = post("bob", "override-confirm", number=number)[0]
answer["shown"] = visited
answer["after"] = state()
answer["paused"] = api.get(f"/dags/{DAG}").json()["is_paused"]
log = api.get("/eventLogs", params={"dag_id": DAG, "event": "post_clear_task_instances"}).json()["event_logs"]
answer["log"] = [entry["owner"] for entry in log]
answer["report"] = {}
for name in users:
    got = users[name].get("/legal-models/report", params={"run": RUN})
    answer["report"][name] = {"status": got.status_code, "text": got.text, "headers": dict(got.headers)}
answer["report"]["nobody"] = {
    "status": httpx.get(f"{address}/legal-models/report", params={"run": RUN}, trust_env=False).status_code
}
answer["report"]["other"] = {"status": users["alice"].get("/legal-models/report", params={"run": "../../etc"}).status_code}
print(json.dumps(answer))
sys.stdout.flush()
os._exit(0)
