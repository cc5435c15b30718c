"""LoRA on a random tiny model: it learns, resumes exactly, and refuses what cannot work."""

import dataclasses
import importlib.util
import json
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("peft")

import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from legal_tasks import step
from legal_tasks.step import StepError
from legal_tasks.training import lora, trainer
from legal_tasks.training.rows import collate
from tests.legal_tasks.training.tiny import make_base, make_split


class Stop(TrainerCallback):
    """Breaks a training off, as a killed process would, after an update."""

    def __init__(self, update):
        self.update = update

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.update:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return make_split(tmp_path_factory.mktemp("split"))


@pytest.fixture
def params(base, split, tmp_path):
    (tmp_path / "output").mkdir()
    return lora.Params(
        data=split,
        output=tmp_path / "output",
        base=str(base),
        batch=8,
        accumulation=2,
        epochs=10,
        learning_rate=1e-2,
        warmup=3,
        max_length=96,
        threads=1,
        save_updates=10,
        checkpoints=tmp_path / "work",
    )


def elsewhere(params, folder, **changes):
    (folder / "output").mkdir(parents=True)
    return dataclasses.replace(params, output=folder / "output", checkpoints=folder / "work", **changes)


def log_of(params):
    return [json.loads(line) for line in (params.output / "log.jsonl").read_text("utf-8").strip().split("\n")]


def adapter_of(params):
    return load_file(params.output / "adapter" / "adapter_model.safetensors")


def test_training_lowers_the_loss_and_logs_each_point(params):
    report = lora.run(params)
    points = log_of(params)
    assert report.updates == 30  # 48 records x 10 epochs / (8 x 2)
    assert [point["step"] for point in points] == list(range(1, 31))
    assert points[-1]["epoch"] == 10 and points[3]["learning_rate"] == max(point["learning_rate"] for point in points)
    assert report.validation_loss < report.validation_loss_before - 0.5
    assert report.records == 48 and report.validation_records == 8 and report.loss == "answer_loss"
    config = json.loads((params.output / "adapter" / "adapter_config.json").read_text("utf-8"))
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (16, 32, 0.05)
    assert config["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]  # sorted: PEFT keeps a set
    assert "/" not in config["base_model_name_or_path"]


def test_a_broken_off_training_resumes_to_the_same_adapter_and_log(params, tmp_path):
    whole = elsewhere(params, tmp_path / "whole")
    lora.run(whole)
    for update in (14, 27):  # past the checkpoints at 10 and 20
        with pytest.raises(KeyboardInterrupt):
            lora.run(params, [Stop(update)])
    report = lora.run(params)
    assert report.resumed_at == 20
    assert log_of(params) == log_of(whole)
    wanted, got = adapter_of(whole), adapter_of(params)
    assert wanted.keys() == got.keys() and all(torch.equal(wanted[name], got[name]) for name in wanted)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(params, capsys):
    with pytest.raises(KeyboardInterrupt):
        lora.run(params, [Stop(25)])
    file = params.checkpoints / "checkpoint-20" / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    shutil.copytree(params.checkpoints / "checkpoint-10", params.checkpoints / "checkpoint-24")
    (params.checkpoints / "checkpoint-24" / "COMPLETE").unlink()
    assert lora.run(params).resumed_at == 10
    said = capsys.readouterr().out
    assert "checkpoint-24 is not resumed: it was not finished" in said
    assert "checkpoint-20 is not resumed: its adapter_model.safetensors is missing or was changed" in said


def test_a_checkpoint_of_other_settings_is_not_resumed(params, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        lora.run(params, [Stop(12)])
    other = dataclasses.replace(params, learning_rate=5e-3, max_updates=14)
    assert lora.run(other).resumed_at == 0
    assert "other data, another base or other settings" in capsys.readouterr().out


def test_a_bound_on_updates_ends_the_training_early_and_says_so(params, capsys):
    report = lora.run(dataclasses.replace(params, batch=4, max_updates=5))
    assert (report.updates, report.epochs, report.records) == (5, round(40 / 48, 3), 40)
    assert "after 0.83 of 10 epochs" in capsys.readouterr().out


def test_the_seed_decides_the_result(params, tmp_path):
    runs = [elsewhere(params, tmp_path / str(number), max_updates=6, seed=seed) for number, seed in enumerate((0, 0, 1))]
    for run in runs:
        lora.run(run)
    first, same, other = (adapter_of(run) for run in runs)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_short_loss_equals_the_full_one_with_a_padding_mask(base):
    """The mask-free batch against the model's own forward pass with attention mask and labels."""
    model, tokenizer = lora.load_base(base, "cpu", 64)
    model.eval()
    rows = [
        {"input_ids": [1, 5, 264, 3, 6, 265, 3], "labels": [-100] * 5 + [265, 3]},
        {"input_ids": [1, 5, 6, 3], "labels": [-100] * 3 + [3]},
    ]
    batch = collate(rows, tokenizer.pad_token_id)
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    with torch.no_grad():
        wanted = model(**batch, attention_mask=mask).loss * 3  # a mean over three labels
        short, full = (loss(model, **batch) for loss in (trainer.answer_loss, trainer.full_loss))
    torch.testing.assert_close(short, wanted)
    torch.testing.assert_close(full, wanted)


def test_accumulated_batches_teach_what_one_large_batch_teaches(params, tmp_path):
    """Two half batches of unequal label counts must weigh tokens, not batches."""
    common = {"dropout": 0.0, "max_updates": 4, "warmup": 0}
    one = elsewhere(params, tmp_path / "one", batch=16, accumulation=1, **common)
    two = elsewhere(params, tmp_path / "two", batch=8, accumulation=2, **common)
    model, tokenizer = lora.load_base(lora.bases.resolve(one.base), "cpu", one.max_length)
    plan = lora.make_plan(one, tokenizer)
    losses = []
    for run in (one, two):
        torch.manual_seed(0)
        model, _ = lora.load_base(lora.bases.resolve(run.base), "cpu", run.max_length)
        result = lora.fit(run, run.checkpoints, lora.add_adapter(model, run), tokenizer, plan, "cpu")
        losses.append([point["loss"] for point in result["points"]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


BAD = [
    ("r", 0, "--r must"),
    ("learning_rate", 20.0, "--learning-rate"),
    ("dropout", 1.0, "--dropout"),
    ("schedule", "steps", "--schedule"),
    ("targets", (), "--targets"),
    ("max_updates", 0, "--max-updates"),
    ("copies", {"case": -1.0}, "--copies"),
    ("warmup", -1, "--warmup"),
    ("quantise", "int3", "--quantise"),
    ("backend", "megatron", "--backend"),
    ("early_stopping", 3, "--evaluate-updates"),
    ("processes", 3, "--processes 3 must divide --accumulation"),
    ("zero", 2, "--zero 2 .*--processes"),
    ("spike", -1.0, "--spike"),
]


@pytest.mark.parametrize(("name", "value", "said"), BAD)
def test_a_bad_value_names_its_option(params, name, value, said):
    with pytest.raises(StepError, match=said):
        dataclasses.replace(params, **{name: value})


def test_what_cannot_be_trained_is_refused_before_training(params, base, tmp_path):
    with pytest.raises(StepError, match=r"no layer c_attn; it has .*q_proj"):
        lora.run(dataclasses.replace(params, targets=("c_attn",)))
    with pytest.raises(StepError, match="context of 256"):
        lora.run(dataclasses.replace(params, max_length=512))
    (tmp_path / "empty").mkdir()
    for name in ("train", "validation"):
        (tmp_path / "empty" / f"{name}.jsonl").write_text("")
    with pytest.raises(StepError, match="no record to train on"):
        lora.run(dataclasses.replace(params, data=tmp_path / "empty"))
    with pytest.raises(StepError, match="no such folder"):
        lora.run(dataclasses.replace(params, base="nowhere"))
    shutil.copytree(base, tmp_path / "mute")
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        content = json.loads((tmp_path / "mute" / name).read_text("utf-8"))
        content.pop("eos_token", None)
        (tmp_path / "mute" / name).write_text(json.dumps(content))
    with pytest.raises(StepError, match="no end token"):
        lora.run(dataclasses.replace(params, base=str(tmp_path / "mute")))
    assert not any(params.output.iterdir())


def pickled(base):
    (base / "pytorch_model.bin").write_bytes(b"\x80\x04N.")


def remote(base):
    config = json.loads((base / "config.json").read_text("utf-8"))
    (base / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModelForCausalLM": "modeling_x.Model"}}))


@pytest.mark.parametrize(
    ("spoil", "options", "said"),
    [
        (pickled, [], "pytorch_model.bin may hold a pickle"),
        (remote, [], "auto_map, which loads remote code"),
        (None, ["--learning-rate", "20"], "--learning-rate must be in"),
        (None, ["--r", "0"], "--r must be above 0, got 0"),
        (None, ["--set", "training.lora.rank=8"], "training.lora.rank is not a setting"),
        (None, ["--targets", "c_attn"], "--targets: the base has no layer c_attn"),
        (None, ["--max-length", "512"], "--max-length 512 exceeds the base's context of 256"),
        (None, ["--quantise", "nf4"], "--quantise nf4 needs bitsandbytes"),
    ],
)
def test_on_the_command_line_bad_input_is_a_message_and_exit_2(base, split, tmp_path, capsys, spoil, options, said):
    if said.endswith("bitsandbytes") and importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    folder = shutil.copytree(base, tmp_path / "base")
    if spoil is not None:
        spoil(folder)
    output = tmp_path / "output"
    argv = ["--data", str(split), "--base", str(folder), "--output", str(output), "--max-length", "96", *options]
    assert step.main("legal_tasks.training.lora", argv) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    assert not output.exists()


def test_a_record_longer_than_the_context_is_left_out_and_counted(params, tmp_path):
    shutil.copytree(params.data, tmp_path / "data")
    record = json.loads((params.data / "train.jsonl").read_text("utf-8").strip().split("\n")[0])
    with open(tmp_path / "data" / "train.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(record | {"instruction": "租" * 300}, ensure_ascii=False) + "\n")
        file.write(json.dumps(record | {"output": "租" * 300}, ensure_ascii=False) + "\n")
    report = lora.run(dataclasses.replace(params, data=tmp_path / "data", epochs=1))
    assert report.left_out == {"question longer than max_length": 1} and report.truncated == 1
    assert report.records == 49  # 48, the long one is out, the one with a long answer is in


def test_a_loss_that_is_no_number_stops_with_the_way_out(params, base, tmp_path):
    shutil.copytree(base, tmp_path / "broken")
    weights = load_file(tmp_path / "broken" / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    from safetensors.torch import save_file

    save_file(weights, tmp_path / "broken" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StepError, match="became nan at update 1: it is the batch of lines? .* of train.jsonl"):
        lora.run(dataclasses.replace(params, base=str(tmp_path / "broken")))


@pytest.mark.parametrize(
    "module", ["legal_tasks.training.lora", "legal_tasks.training.merge", "legal_tasks.compression.compress"]
)
def test_help_is_quick_and_lists_the_options(module):
    said = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, timeout=30)
    assert said.returncode == 0 and "--threads" in said.stdout
