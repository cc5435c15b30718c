"""DPO on pairs: the better answer becomes the likelier one, nothing is lost, and what comes out can be merged."""

import json

import pytest

pytest.importorskip("trl")

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from legal_tasks import step
from legal_tasks.step import Skip, StepError
from legal_tasks.training import merge, preference
from legal_tasks.training.chat import messages, render
from tests.legal_tasks.training.tiny import make_base

GOOD, BAD = "可以解除。", "不得解除。"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    """A fresh adapter: it changes nothing yet."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(2)
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    folder = tmp_path_factory.mktemp("lora")
    model.save_pretrained(folder / "adapter", save_embedding_layers=False)
    return folder


def make_pairs(count):
    """Questions of several kinds, some with a dialog before; the answer to each is GOOD rather than BAD."""
    return [
        {
            "instruction": f"第{number}条租赁合同是否可以解除？",
            "input": "租赁期限为二十年。" if number % 3 == 0 else "",
            "history": [["定金是否可以不还？", "不可以。"]] if number % 4 == 0 else [],
            "chosen": GOOD,
            "rejected": BAD,
        }
        for number in range(count)
    ]


def write(path, pairs):
    path.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs), "utf-8")
    return path


@pytest.fixture
def make(base, adapter, tmp_path):
    def params(pairs, **values):
        (tmp_path / "out").mkdir(exist_ok=True)
        given = {"min_pairs": 20, "learning_rate": 5e-3, "batch": 4, "accumulation": 1, "max_length": 120, "threads": 1}
        return preference.Params(
            adapter=adapter, pairs=pairs, output=tmp_path / "out", base=str(base), device="cpu", **(given | values)
        )

    return params


@pytest.fixture(autouse=True)
def running(tmp_path):
    """As inside a step: a work folder of its own."""
    from legal_tasks import artifacts

    with step._running(artifacts.Store(tmp_path / "store"), tmp_path / "work", False):
        yield


def test_the_chosen_answer_becomes_the_likelier_one_on_questions_that_were_held_back(make, base, tmp_path):
    pairs = make_pairs(80) + [{**make_pairs(1)[0], "rejected": GOOD}] + make_pairs(1)
    report = preference.run(make(write(tmp_path / "pairs.jsonl", pairs), validation_share=0.2, epochs=3))
    assert report.pairs == 82 == report.trained + report.validated + sum(report.left_out.values())
    assert report.left_out == {"equal answers": 1, "twice the same pair": 1}
    assert report.validated == 16 and report.margin > report.margin_before + 1 and report.preferred == 1.0
    assert report.loss < 0.69 and report.updates == 48
    lines = (tmp_path / "out" / "log.jsonl").read_text().strip().split("\n")
    assert len(lines) == report.updates and json.loads(lines[0])["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert sorted(path.name for path in (tmp_path / "out" / "adapter").glob("adapter*")) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    (tmp_path / "merged").mkdir()
    done = merge.run(merge.Params(adapter=tmp_path / "out", output=tmp_path / "merged", base=str(base), threads=1))
    assert done.largest_difference < 1e-3


def test_the_reference_is_the_adapter_as_it_came_and_equal_runs_give_equal_bytes(make, tmp_path):
    pairs = write(tmp_path / "pairs.jsonl", make_pairs(24))
    preference.run(make(pairs))
    weights = (tmp_path / "out" / "adapter" / "adapter_model.safetensors").read_bytes()
    preference.run(make(pairs))
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").read_bytes() == weights


def test_trl_reads_the_very_tokens_that_serving_renders(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    for pair, row in zip(make_pairs(8), preference.as_rows(make_pairs(8)), strict=True):
        asked = render(tokenizer, messages({**pair, "output": ""}), generation=True)
        whole = render(tokenizer, row["prompt"] + row["chosen"], generation=False)
        assert render(tokenizer, row["prompt"], generation=True) == asked == whole[: len(asked)]
        assert whole[-1] == tokenizer.eos_token_id


def test_only_the_last_answer_counts(base, adapter):
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base).eval()
    pair = make_pairs(1)[0]
    assert pair["history"]
    ids = render(tokenizer, [*messages({**pair, "output": ""}), {"role": "assistant", "content": GOOD}], generation=False)
    with torch.no_grad():
        likely = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    size = len(GOOD) + 1
    wanted = sum(float(likely[place - 1, ids[place]]) for place in range(len(ids) - size, len(ids)))
    assert preference.answer_log_probability(model, tokenizer, pair, "chosen") == pytest.approx(wanted, abs=1e-3)


def test_too_few_pairs_skip_the_step_with_the_numbers(make, tmp_path):
    with pytest.raises(Skip, match="holds 3 pairs, and --min-pairs asks for 20"):
        preference.run(make(write(tmp_path / "few.jsonl", make_pairs(3))))
    with pytest.raises(Skip, match="0 of 24 pairs can be used .*'longer than max_length': 24"):
        preference.run(make(write(tmp_path / "long.jsonl", make_pairs(24)), max_length=8))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: an object with instruction, chosen, rejected is needed, got list"),
        ('{"instruction": "问", "chosen": "好"}', "line 2: rejected must be a text that is not empty, got None"),
        ('{"instruction": "问", "chosen": "好", "rejected": "坏", "history": [["一"]]}', "line 2: history must hold"),
    ],
)
def test_a_broken_line_is_named(make, tmp_path, line, said):
    path = write(tmp_path / "pairs.jsonl", make_pairs(1))
    path.write_text(path.read_text("utf-8") + line + "\n", "utf-8")
    with pytest.raises(StepError, match=said):
        preference.run(make(path))


@pytest.mark.parametrize(
    "values", [{"beta": 0}, {"learning_rate": 1}, {"min_pairs": 0}, {"validation_share": 0.9}, {"epochs": float("nan")}]
)
def test_bad_values_name_their_option(make, tmp_path, values):
    with pytest.raises(StepError, match="--" + next(iter(values)).replace("_", "-")):
        make(tmp_path, **values)
