"""Evaluate base, challenger and champion on the same items with lm-evaluation-harness; every item's answer is kept.

    python -m legal_tasks.evaluation.harness --profile small --challenger MERGE --items COLLECT

The suites are the exam files of the sources (each a domain suite of this run, unless it is one of the standing
benchmarks by name) and, where somebody names them, standing ones for what the sources lack. Nothing of the embedded world
is asked in a run on other sources unless it is named. A model's rows are kept in the store under its digest, so base and
champion are evaluated once for the same items and code version.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from legal_tasks.artifacts import Store, canonical, digest_files, digest_path, read_manifest
from legal_tasks.data.collect import CARD
from legal_tasks.evaluation.endpoint import Endpoint, check_url
from legal_tasks.evaluation.items import Item, by_kind, read_items, spread, suites_in, write_lines
from legal_tasks.evaluation.models import VERSION as MODEL_VERSION
from legal_tasks.evaluation.models import How, evaluate_cached, evaluate_model, resolve_model, set_threads
from legal_tasks.evaluation.names import ANSWERS, POOLED, Names, check_exam, check_items, stock_folders
from legal_tasks.evaluation.rules import STANDING
from legal_tasks.step import Input, Output, Runtime, StepError, main, progress
from legal_tasks.training import base as bases

__all__ = ["evaluate_model"]

VERSION = MODEL_VERSION
EMBEDDED = "embedded"
WORLD = Path(__file__).resolve().parents[1] / "embedded"


@dataclass(frozen=True)
class Params:
    challenger: Annotated[Path, Input("the merged new model: a model folder or the artifact of training.merge")]
    items: Annotated[Path, Input("the artifact of data.collect, or a folder of normalised <suite>.jsonl")]
    output: Annotated[Path, Output("folder with items/, <role>/<suite>.jsonl, <role>/summary.json and summary.json")]
    base: Annotated[str, "the base model: embedded, a folder, or a hub id"] = "embedded"
    champion: Annotated[str, "the model to replace: production (what serves now, if any), none, or a folder"] = "production"
    standing: Annotated[
        str, "where general, refusal and over_refusal come from, if not from the sources: a folder, or embedded; empty: nowhere"
    ] = ""
    world_seed: Annotated[int, "seed of the embedded world, by which its own exams are known"] = 0
    free_answers: Annotated[int, "questions of the domain that are answered in words, for the citations; 0 for none"] = 200
    rank_texts: Annotated[tuple[str, ...], "suites answered by ranking the option texts, which the prompt does not show"] = ()
    skip: Annotated[tuple[str, ...], "suites of the exams folder that are not asked"] = ()
    generate: Annotated[tuple[str, ...], "suites of choices that are answered in words; letters are read out of the answer"] = ()
    shots: Annotated[int, "examples before each question, from the suite's dev split where it has one"] = 0
    limit: Annotated[int | None, "items per suite, evenly spread; empty for all"] = None
    new_tokens: Annotated[
        int, "longest answer in words, tokens; one that does not end in it counts as unfinished, so give a real model 512"
    ] = 64
    endpoint: Annotated[
        str,
        "OpenAI-compatible endpoint that serves the challenger: its answers in words are asked there, letters and texts are "
        "ranked by the weights; its key: LEXLOOP_ENDPOINT_API_KEY; --recompute asks again",
    ] = ""
    endpoint_model: Annotated[str, "the model's name at the endpoint"] = ""
    device: Annotated[str, Runtime("where to compute: cpu or cuda")] = "cpu"
    threads: Annotated[int, Runtime("threads of torch; 0 for its own choice")] = 0

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise StepError(f"--limit must be at least 1, got {self.limit}; leave it out to ask every item")
        if self.free_answers < 0:
            raise StepError(f"--free-answers must be 0 or more, got {self.free_answers}")
        if self.standing and self.standing != EMBEDDED and not Path(self.standing).is_dir():
            raise StepError(f"--standing {self.standing}: no such folder; name one with <suite>.jsonl, or `{EMBEDDED}`")
        if self.shots < 0:
            raise StepError(f"--shots must be 0 or more, got {self.shots}")
        both = set(self.generate) & set(self.rank_texts)
        if both:
            raise StepError(f"--generate and --rank-texts both name {', '.join(sorted(both))}: choose one form of asking")
        check_url("--endpoint", self.endpoint, self.endpoint_model, "--endpoint-model")
        if self.new_tokens < 1:
            raise StepError(f"--new-tokens must be at least 1, got {self.new_tokens}")


def extra_inputs(params: Params) -> dict[str, Path]:
    champion = find_champion(params)
    found = {"base": bases.resolve(params.base)} | ({"champion": champion} if champion else {})
    if params.standing == EMBEDDED:
        found |= {f"standing {file.name}": file for file in sorted(WORLD.glob("*.py"))}
    elif params.standing:
        found["standing"] = Path(params.standing)
    card = params.items / CARD
    return found | ({"exams' files": card} if card.is_file() else {})


def find_champion(params: Params) -> Path | None:
    """The merged model that production serves; None where nothing serves, or the challenger itself does.

    Production runs the compressed model; like is compared with like, so the merged one is taken that it was made of,
    where the store still has it.
    """
    if params.champion == "none":
        return None
    if params.champion != "production":
        return resolve_model(Path(params.champion))[0]
    from legal_tasks.serving.state import Database, StateError

    try:
        serving = Database().current().actual
    except StateError as error:
        raise StepError(f"--champion production: {error}; to compare with no champion, say --champion none") from error
    if serving is None:
        return None
    folder = Path(serving["path"])
    merged = read_manifest(folder)["inputs"].get("model")
    if merged == digest_path(params.challenger):
        return None
    return Store(folder.parents[1]).with_digest("training.merge", merged or "") or folder / "gptq"


@dataclass
class Report:
    roles: dict[str, dict[str, Any]]  # role -> suite -> {n, accuracy, unseen}
    suites: dict[str, dict[str, Any]]  # suite -> {origin, kind, embedded, file, digest, count, n}
    reused: list[str]  # roles whose rows were in the store
    seconds: float


def exams_folder(path: Path) -> Path:
    """The folder of suites in an artifact of data.collect, or the folder itself."""
    return path / "exams" if (path / "exams").is_dir() else path


def run(params: Params) -> Report:
    started = time.time()
    set_threads(params.threads)
    folder_of_items = params.output / "items"
    suites = gather(params, folder_of_items)
    how = How(params.rank_texts, params.limit, params.new_tokens, params.generate, params.shots)
    served = Endpoint(params.endpoint, params.endpoint_model) if params.endpoint else None
    models = {"base": bases.resolve(params.base), "champion": find_champion(params), "challenger": params.challenger}
    roles = {role: path for role, path in models.items() if path is not None}
    reused, found = [], {}
    for number, (role, path) in enumerate(roles.items()):
        tell = _teller(number, len(roles), role)
        asked = replace(how, endpoint=served) if role == "challenger" else how
        folder, was_there = evaluate_cached(path, folder_of_items, tuple(suites), how=asked, device=params.device, tell=tell)
        reused += [role] if was_there else []
        target = params.output / role
        target.mkdir()
        for file in [*folder.glob("*.jsonl"), folder / "summary.json"]:
            shutil.copyfile(file, target / file.name)
        found[role] = json.loads((target / "summary.json").read_text("utf-8"))["suites"]
        print(f"{role}: " + ", ".join(f"{name} {_percent(part)}" for name, part in found[role].items()), flush=True)
    suites |= stock_suites(suites, folder_of_items, found["challenger"], params)
    for name, part in found["challenger"].items():
        suites[name]["n"] = part["n"]
    summary = {"suites": suites, "roles": found, "how": how.key()}
    (params.output / "summary.json").write_text(json.dumps(summary, ensure_ascii=False, indent=1) + "\n", "utf-8")
    short = {role: {name: _short(part) for name, part in suites_.items()} for role, suites_ in found.items()}
    return Report(short, suites, reused, round(time.time() - started, 1))


def gather(params: Params, target: Path) -> dict[str, dict[str, Any]]:
    """Copy the suites of the sources and the standing ones into `target`; {suite: {origin, kind, embedded, file, digest, count}}.

    `origin`: sources, embedded (the little world's own, known by its content), standing (a folder that was named), derived.
    A standing suite only fills a place that the sources leave empty. StepError where two suites would have one name.
    """
    target.mkdir()
    found: dict[str, dict[str, Any]] = {}
    given, card = Names(), read_card(params.items)
    with tempfile.TemporaryDirectory() as scratch:
        world = write_world(Path(scratch), params.world_seed)
        standing = world if params.standing == EMBEDDED else exams_folder(Path(params.standing)) if params.standing else None
        for origin, folder in (("sources", exams_folder(params.items)), ("standing", standing)):
            if folder is None:
                continue
            for name in suites_in(folder):
                filled = given.holder(name) or (name == POOLED and stock_folders(target))
                if name in params.skip or (origin == "standing" and (name not in STANDING or filled)):
                    continue
                items, file = read_items(folder / f"{name}.jsonl", split=None), folder / f"{name}.jsonl"
                shown = {"origin": origin, "file": file.name, "digest": digest_path(file)}
                shown |= card.get(name, {}) if origin == "sources" else {}
                check_exam(name, f"the exam {shown['file']}")
                check_items(name, items, f"the exam {shown['file']}")
                embedded = shown["origin"] == EMBEDDED or same_items(world / f"{name}.jsonl", items)
                for part, same in by_kind(name, items).items():
                    given.take(part, shown["file"])
                    write_lines(target / f"{part}.jsonl", same)
                    about = {"origin": EMBEDDED if embedded else origin, "kind": same[0]["kind"], "embedded": embedded}
                    count = sum(item.get("split", "test") == "test" for item in same)
                    found[part] = about | {"file": shown["file"], "digest": shown["digest"], "count": count}
            _copy_stock(params, folder, target, given, origin)
    if not found and not stock_folders(target):
        raise StepError(f"--items {params.items} holds no suites (*.jsonl): list evaluation sets under `exams` in the sources")
    if params.free_answers:
        questions, asked = free_questions(target, found, params.free_answers)
        if questions:
            file = target / f"{ANSWERS}.jsonl"
            write_lines(file, questions)
            about = {"origin": "derived", "kind": "answer", "embedded": all(found[name]["embedded"] for name in asked)}
            found[ANSWERS] = about | {"file": " + ".join(asked), "digest": digest_path(file), "count": len(questions)}
    return found


def read_card(items: Path) -> dict[str, dict[str, Any]]:
    """{exam: {origin, file, digest, count}} as data.collect noted it; {} for a folder that it did not make."""
    path = items / CARD
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _copy_stock(params: Params, folder: Path, target: Path, given: Names, origin: str) -> None:
    """The stock sets of a folder; those of the sources may clash with an exam, a standing one only fills an empty place."""
    for name, place in stock_folders(folder).items():
        where = f"{place.parent.name}/{place.name}"
        if {name, place.parent.name} & set(params.skip):
            continue
        if origin == "standing" and given.holder(name):
            print(f"{name} is not asked of {params.standing}: the sources have {given.holder(name)} under this name", flush=True)
            continue
        given.take(name, f"the stock set in {where}")
        shutil.copytree(place, target / place.parent.name / place.name)


def stock_suites(
    suites: dict[str, dict[str, Any]], folder: Path, answered: dict[str, Any], params: Params
) -> dict[str, dict[str, Any]]:
    """What is known of the stock sets that were asked, and of all of them together where they stand for general ability."""
    with tempfile.TemporaryDirectory() as scratch:
        world = {name: digest_path(place) for name, place in stock_folders(write_world(Path(scratch), params.world_seed)).items()}
    found: dict[str, dict[str, Any]] = {}
    for name, place in stock_folders(folder).items():
        digest = digest_path(place)
        about: dict[str, Any] = {"origin": EMBEDDED if world.get(name) == digest else "stock", "kind": "choice"}
        about |= {"embedded": world.get(name) == digest, "file": f"{place.parent.name}/{place.name}", "digest": digest}
        found[name] = about | {"count": answered[name]["n"]}
    if POOLED in answered and POOLED not in suites:
        parts = list(found.values())
        embedded = all(part["embedded"] for part in parts)
        about = {"origin": EMBEDDED if embedded else "stock", "kind": "choice", "embedded": embedded}
        about |= {"file": " + ".join(part["file"] for part in parts), "count": sum(part["count"] for part in parts)}
        found[POOLED] = about | {"digest": digest_files({part["file"]: part["digest"] for part in parts})}
    return found


def write_world(folder: Path, seed: int) -> Path:
    """The exams of the embedded world, written anew: what makes a suite known as its own."""
    from legal_tasks.embedded import world

    world.write(folder, seed)
    return folder / "exams"


def same_items(path: Path, items: list[Item]) -> bool:
    """Whether a suite file holds exactly these items: question, options and answer of each."""

    def content(item: Item) -> str:
        return canonical([item["question"], item.get("options") or {}, item.get("answer") or []])

    return path.is_file() and sorted(map(content, read_items(path, split=None))) == sorted(map(content, items))


def free_questions(folder: Path, suites: dict[str, dict[str, Any]], count: int) -> tuple[list[Item], list[str]]:
    """Up to `count` questions of the domain's exams, evenly spread, to be answered in words; and which exams they are of."""
    asked = [name for name, about in suites.items() if about["kind"] in ("choice", "case") and name not in STANDING]
    items = [
        {**item, "id": f"{name}/{item['id']}"}
        for name in asked
        for item in read_items(folder / f"{name}.jsonl")
        if item.get("wording") != "seen"
    ]
    # What was to be chosen has no article to be named by.
    return [{**item, "suite": ANSWERS, "kind": "answer", "reference": None} for item in spread(items, count)], asked


def _teller(number: int, roles: int, role: str) -> Any:
    last = 0.0

    def tell(fraction: float, what: str) -> None:
        nonlocal last
        if time.time() - last > 2:
            last = time.time()
            progress(round(number + fraction, 3), roles, role=role, part=what)

    return tell


def _short(part: dict[str, Any]) -> dict[str, Any]:
    unseen = part.get("by_wording", {}).get("unseen")
    return {"n": part["n"], "accuracy": part["accuracy"]} | ({"unseen": unseen} if unseen else {})


def _percent(part: dict[str, Any]) -> str:
    return "-" if part["accuracy"] is None else f"{100 * part['accuracy']:.1f} % of {part['n']}"


if __name__ == "__main__":
    sys.exit(main("legal_tasks.evaluation.harness"))
