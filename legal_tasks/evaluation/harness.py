"""Evaluate base, challenger and champion on the same items with lm-evaluation-harness; every item's answer is kept.

    python -m legal_tasks.evaluation.harness --profile small --challenger MERGE --items COLLECT

The suites are the exam files of the sources (each a domain suite of this run, unless it is one of the standing
benchmarks by name) and those of `standing`, which are asked at every run. A model's rows are kept in the store under
its digest, so base and champion are evaluated once for the same items and code version.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from legal_tasks.artifacts import MANIFEST, digest_path, read_manifest
from legal_tasks.evaluation.items import read_items, suites_in
from legal_tasks.evaluation.models import VERSION as MODEL_VERSION
from legal_tasks.evaluation.models import How, evaluate_cached, evaluate_model, resolve_model, set_threads, stock_folders
from legal_tasks.step import Input, Output, Runtime, StepError, main, progress
from legal_tasks.training import base as bases

__all__ = ["evaluate_model"]

VERSION = MODEL_VERSION


@dataclass(frozen=True)
class Params:
    challenger: Annotated[Path, Input("the merged new model: a model folder or the artifact of training.merge")]
    items: Annotated[Path, Input("the artifact of data.collect, or a folder of normalised <suite>.jsonl")]
    output: Annotated[Path, Output("folder with <role>/<suite>.jsonl, <role>/summary.json and summary.json")]
    base: Annotated[str, "the base model: embedded, a folder, or a hub id"] = "embedded"
    champion: Annotated[str, "the model to replace: production (what serves now, if any), none, or a folder"] = "production"
    standing: Annotated[Path | None, Input("folder of suites asked at every run, beside those of the sources")] = None
    rank_texts: Annotated[tuple[str, ...], "suites answered by ranking the option texts, which the prompt does not show"] = ()
    skip: Annotated[tuple[str, ...], "suites of the exams folder that are not asked"] = ()
    limit: Annotated[int | None, "items per suite, evenly spread; empty for all"] = None
    new_tokens: Annotated[int, "tokens of a generated answer"] = 64
    device: Annotated[str, Runtime("where to compute: cpu or cuda")] = "cpu"
    threads: Annotated[int, Runtime("threads of torch; 0 for its own choice")] = 0

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise StepError(f"--limit must be at least 1, got {self.limit}; leave it out to ask every item")
        if self.new_tokens < 1:
            raise StepError(f"--new-tokens must be at least 1, got {self.new_tokens}")


def extra_inputs(params: Params) -> dict[str, Path]:
    champion = find_champion(params)
    return {"base": bases.resolve(params.base)} | ({"champion": champion} if champion else {})


def find_champion(params: Params) -> Path | None:
    """The merged model that production serves; None where nothing serves, or the challenger itself does.

    Production runs the compressed model; like is compared with like, so the merged one is taken that it was made of,
    where the store still has it.
    """
    if params.champion == "none":
        return None
    if params.champion != "production":
        return resolve_model(Path(params.champion))[0]
    from legal_tasks.serving.state import Database

    serving = Database().current().actual
    if serving is None:
        return None
    folder = Path(serving["path"])
    merged = read_manifest(folder)["inputs"].get("model")
    if merged == digest_path(params.challenger):
        return None
    for manifest in folder.parent.parent.glob(f"training.merge/*/{MANIFEST}"):
        if read_manifest(manifest.parent)["digest"] == merged:
            return manifest.parent
    return folder / "gptq"


@dataclass
class Report:
    roles: dict[str, dict[str, Any]]  # role -> suite -> {n, accuracy, unseen}
    suites: dict[str, dict[str, Any]]  # suite -> {origin: sources|standing, kind, n}
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
    how = How(params.rank_texts, params.limit, params.new_tokens)
    models = {"base": bases.resolve(params.base), "champion": find_champion(params), "challenger": params.challenger}
    roles = {role: path for role, path in models.items() if path is not None}
    reused, found = [], {}
    for number, (role, path) in enumerate(roles.items()):
        tell = _teller(number, len(roles), role)
        folder, was_there = evaluate_cached(path, folder_of_items, tuple(suites), how=how, device=params.device, tell=tell)
        reused += [role] if was_there else []
        target = params.output / role
        target.mkdir()
        for file in [*folder.glob("*.jsonl"), folder / "summary.json"]:
            shutil.copyfile(file, target / file.name)
        found[role] = json.loads((target / "summary.json").read_text("utf-8"))["suites"]
        print(f"{role}: " + ", ".join(f"{name} {_percent(part)}" for name, part in found[role].items()), flush=True)
    for name, part in found["challenger"].items():
        suites.setdefault(name, {"origin": "standing", "kind": part["kind"]})
        suites[name]["n"] = part["n"]
    shutil.rmtree(folder_of_items)
    summary = {"suites": suites, "roles": found, "how": how.key()}
    (params.output / "summary.json").write_text(json.dumps(summary, ensure_ascii=False, indent=1) + "\n", "utf-8")
    short = {role: {name: _short(part) for name, part in suites_.items()} for role, suites_ in found.items()}
    return Report(short, suites, reused, round(time.time() - started, 1))


def gather(params: Params, target: Path) -> dict[str, dict[str, Any]]:
    """Copy the suites of the sources and the standing ones into `target`; {suite: {origin, kind}}.

    A suite of the sources takes the place of a standing one of the same name.
    """
    target.mkdir()
    found: dict[str, dict[str, Any]] = {}
    for origin, root in (("sources", params.items), ("standing", params.standing)):
        if root is None:
            continue
        folder = exams_folder(root)
        for name in suites_in(folder):
            if name in found or name in params.skip:
                continue
            items = read_items(folder / f"{name}.jsonl", split=None)
            shutil.copyfile(folder / f"{name}.jsonl", target / f"{name}.jsonl")
            found[name] = {"origin": origin, "kind": items[0]["kind"]}
        for place in stock_folders(folder).values():
            copy = target / place.parent.name / place.name
            if place.parent.name not in params.skip and not copy.exists():
                shutil.copytree(place, copy)
    if not found:
        raise StepError(f"--items {params.items} holds no suites (*.jsonl): list evaluation sets under `exams` in the sources")
    unknown = set(params.rank_texts) - found.keys()
    if unknown and not params.standing:
        print(f"note: rank_texts names {', '.join(sorted(unknown))}, which this run does not ask")
    return found


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
