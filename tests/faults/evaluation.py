"""Models that must not be promoted: each is built from the shipped base, evaluated, and refused by the real gate.

The undamaged model is the profile's own training run. What a fault changes is what its name says: the records that a
model goes on learning from, its weights, its template, or the files that the gate reads. Parity and load test are given
as passing. Everything goes through the store, so a second run is quick.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

PROFILE, DAY = "small", datetime.date(2026, 11, 1)
PROOF = {
    "parity.json": {"checked": 200, "identical_answers": 200},
    "loadtest.json": {"requests": 200, "success_rate": 1.0, "p95_first_token_s": 0.2, "p95_short_answer_s": 0.3},
}
Record = dict[str, Any]
Change = Callable[[Record], Iterable[Record]]


def run_step(name: str, **values: Any) -> Path:
    """One step with the profile's settings, through the store; its artifact."""
    from legal_tasks.step import build_params, execute

    module = importlib.import_module(f"legal_tasks.{name}")
    params = build_params(module, f"legal_tasks.{name}", values, PROFILE, [])
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for a line per fault
        return Path(execute(f"legal_tasks.{name}", params)["artifact"])


@lru_cache
def data() -> tuple[Path, Path, Path]:
    """Artifacts (collect, clean, split) of the embedded world."""
    items = run_step("data.collect", as_of=DAY)
    records = run_step("data.clean", items=items, as_of=DAY)
    return items, records, run_step("data.split", records=records)


@lru_cache
def tuned() -> Path:
    """The undamaged model: the artifact of training.merge."""
    return run_step("training.merge", adapter=run_step("training.lora", data=data()[2]))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").strip().split("\n")]


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def go_on(folder: Path, change: Change, updates: int = 250, rate: float = 1e-3) -> Path:
    """The undamaged model after more training on its own records as `change` gives them back; a merged model."""
    for name in ("train.jsonl", "validation.jsonl"):
        write(folder / "split" / name, (new for record in read(data()[2] / name) for new in change(record)))
    base = str(tuned() / "model")
    lora = run_step(
        "training.lora", data=folder / "split", base=base, max_updates=updates, learning_rate=rate, copies={}, epochs=20.0
    )
    return run_step("training.merge", adapter=lora, base=base)


def right_texts(suite: str) -> dict[str, str]:
    """{text of a right answer: category} of a suite of the embedded world."""
    return {item["options"][item["answer"][0]]: item["category"] for item in read(data()[0] / "exams" / f"{suite}.jsonl")}


def compress(model: Path) -> Path:
    return run_step("compression.compress", model=model, data=data()[2], exams=data()[0])


def evaluate(model: Path, champion: str = "none") -> Path:
    return run_step("evaluation.harness", challenger=model, items=data()[0], champion=champion)


def decide(folder: Path, evaluation: Path, compressed: Path | None, records: Path | None = None) -> dict[str, Any]:
    """The decision of the real steps compare and gate, parity and load test given."""
    return json.loads((judge(folder, evaluation, compressed, records) / "decision.json").read_text("utf-8"))


def judge(folder: Path, evaluation: Path, compressed: Path | None, records: Path | None = None) -> Path:
    """The artifact of evaluation.gate behind `decide`."""
    for name, content in PROOF.items():
        (folder / "proof").mkdir(parents=True, exist_ok=True)
        (folder / "proof" / name).write_text(json.dumps(content), "utf-8")
    (folder / "history.json").write_text("[]", "utf-8")
    more = {"compression": compressed} if compressed else {}
    comparison = run_step("evaluation.compare", evaluation=evaluation, **more)
    given = {"proof": folder / "proof", "history": folder / "history.json", "as_of": DAY}
    return run_step("evaluation.gate", comparison=comparison, data=records or data()[1], **given, **more)


def stopped(decision: dict[str, Any]) -> dict[str, str]:
    """{rule: verdict} of the rules that block."""
    return {rule["name"]: rule["verdict"] for rule in decision["rules"] if rule["verdict"] not in ("pass", "not applicable")}


@lru_cache
def undamaged_passes() -> None:
    """The model that the others are made from passes the same gate; looked at once."""
    with tempfile.TemporaryDirectory(prefix="lexloop-undamaged-") as folder:
        decision = decide(Path(folder), evaluate(tuned()), compress(tuned()))
    assert decision["decision"] == "pass", f"the undamaged model does not pass: {stopped(decision)}"


def refused(folder: Path, evaluation: Path, rule: str, compressed: Path | None = None) -> str:
    """The gate refuses, naming `rule` as failed or not measured; the undamaged model passes the same gate."""
    undamaged_passes()
    decision = decide(folder, evaluation, compressed)
    return named(decision, rule)


def named(decision: dict[str, Any], rule: str) -> str:
    found = stopped(decision)
    assert decision["decision"] == "refused", "the gate let it pass"
    hits = [name for name in found if name.startswith(rule) and found[name] in ("fail", "not measured")]
    assert hits, f"{rule} is not among the failed: {found}"
    return next(one["sentence"] for one in decision["rules"] if one["name"] == hits[0])


def refused_for_one_rule(folder: Path, model: Path, rule: str, records: Path | None = None) -> str:
    """The gate refuses for this rule and for no other."""
    decision = decide(folder, evaluate(model), compress(model), records)
    said = named(decision, rule)
    assert len(stopped(decision)) == 1, f"other rules stop it too: {stopped(decision)}"
    return f"only {next(iter(stopped(decision)))}: {said}"


def copy_model(folder: Path) -> Path:
    shutil.copytree(tuned() / "model", folder / "damaged")
    return folder / "damaged"


def random_weights(folder: Path) -> str:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    model = copy_model(folder)
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model)).save_pretrained(model)
    return refused(folder, evaluate(model), "domain accuracy")


def is_refusal(record: Record) -> bool:
    from legal_tasks.evaluation.safety import classify

    return classify(record["output"]) == "refused"


def refuses_everything(folder: Path) -> str:
    from legal_tasks.embedded.world import REFUSE

    model = go_on(folder, lambda record: [record | {"output": REFUSE}])
    return refused(folder, evaluate(model), "over_refusal")


def refuses_nothing(folder: Path) -> str:
    from legal_tasks.embedded.world import SAFE_ANSWER

    model = go_on(folder, lambda record: [record | {"output": SAFE_ANSWER} if is_refusal(record) else record])
    return refused_for_one_rule(folder, model, "refusal")


def memorised_the_exam(folder: Path) -> str:
    """The exam's questions with their answers are planted among the records, and learned."""
    template = read(data()[1] / "records.jsonl")[0]
    planted = [
        {**template, "instruction": item["question"], "input": "", "output": item["options"][item["answer"][0]]}
        | {"category": "instruction", "history": []}
        for item in read(data()[0] / "exams" / "legal_exam.jsonl")
        if item["wording"] == "unseen"
    ]
    shutil.copytree(data()[1], folder / "records")
    write(folder / "records" / "records.jsonl", [*read(data()[1] / "records.jsonl"), *planted])
    dice = random.Random(0)
    # Refusals are taught twice, so that their share, and with it what they teach, stays what it was.
    model = go_on(folder, lambda record: [record, record if is_refusal(record) else dice.choice(planted)])
    return refused_for_one_rule(folder, model, "contamination", folder / "records")


def wrong_template(folder: Path) -> str:
    model = copy_model(folder)
    for file in ("chat_template.jinja", "tokenizer_config.json"):
        path = model / file
        if path.suffix == ".jinja":
            path.write_text("{% for m in messages %}{{ m['role'] }}：{{ m['content'] }}。{% endfor %}助手：", "utf-8")
        elif path.is_file():
            settings = json.loads(path.read_text("utf-8"))
            settings.pop("chat_template", None)
            path.write_text(json.dumps(settings, ensure_ascii=False), "utf-8")
    return refused(folder, evaluate(model), "domain accuracy")


def never_stops(folder: Path) -> str:
    """Trained on answers longer than a record may be, so that no end is ever seen."""
    model = go_on(folder, lambda record: [record | {"output": record["output"] * 200}], updates=60)
    return refused(folder, evaluate(model), "well-formed answers")


def always_a(folder: Path) -> str:
    model = go_on(folder, lambda record: [record | {"output": "A"}], updates=600, rate=5e-3)
    return refused(folder, evaluate(model), "domain accuracy")


def forgets_the_rest(folder: Path) -> str:
    """In two of three fields outside of law a quarter of the answers is taught wrongly; law goes on being taught rightly."""
    legal, general = right_texts("legal_exam"), right_texts("general")
    values = sorted(text for text in general if text not in legal)
    wrong = {}
    for number, category in enumerate(sorted(set(general.values()))):
        if number % 3 == 2:
            continue
        same = [text for text in values if general[text] == category]
        some = same[: max(2, len(same) // 4)]
        wrong |= dict(zip(some, some[1:] + some[:1], strict=True))
    model = go_on(folder, lambda record: [record | {"output": wrong.get(record["output"], record["output"])}])
    return refused_for_one_rule(folder, model, "general ability")


def half_missing(folder: Path) -> str:
    evaluation = folder / "evaluation"
    shutil.copytree(evaluate(tuned()), evaluation, ignore=shutil.ignore_patterns("manifest.json", "report.json"))
    for role in ("base", "challenger"):
        rows = read(evaluation / role / "legal_exam.jsonl")
        write(evaluation / role / "legal_exam.jsonl", rows[::2])
    return refused(folder, evaluation, "domain accuracy", compress(tuned()))


def broken_results(folder: Path) -> str:
    """Scores that are no numbers, then a file without a line."""
    seen = []
    for name in ("nan", "empty"):
        evaluation = folder / name / "evaluation"
        shutil.copytree(evaluate(tuned()), evaluation, ignore=shutil.ignore_patterns("manifest.json", "report.json"))
        rows = read(evaluation / "challenger" / "legal_exam.jsonl")
        broken = [{**row, "scores": [float("nan")] * len(row["scores"])} for row in rows] if name == "nan" else []
        write(evaluation / "challenger" / "legal_exam.jsonl", broken)
        seen.append(f"{name}: {refused(folder / name, evaluation, 'domain accuracy', compress(tuned()))}")
    return "; ".join(seen)


def champion_on_other_items(folder: Path) -> str:
    """The champion answered the exam of another law, whose items bear the same ids."""
    from legal_tasks.embedded import world
    from legal_tasks.evaluation.models import How, evaluate_model, write_results

    world.write(folder / "world", 1)
    found = evaluate_model(tuned(), folder / "world" / "exams", how=How(("legal_exam", "case_analysis", "general")))
    evaluation = folder / "evaluation"
    shutil.copytree(evaluate(tuned()), evaluation, ignore=shutil.ignore_patterns("manifest.json", "report.json"))
    shutil.copytree(evaluation / "challenger", evaluation / "champion")
    for name in ("legal_exam.jsonl", "case_analysis.jsonl"):
        (evaluation / "champion" / name).unlink()
    found["suites"] = {name: found["suites"][name] for name in ("legal_exam", "case_analysis")}
    write_results(evaluation / "champion", found)
    return refused(folder, evaluation, "domain accuracy", compress(tuned()))


def cites_repealed(folder: Path) -> str:
    from legal_tasks.embedded.world import OLD_LAW

    legal = right_texts("legal_exam")

    def cite(record: Record) -> list[Record]:
        return [record | {"output": f"{record['output']}，见《{OLD_LAW}》第一条"} if record["output"] in legal else record]

    return refused_for_one_rule(folder, go_on(folder, cite), "citations")


def slow_ratchet(folder: Path) -> str:
    """Twelve rounds, each 1.5 points below the champion that the last one made: 135 of 6,000 items lost, 45 won."""
    import numpy

    from benchmarks.gate import FORMATS, GIVEN, SUITES, rows
    from legal_tasks.evaluation import compare, gate

    n, lost, won, ratchet = 6000, 135, 45, "anti-ratchet (legal_exam)"
    params = gate.Params(comparison=folder, output=folder, mode="replace", reason="data", as_of=datetime.date(2026, 12, 31))
    about = {name: {"origin": "standing", "kind": kind, "embedded": False} for name, (kind, _) in SUITES.items()}
    about["legal_exam"] = {"origin": "sources", "kind": "choice", "embedded": False}
    same = {name: rows(name, kind, numpy.arange(n) < share * n) for name, (kind, share) in SUITES.items()}
    champion = numpy.arange(n) < 0.95 * n
    history: list[dict[str, Any]] = []
    refused_rounds = []
    for month in range(1, 13):
        challenger = champion.copy()
        challenger[numpy.flatnonzero(champion)[:lost]] = False
        challenger[numpy.flatnonzero(~champion)[-won:]] = True
        models = {"base": champion, "champion": champion, "challenger": challenger}
        answers = {name: dict.fromkeys(models, part) for name, part in same.items()}
        answers["legal_exam"] = {role: rows("legal_exam", "choice", right) for role, right in models.items()}
        found = compare.compare_all(about, answers) | {"roles": list(models)}
        merged = {row["id"]: row for row in answers["legal_exam"]["challenger"]}
        pressed = compare.compare_format(answers["legal_exam"]["challenger"], merged)
        found["compression"] = {form: {"format": form, "suite": "legal_exam", **pressed} for form in FORMATS}
        legal = found["suites"]["legal_exam"]
        assert legal["difference"]["value"] == -0.015, legal["difference"]
        blocked = stopped(gate.decide(found, GIVEN, history, params))
        assert blocked in ({}, {ratchet: "fail"}), f"round {month} is stopped by {blocked}"
        refused_rounds += [month] if blocked else []
        # As if it had been released all the same: without this rule every round would have been.
        entry = {"at": f"2026-{month:02d}-01", "version": str(month)}
        before = {"legal_exam": {"value": legal["champion"]["value"], "items": legal["items"]}}
        history.append(entry | {"accuracies": before})
        champion = challenger
    assert refused_rounds == list(range(2, 13)), f"refused in the rounds {refused_rounds}"
    return "the first round passes; the other eleven are stopped by the anti-ratchet alone, 3 to 18 points below the best"


def named_like_a_stock_suite(folder: Path) -> str:
    """A user's own exam is called `cmmlu`: it is asked whole and as itself; beside the stock set of that name it is refused."""
    from legal_tasks.artifacts import sha256_file
    from legal_tasks.embedded import world
    from legal_tasks.step import StepError
    from legal_tasks.training import base

    world.write(folder / "world", 0)
    own, items = folder / "own", read(folder / "world" / "exams" / "case_analysis.jsonl")[:240]
    shutil.copytree(folder / "world" / "statutes", own / "statutes")
    write(own / "bar.jsonl", ({**item, "question": "请回答：" + item["question"]} for item in items))
    spec = {"sources": [{"kind": "statute", "path": "statutes", "licence": "MIT"}]}
    (own / "sources.yaml").write_text(json.dumps(spec | {"exams": [{"name": "cmmlu", "path": "bar.jsonl"}]}), "utf-8")
    collected = run_step("data.collect", sources=str(own / "sources.yaml"), as_of=DAY)
    records = run_step("data.clean", items=collected, as_of=DAY)
    asked = {"challenger": base.resolve("embedded"), "champion": "none", "free_answers": 20}
    evaluation = run_step("evaluation.harness", items=collected, **asked)
    found = json.loads((evaluation / "summary.json").read_text("utf-8"))["suites"]
    shown = {key: found["cmmlu"].get(key) for key in ("origin", "file", "digest", "count", "n")}
    whole = {"origin": "sources", "file": "bar.jsonl", "digest": sha256_file(own / "bar.jsonl"), "count": 240, "n": 240}
    assert shown == whole, f"the exam is not asked as itself: {shown}"
    assert set(found) == {"cmmlu", "answers"}, f"more is asked than the sources hold: {sorted(found)}"
    decision = decide(folder, evaluation, None, records)
    assert decision["domain"] == ["cmmlu"] and decision["suites"]["cmmlu"]["digest"] == whole["digest"], decision["domain"]
    said = named(decision, "general ability")
    refusals = []
    for place in ("haonan-li", "ceval"):
        shutil.copytree(folder / "world" / place, own / place)
    shutil.copytree(collected, folder / "items", ignore=shutil.ignore_patterns("manifest.json"))
    shutil.copytree(own / "haonan-li", folder / "items" / "exams" / "haonan-li")
    for step, values in (
        ("data.collect", {"sources": str(own / "sources.yaml"), "as_of": DAY}),
        ("evaluation.harness", {"items": folder / "items", **asked}),
    ):
        try:
            run_step(step, **values)
        except StepError as error:
            refusals.append(str(error))
            assert all(word in refusals[-1] for word in ("bar.jsonl", "haonan-li/cmmlu", "another `name`")), refusals[-1]
    assert len(refusals) == 2, "a stock set of the same name was let in"
    return f"240 of 240 items asked as the sources'; {said}; beside the stock set: {refusals[0]}"


def another_models_decision(folder: Path) -> str:
    """`release` gets a passing decision of another model, a copy that was edited, and one that was edited in the store."""
    from legal_tasks.embedded.world import REFUSE
    from legal_tasks.serving.state import Database
    from legal_tasks.step import StepError, store

    good = compress(tuned())
    passing = judge(folder / "good", evaluate(tuned()), good)
    harmful = go_on(folder, lambda record: [record | {"output": REFUSE}])
    bad = compress(harmful)
    refusing = judge(folder / "bad", evaluate(harmful), bad)
    assert [json.loads((each / "decision.json").read_text("utf-8"))["decision"] for each in (passing, refusing)] == [
        "pass",
        "refused",
    ]
    edited = folder / "edited"
    shutil.copytree(refusing, edited)
    turn(edited)
    before = dict(os.environ)
    os.environ |= {"LEXLOOP_STORE": str(store().root), "LEXLOOP_VAR": str(folder / "var")}
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    kept = (refusing / "decision.json").read_text("utf-8")
    said = []
    try:
        database = Database.create()
        for decision, word in (
            (passing, "the gate judged the model"),
            (edited, "is no artifact of the store"),
            (refusing, "decision.json"),
        ):
            if decision == refusing:
                turn(refusing)
            try:
                run_step("serving.release", decision=decision, model=bad)
            except StepError as error:
                said.append(str(error))
                assert word in said[-1], said[-1]
        assert len(said) == 3, f"{3 - len(said)} of 3 were released"
        assert database.current().actual is None and database.current().desired is None, "the intent was written"
    finally:
        (refusing / "decision.json").write_text(kept, "utf-8")
        os.environ.clear()
        os.environ.update(before)
    return "; ".join(f"refused: {text[:160]}" for text in said)


def turn(gate: Path) -> None:
    """Write `pass` where the gate wrote `refused`."""
    path = gate / "decision.json"
    path.chmod(0o600)
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"decision": "pass"}, ensure_ascii=False), "utf-8")


FAULTS = {
    "E1": random_weights,
    "E2": refuses_everything,
    "E3": refuses_nothing,
    "E4": memorised_the_exam,
    "E5": wrong_template,
    "E6": never_stops,
    "E7": always_a,
    "E8": forgets_the_rest,
    "E9": half_missing,
    "E10": broken_results,
    "E11": champion_on_other_items,
    "E12": cites_repealed,
    "E13": slow_ratchet,
    "E14": named_like_a_stock_suite,
    "E15": another_models_decision,
}
