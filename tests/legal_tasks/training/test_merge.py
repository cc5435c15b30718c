"""The merged model is base + adapter, and says so by its numbers."""

import json
import shutil

import pytest

pytest.importorskip("peft")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from legal_tasks.step import StepError
from legal_tasks.training import base as bases
from legal_tasks.training import merge
from tests.legal_tasks.training.tiny import make_base


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    """An adapter whose weights are all random, so that it changes every answer."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    folder = tmp_path_factory.mktemp("lora")
    model.save_pretrained(folder / "adapter", save_embedding_layers=False)
    return folder


def make(base, adapter, folder, **values):
    folder.mkdir()
    return merge.Params(adapter=adapter, output=folder, base=str(base), threads=1, **values)


def test_the_merged_model_answers_as_base_and_adapter(base, adapter, tmp_path):
    report = merge.run(make(base, adapter, tmp_path / "out"))
    folder = tmp_path / "out" / "model"
    assert report.largest_difference < 1e-3 and report.prompts == report.equal_answers == 200
    ids = torch.tensor([[1, 5, 264, 265, 266, 3, 6]])
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    merged = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        before = plain(ids).logits
        wanted = PeftModel.from_pretrained(plain, adapter / "adapter").eval()(ids).logits
        got = merged(ids).logits
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
    assert (got - before).abs().max() > 0.05
    assert merged.config.dtype == torch.float32


def test_tokenizer_and_template_are_the_bases_own_files(base, adapter, tmp_path):
    merge.run(make(base, adapter, tmp_path / "out"))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "out" / "model" / name).read_bytes() == (base / name).read_bytes()
    assert AutoTokenizer.from_pretrained(tmp_path / "out" / "model").chat_template
    names = {path.suffix for path in (tmp_path / "out" / "model").iterdir()}
    assert names == {".safetensors", ".json", ".jinja"}
    assert "_name_or_path" not in json.loads((tmp_path / "out" / "model" / "config.json").read_text("utf-8"))


def test_an_adapter_of_another_shape_is_refused(adapter, tmp_path):
    other = make_base(tmp_path / "other", hidden=256)
    with pytest.raises(StepError, match="does not fit the base"):
        merge.run(make(other, adapter, tmp_path / "out"))


def test_a_difference_above_the_tolerance_is_an_error(base, adapter, tmp_path):
    with pytest.raises(StepError, match="differs from base"):
        merge.run(make(base, adapter, tmp_path / "out", tolerance=1e-12))
    assert not (tmp_path / "out" / "model").exists()


def test_an_answer_that_parts_is_an_error_unless_two_tokens_are_as_good(base):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    prompts = merge.probe_prompts(AutoTokenizer.from_pretrained(base), 6)
    answers = merge.greedy_answers(model, prompts, 2)
    assert {len(answer) for answer in answers} <= set(range(1, merge.ANSWER + 1))
    assert merge.count_equal(model, prompts, answers, answers, 1e-3) == 6
    other = [list(answer) for answer in answers]
    other[3][0] = (other[3][0] + 1) % 300
    with pytest.raises(StepError, match="answers prompt 3 otherwise .* from token 0 on"):
        merge.count_equal(model, prompts, answers, other, 1e-6)
    assert merge.count_equal(model, prompts, answers, other, 10.0) == 5


def test_an_adapter_in_a_pickle_is_refused(base, adapter, tmp_path):
    shutil.copytree(adapter, tmp_path / "pickled")
    (tmp_path / "pickled" / "adapter" / "adapter_model.safetensors").rename(
        tmp_path / "pickled" / "adapter" / "adapter_model.bin"
    )
    with pytest.raises(StepError, match="only safetensors"):
        merge.run(make(base, tmp_path / "pickled", tmp_path / "out"))


def test_a_base_is_a_folder_or_a_hub_id(base, tmp_path, monkeypatch):
    assert bases.resolve(str(base)) == base
    with pytest.raises(StepError, match="no such folder"):
        bases.resolve("one-word")
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    kept = tmp_path / "bases" / "someone--model@v1"  # fetched before: the hub is not asked again
    shutil.copytree(base, kept)
    assert bases.resolve("someone/model@v1") == kept
