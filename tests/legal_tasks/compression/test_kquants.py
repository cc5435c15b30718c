"""Q4_K_M by llama.cpp's own quantiser: the same model in fewer bits, with its tokenizer and template."""

import dataclasses
import json
import shutil

import pytest

pytest.importorskip("xllamacpp")

from legal_tasks import setup
from legal_tasks.compression import compress, gguf, kquants
from legal_tasks.compression.load import load_model
from legal_tasks.compression.verify import verify
from legal_tasks.step import StepError
from legal_tasks.training.chat import messages
from tests.legal_tasks.training.tiny import make_base, make_exam, make_record


@pytest.fixture
def quantiser():
    if not setup.python_of(kquants.ENVIRONMENT).is_file() and shutil.which(kquants.TOOL) is None:
        pytest.skip("llama.cpp's quantiser is not here: python3.11 -m legal_tasks.setup llamacpp")


def test_the_file_holds_k_types_the_tokenizer_and_the_template(quantiser, tmp_path):
    import gguf as package

    base = make_base(tmp_path / "base", hidden=256)
    shutil.copytree(base, tmp_path / "tokenizer", ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    made = gguf.write(base, tmp_path / "model-q4_k_m.gguf", "tiny", "q4_k_m")
    reader = package.GGUFReader(made)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.attn_q.weight"] == kinds["blk.0.ffn_up.weight"] == "Q4_K"
    assert kinds["token_embd.weight"] == "Q6_K" and kinds["output_norm.weight"] == "F32"
    template = reader.fields["tokenizer.chat_template"].contents()
    assert template == (base / "chat_template.jinja").read_text("utf-8")
    assert reader.fields["general.file_type"].contents() == package.LlamaFileType.MOSTLY_Q4_K_M
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["model-q4_k_m.gguf"], "the float16 file is left"
    loaded, tokenizer = load_model(made, "gguf")
    merged, _ = load_model(base)
    name = "model.layers.0.self_attn.q_proj.weight"
    wanted, got = merged.state_dict()[name], loaded.state_dict()[name]
    assert 0 < (wanted - got).norm() / wanted.norm() < 0.1
    questions = [messages({**make_record(number), "output": ""}) for number in range(8)]
    assert verify(made, loaded, tokenizer, questions, answers=4).chats == 8


def test_rows_that_are_no_multiple_of_256_get_the_types_that_llama_cpp_takes_instead(quantiser, tmp_path):
    import gguf as package

    base = make_base(tmp_path / "base", hidden=128)
    shutil.copytree(base, tmp_path / "tokenizer", ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    made = gguf.write(base, tmp_path / "model-q4_k_m.gguf", "tiny", "q4_k_m")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in package.GGUFReader(made).tensors}
    assert kinds["blk.0.attn_q.weight"] == "Q5_0"
    questions = [messages({**make_record(number), "output": ""}) for number in range(4)]
    assert verify(made, *load_model(made, "gguf"), questions, answers=4).chats == 4


@pytest.mark.slow
def test_it_is_a_line_of_the_table(quantiser, model, split, tmp_path):
    (tmp_path / "output").mkdir()
    params = compress.Params(
        model=model, data=split, output=tmp_path / "output", exams=make_exam(tmp_path / "collect", items=40),
        samples=32, max_length=128, threads=1, gguf=("q4_k_m",),
    )  # fmt: skip
    report = compress.run(params)
    rows = json.loads((tmp_path / "output" / "table.json").read_text("utf-8"))["rows"]
    assert [row["format"] for row in rows] == ["merged", "gptq-act-order", "gptq", "gguf", "gguf-q4_k_m"]
    row = rows[-1]
    assert (row["name"], row["path"], row["n"]) == ("GGUF Q4_K_M", "model-q4_k_m.gguf", 40)
    assert row["loss"] is not None and row["perplexity"] == pytest.approx(rows[0]["perplexity"], rel=0.1)
    assert report.formats["gguf-q4_k_m"]["loss"] == row["loss"]


def test_without_a_quantiser_the_way_to_one_is_told_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_ENV_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    params = compress.Params(model=tmp_path / "no model", data=tmp_path, output=tmp_path, gguf=("q4_k_m",))
    with pytest.raises(StepError, match=r"legal_tasks\.setup llamacpp"):
        compress.run(params)
    with pytest.raises(StepError, match="config.json"):
        compress.run(dataclasses.replace(params, gguf=()))


def test_llama_cpps_own_program_is_taken_where_it_is_there(tmp_path, monkeypatch):
    tool = tmp_path / "llama-quantize"
    tool.write_text('#!/bin/sh\necho "$3" > "$2"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kquants.quantise(tmp_path / "f16.gguf", tmp_path / "out.gguf", "q4_k_m").read_text() == "Q4_K_M\n"


def test_a_quantiser_that_fails_is_told_with_its_words(quantiser, tmp_path):
    (tmp_path / "f16.gguf").write_bytes(b"no model")
    with pytest.raises(RuntimeError, match="quantiser ended with"):
        kquants.quantise(tmp_path / "f16.gguf", tmp_path / "out.gguf", "q4_k_m")
