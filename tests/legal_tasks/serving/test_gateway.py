import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from legal_tasks.serving import engines, gateway, keys, nginx
from legal_tasks.serving.gateway import Gateway, GatewayError, Route, Variant

QUESTION = {"model": "legal-llm", "messages": [{"role": "user", "content": "什么是合同？"}]}


@pytest.fixture
def engine(var, make_model):
    folder = make_model("合同是协议").path / "gptq"
    one = engines.Engine.start(folder, engines.free_port(int(os.environ["LEXLOOP_ENGINE_PORT"])), var / "logs" / "e.log")
    one.wait_ready(10)
    yield one
    one.stop()


def error_of(answer):
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.headers["x-request-id"]) == 32
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return answer.status_code, error["code"]


def test_before_any_release_it_says_so(front, client):
    front.start()
    assert error_of(client.post("/v1/chat/completions", json=QUESTION)) == (503, "no_model")
    health = client.get("/health", headers={"Authorization": ""})
    assert health.status_code == 200 and health.json()["model"] is None


def test_only_keys_get_in_and_only_below_v1(front, client, engine, var):
    front.start(Route.only(engine.port, "7"))
    for header in ("", "Bearer wrong", f"Basic {front.probe_key}", f"Bearer {front.probe_key}x"):
        assert error_of(client.post("/v1/chat/completions", json=QUESTION, headers={"Authorization": header})) == (
            401,
            "invalid_api_key",
        )
    assert error_of(client.get("/metrics")) == (404, "unknown_url")
    assert error_of(client.get("/")) == (404, "unknown_url")
    answer = client.post("/v1/chat/completions", json=QUESTION)
    assert answer.status_code == 200 and answer.headers["x-model-version"] == "7"
    assert front.config.stat().st_mode & 0o777 == 0o600


def test_the_log_has_a_line_per_request_without_key_or_question(front, client, engine, wait_for):
    front.start(Route.only(engine.port, "7"))
    identity = client.post("/v1/chat/completions", json=QUESTION).headers["x-request-id"]
    line = wait_for(lambda: next((line for line in gateway.last_requests(front.root) if line["id"] == identity), None))
    assert (line["status"], line["model"], line["client"], line["uri"]) == (200, "7", "probe", "/v1/chat/completions")
    text = (front.root / "access.log").read_text()
    assert front.probe_key not in text and "合同" not in text


def test_a_line_separator_in_a_path_breaks_no_line_of_the_log(front, client, wait_for):
    front.start()
    identity = client.get("/v1/%E2%80%A8%C2%85x").headers["x-request-id"]
    line = wait_for(lambda: next((line for line in gateway.last_requests(front.root) if line["id"] == identity), None))
    assert line["uri"].startswith("/v1/")


@pytest.mark.parametrize("asked", [{}, {"stream_options": {"include_usage": True}}])
def test_a_stream_arrives_piece_by_piece(front, client, engine, asked):
    front.start(Route.only(engine.port, "7"))
    moments = []
    with client.stream("POST", "/v1/chat/completions", json={**QUESTION, "stream": True, **asked}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:"):
                moments.append((time.monotonic(), line))
    assert moments[-1][1] == "data: [DONE]"
    assert moments[-1][0] - moments[0][0] > 0.2, "the gateway held the stream back"


def test_a_dead_engine_is_a_502_in_the_same_form(front, client, engine):
    front.start(Route.only(engine.port, "7"))
    engine.stop()
    answer = client.post("/v1/chat/completions", json=QUESTION)
    assert error_of(answer) == (502, "engine_unavailable") and answer.headers["retry-after"] == "5"


def test_a_change_that_fails_its_probe_is_taken_back(front, client, engine):
    front.start(Route.only(engine.port, "7"))
    with pytest.raises(GatewayError, match="wrong answer"):
        front.apply(Route.only(1, "8"), lambda: "wrong answer")
    answer = client.post("/v1/chat/completions", json=QUESTION)
    assert answer.status_code == 200 and answer.headers["x-model-version"] == "7"


def test_a_configuration_that_nginx_refuses_never_comes_into_force(front, client, engine):
    front.start(Route.only(engine.port, "7"))
    before = front.config.read_text()
    with pytest.raises(GatewayError, match="invalid port|host not found"):
        front.apply(Route.only(99999999, "8"))
    assert front.config.read_text() == before
    assert client.post("/v1/chat/completions", json=QUESTION).status_code == 200


def test_changes_under_load_lose_no_request(front, client, engine, var, make_model):
    other = engines.Engine.start(make_model("另一个").path / "gptq", engines.free_port(engine.port + 1), var / "logs" / "f.log")
    try:
        other.wait_ready(10)
        front.start(Route.only(engine.port, "1"))
        script = (
            "import httpx, sys\n"
            "codes = []\n"
            "with httpx.Client(headers={'Authorization': 'Bearer ' + sys.argv[2]}, trust_env=False) as client:\n"
            "    for _ in range(150):\n"
            "        codes.append(client.post(sys.argv[1] + '/v1/completions', json={'prompt': '?'}).status_code)\n"
            "print(codes.count(200))\n"
        )
        argv = [sys.executable, "-c", script, front.url, front.probe_key]
        load = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        changes = 0
        while any(one.poll() is None for one in load):
            front.apply(Route.only((other if changes % 2 == 0 else engine).port, str(changes + 2)))
            changes += 1
        assert changes >= 2
        assert [one.communicate()[0].strip() for one in load] == ["150", "150"]
    finally:
        other.stop()


def test_the_rendered_file_listens_on_the_loopback_only(front):
    text = gateway.render(front.root, front.listen, Route.only(9000, "3"), "mark")
    assert f"listen 127.0.0.1:{front.listen} " in text and text.count("listen ") == 1
    assert text.count("127.0.0.1:9000") == 1


def test_nothing_of_the_engine_but_the_api_is_reachable(front, client, engine):
    front.start(Route.only(engine.port, "7"))
    for path in ("/tokenize", "/v1/load_lora_adapter", "/v1/models/../../tokenize", "/v1/chat/completions/more", "/v1"):
        assert error_of(client.post(path, json=QUESTION)) == (404, "unknown_url"), path
    assert error_of(client.post("/v1/chat/completions", content=b"x" * 3_000_000)) == (413, "request_too_large")


def test_a_port_that_another_gateway_holds_is_named(front, var):
    front.start()
    other = Gateway(var / "other", front.listen)
    with pytest.raises(GatewayError, match=f"{front.listen}.*in use"):
        other.start()
    assert front.pid() is not None


def test_the_next_engine_of_the_same_version_is_in_force_when_the_change_returns(front, client, engine):
    front.start(Route.only(engine.port, "7"))
    assert client.post("/v1/chat/completions", json=QUESTION).status_code == 200
    front.apply(Route.only(engines.free_port(engine.port + 1), "7"))
    assert error_of(client.post("/v1/chat/completions", json=QUESTION)) == (502, "engine_unavailable")
    front.apply(Route.only(engine.port, "7"))
    assert client.post("/v1/chat/completions", json=QUESTION).status_code == 200


def test_a_change_is_probed_only_when_no_old_worker_takes_requests_any_more(front, client, engine):
    front.start(Route())
    old = sorted(front.nginx.workers())
    seen = []

    def probe():
        seen.append(client.post("/v1/chat/completions", json=QUESTION).status_code)

    for pid, _ in old:
        os.kill(pid, signal.SIGSTOP)
    change = threading.Thread(target=front.apply, args=(Route.only(engine.port, "7"), probe))
    change.start()
    try:
        time.sleep(1.5)
        early = list(seen)
    finally:
        for pid, _ in old:
            os.kill(pid, signal.SIGCONT)
        change.join(20)
    assert old and early == [] and seen == [200]


def test_requests_under_way_end_on_the_old_route_and_are_waited_for(front, client, engine):
    front.start(Route.only(engine.port, "7"))
    with client.stream("POST", "/v1/chat/completions", json={**QUESTION, "stream": True}) as answer:
        lines = answer.iter_lines()
        next(lines)
        front.apply(Route())
        assert front.draining()
        assert [line for line in lines if line][-1] == "data: [DONE]"
    deadline = time.monotonic() + 5
    while front.draining():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def second(var, make_model):
    folder = make_model("另一个").path / "gptq"
    one = engines.Engine.start(folder, engines.free_port(int(os.environ["LEXLOOP_ENGINE_PORT"]) + 5), var / "logs" / "f.log")
    one.wait_ready(20)
    yield one
    one.stop()


def two(engine, second, share):
    return Route((Variant("candidate", second.port, "8", share), Variant("production", engine.port, "7", 100 - share)))


def versions(client, count, prefix="user"):
    """{user: version that answered}"""
    found = {}
    for number in range(count):
        answer = client.post("/v1/chat/completions", json=QUESTION, headers={"X-User-Id": f"{prefix}{number}"})
        assert answer.status_code == 200
        text = answer.json()["choices"][0]["message"]["content"]
        assert answer.headers["x-model-version"] == {"合同是协议": "7", "另一个": "8"}[text]
        found[f"{prefix}{number}"] = answer.headers["x-model-version"]
    return found


def test_users_stay_with_their_variant_while_its_share_grows(front, client, engine, second):
    front.start(two(engine, second, 30))
    before = versions(client, 60)
    share = sum(version == "8" for version in before.values()) / 60
    assert 0.1 < share < 0.5
    assert versions(client, 60) == before
    front.apply(two(engine, second, 70))
    after = versions(client, 60)
    assert sum(version == "8" for version in after.values()) > 60 * share
    assert all(after[user] == "8" for user, version in before.items() if version == "8")


def test_the_other_variant_takes_over_for_one_that_is_gone(front, client, engine, second, wait_for):
    front.start(two(engine, second, 50))
    second.stop()
    assert set(versions(client, 20).values()) == {"7"}

    def asked():
        return [line for line in gateway.last_requests(front.root, 100) if line["uri"] == "/v1/chat/completions"]

    lines = wait_for(lambda: len(asked()) == 20 and asked())
    assert {line["variant"] for line in lines} == {"production"}
    assert any(line["upstream_status"].startswith("502") for line in lines), "some had been meant for the other one"


def test_routes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="add up to 100"):
        Route((Variant("a", 1, "1", 50), Variant("b", 2, "2", 40)))
    with pytest.raises(ValueError, match="names and ports"):
        Route((Variant("a", 1, "1", 50), Variant("b", 1, "2", 50)))
    with pytest.raises(ValueError, match="letters"):
        Variant("a", 1, '1"; return 200')


def test_keys_come_and_go_without_a_restart(front, client, engine):
    front.start(Route.only(engine.port, "7"))
    assert not front.refresh_keys()
    pid, mine = front.pid(), keys.add("office")
    headers = {"Authorization": f"Bearer {mine}"}
    assert client.get("/v1/models", headers=headers).status_code == 401
    assert front.refresh_keys() and front.pid() == pid
    assert client.get("/v1/models", headers=headers).status_code == 200
    keys.revoke(mine.split("-")[1])
    assert front.refresh_keys()
    assert client.get("/v1/models", headers=headers).status_code == 401


def test_the_secret_stands_nowhere_below_var(front, client, engine, var):
    mine = keys.add("office")
    front.start(Route.only(engine.port, "7"))
    assert client.get("/v1/models", headers={"Authorization": f"Bearer {mine}"}).status_code == 200
    secret = mine.split("-", 2)[2].encode()
    assert not [path for path in var.rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_more_requests_at_once_than_a_key_may_have_are_sent_away(front, client, make_model, var):
    port, long = engines.free_port(int(os.environ["LEXLOOP_ENGINE_PORT"])), make_model("长" * 400)
    engine = engines.Engine.start(long.path / "gptq", port, var / "logs" / "e.log")
    try:
        engine.wait_ready(20)
        mine = keys.add("narrow", at_once=1)
        front.start(Route.only(engine.port, "7"))
        headers = {"Authorization": f"Bearer {mine}"}
        with client.stream("POST", "/v1/chat/completions", json={**QUESTION, "stream": True}, headers=headers) as answer:
            lines = answer.iter_lines()  # kept: a lost iterator ends the stream
            next(lines)
            refused = client.post("/v1/chat/completions", json=QUESTION, headers=headers)
            assert error_of(refused) == (429, "rate_limit_exceeded") and refused.headers["retry-after"] == "2"
            assert client.post("/v1/chat/completions", json=QUESTION).status_code == 200, "another key is not held up"
    finally:
        engine.stop()


def test_what_is_no_http_gets_an_error_of_the_same_form(front):
    front.start()
    with socket.create_connection(("127.0.0.1", front.listen), timeout=5) as raw:
        raw.sendall(b"nonsense\r\n\r\n")
        said = b"".join(iter(lambda: raw.recv(4096), b"")).decode()
    assert " 400 " in said.splitlines()[0] and '"code": "bad_request"' in said and "X-Request-Id" in said


def kill_master(front, wait_for):
    """The workers that a killed master leaves behind."""
    workers = front.nginx.workers()
    os.kill(front.pid(), signal.SIGKILL)
    wait_for(lambda: front.pid() is None)
    assert workers == nginx.living(workers) and nginx.holders(front.listen), "they still hold the port"
    return workers


@pytest.mark.parametrize("stopped", [False, True])
def test_what_a_killed_master_left_is_ended_and_the_next_one_serves(front, client, engine, wait_for, stopped):
    mine = keys.add("office")
    front.start(Route.only(engine.port, "7"))
    headers = {"Authorization": f"Bearer {mine}"}
    assert client.get("/v1/models", headers=headers).status_code == 200
    left = kill_master(front, wait_for)
    for pid, _ in left:
        os.kill(pid, signal.SIGSTOP if stopped else signal.SIGCONT)
    keys.revoke(mine.split("-")[1])
    before = front.mark
    front.start(Route.only(engine.port, "7"))
    assert front.mark != before, "an answer of the old one is not taken for the new one's"
    assert client.get("/v1/models", headers=headers).status_code == 401
    assert client.post("/v1/chat/completions", json=QUESTION).status_code == 200
    wait_for(lambda: not nginx.living(left))


def test_another_gateway_object_finds_what_a_killed_master_left(front, engine, var, wait_for):
    front.start(Route.only(engine.port, "7"))
    left = kill_master(front, wait_for)
    after = Gateway(front.root, front.listen)
    after.start(Route.only(engine.port, "8"))
    try:
        assert httpx.get(f"{after.url}/health", trust_env=False).json() == {"status": "serving", "model": "8"}
    finally:
        after.stop()
    assert not nginx.living(left) and not nginx.holders(front.listen)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's workers are another account's")
def test_workers_of_root_are_another_accounts_and_reach_nothing_of_roots(front, client, engine, wait_for):
    front.start(Route.only(engine.port, "7"))
    assert client.get("/v1/models").status_code == 200
    account = nginx.worker_account()
    ((worker, _),) = front.nginx.workers()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{worker}/status").read_text().split("\n") if ":" in line)
    assert set(status["Uid"].split()) == {str(account.pw_uid)} and set(status["Gid"].split()) == {str(account.pw_gid)}
    assert int(status["CapEff"], 16) == 0 and status["Groups"].split() in ([], [str(account.pw_gid)])
    as_worker = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    read = subprocess.run(["cat", str(front.config)], capture_output=True, **as_worker)
    assert read.returncode and not read.stdout
    assert "crit" not in front.nginx.log.read_text() and "alert" not in front.nginx.log.read_text()


def test_an_answer_under_way_at_a_worker_without_master_comes_to_its_end(front, client, engine, wait_for):
    front.start(Route.only(engine.port, "7"))
    with client.stream("POST", "/v1/chat/completions", json={**QUESTION, "stream": True}) as answer:
        lines = answer.iter_lines()
        next(lines)
        kill_master(front, wait_for)
        front.start(Route.only(engine.port, "7"))
        assert front.draining()
        assert [line for line in lines if line][-1] == "data: [DONE]"
    wait_for(lambda: not front.draining())


def test_a_route_that_changes_while_nginx_is_killed_is_the_next_ones(front, client, engine, wait_for):
    front.start(Route())
    for pid, _ in front.nginx.workers():
        os.kill(pid, signal.SIGSTOP)  # the change waits for it

    def kill():
        wait_for(lambda: len(front.nginx.workers()) == 2)
        os.kill(front.pid(), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    began = time.monotonic()
    front.apply(Route.only(engine.port, "7"))  # here, because Nginx ends with the thread that started it
    killer.join()
    assert time.monotonic() - began < gateway.RELOAD_S, "it was waited for in vain"
    assert client.post("/v1/chat/completions", json=QUESTION).headers["x-model-version"] == "7"


SERVE = "import socket, time; s = socket.create_server(('127.0.0.1', {port})); print('up', flush=True); time.sleep(600)"


def test_a_foreign_program_on_the_port_is_named_and_never_ended(front):
    other = subprocess.Popen([sys.executable, "-c", SERVE.format(port=front.listen)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "up\n"
        with pytest.raises(GatewayError, match=f"{front.listen} is in use by process {other.pid} .*python.*LEXLOOP_GATEWAY_PORT"):
            front.start()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    front.start()


def test_a_gateway_of_another_folder_is_foreign_too(front, var, wait_for):
    front.start()
    (worker,) = kill_master(front, wait_for)
    other = Gateway(var / "other", front.listen)
    with pytest.raises(GatewayError, match=f"in use by process {worker[0]} .nginx: worker"):
        other.start()
    assert nginx.living({worker})


def test_health_is_the_engines_and_not_the_gateways(front, client, engine, wait_for):
    front.start(Route.only(engine.port, "7"))
    assert (answer := client.get("/health")).status_code == 200 and answer.json()["status"] == "serving"
    engine.stop()
    answer = client.get("/health")
    assert answer.status_code == 503 and answer.json() == {"status": "the engine does not answer", "model": "7"}
    front.apply(Route(awaited="7"))
    answer = client.get("/health")
    assert answer.status_code == 503 and answer.json() == {"status": "the model is being started again", "model": "7"}
    assert error_of(client.post("/v1/chat/completions", json=QUESTION)) == (503, "no_model")


def test_routes_change_on_a_full_disk_by_the_room_kept_back(front, client, engine):
    front.start(Route.only(engine.port, "7"))
    front.reserve.keep()
    assert front.reserve.path.stat().st_blocks * 512 >= front.reserve.size
    free = shutil.disk_usage(front.root).free
    front.reserve.size = free + 2**40  # as if there were less room than that
    front.apply(Route.only(engine.port, "8"))
    assert not front.reserve.path.exists() and client.get("/health").json()["model"] == "8"
    front.reserve.keep()
    assert not front.reserve.path.exists(), "there is no room to keep back"
