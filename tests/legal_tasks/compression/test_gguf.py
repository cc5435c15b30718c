"""GGUF: read by llama.cpp and by transformers, to the same tokens and the same answers."""

import shutil

import pytest

pytest.importorskip("xllamacpp")

import numpy
import torch
from transformers import AutoModelForCausalLM

from legal_tasks.compression import gguf
from legal_tasks.compression.load import load_model
from legal_tasks.compression.verify import verify
from legal_tasks.step import StepError
from legal_tasks.training.chat import messages
from legal_tasks.training.merge import TOKENIZER_FILES
from tests.legal_tasks.training.tiny import make_base, make_record

CHATS = [
    [{"role": "user", "content": "租赁 合同，期限不得超过二十年吗？"}],
    [{"role": "user", "content": "第12条\n鑫鑫 english — 😀"}],  # bytes, a line feed, spaces, an emoji
    [{"role": "user", "content": "甲<|end|><|assistant|>乙"}],  # marks inside a user's text
    [
        {"role": "system", "content": "甲"},
        {"role": "user", "content": "是否可以解除"},
        {"role": "assistant", "content": "可以。"},
        {"role": "user", "content": "违约金 ？"},
    ],
]


def write(model, folder):
    """The GGUF file with its tokenizer beside it, as compression.compress leaves them."""
    (folder / "tokenizer").mkdir()
    for name in TOKENIZER_FILES:
        if (model / name).is_file():
            shutil.copyfile(model / name, folder / "tokenizer" / name)
    return gguf.convert(model, folder / "model-q4_0.gguf", "tiny")


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    return write(model, tmp_path_factory.mktemp("gguf"))


def test_llama_cpp_splits_chats_into_the_same_tokens_and_answers_the_same(file):
    loaded, tokenizer = load_model(file, "gguf")
    questions = [messages({**make_record(number), "output": ""}) for number in range(8)]
    found = verify(file, loaded, tokenizer, [*questions, *CHATS])
    assert found.chats == 12 and found.answers == 8
    assert found.equal_answers >= 7
    assert found.largest_difference < 0.05


def test_a_vocabulary_with_a_plain_space_is_read_alike(tmp_path):
    base = make_base(tmp_path / "base", plain_space=True)
    (tmp_path / "gguf").mkdir()
    made = write(base, tmp_path / "gguf")
    loaded, tokenizer = load_model(made, "gguf")
    assert tokenizer.tokenize("甲 乙\n") == ["甲", " ", "乙", "\n"]
    assert verify(made, loaded, tokenizer, CHATS, answers=0).chats == 4


def test_another_models_weights_are_noticed(file, tmp_path):
    loaded, tokenizer = load_model(make_base(tmp_path / "other", seed=5))
    with pytest.raises(StepError, match="does not hold the evaluated model"):
        verify(file, loaded, tokenizer, [messages({**make_record(1), "output": ""})])


def test_another_tokenizer_is_noticed(file):
    loaded, tokenizer = load_model(file, "gguf")
    tokenizer.chat_template = tokenizer.chat_template.replace("<|assistant|>", "<|user|>")
    with pytest.raises(StepError, match="other tokens"):
        verify(file, loaded, tokenizer, CHATS[:1])


def test_the_file_holds_four_bit_weights_the_tokenizer_and_the_template(file, model):
    import gguf as package

    reader = package.GGUFReader(file)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.ffn_up.weight"] == kinds["blk.1.attn_q.weight"] == "Q4_0"
    assert kinds["token_embd.weight"] == "Q8_0" and kinds["output_norm.weight"] == "F32"
    assert "output.weight" not in kinds  # tied
    fields = reader.fields
    assert fields["tokenizer.chat_template"].contents() == (model / "chat_template.jinja").read_text("utf-8")
    tokens, types = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type"))
    shown = {token: package.TokenType(kind).name for token, kind in zip(tokens, types, strict=True)}
    assert [shown[word] for word in ("<unk>", "<|end|>", "<0x0A>", "租")] == ["UNKNOWN", "CONTROL", "BYTE", "NORMAL"]
    assert fields["tokenizer.ggml.eos_token_id"].contents() == 3
    assert fields["llama.feed_forward_length"].contents() == 256


def test_weights_come_back_within_half_a_step_and_rotary_rows_in_their_places(file, model):
    merged, _ = load_model(model)
    loaded, _ = load_model(file, "gguf")
    for name in ("model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight"):
        wanted, got = (m.state_dict()[name].reshape(-1, gguf.BLOCK) for m in (merged, loaded))
        step = wanted.abs().max(1, keepdim=True).values / 8  # Q4_0: the largest weight of a block is -8 steps
        assert ((wanted - got).abs() <= step * 1.01).all()


def test_rotary_halves_are_interleaved():
    rows = numpy.arange(8)[:, None]  # one column; 2 heads of 4 rows: halves (0 1 | 2 3) and (4 5 | 6 7)
    got = gguf._permute("x.q_proj.weight", rows, {"num_attention_heads": 2})
    assert got[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert gguf._permute("x.v_proj.weight", rows, {"num_attention_heads": 2}) is rows


def test_what_this_writer_cannot_write_is_refused():
    plain = {"architectures": ["LlamaForCausalLM"]}
    gguf._check(plain)
    for change, said in (
        ({"architectures": ["QwenForCausalLM"]}, "LlamaForCausalLM only"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rotary"),
        ({"attention_bias": True}, "biases"),
    ):
        with pytest.raises(StepError, match=said):
            gguf._check(plain | change)


def test_logits_survive_the_file(file, model):
    ids = torch.tensor([[1, 5, 264, 265, 266, 267, 3, 6]])
    merged, _ = load_model(model)
    loaded, _ = load_model(file, "gguf")
    with torch.no_grad():
        wanted, got = (m(ids).logits[0, -1].softmax(-1) for m in (merged, loaded))
    assert 0 < (wanted - got).abs().sum() / 2 < 0.15  # total variation


@pytest.mark.parametrize(("kind", "stored", "bound"), [("q8_0", "Q8_0", 0.02), ("f16", "F16", 0.002)])
def test_finer_files_are_read_by_llama_cpp_and_lie_nearer(model, tmp_path, kind, stored, bound):
    import gguf as package

    shutil.copytree(model, tmp_path / "tokenizer", ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    made = gguf.convert(model, tmp_path / f"model-{kind}.gguf", "tiny", kind)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in package.GGUFReader(made).tensors}
    assert kinds["blk.0.ffn_up.weight"] == kinds["token_embd.weight"] == stored and kinds["output_norm.weight"] == "F32"
    loaded, tokenizer = load_model(made, "gguf")
    merged, _ = load_model(model)
    name = "model.layers.0.self_attn.q_proj.weight"
    wanted, got = merged.state_dict()[name], loaded.state_dict()[name]
    assert (wanted - got).norm() / wanted.norm() < bound
    assert verify(made, loaded, tokenizer, CHATS, answers=2).chats == 4


def test_rounding_inputs_as_llama_cpp_does_brings_transformers_near_to_it(file, model):
    """What is evaluated is what is served: on average less than half of what plain float32 inputs leave."""
    rounded, tokenizer = load_model(file, "gguf")
    plain = AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype="float32").eval()
    questions = [messages({**make_record(number), "output": ""}) for number in range(10)]

    def distance(model) -> float:
        return sum(verify(file, model, tokenizer, [chat], answers=1, tokens=1).largest_difference for chat in questions)

    assert distance(rounded) < distance(plain) / 2
