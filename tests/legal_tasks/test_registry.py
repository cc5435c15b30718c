"""The registry against a real MLflow server: the version's run, descriptions, and the model that is loaded by its alias."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from legal_tasks import artifacts, registry, tracking

mlflow = pytest.importorskip("mlflow", reason="mlflow comes with the ml environment")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    pytest.importorskip("transformers", reason="comes with the ml environment")
    from tests.legal_tasks.training.tiny import make_base

    return make_base(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def lineage(tmp_path, base):
    """(adapter, merged, compressed): artifacts of a store as a retrain leaves them."""
    gguf = pytest.importorskip("legal_tasks.compression.gguf", reason="gguf comes with the ml environment")
    store = artifacts.Store(tmp_path / "store")

    def adapter(folder):
        (folder / "adapter_model.safetensors").write_bytes(os.fspath(tmp_path).encode())
        (folder / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
        return {"train_loss": 1.0, "validation_loss": 1.5, "records": 8}

    def merged(folder):
        shutil.copytree(base, folder / "model")
        (folder / "model" / "of.txt").write_text(os.fspath(tmp_path))
        return {}

    def compressed(folder):
        gguf.convert(base, folder / "model-q4_0.gguf", registry.MODEL)
        shutil.copytree(base, folder / "tokenizer", ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
        (folder / "of.txt").write_text(os.fspath(tmp_path))
        return {"formats": {"gptq": {}}, "gguf": "model-q4_0.gguf"}

    first = store.make(
        "training.lora",
        artifacts.sha256_text(str(tmp_path)),
        adapter,
        describe={"params": {"r": 8}, "inputs": {"data": "d" * 64}},
    )
    inputs = {"adapter": first.digest, "base": "b" * 64}
    second = store.make("training.merge", "2" * 64, merged, describe={"params": {}, "inputs": inputs})
    third = store.make("compression.compress", "3" * 64, compressed, describe={"params": {}, "inputs": {"model": second.digest}})
    return first, second, third


def release(model, alias="champion"):
    with tracking.step_run("serving.release", f"key-{model.digest}", {}, {}) as run:
        number = registry.register_model(model.digest, str(model.path), {"gate": "pass", "base": "b" * 64}, {alias: model.digest})
    return number, run.run_id


def test_the_versions_run_is_the_training_and_both_have_descriptions(seat, lineage):
    adapter, _, model = lineage
    with tracking.step_run("training.lora", adapter.manifest["key"], {"r": 8}, {}) as training:
        training.finish(adapter.report)
    number, released = release(model)
    version = seat.get_model_version(registry.MODEL, number)
    assert version.run_id == training.run_id and seat.get_run(version.run_id).data.metrics["validation_loss"] == 1.5
    assert version.tags["release_run"] == released and version.tags["training_run"] == training.run_id
    assert version.tags["parent_run"] == seat.get_run(released).data.tags["mlflow.parentRunId"]
    assert "Gate 门禁: **pass**" in version.description and str(model.path) in version.description
    assert "champion" in seat.get_registered_model(registry.MODEL).description
    kept = {file.path for file in seat.list_artifacts(version.run_id, f"model-{model.digest[:12]}")}
    assert not [name for name in kept if name.endswith((".safetensors", ".gguf", ".pkl"))] and kept


def test_a_training_that_mlflow_never_heard_of_is_told_from_its_artifact(seat, lineage):
    adapter, _, model = lineage
    number, released = release(model)
    run = seat.get_run(seat.get_model_version(registry.MODEL, number).run_id)
    assert run.info.run_id != released and run.info.status == "FINISHED" and run.data.params == {"r": "8"}
    assert run.data.metrics["records"] == 8 and run.data.tags[tracking.TAG_KEY] == adapter.manifest["key"]
    assert [(p.step, p.value) for p in seat.get_metric_history(run.info.run_id, "loss")] == [(1, 2.0), (2, 1.0)]


ASK = """
import mlflow, pandas, sys
model = mlflow.pyfunc.load_model("models:/legal-llm@champion")
chat = [{"role": "user", "content": "合同何时成立？"}]
by_prompt = model.predict(pandas.DataFrame({"prompt": ["合同何时成立？", "你好"]}), params={"max_new_tokens": 6})
by_chat = model.predict(pandas.DataFrame({"messages": [chat]}), params={"max_new_tokens": 6})
assert len(by_prompt) == 2 and by_chat[0] == by_prompt[0] and all(isinstance(answer, str) for answer in by_prompt)
assert "legal_tasks" not in sys.modules
print("answered", model.metadata.signature.inputs.input_names())
"""


def ask(server, folder):
    values = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"MLFLOW_TRACKING_URI": server}
    return subprocess.run([sys.executable, "-c", ASK], env=values, cwd=folder, capture_output=True, text=True)


def test_the_champion_loads_by_its_alias_and_answers_with_nothing_but_mlflow_and_the_store(seat, server, lineage, tmp_path):
    _, merged, model = lineage
    release(model)
    told = ask(server, tmp_path)
    assert told.returncode == 0, told.stderr[-3000:]
    assert "answered ['prompt', 'messages']" in told.stdout
    shutil.rmtree(merged.path)  # as housekeeping does: base and adapter give them again
    packed = ask(server, tmp_path)
    assert packed.returncode == 0, packed.stderr[-3000:]
    shutil.rmtree(model.path)
    gone = ask(server, tmp_path).stderr
    assert f"{merged.path} is not there; {model.path} is not there" in gone and "not in MLflow" in gone and "model_config" in gone


@pytest.mark.parametrize("fault", ["program", "changed", "auto_map"])
def test_nothing_is_loaded_that_was_not_released_or_runs_code(seat, lineage, fault):
    _, merged, model = lineage
    folder = merged.path / "model"
    mark = merged.path / "ran"
    if fault == "program":
        (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')")
    elif fault == "changed":
        (folder / "of.txt").write_text("something else")
    else:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoConfig": "evil.C"}}))
        manifest = json.loads((merged.path / "manifest.json").read_text())
        manifest["files"]["model/config.json"] = artifacts.sha256_file(folder / "config.json")
        (merged.path / "manifest.json").write_text(json.dumps(manifest))
    release(model)
    with pytest.raises(Exception, match="is not loaded|ask the gateway"):
        mlflow.pyfunc.load_model("models:/legal-llm@champion")
    assert not mark.exists()


def test_a_version_by_an_artifact_whose_lineage_is_gone_belongs_to_the_release(seat, tmp_path):
    folder = tmp_path / "store" / "compression.compress" / "x"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"digest": "e" * 64, "files": {}}))
    with tracking.step_run("serving.release", "key-alone", {}, {}) as run:
        number = registry.register_model("e" * 64, str(folder), {"gate": "pass"})
    assert seat.get_model_version(registry.MODEL, number).run_id == run.run_id and isinstance(folder, Path)
