import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from legal_tasks import artifacts
from legal_tasks.lease import process_start
from legal_tasks.serving import keys, prove, release, rollback
from legal_tasks.serving.intent import bring
from legal_tasks.serving.state import Database
from legal_tasks.step import Skip, StepError
from tests import judged


def model_of(artifact):
    return {"digest": artifact.digest, "path": str(artifact.path)}


def put(artifact, timeout_s=30):
    return bring(model_of(artifact), "test", {}, timeout_s)


def ask(releaser, timeout_s=10, content="?", **more):
    """(status, text, version) through the gateway."""
    url = f"http://127.0.0.1:{os.environ['LEXLOOP_GATEWAY_PORT']}/v1/chat/completions"
    headers = {"Authorization": f"Bearer {releaser.key}"}
    body = {"model": "legal-llm", "messages": [{"role": "user", "content": content}], **more}
    answer = httpx.post(url, json=body, headers=headers, timeout=timeout_s, trust_env=False)
    text = answer.json()["choices"][0]["message"]["content"] if answer.status_code == 200 else None
    return answer.status_code, text, answer.headers.get("x-model-version")


def events():
    return [event.event for event in Database().history()]


def test_a_model_serves_then_the_next_takes_over_and_goes_back(releaser, make_model, wait_for):
    one, two = make_model("one"), make_model("two")
    wait_for(lambda: releaser.status()["phase"] == "waiting for a model")
    assert ask(releaser)[0] == 503
    put(one)
    assert ask(releaser) == (200, "one", one.digest[:12])
    first = releaser.production()
    put(two)
    assert ask(releaser) == (200, "two", two.digest[:12])
    wait_for(lambda: process_start(first["pid"]) is None)
    done = rollback.rollback(None, 30)
    assert done["digest"] == one.digest
    assert ask(releaser)[1] == "one"
    assert events() == ["intended", "released"] * 3


def test_a_model_that_does_not_start_leaves_the_old_one_serving(releaser, make_model):
    said = "no such architecture"
    put(make_model("one"))
    pid = releaser.production()["pid"]
    with pytest.raises(StepError, match=said):
        put(make_model("broken", "exit"))
    assert ask(releaser)[1] == "one" and releaser.production()["pid"] == pid
    assert said in releaser.status()["failed"]["reason"]
    state = Database().current()
    assert state.desired == state.actual
    assert events()[-1] == "failed"


def test_a_changed_file_is_not_served(releaser, make_model):
    put(make_model("one"))
    bad = make_model("two")
    (bad.path / "gptq" / "model.safetensors").write_bytes(b"poison")
    with pytest.raises(StepError, match="was changed after it was made"):
        put(bad)
    assert ask(releaser)[1] == "one"


def test_a_killed_engine_comes_back_by_itself(releaser, make_model, wait_for):
    put(make_model("one"))
    before = releaser.production()["pid"]
    os.kill(before, signal.SIGKILL)
    after = wait_for(lambda: (p := releaser.production()) and p["pid"] != before and p["pid"])
    assert process_start(after) and ask(releaser)[1] == "one"
    wait_for(lambda: events()[-1] == "restarted")


def test_term_ends_everything_and_a_new_releaser_serves_what_was_in_production(releaser, make_model, wait_for):
    put(make_model("one"))
    engine, nginx = releaser.production()["pid"], int((releaser.var / "gateway" / "nginx.pid").read_text())
    assert releaser.end() == 0
    assert process_start(engine) is None and process_start(nginx) is None
    assert releaser.status()["production"] is None
    releaser.start()
    wait_for(releaser.production)
    assert ask(releaser)[1] == "one"


def test_a_killed_releaser_leaves_no_process_behind(releaser, make_model, wait_for):
    put(make_model("one"))
    engine, nginx = releaser.production()["pid"], int((releaser.var / "gateway" / "nginx.pid").read_text())
    releaser.end(signal.SIGKILL)
    wait_for(lambda: process_start(engine) is None and process_start(nginx) is None)
    releaser.start()
    wait_for(lambda: (p := releaser.production()) and p["pid"] != engine)
    assert ask(releaser)[1] == "one"


def test_a_second_releaser_of_the_same_folder_is_refused(releaser, var, wait_for):
    wait_for(lambda: releaser.status()["phase"])
    other = type(releaser)(var)
    assert other.process.wait(20) == 2
    assert "another releaser" in (var / "logs" / "releaser.log").read_text()


def test_release_follows_the_gate_and_prove_knows_what_is_in_production(releaser, make_model, tmp_path):
    store, out = artifacts.Store(tmp_path / "store"), tmp_path / "out"
    out.mkdir()
    behaviour = json.dumps({"mode": "answer", "text": "one"})
    whole = judged.model(store, "one", {"gptq/model.safetensors": "weights", "gptq/behaviour.json": behaviour})
    one = whole.compress
    refused_by = judged.judge(store, whole, "refused", created=time.time() - 60)
    with pytest.raises(Skip, match="refused: general ability: fail") as refused:
        release.run(release.Params(refused_by.path, one.path, out))
    assert refused.value.report == {"version": one.digest[:12], "digest": one.digest}
    assert Database().history() == []
    prove.skip_if_in_production(one.digest)
    report = release.run(release.Params(judged.judge(store, whole).path, one.path, out))
    assert (report.digest, report.version, report.previous) == (one.digest, one.digest[:12], None)
    assert json.loads((out / "release.json").read_text())["model"]["digest"] == one.digest
    assert ask(releaser)[1] == "one"
    with pytest.raises(Skip, match="^unchanged"):
        prove.skip_if_in_production(one.digest)
    prove.skip_if_in_production(make_model("two").digest)


def test_what_serves_goes_on_when_the_release_state_is_lost(releaser, make_model, wait_for, var):
    put(make_model("one"))
    state, aside = var / "release.sqlite", var / "aside.sqlite"
    state.rename(aside)
    wait_for(lambda: "there is no release state" in releaser.status()["phase"])
    assert ask(releaser)[1] == "one" and not state.exists()
    aside.rename(state)
    wait_for(lambda: releaser.status()["phase"] == "serving")


def test_without_a_releaser_the_caller_is_told(var, make_model, monkeypatch):
    monkeypatch.setattr("legal_tasks.serving.intent.SILENCE_S", 0.3)
    with pytest.raises(StepError, match="the releaser does not run"):
        put(make_model("one"))


def test_rollback_without_a_past_says_so(var):
    with pytest.raises(StepError, match="nothing to go back to"):
        rollback.choose(Database(), None)


def test_of_two_intents_the_later_one_wins(releaser, make_model, wait_for):
    wait_for(lambda: releaser.status()["phase"])
    one, two = make_model("one"), make_model("two")
    ended = []

    def first():
        try:
            ended.append(put(one))
        except StepError as error:
            ended.append(str(error))

    thread = threading.Thread(target=first)
    thread.start()
    wait_for(lambda: Database().current().desired)
    put(two)
    thread.join(30)
    assert isinstance(ended[0], float) or "another model" in ended[0]
    assert ask(releaser)[1] == "two"


def test_an_engine_without_memory_is_named_and_the_old_one_serves_on(releaser, make_model):
    put(make_model("one"))
    with pytest.raises(StepError, match="out of memory"):
        put(make_model("big", "memory"))
    assert ask(releaser)[1] == "one"


def test_a_new_key_is_let_in_and_a_revoked_one_is_not_within_a_second(releaser, make_model, wait_for):
    put(make_model("one"))
    first, releaser.key = releaser.key, keys.add("second")
    assert keys.in_force(releaser.key) is None and ask(releaser)[1] == "one"
    keys.revoke(first.split("-")[1])
    releaser.key = first
    wait_for(lambda: ask(releaser)[0] == 401, 5)


def test_make_key_returns_when_the_gateway_accepts_the_key_and_never_before(releaser, wait_for, capsys):
    wait_for(lambda: releaser.status()["phase"] == "waiting for a model")
    for number in range(5):  # no model serves: the answer to a good key is 503
        assert keys.main(["add", "--name", f"n{number}"]) == 0
        said = capsys.readouterr()
        releaser.key = said.out.strip()
        assert [ask(releaser)[0] for _ in range(20)] == [503] * 20 and said.err == ""


def test_a_key_is_taken_in_while_an_engine_starts(releaser, make_model, wait_for):
    put(make_model("one"))
    slow = make_model("two", "slow")  # an engine that takes ten seconds to start
    Database().intend(model_of(slow), "test", {}, Database().current().revision)
    wait_for(lambda: releaser.status()["phase"] == f"releasing {slow.digest[:12]}")
    releaser.key = keys.add("meanwhile")
    assert keys.in_force(releaser.key, 20) is None and ask(releaser)[1] == "one"
    assert releaser.status()["phase"] == f"releasing {slow.digest[:12]}"


def test_a_gateway_that_does_not_take_the_key_is_waited_for_no_longer_than_said(releaser, wait_for):
    wait_for(lambda: releaser.status()["phase"] == "waiting for a model")
    (releaser.var / "secrets" / "api_keys.jsonl").write_text("no key\n")
    said = keys.in_force("ll-00000000-x", 1)
    assert "within 1 s" in said and "waiting for a model" in said


def kill_nginx(releaser):
    os.kill(int((releaser.var / "gateway" / "nginx.pid").read_text()), signal.SIGKILL)


def test_a_killed_nginx_is_replaced_within_seconds_and_keys_still_come_and_go(releaser, make_model, wait_for):
    put(make_model("one"))
    kill_nginx(releaser)
    first, releaser.key = releaser.key, keys.add("second")
    assert keys.in_force(releaser.key, 10) is None and ask(releaser)[1] == "one"
    keys.revoke(first.split("-")[1])
    releaser.key = first
    wait_for(lambda: ask(releaser)[0] == 401, 10)
    put(make_model("two"))


def test_after_nginx_and_the_releaser_are_killed_the_next_releaser_serves(releaser, make_model, wait_for):
    put(make_model("one"))
    pid = releaser.production()["pid"]
    kill_nginx(releaser)
    releaser.end(signal.SIGKILL)
    wait_for(lambda: health(releaser) == 503)  # told by the worker that is left: the engine ends with its releaser
    releaser.start()
    wait_for(lambda: (p := releaser.production()) and p["pid"] != pid)  # the file of the killed one tells of the old engine
    assert health(releaser) == 200
    assert ask(releaser)[1] == "one"


def health(releaser):
    """The status of /health, or None without an answer."""
    try:
        return httpx.get(f"http://127.0.0.1:{os.environ['LEXLOOP_GATEWAY_PORT']}/health", trust_env=False).status_code
    except httpx.HTTPError:
        return None


@pytest.mark.slow
def test_a_foreign_program_on_the_port_is_told_and_waited_for(releaser, make_model, wait_for):
    put(make_model("one"))
    port = int(os.environ["LEXLOOP_GATEWAY_PORT"])
    releaser.end()
    with socket.create_server(("127.0.0.1", port)):
        releaser.start()
        said = f"port {port} is in use by process {os.getpid()}"
        wait_for(lambda: said in (releaser.status()["phase"] or ""))
    wait_for(releaser.production)
    assert ask(releaser)[1] == "one"


@pytest.fixture
def impatient(monkeypatch):
    """A releaser that ends an engine without progress after three seconds."""
    monkeypatch.setenv("LEXLOOP_ENGINE_STALL_S", "3")


def test_an_engine_with_a_long_queue_is_left_alone(impatient, releaser, make_model):
    put(make_model("零一二三四", token_s=0.06, lanes=1))
    pid = releaser.production()["pid"]
    with ThreadPoolExecutor(30) as pool:
        # Six seconds for the last of them. So short that one key may have all of them under way.
        answers = list(pool.map(lambda _: ask(releaser, 60, max_tokens=8)[0], range(20)))
    assert answers == [200] * 20 and releaser.production()["pid"] == pid
    assert events() == ["intended", "released"]


def test_an_engine_that_answers_but_makes_no_token_is_replaced(impatient, releaser, make_model, wait_for):
    put(make_model("one"))
    pid = releaser.production()["pid"]
    with ThreadPoolExecutor(1) as pool:
        pool.submit(ask, releaser, 60, "freeze")
        wait_for(lambda: (p := releaser.production()) and p["pid"] != pid, 30)
    assert process_start(pid) is None and ask(releaser)[1] == "one"
    wait_for(lambda: events()[-1] == "restarted")
    assert "no token and no step" in Database().history()[-1].evidence["reason"]


def test_production_comes_before_a_release(releaser, make_model, wait_for):
    put(make_model("one"))
    pid, slow = releaser.production()["pid"], make_model("two", "slow")
    Database().intend(model_of(slow), "test", {}, Database().current().revision)
    wait_for(lambda: releaser.status()["phase"] == f"releasing {slow.digest[:12]}")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: (p := releaser.production()) and p["pid"] != pid)
    wait_for(lambda: events() == ["intended", "released", "intended", "restarted"])  # and not failed: it is tried again
    assert ask(releaser)[1] == "one"
    wait_for(lambda: releaser.status()["phase"] == f"releasing {slow.digest[:12]}")


@pytest.mark.slow
def test_a_frozen_engine_is_out_of_rotation_within_half_a_minute(releaser, make_model, wait_for):
    put(make_model("one"))
    pid = releaser.production()["pid"]
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    wait_for(lambda: process_start(pid) is None, 40)
    assert time.monotonic() - began < 30
    wait_for(lambda: (p := releaser.production()) and p["pid"] != pid)
    assert ask(releaser)[1] == "one"
