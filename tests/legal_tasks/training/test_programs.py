"""Programs of a base run only from the list, as they were hashed; its fused layers are adapted; both in two environments."""

import json
import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("peft")

import torch
from peft import PeftModel

from legal_tasks import setup, step
from legal_tasks.compression.load import admit, load_model
from legal_tasks.step import StepError
from legal_tasks.training import elsewhere, lora, merge, programs
from tests.legal_tasks.training.remote import MODEL, hashes, make_remote_base
from tests.legal_tasks.training.tiny import make_base, make_split


@pytest.fixture(scope="module")
def remote(tmp_path_factory):
    """(folder of a base with programs, their hashes)"""
    folder = tmp_path_factory.mktemp("remote") / "base"
    return folder, make_remote_base(folder)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return make_split(tmp_path_factory.mktemp("split"))


@pytest.fixture
def copy(remote, tmp_path):
    return shutil.copytree(remote[0], tmp_path / "copy")


def train(base, split, folder, **changes):
    values = {
        "data": split,
        "output": folder / "trained",
        "base": str(base),
        "batch": 4,
        "accumulation": 3,  # 48 records x 7 epochs are 28 updates of 12
        "epochs": 7,
        "learning_rate": 1e-2,
        "warmup": 3,
        "max_length": 96,
        "threads": 1,
        "save_updates": 10,
        "checkpoints": folder / "work",
    }
    params = lora.Params(**(values | changes))
    params.output.mkdir(parents=True)
    return lora.run(params), params.output


def targets(output):
    return json.loads((output / "adapter" / "adapter_config.json").read_text("utf-8"))["target_modules"]


def check_merged(remote, output, model):
    """The merged model computes what base and adapter compute, and brings its programs along."""
    base, listed = remote
    assert hashes(model) == listed and admit(model, listed) == model
    ids = torch.tensor([[1, 5, 20, 21, 3, 6, 22]])
    adapted = PeftModel.from_pretrained(programs.load(base, listed, torch.float32), str(output / "adapter")).eval()
    merged = programs.load(model, listed, torch.float32).eval()
    with torch.no_grad():
        wanted, got, plain = (
            each(input_ids=ids).logits for each in (adapted, merged, programs.load(base, listed, torch.float32).eval())
        )
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(plain, wanted, atol=1e-2)
    assert programs.tokenizer(model, listed).chat_template == programs.tokenizer(base, listed).chat_template


def test_a_base_with_listed_programs_is_trained_and_merged(remote, split, tmp_path, capsys):
    base, listed = remote
    report, output = train(base, split, tmp_path, remote_code=listed)
    assert report.validation_loss < report.validation_loss_before - 0.1
    assert report.loss == "full_loss"  # its hidden states lie in another order, its output layer has no name
    assert targets(output) == ["dense", "query_key_value"]
    assert "adapted are query_key_value, dense" in capsys.readouterr().out
    merged = tmp_path / "merged"
    merged.mkdir()
    found = merge.run(merge.Params(adapter=output, output=merged, base=str(base), prompts=10, threads=1, remote_code=listed))
    assert found.equal_answers == 10 and found.largest_difference < 1e-3
    check_merged(remote, output, merged / "model")
    for refuse in (admit, load_model):  # evaluation, compression and serving know no list
        with pytest.raises(StepError, match="config.json has auto_map"):
            refuse(merged / "model")
    assert "transformers_modules" not in sys.modules  # transformers' own way was not taken


def spoil(folder, name, change):
    path = folder / name
    content = json.loads(path.read_text("utf-8"))
    content["auto_map"] |= change
    path.write_text(json.dumps(content), "utf-8")


def test_what_is_not_listed_is_refused_with_file_hash_and_option(copy, remote):
    listed = remote[1]
    found = listed["modeling_tiny_glm.py"]
    said = rf"modeling_tiny_glm.py is a program with the sha256 {found}, which --remote-code does not list.*training.merge"
    with pytest.raises(StepError, match=said):
        admit(copy, {name: value for name, value in listed.items() if not name.startswith("modeling")})
    with pytest.raises(StepError, match=r"configuration_tiny_glm.py is a program with the sha256 [0-9a-f]{64}"):
        admit(copy, {})
    with pytest.raises(StepError, match="auto_map, which loads remote code"):
        admit(copy)
    assert admit(copy, listed) == copy
    with open(copy / "modeling_tiny_glm.py", "a") as file:
        file.write("\n")
    with pytest.raises(StepError, match=rf"sha256 {hashes(copy)['modeling_tiny_glm.py']}"):
        admit(copy, listed)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("quantization.py", b"x = 1\n", "quantization.py is a program with the sha256"),
        ("sub/modeling_tiny_glm.py", None, "sub/modeling_tiny_glm.py is a program"),
        ("kernel.so", b"x", "kernel.so is a program"),
        ("modeling_tiny_glm.pyc", b"x", "is a program"),
        ("pytorch_model.bin", b"x", "may hold a pickle"),
    ],
)
def test_other_programs_and_pickles_are_refused_beside_listed_ones(copy, remote, name, content, said):
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes((copy / "modeling_tiny_glm.py").read_bytes() if content is None else content)
    with pytest.raises(StepError, match=said):
        admit(copy, remote[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"AutoModel": "someone/code--modeling_tiny_glm.TinyGlmForConditionalGeneration"}, "someone/code--.* not fetched"),
        ({"AutoModel": "../modeling_tiny_glm.X"}, "is no class of a program beside it"),
        ({"AutoModel": {"a": "b"}}, "is no class of a program beside it"),
        ({"AutoModel": "modeling_other.X"}, "modeling_other.py, which --remote-code does not list"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_an_auto_map_may_name_local_listed_programs_only(copy, remote, name, change, said):
    spoil(copy, name, change)
    with pytest.raises(StepError, match=said):
        admit(copy, remote[1])


def test_a_listed_program_that_is_not_there_is_named(copy, remote):
    (copy / "modeling_tiny_glm.py").unlink()
    with pytest.raises(StepError, match="no modeling_tiny_glm.py beside it"):
        admit(copy, remote[1])


def test_a_program_that_changes_after_the_check_is_not_run(copy, remote, tmp_path):
    """Same size and time, which would pass for unchanged in transformers' cache of programs."""
    listed, path = remote[1], copy / "modeling_tiny_glm.py"
    admit(copy, listed)
    before = path.stat()
    evil = f"open({str(tmp_path / 'ran')!r}, 'w')\n#".encode()
    path.write_bytes(evil.ljust(before.st_size, b"x"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(StepError, match="modeling_tiny_glm.py is a program with the sha256"):
        programs.load_classes(copy, listed, MODEL)
    assert not (tmp_path / "ran").exists()


def test_what_runs_is_what_was_read_even_where_the_file_changes_before_its_import(copy, remote):
    """A program is imported when another one asks for it; the file is not looked at again then."""
    sources = {name.removesuffix(".py"): content for name, content in programs.read(copy, remote[1]).items()}
    for path in copy.glob("*.py"):
        path.write_text("raise SystemExit\n")
    finder = programs.Package("lexloop_base_test", sources)
    sys.meta_path.append(finder)
    try:
        module = __import__("lexloop_base_test.modeling_tiny_glm", fromlist=["x"])
    finally:
        sys.meta_path.remove(finder)
    assert module.TinyGlmConfig.model_type == "tiny_glm" and not os.path.exists(module.__file__)


def test_a_program_that_does_not_fit_this_environment_says_so(copy):
    (copy / "modeling_tiny_glm.py").write_text("from transformers import NothingOfThisName\n")
    with pytest.raises(StepError, match=r"modeling_tiny_glm.py cannot be used here .*NothingOfThisName.* by --environment"):
        programs.load_classes(copy, hashes(copy), MODEL)


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ({"../x.py": "0" * 64}, "'../x.py' must be the name of a Python file"),
        ({"x.so": "0" * 64}, "'x.so' must be"),
        ({"x.py": "0" * 63}, "x.py must have its sha256.*sha256sum x.py"),
        ({"x.py": "A" * 64}, "x.py must have its sha256"),
    ],
)
@pytest.mark.parametrize("made", [lora.Params, merge.Params])
def test_a_bad_list_names_the_option(tmp_path, made, listed, said):
    given = {"data": tmp_path} if made is lora.Params else {"adapter": tmp_path}
    with pytest.raises(StepError, match=f"--remote-code: {said}"):
        made(output=tmp_path, remote_code=listed, **given)


def test_the_specification_s_targets_are_mapped_to_fused_ones(split, tmp_path, capsys):
    base = make_base(tmp_path / "neox", hidden=32, architecture="gpt_neox")
    report, output = train(base, split, tmp_path, max_updates=2)
    assert targets(output) == ["dense", "query_key_value"] and report.trained_parameters == 2 * 16 * (32 + 96 + 32 + 32)
    assert "this base has q, k and v in one matrix; adapted are query_key_value, dense" in capsys.readouterr().out
    with pytest.raises(StepError, match="no layer q_proj, c_attn; it has .*query_key_value"):
        train(base, split, tmp_path / "other", targets=("q_proj", "c_attn"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"environment": "nowhere"}, "--environment nowhere: there are"),
        ({"environment": "chatglm3"}, "--environment chatglm3 is not built; run: python3.11 -m legal_tasks.setup chatglm3"),
        ({"environment": "chatglm3", "processes": 2, "accumulation": 2}, "--processes 1 only"),
        ({"environment": "chatglm3", "backend": "llamafactory"}, "--backend peft"),
        ({"remote_code": {"x.py": "0" * 64}, "backend": "llamafactory"}, "runs no program of a base"),
    ],
)
def test_an_environment_that_cannot_be_used_is_named(split, tmp_path, monkeypatch, changes, said):
    monkeypatch.setenv("LEXLOOP_ENV_DIR", str(tmp_path))
    with pytest.raises(StepError, match=said):
        lora.extra_inputs(lora.Params(data=split, output=tmp_path, **changes))


@pytest.fixture
def old():
    """The environment with transformers 4.41."""
    if not setup.is_built(setup.ENVIRONMENTS["chatglm3"]):
        pytest.skip("the environment is not built: python3.11 -m legal_tasks.setup chatglm3")
    return "chatglm3"


def test_the_steps_work_in_the_environment_of_older_transformers(remote, split, tmp_path, capsys, old):
    base, listed = remote
    common = ["--base", str(base), "--remote-code", json.dumps(listed), "--environment", old, "--threads", "1"]
    here, _ = train(base, split, tmp_path / "here", remote_code=listed)
    capsys.readouterr()
    argv = ["--data", str(split), "--batch", "4", "--accumulation", "3", "--epochs", "7", "--learning-rate", "1e-2"]
    argv += ["--warmup", "3", "--max-length", "96", "--output", str(tmp_path / "trained")]
    assert step.main("legal_tasks.training.lora", [*argv, *common]) == 0
    report = json.loads(capsys.readouterr().out.strip().split("\n")[-1])["report"]
    assert report["updates"] == 28 and report["parts"] == 1
    assert report["validation_loss"] == pytest.approx(here.validation_loss, abs=1e-3)  # of the same training with our newer ones
    assert (tmp_path / "trained" / "card").is_dir()
    argv = ["--adapter", str(tmp_path / "trained"), "--prompts", "10", "--output", str(tmp_path / "merged")]
    assert step.main("legal_tasks.training.merge", [*argv, *common]) == 0
    report = json.loads(capsys.readouterr().out.strip().split("\n")[-1])["report"]
    assert report["equal_answers"] == 10 and report["largest_difference"] < 1e-3
    check_merged(remote, tmp_path / "trained", tmp_path / "merged" / "model")
    argv = ["--adapter", str(split), "--output", str(tmp_path / "none")]
    assert step.main("legal_tasks.training.merge", [*argv, *common]) == 2
    assert "no adapter_config.json there" in capsys.readouterr().err


RESUME = """
import dataclasses, json, shutil, sys
from pathlib import Path
from legal_tasks.step import StepError
from legal_tasks.training import elsewhere, lora
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

class Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == 14:
            raise KeyboardInterrupt

params = elsewhere.read_params(lora, sys.argv[1])
try:
    lora.train(params, [Stop()])
except KeyboardInterrupt:
    pass
resumed = dataclasses.asdict(lora.train(params))
whole = dataclasses.asdict(lora.train(dataclasses.replace(params, checkpoints=params.checkpoints / "whole")))
file = Path(shutil.copytree(params.base, params.checkpoints / "broken")) / "model.safetensors"
weights = load_file(file)
weights["transformer.final_layernorm.weight"][0] = float("nan")
save_file(weights, file, metadata={"format": "pt"})
try:
    lora.train(dataclasses.replace(params, base=str(file.parent), checkpoints=params.checkpoints / "nan"))
    said = ""
except StepError as error:
    said = str(error)
print(json.dumps([resumed["resumed_at"], resumed["validation_loss"], whole["validation_loss"], said]))
"""


def test_a_training_there_is_resumed_and_guarded_as_here(remote, split, tmp_path, old):
    base, listed = remote
    params = lora.Params(
        data=split,
        output=tmp_path / "trained",
        base=str(base),
        remote_code=listed,
        batch=4,
        accumulation=3,
        epochs=6.6,  # the last update is not full
        learning_rate=1e-2,
        warmup=3,
        max_length=96,
        threads=1,
        save_updates=10,
        checkpoints=tmp_path / "work",
    )
    params.output.mkdir()
    given = elsewhere.write_params(params, tmp_path / "params.json")
    done = subprocess.run(
        [str(elsewhere.python(old)), "-c", RESUME, str(given)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(step.REPOSITORY), os.environ.get("PYTHONPATH"))))},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    at, resumed, whole, said = json.loads(done.stdout.strip().split("\n")[-1])
    assert at == 10 and resumed == whole
    assert "the loss became nan at update 1: it is the batch of line" in said
