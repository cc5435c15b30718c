"""The loop: joined rows, batches in parts, guards, early stopping."""

import dataclasses
import json
from types import SimpleNamespace

import pytest

pytest.importorskip("peft")

import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from legal_tasks.step import StepError
from legal_tasks.training import lora, trainer
from legal_tasks.training.chat import IGNORED
from legal_tasks.training.guard import Guard
from legal_tasks.training.rows import collate, cut
from tests.legal_tasks.training.tiny import make_base, make_split


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
        dropout=0.0,
        max_updates=6,
        epochs=10,
        learning_rate=1e-2,
        warmup=2,
        max_length=96,
        threads=1,
        checkpoints=tmp_path / "work",
    )


def beside(params, folder, **changes):
    (folder / "output").mkdir(parents=True)
    return dataclasses.replace(params, output=folder / "output", checkpoints=folder / "work", **changes)


def losses(params):
    return [json.loads(line)["loss"] for line in (params.output / "log.jsonl").read_text("utf-8").strip().split("\n")]


ROWS = [
    {"input_ids": [1, 5, 264, 3, 6, 265, 3], "labels": [IGNORED] * 5 + [265, 3]},
    {"input_ids": [1, 5, 6, 3], "labels": [IGNORED] * 3 + [3]},
    {"input_ids": [1, 270, 271, 272, 3], "labels": [IGNORED] * 2 + [271, 272, 3]},
]


def test_joined_rows_have_the_logits_of_separate_ones(base):
    model, _ = lora.load_base(base, "cpu", 64)
    model.eval()
    joined = collate(ROWS, 2, packed=True)
    assert joined["position_ids"].tolist() == [[*range(7), *range(4), *range(5)]]
    with torch.no_grad():
        together = model(input_ids=joined["input_ids"], position_ids=joined["position_ids"]).logits[0]
        apart = torch.cat([model(input_ids=torch.tensor([row["input_ids"]])).logits[0] for row in ROWS])
        leaking = model(input_ids=joined["input_ids"]).logits[0]
    assert (together - apart).abs().max() <= 1e-4
    assert (leaking - apart).abs().max() > 1e-2  # the check can fail: without positions the rows see one another


def test_packing_trains_as_separate_rows_do(params, tmp_path):
    joined = beside(params, tmp_path / "joined", packing=True)
    lora.run(params)
    lora.run(joined)
    assert losses(joined) == pytest.approx(losses(params), rel=1e-4)


def test_a_model_whose_rows_see_one_another_is_refused(base):
    model, _ = lora.load_base(base, "cpu", 64)
    joined = collate(ROWS, 2, packed=True)
    joined["position_ids"] = torch.arange(16)[None]
    with pytest.raises(StepError, match="does not keep rows apart"):
        trainer.check_packing(model, trainer.full_loss, collate(ROWS, 2), joined)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_has_the_loss_of_the_whole(base, packed, parts):
    model, _ = lora.load_base(base, "cpu", 64)
    model.eval()
    batch = collate(ROWS, 2, packed)
    pieces = cut(batch, parts)
    assert len(pieces) == {2: 2, 4: 3}[parts]
    with torch.no_grad():
        whole = trainer.answer_loss(model, **batch)
        summed = sum(trainer.answer_loss(model, **piece) for piece in pieces)
    torch.testing.assert_close(summed, whole)


class Small:
    """A model's memory: a forward pass over more than `rows` rows fails as a card's allocator does, half way."""

    def __init__(self, rows, grace):
        self.rows, self.grace, self.failed = rows, grace, 0

    def __call__(self, module, arguments):
        if not module.training:
            return
        self.grace -= 1
        if arguments[0].shape[0] > self.rows and self.grace < 0:
            self.failed += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def fit_with_memory(params, rows, grace=0):
    torch.manual_seed(0)
    model, tokenizer = lora.load_base(lora.bases.resolve(params.base), "cpu", params.max_length)
    plan = lora.make_plan(params, tokenizer)
    adapted = lora.add_adapter(model, params)
    memory = Small(rows, grace)
    model.model.layers[1].mlp.down_proj.register_forward_pre_hook(memory)
    return lora.fit(params, params.checkpoints, adapted, tokenizer, plan, "cpu"), memory


def test_out_of_memory_halves_what_is_computed_at_once_and_keeps_the_update(params, tmp_path, capsys):
    wide, _ = fit_with_memory(params, 8)
    narrow, memory = fit_with_memory(beside(params, tmp_path / "narrow"), 3)
    assert (wide["parts"], narrow["parts"], memory.failed) == (1, 4, 2)  # 8 rows, then 4, fail; 2 pass
    assert narrow["updates"] == wide["updates"] == 6
    assert [p["loss"] for p in narrow["points"]] == pytest.approx([p["loss"] for p in wide["points"]], rel=1e-4)
    assert "computed in 4 parts" in capsys.readouterr().out


def test_the_validation_loss_is_measured_on_fewer_rows_where_memory_is_short(base, split):
    model, tokenizer = lora.load_base(base, "cpu", 96)
    plan = lora.make_plan(lora.Params(split, split, str(base), max_length=96), tokenizer)

    def short(model, input_ids, labels):
        if len(input_ids) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return trainer.full_loss(model, input_ids, labels)

    wanted = trainer.mean_loss(model, trainer.full_loss, plan.validation.rows, 8, 2, "cpu")
    assert trainer.mean_loss(model, short, plan.validation.rows, 8, 2, "cpu") == pytest.approx(wanted, rel=1e-6)


def test_a_single_row_that_does_not_fit_ends_the_training_with_the_way_out(params):
    with pytest.raises(StepError, match="longest row .* does not fit .*--max-length"):
        fit_with_memory(params, 0)
    with pytest.raises(StepError, match="out of memory with 1 rows .*--max-length"):
        fit_with_memory(params, 0, grace=1)  # the measurement before the training fits, the training does not


def step_with(guard, loss, gradient=1.0, line=7):
    """One update of a one-weight model, seen by a guard."""
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.grad = torch.tensor([[gradient]])
    guard.seen = [(torch.tensor(loss / 2), [1, 2]), (torch.tensor(loss / 2), [line])]
    arguments = SimpleNamespace(learning_rate=1e-3)
    guard.on_pre_optimizer_step(arguments, SimpleNamespace(global_step=40), None, model=model)


def test_a_loss_that_leaps_and_stays_stops_the_update_and_names_its_first_batch():
    guard = Guard(spike=4.0)
    for _ in range(20):
        step_with(guard, 2.0)
    step_with(guard, 5.9)  # 3.9 above the median: odd, but no leap
    for loss in (*[9.0] * 9, 2.0, 6.1, *[9.0] * 8):  # nine batches in a row of a kind that the base has never seen, twice
        step_with(guard, loss)
    with pytest.raises(StepError, match=r"leapt to 6.100 at update 41 \(median .* 2.000.*lines 1, 2, 7 of train.jsonl"):
        step_with(guard, 9.0)


def test_a_first_loss_is_no_leap_and_zero_switches_the_guard_off():
    step_with(Guard(spike=4.0), 12.0)
    guard = Guard(spike=0.0)
    for loss in (*[1.0] * 30, 50.0):
        step_with(guard, loss)


def test_a_loss_or_gradient_that_is_no_number_stops_before_the_step():
    with pytest.raises(StepError, match="became nan at update 41: it is the batch of lines 1, 2 of train.jsonl"):
        step_with(Guard(spike=0.0), float("nan"))
    with pytest.raises(StepError, match="gradient became no number at update 41, on lines 1, 2, 7"):
        step_with(Guard(spike=0.0), 1.0, gradient=float("inf"))


class Stop(TrainerCallback):
    def __init__(self, update):
        self.update = update

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.update:
            raise KeyboardInterrupt


def test_early_stopping_keeps_the_best_adapter_and_survives_a_resume(params, split, tmp_path, capsys):
    """Validation answers that the training set never gives: after its first updates their loss only rises."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_bytes((split / "train.jsonl").read_bytes())
    rows = [json.loads(line) for line in (split / "validation.jsonl").read_text("utf-8").strip().split("\n")]
    other = [json.dumps(row | {"output": "定金定金定金"}, ensure_ascii=False) for row in rows]
    (folder / "validation.jsonl").write_text("\n".join(other) + "\n", "utf-8")
    first = dataclasses.replace(
        params, data=folder, evaluate_updates=2, early_stopping=2, max_updates=30, save_updates=3, learning_rate=2e-2
    )
    report = lora.run(first)
    points = [json.loads(line) for line in (params.output / "log.jsonl").read_text("utf-8").strip().split("\n")]
    measured = {point["step"]: point["validation_loss"] for point in points if "validation_loss" in point}
    best = min(measured, key=measured.get)
    assert report.best_update == best and report.updates == best + 4 < 30  # two measurements later
    assert report.validation_loss == pytest.approx(measured[best], rel=1e-5)
    assert "no better validation loss for 2 measurements" in capsys.readouterr().out
    again = beside(first, tmp_path / "again")
    with pytest.raises(KeyboardInterrupt):
        lora.run(again, [Stop(best + 3)])
    report = lora.run(again)
    assert report.best_update == best and report.resumed_at > 0
    a, b = (load_file(run.output / "adapter" / "adapter_model.safetensors") for run in (first, again))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_all_linear_adapts_every_layer_but_the_output(params):
    report = lora.run(dataclasses.replace(params, targets=("all-linear",), max_updates=2))
    config = json.loads((params.output / "adapter" / "adapter_config.json").read_text("utf-8"))
    seven = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert sorted({name.rpartition(".")[2] for name in config["target_modules"]}) == seven
    # r (in + out) per layer: q, k, v, o 128+128; gate, up 128+256; down 256+128; two blocks
    assert report.trained_parameters == 2 * 16 * (4 * 256 + 3 * 384)


def test_gradient_checkpointing_gives_the_same_training(params, tmp_path):
    saving = beside(params, tmp_path / "saving", gradient_checkpointing=True)
    lora.run(params)
    lora.run(saving)
    assert losses(saving) == pytest.approx(losses(params), rel=1e-5)


@pytest.mark.slow
def test_a_tiny_qwen3_is_trained_on_joined_rows_and_merged(params, tmp_path):
    """The architecture of the recommended base, through the options of its profile."""
    from legal_tasks.training import merge

    qwen = make_base(tmp_path / "qwen3", architecture="qwen3")
    assert json.loads((qwen / "config.json").read_text("utf-8"))["architectures"] == ["Qwen3ForCausalLM"]
    made = dataclasses.replace(params, base=str(qwen), packing=True, gradient_checkpointing=True, max_updates=12)
    report = lora.run(made)
    assert report.loss == "answer_loss" and report.validation_loss < report.validation_loss_before
    merged = merge.run(merge.Params(adapter=made.output, output=tmp_path / "merged", base=str(qwen), prompts=200))
    assert merged.prompts == 200 and merged.largest_difference < 1e-3
