"""Broken models, engines and clients: what was not evaluated is not served, and one client's trouble is not another's."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from legal_tasks import artifacts
from legal_tasks.evaluation.rules import Thresholds, proof_rules
from legal_tasks.lease import process_start
from legal_tasks.serving import backends, engines, keys, parity, prove
from legal_tasks.serving.gateway import Gateway, Route, Variant, last_requests
from legal_tasks.serving.loadtest import quantiles
from legal_tasks.serving.state import Database
from legal_tasks.step import StepError, main
from tests.faults import _steady, _tricks
from tests.faults._accounts import another_account, two_at_once
from tests.faults._seats import QUESTION, ask, model, put, releasing, seat, wait_for
from tests.legal_tasks.training.tiny import make_base, make_exam, make_record, make_split

CROWD = Path(__file__).with_name("_crowd.py")


def gguf(folder: Path, base: Path, name: str) -> Path:
    """An artifact that holds the GGUF file of a model folder."""
    from legal_tasks.compression import compress, gguf

    def fill(output: Path) -> dict[str, Any]:
        shutil.copytree(base, output / "tokenizer", ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
        gguf.convert(base, output / compress.GGUF_FILE, "tiny")
        return {}

    return artifacts.Store(folder / "store").get_or_make("compression.compress", {"name": name}, {}, fill).path


def parity_of(served: Path, evaluated: Path, var: Path) -> dict[str, Any]:
    """Parity of a GGUF artifact behind llama.cpp and a gateway against another that was evaluated."""
    from legal_tasks.compression.load import load_model

    backend = backends.LLAMA_BACKEND
    questions = {f"validation {n}": [{"role": "user", "content": f"第{n}条规定租赁合同期限吗？"}] for n in range(20)}
    settings = backends.Settings(max_num_seqs=4)
    with prove.served(served, var, settings, backend, lambda: load_model(backend.find(evaluated), "gguf")) as parts:
        engine, front, _, reference = parts
        return parity.compare_answers(backend, engine.url, front.url, front.probe_key, reference, questions, 8)


def must_block(found: dict[str, Any]) -> str:
    share = found["identical_answers"] / found["checked"]
    rule = proof_rules({"parity": share, "checked": found["checked"]}, Thresholds())[0]
    assert rule.verdict == "fail", rule
    listed = sum(item["answer"] != "equal" or not item["tokens_equal"] for item in found["items"])
    assert listed == sum("served" in item for item in found["items"]), "a difference is not listed"
    return f"parity {rule.verdict}: {found['identical_answers']} of {found['checked']} identical, {listed} differences listed"


def wrong_template(folder: Path) -> str:
    base = make_base(folder / "base")
    other = shutil.copytree(base, folder / "other")
    path = other / "chat_template.jinja"
    path.write_text(path.read_text("utf-8").replace("'<|assistant|>'", "'<|user|>'"), "utf-8")
    with seat(folder, tiny=False) as var:
        found = parity_of(gguf(folder, other, "other"), gguf(folder, base, "base"), var)
    assert found["identical_tokens"] == 0, found
    return must_block(found)


def adapter_of_another_base(folder: Path) -> str:
    """The adapter is merged into a base of the same shape that it was not trained on, and that model is served."""
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    right, wrong = make_base(folder / "right", seed=0), make_base(folder / "wrong", seed=5)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(right), config).save_pretrained(folder / "adapter")
    places = {}
    for name, base in (("right", right), ("wrong", wrong)):
        adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder / "adapter")
        merged = shutil.copytree(base, folder / f"merged-{name}")
        adapted.merge_and_unload().save_pretrained(merged)
        places[name] = gguf(folder, merged, name)
    with seat(folder, tiny=False) as var:
        return must_block(parity_of(places["wrong"], places["right"], var))


def one_changed_byte(folder: Path) -> str:
    refused = []
    with seat(folder) as var, releasing(var) as production:
        put(model(folder, "old"))
        before = wait_for(production, 10, "the first model")["pid"]
        for name in ("model.safetensors", "tokenizer.json", "chat_template.jinja"):
            bad = model(folder, f"new {name}")
            path = bad.path / "gptq" / name
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)
            try:
                put(bad)
            except StepError as error:
                assert f"{name} was changed after it was made" in str(error), error
                refused.append(name)
        assert production()["pid"] == before
        starts = (var / "logs" / "releaser.log").read_text().count("generates on port")
    assert len(refused) == 3 and starts == 1, (refused, starts)
    return f"{', '.join(refused)} refused before any load; the old model serves on"


def a_pickle(variant: Path) -> None:
    (variant / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def a_program(variant: Path) -> None:
    (variant / "modeling.py").write_text("print('run')")


def remote_code(variant: Path) -> None:
    (variant / "config.json").write_text('{"auto_map": {"AutoModel": "modeling.Model"}}')


def what_runs_code(folder: Path) -> str:
    refused = []
    for change, word in ((a_pickle, "pickle"), (a_program, "program"), (remote_code, "auto_map")):
        try:
            engines.admit(model(folder, "x", change=change).path)
        except StepError as error:
            assert word in str(error), error
            refused.append(word)
    linked = model(folder, "linked").path
    weights = linked / "gptq" / "model.safetensors"
    weights.rename(folder / "elsewhere")
    weights.symlink_to(folder / "elsewhere")
    try:
        engines.admit(linked)
    except artifacts.ArtifactError as error:
        assert "is a link" in str(error), error
        refused.append("symlink")
    assert len(refused) == 4, refused
    return f"refused: {', '.join(refused)}, though the manifest agrees with them"


def stream_one(url: str, key: str, wait_s: float) -> tuple[float, bool]:
    """(when it was sent, whether its stream came to its end)."""
    time.sleep(wait_s)
    sent, done = time.monotonic(), False
    headers = {"Authorization": f"Bearer {key}"}
    with contextlib.suppress(httpx.HTTPError), httpx.Client(timeout=60, trust_env=False, headers=headers) as client:
        with client.stream("POST", f"{url}/v1/chat/completions", json={**QUESTION, "stream": True}) as answer:
            done = answer.status_code == 200 and any("[DONE]" in line for line in answer.iter_lines())
    return sent, done


def killed_under_load(folder: Path) -> str:
    with seat(folder) as var:
        first = int(os.environ["LEXLOOP_ENGINE_PORT"])
        pair = [engines.Engine.start(model(folder, t).path / "gptq", first + n, var / "logs" / f"{t}.log")
                for n, t in enumerate(("合同是协议", "另一个模型"))]  # fmt: skip
        front = Gateway(var / "gateway", int(os.environ["LEXLOOP_GATEWAY_PORT"]))
        try:
            for one in pair:
                one.wait_ready(30)
            variants = [Variant(name, one.port, name, 50) for name, one in zip(("one", "two"), pair, strict=True)]
            front.start(Route(tuple(variants)))
            own = [keys.add(f"user{n}") for n in range(20)]  # users of both variants
            front.refresh_keys()
            with ThreadPoolExecutor(40) as pool:
                futures = [pool.submit(stream_one, front.url, own[n % 20], n * 0.03) for n in range(200)]
                time.sleep(3)
                os.kill(pair[0].pid, signal.SIGKILL)
                killed = time.monotonic()
                ended = [future.result() for future in futures]
        finally:
            front.stop()
            for one in pair:
                one.stop()
    lost = [sent for sent, done in ended if not done]
    late = [sent for sent in lost if sent > killed]
    assert not late, f"{len(late)} requests that came after the kill were lost"
    assert len(lost) < 40, f"{len(lost)} of 200 lost"
    with seat(folder / "again") as var, releasing(var) as production:
        put(model(folder, "one"))
        pid = wait_for(production, 10, "the model")["pid"]
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        wait_for(lambda: (now := production()) and now["pid"] != pid, 30, "the restart")
        seconds = time.monotonic() - began
        wait_for(lambda: Database().history()[-1].event == "restarted", 5, "the history")
    return f"{len(lost)} of 200 lost, all in flight at the kill; alone, it is restarted in {seconds:.1f} s and noted"


def frozen(folder: Path) -> str:
    with seat(folder) as var, releasing(var) as production:
        put(model(folder, "one"))
        pid = wait_for(production, 10, "the model")["pid"]
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        wait_for(lambda: process_start(pid) is None, 45, "the end of the frozen engine")
        out = time.monotonic() - began
        wait_for(lambda: (now := production()) and now["pid"] != pid, 30, "the restart")
        back = time.monotonic() - began
    assert out < 30, f"out of rotation after {out:.0f} s"
    return f"out of rotation after {out:.1f} s, another engine serves after {back:.1f} s"


def out_of_memory(folder: Path) -> str:
    with seat(folder) as var, releasing(var) as production:
        put(model(folder, "old"))
        pid = wait_for(production, 10, "the first model")["pid"]
        try:
            put(model(folder, "big", mode="memory"))
            raise AssertionError("a model without memory was released")
        except StepError as error:
            said = str(error)
        assert "out of memory" in said and production()["pid"] == pid, said
        # The same model in production: its engine is lost and finds no memory any more, as on a crowded machine.
        broken = Path(production()["path"]) / "gptq" / "behaviour.json"
        kept = broken.read_bytes()
        manifest = Path(production()["path"]) / "manifest.json"
        content = json.loads(manifest.read_text())
        broken.write_text(json.dumps({"mode": "memory", "text": ""}))
        content["files"]["gptq/behaviour.json"] = artifacts.sha256_file(broken)
        manifest.write_text(json.dumps(content))
        os.kill(pid, signal.SIGKILL)
        log = var / "logs" / "releaser.log"
        wait_for(lambda: log.read_text().count("next try in") >= 3, 40, "three tries")
        pauses = [line.split("next try in ")[1].split(" s")[0] for line in log.read_text().splitlines() if "next try in" in line]
        broken.write_bytes(kept)
        content["files"]["gptq/behaviour.json"] = artifacts.sha256_file(broken)
        manifest.write_text(json.dumps(content))
        wait_for(lambda: (now := production()) and now["pid"] != pid, 60, "the recovery")
    assert pauses[:3] == ["1", "2", "5"], pauses
    return f"named ({said.split(': ')[2]}), the old model served on; restarts waited {', '.join(pauses[:3])} s, then recovered"


def bad_requests(folder: Path) -> str:
    """With the engine of production: vLLM on a tiny random model."""
    base = make_base(folder / "base")
    with seat(folder, tiny=False) as var:
        port = int(os.environ["LEXLOOP_ENGINE_PORT"])
        engine = engines.Engine.start(base, port, var / "logs" / "engine.log")
        front = Gateway(var / "gateway", int(os.environ["LEXLOOP_GATEWAY_PORT"]))
        try:
            engine.wait_ready()
            front.start(Route.only(port, "1"))
            seen = {name: error_of(front, *case) for name, case in cases(front.probe_key).items()}
            good = ask(front.url, front.probe_key, max_tokens=3)
            good_id = good.headers["x-request-id"]
            lines = wait_for(lambda: (found := last_requests(front.root, 50))[-1]["id"] == good_id and found, 5, "the log's line")
        finally:
            front.stop()
            engine.stop()
    wanted = {"no key": 401, "wrong key": 401, "10 MB": 413, "malformed": 400, "unknown model": 404, "negative max_tokens": 400}
    assert seen == wanted, seen
    assert good.status_code == 200 and good.json()["usage"]["completion_tokens"] <= 3
    assert {line["status"] for line in lines} >= {200, 400, 401, 404, 413}
    used, line = good.json()["usage"], lines[-1]
    known = (used["prompt_tokens"], used["completion_tokens"]) if front.module else (None, None)
    assert (line["status"], line["prompt_tokens"], line["answer_tokens"]) == (200, *known), line
    return ", ".join(f"{name} {status}" for name, status in seen.items()) + ", each with OpenAI's error body and a request id"


def cases(key: str) -> dict[str, tuple[str, bytes]]:
    """{name: (key, body)}"""

    def body(**changes: Any) -> bytes:
        return json.dumps(QUESTION | changes).encode()

    return {
        "no key": ("", body()),
        "wrong key": ("ll-00000000-" + "x" * 43, body()),
        "10 MB": (key, body(messages=[{"role": "user", "content": "x" * 10_000_000}])),
        "malformed": (key, b'{"model": "legal-llm", "messages": ['),
        "unknown model": (key, body(model="gpt-4")),
        "negative max_tokens": (key, body(max_tokens=-1)),
    }


def error_of(front: Gateway, key: str, body: bytes) -> int:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    answer = httpx.post(f"{front.url}/v1/chat/completions", content=body, headers=headers, timeout=60, trust_env=False)
    error = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= error.keys() and error["message"], error
    assert len(answer.headers["x-request-id"]) == 32
    return answer.status_code


def client_times(url: str, key: str, count: int) -> list[float]:
    """Seconds of `count` whole streams, one after the other; all must come to their end."""
    times = []
    for _ in range(count):
        sent, done = stream_one(url, key, 0.0)
        assert done, "another client's stream was cut"
        times.append(time.monotonic() - sent)
    return times


def a_crowd(folder: Path) -> str:
    with seat(folder) as var:
        port = int(os.environ["LEXLOOP_ENGINE_PORT"])
        engine = engines.Engine.start(model(folder, "合同是一种协议", pause_s=0.08).path / "gptq", port, var / "logs" / "e.log")
        front = Gateway(var / "gateway", int(os.environ["LEXLOOP_GATEWAY_PORT"]))
        crowd_key, own_key = keys.add("crowd", per_minute=6000), keys.add("office")
        try:
            engine.wait_ready(30)
            front.start(Route.only(port, "1"))
            before = client_times(front.url, own_key, 12)
            with open(var / "logs" / "crowd.log", "ab") as log:
                argv = [sys.executable, str(CROWD), str(front.listen), crowd_key]
                crowd = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, text=True)
            assert crowd.stdout is not None
            held = int(crowd.stdout.readline())
            during = client_times(front.url, own_key, 24)
            crowd.terminate()
            crowd.wait(20)
            after = client_times(front.url, own_key, 12)
        finally:
            front.stop()
            engine.stop()
    quiet, loud = quantiles(before + after)["p95"], quantiles(during)["p95"]
    assert held >= 1000, held
    assert loud < 1.2 * quiet, f"P95 moved from {quiet:.3f} to {loud:.3f} s"
    return (
        f"{held} connections held: another client's P95 {quiet:.3f} s without, {loud:.3f} s with them ({loud / quiet - 1:+.1%})"
    )


def exam_in_calibration(folder: Path) -> str:
    base, exams, split = make_base(folder / "base"), make_exam(folder / "collect"), make_split(folder / "split")
    path = exams / "exams" / "legal_exam.jsonl"
    item = json.loads(path.read_text("utf-8").strip().split("\n")[0]) | {"id": "leaked"}
    item["question"] = "出租人与承租人订立的租赁合同期限为二十五年，超过法律规定的最长期限的部分，下列说法正确的是哪一项？"
    path.write_text(path.read_text("utf-8") + json.dumps(item, ensure_ascii=False) + "\n", "utf-8")
    leak = make_record(1) | {"instruction": item["question"] + item["options"]["A"]}
    with open(split / "train.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(leak, ensure_ascii=False) + "\n")
    note = folder / "note.json"
    arguments = ["--model", base, "--data", split, "--exams", exams, "--store", folder / "store", "--report", note]
    with seat(folder):
        code = main("legal_tasks.compression.compress", [str(word) for word in arguments])
    said = json.loads(note.read_text())["error"]
    assert code == 2 and "training chats hold exam questions" in said, said
    assert not list((folder / "store").glob("compression.compress/*"))
    return f"exit 2: {said.split(': ', 1)[1].split(', and nothing')[0]}"


FAULTS = {
    "S1": wrong_template,
    "S2": adapter_of_another_base,
    "S3": one_changed_byte,
    "S4": what_runs_code,
    "S5": killed_under_load,
    "S6": frozen,
    "S7": out_of_memory,
    "S8": bad_requests,
    "S9": a_crowd,
    "S10": exam_in_calibration,
    "S11": _tricks.fan_out,
    "S12": _tricks.grammars,
    "S17": two_at_once,
    "S18": another_account,
    "S20": _tricks.tricks,
} | _steady.FAULTS
