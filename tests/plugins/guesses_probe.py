"""Log in at Airflow's own API server, with wrong passwords side by side and the right one, on a port of the test's."""

import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

question = json.loads(sys.argv[1])
address = f"http://127.0.0.1:{question['port']}"
os.environ["AIRFLOW__API__BASE_URL"] = address
os.environ["AIRFLOW__API__SECRET_KEY"] = "a key that every worker of the API server has"

import httpx  # noqa: E402
import uvicorn  # noqa: E402
from airflow.api_fastapi.app import cached_app  # noqa: E402

server = uvicorn.Server(uvicorn.Config(cached_app(apps="all"), host="127.0.0.1", port=question["port"], log_level="error"))
threading.Thread(target=server.run, daemon=True).start()
deadline = time.monotonic() + 60
while not server.started:
    assert time.monotonic() < deadline, "the API server does not start"
    time.sleep(0.05)


def log_in(password, path="/auth/token"):
    began = time.monotonic()
    answer = httpx.post(address + path, json={"username": "admin", "password": password}, trust_env=False, timeout=60)
    return {"status": answer.status_code, "seconds": time.monotonic() - began, "retry": answer.headers.get("retry-after")}


alone = [log_in(question["password"]), log_in("wrong"), log_in("wrong", "/auth/token/cli")]
with ThreadPoolExecutor(question["count"]) as pool:
    crowd = list(pool.map(log_in, [f"wrong {n}" for n in range(question["count"])]))
after = log_in(question["password"])
print(json.dumps({"alone": alone, "crowd": crowd, "after": after}))
sys.stdout.flush()
os._exit(0)
