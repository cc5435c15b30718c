"""Whether a decision and a model belong together: one was made about the other, from start to end, in our own store.

What names them are paths out of Airflow's XCom, which whoever may trigger a run can exchange. So nothing is believed but the
manifests: both folders lie in the store under their own keys and are what their manifests say; the gate (through the choice,
where there is one) judged exactly this model, by a comparison and a proof of this very model. For a decision that releases
by itself, without two people, the data, the exam, the base, the champion and the run have to be the model's own too.
"""

from __future__ import annotations

import calendar
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legal_tasks import artifacts
from legal_tasks.serving.state import Event, Model
from legal_tasks.step import StepError, store

GATE, CHOICE, MODEL = "evaluation.gate", "evaluation.choose", "compression.compress"
LASTS_S = 7 * 86400.0  # what was not released in a week is judged anew: law, champion and bounds have moved on
BY_HAND = "by hand"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """A model and the decision about it, as their manifests tell; both folders where the store has them."""

    decision: Manifest
    gate: Manifest  # the decision itself, or the one that the choice took
    model: Manifest
    decision_path: Path
    model_path: Path


def find(target: artifacts.Store, step: str, digest: str | None, **inputs: str | None) -> list[Manifest]:
    """Manifests of a step's artifacts with this content and these inputs (digests); also of those that housekeeping removed."""
    found = []
    for path in [*(target.root / step).glob(f"*/{artifacts.MANIFEST}"), *(target.root / ".removed" / step).glob("*.json")]:
        manifest = json.loads(path.read_text("utf-8"))
        known = manifest.get("inputs") or {}
        if manifest["digest"] == digest and all(value and known.get(name) == value for name, value in inputs.items()):
            found.append(manifest)
    return found


def admit(folder: Path, option: str, steps: Sequence[str], target: artifacts.Store) -> tuple[Path, Manifest]:
    """(its place in the store, its manifest) of a folder made there by one of `steps`, every file compared with the manifest.

    StepError where it lies elsewhere, links followed, or under another key or step than its own.
    """
    root, place = target.root.resolve(), folder.resolve()
    made = " or ".join(steps)
    if place.parent.parent != root or not place.is_dir():
        raise StepError(f"{option} {folder} is no artifact of the store {root}: name the folder that {made} made there")
    try:
        manifest = artifacts.verify(place)
    except artifacts.ArtifactError as error:
        raise StepError(f"{option} {folder}: {error}") from error
    if manifest["step"] not in steps:
        raise StepError(f"{option} {folder} was made by {manifest['step']}, not by {made}")
    if (manifest["step"], manifest["key"][:16]) != (place.parent.name, place.name):
        raise StepError(
            f"{option} {folder} is a copy: its manifest belongs to {manifest['step']}/{manifest['key'][:16]}; name that folder"
        )
    return target.folder(manifest["step"], manifest["key"]), manifest


def check(decision: Path, model: Path, target: artifacts.Store | None = None) -> Judged:
    """The decision and the model, where the one is about the other; StepError saying where they part."""
    target = target or store()
    model_path, about = admit(model, "--model", (MODEL,), target)
    decision_path, said = admit(decision, "--decision", (GATE, CHOICE), target)
    trouble = ""
    for gate in gates(said, decision_path, target):
        trouble = why_not(gate, about, target)
        if not trouble:
            return Judged(said, gate, about, decision_path, model_path)
    trouble = trouble or "the store has lost the gate that was chosen from"
    raise StepError(
        f"--decision {decision} and --model {model} do not belong together: {trouble}; nothing is released. Clear compare, "
        "prove, gate (and choose) of the run, so that this model is judged itself"
    )


def gates(said: Manifest, folder: Path, target: artifacts.Store) -> list[Manifest]:
    """The gate's own manifest; of a choice that of the gate which it took."""
    if said["step"] == GATE:
        return [said]
    report = json.loads((folder / artifacts.REPORT).read_text("utf-8"))
    digest = (said.get("inputs") or {}).get(f"gate[{report['base']}]")
    return [each for each in find(target, GATE, digest) if origin(each) == origin(said)]


def origin(manifest: Manifest) -> tuple[str, str]:
    """(DAG, run) that made an artifact; the run is `by hand` without Airflow."""
    return str(manifest.get("dag") or ""), str(manifest.get("run") or "")


def why_not(gate: Manifest, model: Manifest, target: artifacts.Store) -> str:
    """Why this gate did not judge this model; empty where it did."""
    inputs, digest = gate.get("inputs") or {}, model["digest"]
    if not inputs.get("compression"):
        return "the gate was not told which model it judged (its --compression), so its word releases nothing"
    if inputs["compression"] != digest:
        return f"the gate judged the model {inputs['compression'][:12]}, not {digest[:12]}"
    comparisons = find(target, "evaluation.compare", inputs.get("comparison"), compression=digest)
    if not comparisons:
        return f"the gate's comparison is not of the model {digest[:12]}, or was not made in this store"
    if inputs.get("proof") and not find(target, "serving.prove", inputs["proof"], model=digest):
        return f"the gate's proof is not of the model {digest[:12]}, or was not made in this store"
    if not list(evaluations(comparisons, model, target)):
        return f"the answers that were compared are not those of the merged model that {digest[:12]} was made of"
    return ""


def evaluations(comparisons: Sequence[Manifest], model: Manifest, target: artifacts.Store) -> Iterator[Manifest]:
    """What the merged model behind `model` answered, of these comparisons."""
    merged = (model.get("inputs") or {}).get("model")
    for each in comparisons:
        yield from find(target, "evaluation.harness", each["inputs"].get("evaluation"), challenger=merged)


def check_alone(
    judged: Judged, dag: str, run: str, serving: Model | None, history: Sequence[Event], now: float | None = None
) -> None:
    """StepError where this passing decision may not put its model into production without two people.

    `dag`, `run`: whose release asks (empty and `by hand` without Airflow); `serving`: what is in production.
    """
    target = artifacts.Store(judged.model_path.parents[1])
    found = (
        foreign_run(judged, dag, run, target)
        or out_of_date(judged, history, time.time() if now is None else now)
        or foreign_measure(judged, serving, target)
    )
    if found:
        raise StepError(f"--decision {judged.decision_path}: {found}; nothing is released")


def foreign_run(judged: Judged, dag: str, run: str, target: artifacts.Store) -> str:
    """Why the decision is not the last word of this very run; empty where it is."""
    said, step = judged.decision, judged.decision["step"]
    if origin(said) != (dag, run):
        maker, own = (" of ".join(filter(None, reversed(each))) or "somebody" for each in (origin(said), (dag, run)))
        return f"it was made by {maker}, not by {own}: clear the task gate, so that this run decides"
    if step == GATE and said.get("candidate"):
        return f"it is about one candidate of several ({said['candidate']}): release goes by what evaluation.choose made"
    every: list[Manifest] = [
        artifacts.read_manifest(path.parent) for path in (target.root / step).glob(f"*/{artifacts.MANIFEST}")
    ]
    same = [each for each in every if origin(each) == (dag, run)]
    if run == BY_HAND:  # by hand several models may be judged one after the other
        same = [each for each in same if (each.get("inputs") or {}).get("compression") == judged.model["digest"]]
    newer = [each for each in same if each["created"] > said["created"]]
    return f"{step} has spoken again since, in {step}/{newer[0]['key'][:16]}: name that one" if newer else ""


def out_of_date(judged: Judged, history: Sequence[Event], now: float) -> str:
    """Why the decision counts no longer; empty where it does."""
    made = calendar.timegm(time.strptime(judged.decision["created"], "%Y-%m-%dT%H:%M:%SZ"))
    if now - made > LASTS_S:
        return (
            f"it is of {judged.decision['created']}; after {LASTS_S / 86400:.0f} days a model is judged anew: clear the task gate"
        )
    released = [(event.after or {}).get("decision") for event in history if event.event == "released"]
    own = str(judged.decision_path)
    if own in released and released[-1] != own:
        return "it has put its model into production once, and another one serves since: to go back, make rollback"
    return ""


def foreign_measure(judged: Judged, serving: Model | None, target: artifacts.Store) -> str:
    """Why what the gate measured is not this model's own data, exam, base or opponent; empty where it is."""
    given, model = judged.gate.get("inputs") or {}, judged.model
    if not given.get("proof") or not given.get("data"):
        return "the gate was given no proof or no data (its --proof, --data)"
    if given.get("history"):
        return "the gate was given a history by hand (its --history); what counts is the release state's own"
    merges = find(target, "training.merge", model["inputs"].get("model"))
    adapters = [each["inputs"].get("adapter") for each in merges]
    trained = [lora for adapter in adapters for lora in trainings(adapter, target)]
    if not any(find(target, "data.split", lora["inputs"].get("data"), records=given["data"]) for lora in trained):
        return "the data that the gate looked at are not those that the model was trained on, by the store's manifests"
    items = {each["inputs"].get("items") for each in find(target, "data.clean", given["data"])}
    comparisons = find(target, "evaluation.compare", given["comparison"], compression=model["digest"])
    own = [each for each in evaluations(comparisons, model, target) if each["inputs"].get("items") in items]
    if not own:
        return "the exam was not that of the sources whose data the model was trained on (or data.clean did not make them)"
    own = [each for each in own if each["inputs"].get("base") in {merge["inputs"].get("base") for merge in merges}]
    if not own:
        return "the base that the model was compared with is not the one it was trained from"
    if model["inputs"].get("exams") not in items:
        return "the losses by compression were measured on another exam than that of the model's sources"
    return foreign_champion(own, model, serving, target)


def foreign_champion(answered: Sequence[Manifest], model: Manifest, serving: Model | None, target: artifacts.Store) -> str:
    """Why the model was not held against what serves now; empty where it was, or where nothing else serves."""
    if not serving or serving["digest"] == model["digest"]:
        return ""
    try:
        champion = next(iter(find(target, MODEL, serving["digest"])), None) or artifacts.read_manifest(serving["path"])
    except artifacts.ArtifactError as error:
        return f"what is in production cannot be told apart any more: {error}"
    merged = (champion.get("inputs") or {}).get("model")
    if merged == model["inputs"].get("model"):
        return ""  # the same model, compressed anew: evaluation.harness compares no model with itself
    # Where the merged weights are gone, the evaluation takes the compressed ones.
    pressed = {name.removeprefix("gptq/"): each for name, each in champion["files"].items() if name.startswith("gptq/")}
    known = {merged, artifacts.digest_files(pressed)}
    if any(each["inputs"].get("champion") in known for each in answered):
        return ""
    return "the model was not compared with what is in production now: clear the task evaluate and what follows it"


def trainings(adapter: str | None, target: artifacts.Store) -> list[Manifest]:
    """The LoRA trainings behind an adapter, also through training.preference, which goes on from one."""
    preferred = [each["inputs"].get("adapter") for each in find(target, "training.preference", adapter)]
    return [lora for digest in (adapter, *preferred) for lora in find(target, "training.lora", digest)]
