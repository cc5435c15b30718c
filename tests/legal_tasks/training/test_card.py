"""The training card: what its head, tables and picture say of a training."""

import dataclasses
import json

import pytest
import yaml

from legal_tasks.artifacts import Store, sha256_text
from legal_tasks.training import card, lora
from tests.legal_tasks.training.tiny import make_base, make_split

REPORT = {
    "records": 48,
    "validation_records": 8,
    "left_out": {"too long": 2},
    "truncated": 1,
    "updates": 30,
    "epochs": 10.0,
    "tokens": 12345,
    "base_parameters": 369408,
    "trained_parameters": 32768,
    "train_loss": 1.25,
    "validation_loss_before": 5.5,
    "validation_loss": None,
    "seconds": 3600.0,
    "tokens_per_s": None,
    "resumed_at": 20,
    "threads": 1,
    "device": "cpu",
    "base": "embedded",
    "base_digest": "b" * 64,
    "data_digest": "d" * 64,
    "template_sha256": "t" * 64,
    "saving_seconds": 1.5,
    "best_update": 25,
    "backend": "peft",
}


@pytest.fixture
def params(tmp_path):
    return lora.Params(tmp_path / "data", tmp_path / "output", base="embedded")


def test_the_head_is_what_the_hub_reads(params):
    head = yaml.safe_load(card.render(params, REPORT).split("---")[1])
    assert head["library_name"] == "peft" and head["language"] == "zh"
    assert head["base_model"] == "embedded" and head["base_model_relation"] == "adapter"


def test_every_figure_of_the_training_stands_in_the_card_and_what_is_not_known_is_said(params):
    text = card.render(params, REPORT)
    for row in ("| LoRA rank | 16 |", "| learning rate | 0.0002 |", "| training data, sha256 | " + "d" * 64):
        assert row in text, row
    assert "| updates | 30 (10 epochs) |" in text and "| adapter of update | 25 |" in text
    assert "| validation loss | not measured |" in text and "| tokens per second | not measured |" in text
    assert "too long 2" in text and "3,600 (of the last attempt, from update 20), 1.5 of them for checkpoints" in text


def test_seconds_without_a_price_cost_no_number():
    assert card.cost("cpu", 1800) == "0.500 hours of CPU; 价格未设定 (price not set)"


def test_the_picture_shows_both_losses_and_the_same_points_give_the_same_bytes():
    points = [{"step": n, "loss": 3.0 / n, "learning_rate": 1e-3 * n} for n in range(1, 20)]
    points[9]["validation_loss"] = 2.0
    drawn = card.curves(points)
    assert drawn == card.curves(points) and drawn.count("training loss") == 1 and drawn.count("validation loss") == 1
    assert card.curves(points[:9]).count("validation loss") == 0


def test_a_training_leaves_its_card_which_is_no_part_of_its_content(tmp_path):
    made = []
    for name, threads in (("one", 1), ("two", 2)):
        folder = tmp_path / name
        base, data = make_base(folder / "base"), make_split(folder / "data", 16)
        params = lora.Params(data, folder / "output", str(base), batch=8, accumulation=1, epochs=1, max_length=96)
        params = dataclasses.replace(params, threads=threads, checkpoints=folder / "work")
        params.output.mkdir()
        report = lora.run(params)
        text = (params.output / report.card / "README.md").read_text("utf-8")
        assert f"cpu, {threads} threads" in text and (params.output / report.card / "curves.svg").is_file()
        (params.output / "adapter").rename(params.output / "left out")  # two threads add up in another order
        (params.output / "log.jsonl").unlink()
        made.append(params.output)
    for folder in made:
        for path in (folder / "left out").iterdir():
            path.unlink()
        (folder / "left out").rmdir()
    store = Store(tmp_path / "store")
    first, second = (
        store.finish("training.lora", sha256_text(folder.parent.name), folder, {}, describe={"inputs": {}}) for folder in made
    )
    assert first.digest == second.digest
    listed = [json.loads((one.path / "manifest.json").read_text("utf-8"))["files"] for one in (first, second)]
    assert listed[0]["card/README.md"] != listed[1]["card/README.md"]
