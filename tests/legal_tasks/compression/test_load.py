"""What may be loaded as a model, and what may not."""

import json
import shutil

import pytest

pytest.importorskip("transformers")

from legal_tasks.compression.load import admit, load_model
from legal_tasks.step import StepError
from tests.legal_tasks.training.tiny import make_base


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def copy(model, tmp_path):
    return shutil.copytree(model, tmp_path / "copy")


def test_a_plain_folder_is_admitted_and_loaded_in_float32(model):
    assert admit(model) == model
    loaded, tokenizer = load_model(model)
    assert not loaded.training and {weight.dtype.itemsize for weight in loaded.parameters()} == {4}
    assert tokenizer.eos_token == "<|end|>"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "optimizer.pt", "x.pkl", "sub/modeling_x.py", "kernel.so"])
def test_pickles_and_programs_are_refused(copy, name):
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(b"x")
    with pytest.raises(StepError, match=name.rpartition("/")[2]):
        admit(copy)


def test_remote_code_is_refused(copy):
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((copy / name).read_text("utf-8"))
        (copy / name).write_text(json.dumps(content | {"auto_map": {"AutoModel": "x.Model"}}))
        with pytest.raises(StepError, match=f"{name} has auto_map"):
            load_model(copy)
        (copy / name).write_text(json.dumps(content))


def test_links_are_refused_but_for_those_of_the_hub_cache(copy, model, tmp_path):
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in model.iterdir():
        shutil.copyfile(path, blobs / f"blob-{path.name}")
        (snapshot / path.name).symlink_to(blobs / f"blob-{path.name}")
    assert admit(snapshot) == snapshot
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").symlink_to(model / "model.safetensors")
    with pytest.raises(StepError, match="symbolic link"):
        admit(copy)


def test_what_is_no_model_says_so(copy, tmp_path):
    with pytest.raises(StepError, match="not a folder"):
        admit(tmp_path / "none")
    with pytest.raises(StepError, match="must be one of merged, gptq, gguf"):
        load_model(copy, "onnx")
    with pytest.raises(StepError, match="not a quantised model, not gptq"):
        load_model(copy, "gptq")
    with pytest.raises(StepError, match=r"not a \.gguf file"):
        load_model(copy, "gguf")
    (copy / "config.json").write_text("{")
    with pytest.raises(StepError, match="is not JSON"):
        admit(copy)
    (copy / "config.json").write_text("{}")
    (copy / "model.safetensors").unlink()
    with pytest.raises(StepError, match="holds no weights"):
        admit(copy)
