"""Several processes: the same losses as one, the optimiser shared among them, the command on several hosts."""

import dataclasses
import json

import pytest

pytest.importorskip("deepspeed")

from safetensors.torch import load_file

from legal_tasks.step import StepError
from legal_tasks.training import distributed, lora
from tests.legal_tasks.training.tiny import make_base, make_split


@pytest.fixture
def params(tmp_path):
    (tmp_path / "output").mkdir()
    return lora.Params(
        data=make_split(tmp_path / "split", 128),
        output=tmp_path / "output",
        base=str(make_base(tmp_path / "base")),
        batch=2,
        accumulation=4,
        epochs=50,
        max_updates=50,
        dropout=0.0,
        learning_rate=2e-3,
        warmup=3,
        max_length=96,
        threads=1,
        save_updates=20,
        device="cpu",
        checkpoints=tmp_path / "work",
    )


def losses(params):
    return [json.loads(line)["loss"] for line in (params.output / "log.jsonl").read_text("utf-8").strip().split("\n")]


def test_torchrun_starts_this_host_s_share_of_the_processes(params, tmp_path, monkeypatch):
    eight = dataclasses.replace(params, accumulation=8, processes=8)
    alone = distributed.command(eight, tmp_path)
    assert "--nproc-per-node=8" in alone and "--standalone" in alone
    monkeypatch.setenv("PET_NNODES", "2")
    together = distributed.command(eight, tmp_path)
    assert "--nproc-per-node=4" in together and "--standalone" not in together
    monkeypatch.setenv("PET_NNODES", "3")
    with pytest.raises(StepError, match="8 cannot be shared by 3 hosts"):
        distributed.command(eight, tmp_path)


def test_parameters_survive_the_way_to_the_processes(params, tmp_path):
    asked = dataclasses.replace(params, copies={"general": 2.5}, targets=("q_proj",), max_updates=None, processes=2)
    (tmp_path / "params.json").write_text(json.dumps(dataclasses.asdict(asked), default=str))
    assert distributed.read_params(tmp_path / "params.json") == asked


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_two_processes_have_the_losses_of_one(params, tmp_path, stage):
    two = dataclasses.replace(params, output=tmp_path / "two", checkpoints=tmp_path / "two-work", processes=2, zero=stage)
    two.output.mkdir()
    one, other = lora.run(params), lora.run(two)
    assert other.updates == one.updates == 50 and len(losses(two)) == 50
    assert max(abs(a - b) for a, b in zip(losses(params), losses(two), strict=True)) <= 1e-3
    assert other.validation_loss == pytest.approx(one.validation_loss, abs=1e-3)
    weights = load_file(two.output / "adapter" / "adapter_model.safetensors")
    wanted = load_file(params.output / "adapter" / "adapter_model.safetensors")
    assert {name: value.shape for name, value in weights.items()} == {name: value.shape for name, value in wanted.items()}
    if stage:
        shards = sorted((two.checkpoints / "checkpoint-40").glob("global_step40/*optim_states.pt"))
        assert len(shards) == 2 and all("rank_" in shard.name for shard in shards)
        assert abs(shards[0].stat().st_size - shards[1].stat().st_size) < 0.2 * shards[0].stat().st_size
        whole = (params.checkpoints / "checkpoint-40" / "optimizer.pt").stat().st_size
        assert shards[0].stat().st_size < 1.2 * whole  # with its share of the weights in float32, and no more


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_several_processes_resume_from_their_checkpoint(params, tmp_path, stage):
    """The checkpoint at the end is taken away, as if the processes had been killed before it."""
    import shutil

    two = dataclasses.replace(params, processes=2, zero=stage, max_updates=30)
    lora.run(two)
    first = losses(two)
    assert (two.checkpoints / "checkpoint-20" / "COMPLETE").is_file()
    shutil.rmtree(two.checkpoints / "checkpoint-30", ignore_errors=True)
    shutil.rmtree(two.output)
    two.output.mkdir()
    report = lora.run(two)
    assert report.resumed_at == 20
    assert losses(two) == pytest.approx(first, abs=1e-4)
