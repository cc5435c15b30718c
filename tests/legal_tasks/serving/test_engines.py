import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from legal_tasks import artifacts
from legal_tasks.lease import process_start
from legal_tasks.serving import backends, children, engines
from legal_tasks.step import StepError

SMALL = {"num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 64, "hidden_size": 256, "max_position_embeddings": 512}
PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"


def finished(folder, change):
    """An artifact into whose engine variant `change` put something before its manifest was written."""

    def fill(output):
        variant = output / "gptq"
        variant.mkdir()
        (variant / "config.json").write_text("{}")
        (variant / "model.safetensors").write_bytes(b"weights")
        change(variant)
        return {}

    return artifacts.Store(folder / "store").get_or_make("compression.compress", {"n": change.__name__}, {}, fill).path


def nothing(variant):
    return None


def a_program(variant):
    (variant / "modeling.py").write_text("print('run')")


def a_pickle(variant):
    (variant / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def remote_code(variant):
    (variant / "config.json").write_text('{"auto_map": {"AutoModel": "modeling.Model"}}')


def no_weights(variant):
    (variant / "model.safetensors").unlink()


def test_the_variant_that_the_engine_reads_is_admitted(tmp_path):
    path = finished(tmp_path, nothing)
    assert engines.admit(path) == path / "gptq"


@pytest.mark.parametrize(
    ("change", "word"),
    [(a_program, "program"), (a_pickle, "pickle"), (remote_code, "auto_map"), (no_weights, "no weights")],
)
def test_a_folder_that_could_run_code_is_refused_although_its_manifest_agrees(tmp_path, change, word):
    with pytest.raises(StepError, match=word):
        engines.admit(finished(tmp_path, change))


def test_one_changed_byte_is_refused(tmp_path):
    path = finished(tmp_path, nothing)
    (path / "gptq" / "model.safetensors").write_bytes(b"weightz")
    with pytest.raises(artifacts.ArtifactError, match="model.safetensors was changed"):
        engines.admit(path)


def test_a_file_that_came_later_is_refused(tmp_path):
    path = finished(tmp_path, nothing)
    (path / "gptq" / "adapter.safetensors").write_bytes(b"more")
    with pytest.raises(artifacts.ArtifactError, match="not in the manifest"):
        engines.admit(path)


def test_a_link_is_refused(tmp_path):
    path = finished(tmp_path, nothing)
    weights = path / "gptq" / "model.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(artifacts.ArtifactError, match="is a link"):
        engines.admit(path)


def test_a_folder_without_manifest_is_refused(tmp_path):
    (tmp_path / "gptq").mkdir()
    with pytest.raises(artifacts.ArtifactError, match="not a finished artifact"):
        engines.admit(tmp_path)


def test_vllm_is_bound_to_the_loopback_and_gets_no_secret(tmp_path, monkeypatch, environments):
    if not (environments / "vllm" / "bin" / "python").is_file():
        pytest.skip("the environment vllm is not built")
    monkeypatch.setenv("LEXLOOP_ENV_DIR", str(environments))
    monkeypatch.delenv("LEXLOOP_ENGINE_ARGV", raising=False)
    monkeypatch.setenv("SOME_API_TOKEN", "x")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "x")
    settings = backends.Settings(max_num_seqs=3)
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    words = backends.VLLM_BACKEND.argv(tmp_path, 8123, settings)
    pairs = dict(zip(words, words[1:], strict=False))
    assert (pairs["--host"], pairs["--port"], pairs["--max-num-seqs"]) == ("127.0.0.1", "8123", "3")
    assert "--trust-remote-code" not in words
    assert pairs["--generation-config"] == "vllm", "the model's own sampling was not evaluated"
    assert json.loads(pairs["--override-generation-config"])["temperature"] == 0
    values = backends.VLLM_BACKEND.environment(settings)
    assert values["TORCH_COMPILE_DISABLE"] == "1"  # or the first request for log-probabilities stops all for a minute
    assert values["HF_HUB_OFFLINE"] == "1" and not {"SOME_API_TOKEN", "MLFLOW_TRACKING_PASSWORD", "PYTHONPATH"} & values.keys()


@pytest.mark.parametrize(
    ("config", "sequences", "expected"),
    [
        (SMALL, 16, 64 * 2**20),  # 16 contexts of 1.5 MiB: the smallest cache
        (
            {"num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096, "max_position_embeddings": 2048},
            3,
            3 * 2**30,
        ),
        (
            {"num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096, "max_position_embeddings": 8192},
            3,
            5 * 2**30,
        ),
    ],
)
def test_the_cache_holds_the_contexts_but_at_least_one(tmp_path, config, sequences, expected):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert backends.kv_cache_bytes(tmp_path, sequences) == expected


def test_a_taken_port_is_passed_over():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        assert engines.free_port(taken) > taken


def test_an_engine_that_ends_is_told_with_its_last_words(var, make_model):
    folder = make_model("one", mode="exit").path / "gptq"
    engine = engines.Engine.start(folder, engines.free_port(int(os.environ["LEXLOOP_ENGINE_PORT"])), var / "logs" / "e.log")
    with pytest.raises(engines.EngineError, match="the engine ended with"):
        engine.wait_ready(10)


def test_an_engine_that_only_listens_is_not_ready(var, make_model):
    folder = make_model("one", mode="refuse").path / "gptq"
    engine = engines.Engine.start(folder, engines.free_port(int(os.environ["LEXLOOP_ENGINE_PORT"])), var / "logs" / "e.log")
    try:
        with pytest.raises(engines.EngineError, match="HTTP 500.*broken weights"):
            engine.wait_ready(2)
    finally:
        engine.stop()
    assert not engine.alive()


def test_the_whole_session_ends_even_those_who_ignore_the_request(tmp_path):
    log = tmp_path / "log"
    process = children.spawn([sys.executable, "-c", PARENT, STUBBORN], log, tmp_path)
    deadline = time.monotonic() + 10
    while "ready" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(children.session_members(process.pid)) == 2
    children.end_session(process.pid, process_start(process.pid), grace_s=0.3)
    process.wait(timeout=5)
    assert children.session_members(process.pid) == []


def test_a_number_that_another_process_has_by_now_is_left_alone(tmp_path):
    process = children.spawn([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log", tmp_path)
    children.end_session(process.pid, "another start time", grace_s=0.1)
    assert process.poll() is None
    process.kill()
    process.wait()


def test_a_child_ends_with_its_parent(tmp_path):
    repository = Path(__file__).parents[3]
    script = (
        "import sys, os, signal; from pathlib import Path; from legal_tasks.serving.children import spawn\n"
        "child = spawn([sys.executable, '-c', 'import time; time.sleep(60)'], Path(sys.argv[1]), Path('.'))\n"
        "print(child.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    argv = [sys.executable, "-c", script, str(tmp_path / "log")]
    parent = subprocess.run(
        argv, capture_output=True, text=True, cwd=repository, env={**os.environ, "PYTHONPATH": str(repository)}
    )
    child = int(parent.stdout)
    deadline = time.monotonic() + 10
    while process_start(child) is not None:
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.02)
