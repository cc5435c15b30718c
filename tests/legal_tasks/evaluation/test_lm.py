import random

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402

from legal_tasks.compression.load import load_model  # noqa: E402
from legal_tasks.evaluation.lm import Scorer, as_lm  # noqa: E402
from legal_tasks.training.chat import render  # noqa: E402
from tests.legal_tasks.evaluation.exam import CHARACTERS  # noqa: E402
from tests.legal_tasks.training.tiny import make_base  # noqa: E402


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    torch.set_num_threads(1)
    return load_model(make_base(tmp_path_factory.mktemp("model") / "base"))


@pytest.fixture(scope="module")
def both(loaded):
    """(ours, lm-eval's own) on the same weights."""
    model, tokenizer = loaded
    return as_lm(Scorer(model, tokenizer)), HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, device="cpu")


def requests(kind, arguments):
    return [Instance(kind, {}, argument, number, task_name="t") for number, argument in enumerate(arguments)]


def text(draw, least, most):
    return "".join(draw.choices(CHARACTERS, k=draw.randint(least, most)))


def test_log_likelihoods_equal_lm_evals_own(both):
    ours, theirs = both
    draw = random.Random(0)
    pairs = []
    for _ in range(12):
        prompt = "<s><|user|>" + text(draw, 1, 40) + "<|end|><|assistant|>"
        pairs += [(prompt, text(draw, 1, 12) + "<|end|>") for _ in range(4)] + [(prompt, letter) for letter in "ABCD"]
    pairs += [
        ("", "租赁合同"),
        ("合同 ", "是"),
        pairs[0],
        (text(draw, 300, 300), text(draw, 5, 5)),
        (text(draw, 255, 255), "甲乙"),
    ]
    mine = ours.loglikelihood(requests("loglikelihood", pairs))
    reference = theirs.loglikelihood(requests("loglikelihood", pairs), disable_tqdm=True)
    for (value, greedy), (expected, expected_greedy) in zip(mine, reference, strict=True):
        assert value == pytest.approx(expected, abs=1e-4)
        assert greedy == expected_greedy


def test_the_greedy_continuation_is_called_greedy(loaded, both):
    model, tokenizer = loaded
    prompt = tokenizer.encode("租赁合同", add_special_tokens=False)
    best = Scorer(model, tokenizer).generate([prompt], 3)[0]
    assert Scorer(model, tokenizer).score([(prompt, best)])[0][1]
    other = [(best[0] + 1) % len(tokenizer), *best[1:]]
    assert not Scorer(model, tokenizer).score([(prompt, other)])[0][1]


def test_what_a_bases_own_generation_config_asks_for_changes_no_answer(loaded):
    """Engines are started without it (serving.backends), so an evaluation that took it would measure what nobody serves."""
    model, tokenizer = loaded
    prompts = [render(tokenizer, [{"role": "user", "content": "租赁租赁租赁合同"}], generation=True)]
    plain = Scorer(model, tokenizer).generate(prompts, 12)
    before = model.generation_config.to_dict()
    asked = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "temperature": 2.0, "do_sample": True, "num_beams": 3}
    try:
        model.generation_config.update(**asked)
        assert Scorer(model, tokenizer).generate(prompts, 12) == plain
    finally:
        model.generation_config.update(**{name: before.get(name) for name in asked})


def test_generation_equals_lm_evals_own(both):
    ours, theirs = both
    draw = random.Random(1)
    settings = {"max_gen_toks": 8, "until": ["法"], "do_sample": False}
    asked = [(f"<s><|user|>{text(draw, 3, 30)}<|end|><|assistant|>", settings) for _ in range(9)]
    mine = ours.generate_until(requests("generate_until", asked))
    assert mine == theirs.generate_until(requests("generate_until", asked), disable_tqdm=True)
    assert not any("法" in answer for answer in mine)


def test_rolling_log_likelihood_equals_lm_evals_own(both):
    ours, theirs = both
    draw = random.Random(2)
    asked = [(text(draw, 20, 20),), (text(draw, 400, 400),)]
    mine = ours.loglikelihood_rolling(requests("loglikelihood_rolling", asked))
    assert mine == pytest.approx(
        theirs.loglikelihood_rolling(requests("loglikelihood_rolling", asked), disable_tqdm=True), abs=1e-3
    )


def test_the_prompt_has_the_tokens_of_training_and_serving(loaded, both):
    model, tokenizer = loaded
    turns = [{"role": "user", "content": "租赁合同期限是否可以超过二十年？"}]
    assert both[0].tok_encode(both[0].apply_chat_template(turns)) == render(tokenizer, turns, generation=True)


def test_prompts_that_do_not_fit_are_counted(loaded):
    scorer = Scorer(*loaded)
    scorer.score([([1] * 300, [2, 3]), ([1] * 10, [2, 3])])
    assert scorer.truncated == 1


def test_small_batches_change_nothing(loaded, monkeypatch):
    draw = random.Random(3)
    asked = [([draw.randrange(7, 200) for _ in range(9)], [draw.randrange(7, 200) for _ in range(5)]) for _ in range(10)]
    whole = Scorer(*loaded).score(asked)
    monkeypatch.setattr("legal_tasks.evaluation.lm.LOGITS_BUDGET", 1)
    single = Scorer(*loaded).score(asked)
    assert [value for value, _ in single] == pytest.approx([value for value, _ in whole], abs=1e-4)


def test_prompts_that_begin_alike_are_read_once_and_score_as_alone(loaded, both):
    """Ten questions after the same examples: letters of one token, and answers of several."""
    ours, theirs = both
    draw = random.Random(4)
    examples = "<s><|user|>" + text(draw, 90, 90) + "答案：A"
    prompts = [examples + text(draw, 1, 40) + "答案：" for _ in range(10)]
    pairs = [(prompt, answer) for prompt in prompts for answer in ("A", "B", "C", "D")]
    pairs += [(prompt, text(draw, 2, 6)) for prompt in prompts for _ in range(3)]
    expected = theirs.loglikelihood(requests("loglikelihood", pairs), disable_tqdm=True)
    read = []
    scorer = Scorer(*loaded)
    forward = loaded[0].forward
    loaded[0].forward = lambda *given, **named: read.append(named["input_ids"].numel()) or forward(*given, **named)
    try:
        mine = as_lm(scorer).loglikelihood(requests("loglikelihood", pairs))
    finally:
        loaded[0].forward = forward
    assert [value for value, _ in mine] == pytest.approx([value for value, _ in expected], abs=1e-4)
    assert [greedy for _, greedy in mine] == [greedy for _, greedy in expected]
    assert sum(read) < 0.4 * sum(len(prompt) for prompt in prompts) * 2  # the prompts are asked twice over
