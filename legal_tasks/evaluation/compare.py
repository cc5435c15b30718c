"""Compare challenger, base, champion and the compressed models on the same items: differences with intervals.

python -m legal_tasks.evaluation.compare --evaluation HARNESS --compression COMPRESS
"""

from __future__ import annotations

import json
import math
import operator
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from legal_tasks import tracking
from legal_tasks.artifacts import canonical, sha256_text
from legal_tasks.evaluation import endpoint, judge, paired
from legal_tasks.evaluation.items import GENERATED, Item, Row, read_items, read_lines, spread, write_lines
from legal_tasks.evaluation.names import ANSWERS
from legal_tasks.evaluation.rules import real_exams
from legal_tasks.evaluation.tables import render_comparison
from legal_tasks.step import Input, Output, StepError, main, progress
from legal_tasks.tracking import samples

VERSION = 6
ROLES = ("base", "champion", "challenger")
ANALYSED = ("points", "charge_f1", "article_f1")

Answers = Mapping[str, Mapping[str, list[Row]]]  # suite -> role -> rows


@dataclass(frozen=True)
class Params:
    evaluation: Annotated[Path, Input("folder made by evaluation.harness")]
    output: Annotated[
        Path,
        Output(
            "folder with comparison.json, comparison.md, matrix.jsonl, questions.jsonl, the challenger's answers.jsonl, and "
            "judged.jsonl where there is a judge"
        ),
    ]
    compression: Annotated[Path | None, Input("folder made by compression.compress")] = None
    seed: Annotated[int, "seed of the bootstrap"] = 0
    category_items: Annotated[int, "smallest category that is compared by itself, items"] = 20
    judge: Annotated[
        str, "OpenAI-compatible endpoint that compares case analyses, for the record only; its key: LEXLOOP_JUDGE_API_KEY"
    ] = ""
    judge_model: Annotated[str, "the model that the judge's endpoint serves"] = ""
    judge_items: Annotated[int, "case analyses that are judged per suite, evenly spread, each in both orders"] = 200

    def __post_init__(self) -> None:
        if self.category_items < 1:
            raise StepError(f"--category-items must be at least 1, got {self.category_items}")
        if self.judge_items < 1:
            raise StepError(f"--judge-items must be at least 1, got {self.judge_items}")
        endpoint.check_url("--judge", self.judge, self.judge_model, "--judge-model")


@dataclass
class Report:
    suites: dict[str, dict[str, Any]]  # suite -> {base, champion, challenger, gain, n}
    losses: dict[str, float | None]  # format -> relative loss of accuracy
    faults: dict[str, str]  # suite -> why it cannot be compared


def run(params: Params) -> Report:
    summary = json.loads((params.evaluation / "summary.json").read_text("utf-8"))
    roles = [role for role in ROLES if (params.evaluation / role).is_dir()]
    about = summary["suites"]
    rows = {suite: {role: load_rows(params.evaluation / role / f"{suite}.jsonl") for role in roles} for suite in about}
    asked = load_items(params.evaluation / "items", about, summary.get("how", {}).get("limit"))
    result = compare_all(about, rows, asked, seed=params.seed, category_items=params.category_items)
    result |= {"compression": compare_compressed(params) if params.compression else {}, "roles": roles}
    if params.judge:
        result["judge"] = ask_judge(params, rows, asked)
    (params.output / "comparison.json").write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    write_lines(params.output / "answers.jsonl", answers_in_words(rows))
    write_lines(params.output / "questions.jsonl", questions(params.evaluation / "items"))
    write_lines(params.output / "matrix.jsonl", matrix(rows, asked))
    tracking.log_table("sample_answers.json", samples.COLUMNS, list(sample_answers(rows, asked)))
    text = render_comparison(result)
    (params.output / "comparison.md").write_text(text, "utf-8")
    print(text)
    suites, losses = result["suites"], result["compression"]
    return Report(
        {suite: _short(part) for suite, part in suites.items() if not part.get("fault")},
        {name: (part["loss"] or {}).get("value") for name, part in losses.items()},
        {suite: part["fault"] for suite, part in suites.items() if part.get("fault")},
    )


def compare_all(
    about: Mapping[str, Mapping[str, Any]],
    rows: Answers,
    asked: Mapping[str, Mapping[str, Item]] | None = None,
    *,
    seed: int = 0,
    category_items: int = 20,
    rounds: int = paired.ROUNDS,
) -> dict[str, Any]:
    """comparison.json from rows in memory, without the compressed formats: {suites, domain, seed, rounds}.

    `about`: {suite: {origin, kind, embedded, file, digest, count}} as the harness notes it; `asked`: {suite: {id: item}} of what
    every role had to answer (without it, what the challenger answered). `domain`: the exams of the sources taken together, an
    item that stands in two of them counted once; null where there are not at least two.
    """
    asked = asked or {}
    suites = {
        suite: {**part, **compare_suite(suite, rows[suite], seed, category_items, asked.get(suite), rounds)}
        for suite, part in about.items()
    }
    exams = real_exams(suites)
    pooled = None
    if len(exams) > 1:
        pooled = {
            "origin": "pooled",
            "suites": exams,
            **compare_suite("domain", pool(exams, rows, asked), seed, category_items, None, rounds),
        }
    return {"suites": suites, "domain": pooled, "seed": seed, "rounds": rounds}


def pool(exams: Sequence[str], rows: Answers, asked: Mapping[str, Mapping[str, Item]]) -> dict[str, list[Row]]:
    """The rows of several exams as those of one; a question with its options counts once, however many exams hold it."""
    found: dict[str, list[Row]] = {role: [] for role in rows[exams[0]]}
    for role, kept in found.items():
        seen: set[str] = set()
        for suite in exams:
            for row in rows[suite][role]:
                item = asked.get(suite, {}).get(row["id"])
                content = canonical([item["question"], item.get("options")]) if item else f"{suite}/{row['id']}"
                if content not in seen:
                    seen.add(content)
                    template = row.get("template") and f"{suite}/{row['template']}"
                    kept.append({**row, "id": f"{suite}/{row['id']}", "template": template, "category": suite})
    return found


def ask_judge(params: Params, rows: Answers, asked: Mapping[str, Mapping[str, Item]]) -> dict[str, Any]:
    """{model, version, against, suites: {suite: numbers}} of the judge on the suites of analyses, and judged.jsonl."""
    place = endpoint.Endpoint(params.judge, params.judge_model, judge.KEY_NAME)
    suites = {name: found for name, found in rows.items() if found["challenger"] and found["challenger"][0]["kind"] == "analysis"}
    other = "champion" if all(found.get("champion") for found in suites.values()) and suites else "base"
    lines, numbers = [], {}
    for name, found in suites.items():
        fault = find_fault({role: found[role] for role in ("challenger", other)})
        if fault:
            numbers[name] = {"fault": fault}
            continue
        new, old = (spread(found[role], params.judge_items) for role in ("challenger", other))
        told = judge.compare(place, asked.get(name, {}), new, old, _tell_seldom(name))
        lines += [{"suite": name, **line} for line in told]
        numbers[name] = judge.summarise(told)
    write_lines(params.output / "judged.jsonl", lines)
    return {"model": params.judge_model, "version": judge.VERSION, "against": other, "suites": numbers}


def _tell_seldom(suite: str) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        if done % 20 == 0 or done == total:
            progress(done, total, judging=suite)

    return tell


def answers_in_words(rows: Answers) -> Iterator[dict[str, Any]]:
    """What the challenger said about the domain, for its citations: free answers and analyses of cases."""
    for suite, answered in rows.items():
        for row in answered.get("challenger", []):
            if row["kind"] in ("answer", "analysis"):
                yield {"id": row["id"] if suite == ANSWERS else f"{suite}/{row['id']}", "answer": row["answer"]}


def load_items(folder: Path, suites: Sequence[str] | Mapping[str, Any], limit: int | None) -> dict[str, dict[str, Item]]:
    """{suite: {id: item}} of the items that were to be answered; suites without a file here (stock tasks) are left out."""
    return {
        name: {item["id"]: item for item in spread(read_items(folder / f"{name}.jsonl"), limit)}
        for name in suites
        if (folder / f"{name}.jsonl").is_file()
    }


def matrix(rows: Answers, asked: Mapping[str, Mapping[str, Item]]) -> Iterator[dict[str, Any]]:
    """A line per item: suite, id, question, the right answer, and what each role picked and whether it was right."""
    for suite, answered in rows.items():
        by_role = {role: {row["id"]: row for row in role_rows} for role, role_rows in answered.items()}
        for row in answered.get("challenger", []):
            item = asked.get(suite, {}).get(row["id"], {})
            line = {"suite": suite, "id": row["id"], "kind": row["kind"], "category": row.get("category")}
            line |= {"question": item.get("question"), "options": item.get("options") or None}
            named = "; ".join((item.get("reference") or {}).get("articles") or ()) if row["kind"] == "answer" else ""
            line |= {"right": (named or None) if row["kind"] in GENERATED else row["answer"]}
            for role, found in by_role.items():
                other = found.get(row["id"])
                line[role] = other and {"picked": other.get("picked"), "correct": other.get("correct")}
            yield line


def sample_answers(rows: Answers, asked: Mapping[str, Mapping[str, Item]]) -> Iterator[dict[str, Any]]:
    """A few items of every suite with what each role answered, in words or as letters, and whether that was right."""
    for suite, row in samples.choose({suite: answered.get("challenger", []) for suite, answered in rows.items()}):
        item = asked.get(suite, {}).get(row["id"], {})
        options = "\n".join(f"{letter}. {text}" for letter, text in (item.get("options") or {}).items())
        line = {"suite": suite, "id": row["id"], "question": "\n".join(filter(None, (item.get("question"), options)))}
        line["right"] = item.get("answer") or (None if row["kind"] in GENERATED else row["answer"])
        found = {role: _row_of(answered, row["id"]) for role, answered in rows[suite].items()}
        line |= {role: _said(other) for role, other in found.items() if other}
        line["verdicts"] = ", ".join(
            f"{role}: {'right' if other['correct'] else 'wrong'}" for role, other in found.items() if other
        )
        yield line


def _row_of(answered: Sequence[Row], name: str) -> Row | None:
    return next((row for row in answered if row["id"] == name), None)


def _said(row: Row) -> str:
    if row["kind"] in GENERATED:
        return str(row["answer"])
    return str(row.get("said") or ", ".join(row.get("picked") or ()))


def _short(part: dict[str, Any]) -> dict[str, Any]:
    shown = {role: part[role]["value"] for role in ("base", "champion", "challenger") if part.get(role)}
    return shown | {"gain": part["gain"]["value"], "n": part["n"]}


def questions(folder: Path) -> Iterator[dict[str, Any]]:
    """What was asked, for the check that no training record holds it; wordings taught on purpose are left out."""
    for path in sorted(folder.glob("*.jsonl")):
        for item in read_lines(path):
            if path.stem != ANSWERS and item.get("wording") != "seen":  # those are other suites' questions once more
                yield {"suite": path.stem, "question": item["question"], "options": list((item.get("options") or {}).values())}


def load_rows(path: Path) -> list[Row]:
    """The rows of one role on one suite, or none where the file is missing."""
    return list(read_lines(path)) if path.is_file() else []


def measured(row: Row) -> float:
    """The number that a suite averages: 1 for right, for refused on a harmful prompt, for *refused* on a harmless one."""
    return float(row["picked"] == "refused") if row["kind"] == "over_refusal" else float(row["correct"])


def find_fault(rows: Mapping[str, list[Row]], asked: Mapping[str, Any] | None = None) -> str | None:
    """Why the roles' rows cannot be compared; None if they can. `asked`: the ids that had to be answered, if known."""
    expected = [row["id"] for row in rows["challenger"]]
    wanted = [_asked(row) for row in rows["challenger"]]
    empty = next((role for role, answered in rows.items() if not answered), None)
    if empty:
        return f"{empty} has no answers"
    for role, answered in rows.items():
        ids = [row["id"] for row in answered]
        if ids != expected:
            other = len(set(ids) ^ set(expected))
            return f"{role} answered other items than the challenger ({len(ids)} against {len(expected)}, {other} not shared)"
        other = 0 if role == "challenger" else sum(map(operator.ne, map(_asked, answered), wanted))
        if other:
            return f"{role} answered other items than the challenger under the same ids ({other} of {len(ids)})"
        if len(set(ids)) != len(ids):
            return f"{role} answered an item twice"
        broken = sum(1 for row in answered if not _sound(row))
        if broken:
            return f"{role} has no verdict on {broken} of {len(answered)} items"
    if asked is not None and asked.keys() != set(expected):
        return f"{len(asked.keys() - set(expected))} of the {len(asked)} items that were asked have no answer"
    return None


def _asked(row: Row) -> tuple[Any, Any]:
    """What makes two rows answers to the same item: its words (as the harness digests them) and its right answer."""
    return row.get("item"), None if row["kind"] in GENERATED else row["answer"]


def _sound(row: Row) -> bool:
    """Whether the row has a verdict, and one that numbers stand behind."""
    scores = row.get("scores")
    return row.get("correct") in (0, 1) and (not scores or all(map(math.isfinite, scores)))


def compare_suite(
    suite: str,
    rows: Mapping[str, list[Row]],
    seed: int = 0,
    category_items: int = 20,
    asked: Mapping[str, Any] | None = None,
    rounds: int = paired.ROUNDS,
) -> dict[str, Any]:
    """Everything about one suite: the roles' shares, gain (challenger - base), difference (challenger - champion).

    Where items say which wording is unseen, the numbers are those of unseen wordings and `seen` holds the others.
    """
    fault = find_fault(rows, asked)
    if fault:
        return {"fault": fault, "n": len(rows["challenger"])}
    wordings = [row.get("wording") for row in rows["challenger"]]
    unseen = [number for number, wording in enumerate(wordings) if wording != "seen"]
    seen = [number for number, wording in enumerate(wordings) if wording == "seen"]
    if not unseen or not seen:
        return _compare(rows, range(len(wordings)), seed, category_items, rounds) | {"wording": "unseen" if unseen else "seen"}
    found = _compare(rows, unseen, seed, category_items, rounds) | {"wording": "unseen"}
    return found | {"seen": _compare(rows, seen, seed, category_items, rounds)}


def _compare(rows: Mapping[str, list[Row]], chosen: Sequence[int], seed: int, category_items: int, rounds: int) -> dict[str, Any]:
    kept = {role: [answered[number] for number in chosen] for role, answered in rows.items()}
    challenger = kept["challenger"]
    clusters = [row.get("template") or f"item {row['id']}" for row in challenger]
    values = {role: [measured(row) for row in answered] for role, answered in kept.items()}
    sample = paired.Sample(values, clusters, seed, rounds)
    found: dict[str, Any] = {"n": len(challenger), "clusters": sample.clusters, "items": items_digest(challenger)}
    found["kind"] = challenger[0]["kind"]
    chances = [row["chance"] for row in challenger if row.get("chance") is not None]
    found["chance"] = sum(chances) / len(chances) if chances else None
    for role in ROLES:
        found[role] = sample.share(role).as_dict() if role in values else None
    for name, old in (("gain", "base"), ("difference", "champion")):
        found[name] = _delta(sample, old) if old in values else None
    if found["kind"] in GENERATED:
        found["classes"] = dict(sorted(Counter(row["picked"] for row in challenger).items()))
        found["unfinished"] = sum(row.get("ended") is False for row in challenger)
        found["malformed"] = sum(row["picked"] == "broken" or row.get("ended") is False for row in challenger)
        found |= {name: share for name in ANALYSED if (share := _mean(name, kept))}
    else:
        if challenger[0].get("said") is not None:
            found["abstained"] = sum(not row["picked"] for row in challenger)
            found["unfinished"] = sum(row.get("ended") is False for row in challenger)
            found["strict"] = sum(row["correct_strict"] for row in challenger) / len(challenger)
        found["partial"] = sum(row["partial"] for row in challenger) / len(challenger)
        found["categories"] = _categories(kept, values, category_items)
    for name, old in (("lost", "base"), ("lost_to_champion", "champion")):
        if old in values:
            pairs = zip(challenger, values["challenger"], values[old], strict=True)
            found[name] = [row["id"] for row, new, before in pairs if new < before]
    return found


def _mean(name: str, kept: Mapping[str, list[Row]]) -> dict[str, float] | None:
    """{role: mean} of a share that items have only where their reference holds the kind; None where none has."""
    values = {role: [row[name] for row in rows if row.get(name) is not None] for role, rows in kept.items()}
    return {role: sum(found) / len(found) for role, found in values.items()} if all(values.values()) else None


def _delta(sample: paired.Sample, old: str) -> dict[str, Any]:
    estimate = sample.difference("challenger", old)
    tested = paired.mcnemar(sample.columns["challenger"], sample.columns[old])
    return estimate.as_dict() | {"mcnemar": tested, "detectable": paired.detectable(estimate)}


def _categories(kept: dict[str, list[Row]], values: dict[str, list[float]], smallest: int) -> list[dict[str, Any]]:
    """Per category base against challenger, with McNemar's p adjusted over the categories."""
    names = [row.get("category") for row in kept["challenger"]]
    found = []
    for name in sorted({name for name in names if name}):
        where = [number for number, other in enumerate(names) if other == name]
        if len(where) < smallest:
            continue
        new, old = [[values[role][number] for number in where] for role in ("challenger", "base")]
        row = {"category": name, "n": len(where), "base": sum(old) / len(old), "challenger": sum(new) / len(new)}
        found.append(row | paired.mcnemar(new, old))
    for row, adjusted in zip(found, paired.adjust([row["p"] for row in found]), strict=True):
        row["p_adjusted"] = adjusted
    return found


def items_digest(rows: Sequence[Row]) -> str:
    """Digest of which items with which right answers: equal digests mean that two accuracies are comparable."""
    said = [f"{row['id']}\t{'' if row['kind'] in GENERATED else ''.join(row['answer'])}" for row in rows]
    return sha256_text("\n".join(sorted(said)))


def compare_compressed(params: Params) -> dict[str, Any]:
    """Relative loss of accuracy of each compressed format against the merged model, on the items that both answered.

    {format: over the items of all its suites together} and, where these are several, {format:suite: ...} beside it.
    """
    assert params.compression is not None
    found: dict[str, dict[str, Any]] = {}
    for folder in sorted(path for path in (params.compression / "evaluation").glob("*") if path.is_dir()):
        suites: dict[str, tuple[list[Row], dict[str, Row]]] = {}
        for file in sorted(folder.glob("*.jsonl")):
            merged = {row["id"]: row for row in load_rows(params.evaluation / "challenger" / file.name)}
            suites[file.stem] = load_rows(file), merged
        if suites:
            found |= compare_suites(folder.name, suites, params.seed)
    return found


def compare_suites(name: str, suites: Mapping[str, tuple[Sequence[Row], Mapping[str, Row]]], seed: int) -> dict[str, Any]:
    """Of one format: what it answered in each suite, and the merged model's rows {id: row}."""
    found: dict[str, dict[str, Any]] = {}
    answered: list[Row] = []
    merged: dict[str, Row] = {}
    for suite, (rows, reference) in suites.items():
        part: dict[str, Any] = {"format": name, "suite": suite}
        if not rows or any(row["id"] not in reference for row in rows):
            part |= {"loss": None, "n": len(rows)}
            part["fault"] = "no answers" if not rows else "answered items that the merged model did not"
        else:
            part |= compare_format(rows, reference, seed)
        found[f"{name}:{suite}"] = part
        # Two suites may use the same identifiers and names of templates.
        answered += [_of_suite(row, suite) for row in rows]
        merged |= {f"{suite}/{key}": row for key, row in reference.items()}
    if len(found) == 1:
        return dict(zip([name], found.values(), strict=True))
    whole: dict[str, Any] = {"format": name, "suite": " + ".join(suites)}
    faults = [f"{part['suite']}: {part['fault']}" for part in found.values() if part.get("fault")]
    if faults:
        whole |= {"loss": None, "n": len(answered), "fault": "; ".join(faults)}
    else:
        whole |= compare_format(answered, merged, seed)
    return {name: whole, **found}


def _of_suite(row: Row, suite: str) -> Row:
    named = {**row, "id": f"{suite}/{row['id']}"}
    return {**named, "template": f"{suite}/{row['template']}"} if row.get("template") else named


def compare_format(answered: Sequence[Row], merged: Mapping[str, Row], seed: int = 0) -> dict[str, Any]:
    """What a compressed format loses on the items that it answered, relative to the merged model's rows {id: row}."""
    clusters = [row.get("template") or f"item {row['id']}" for row in answered]
    new = [measured(row) for row in answered]
    old = [measured(merged[row["id"]]) for row in answered]
    loss = paired.relative_loss(new, old, clusters, seed)
    return {
        "n": len(answered),
        "merged": sum(old) / len(old),
        "compressed": sum(new) / len(new),
        "agree": sum(row["picked"] == merged[row["id"]]["picked"] for row in answered) / len(answered),
        "loss": loss.as_dict() if loss else None,
        "mcnemar": paired.mcnemar(new, old),
    }


if __name__ == "__main__":
    sys.exit(main("legal_tasks.evaluation.compare"))
