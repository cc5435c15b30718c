"""One tiny trained model for the tests of compression: made once, about two seconds."""

from pathlib import Path

import pytest

pytest.importorskip("gptqmodel")


@pytest.fixture(scope="session")
def split(tmp_path_factory) -> Path:
    from tests.legal_tasks.training.tiny import make_split

    return make_split(tmp_path_factory.mktemp("split"), training=64)


@pytest.fixture(scope="session")
def model(split, tmp_path_factory) -> Path:
    """Every weight trained on the split, so that its answers depend on the question and it is not all noise."""
    import torch

    from legal_tasks.compression.load import load_model
    from legal_tasks.training.rows import collate, encode, load
    from legal_tasks.training.trainer import answer_loss
    from tests.legal_tasks.training.tiny import make_base

    torch.set_num_threads(1)
    folder = make_base(tmp_path_factory.mktemp("model") / "model")
    model, tokenizer = load_model(folder)
    model.train()
    batch = collate(encode(tokenizer, load(split / "train.jsonl"), 128).rows, 2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        loss = answer_loss(model, **batch) / (batch["labels"] >= 0).sum()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder)
    return folder
