"""Make room: remove artifacts that nobody needs, by age and by size; say first what would go and how many bytes it frees.

    python -m legal_tasks.gc --dry-run [--older-than-days 90] [--keep-gib 200] [--ledger-months 12] [--parts store,logs]

Without a release state that can be read, of this seat and of every other that releases from the store, nothing is removed from
it. Never removed: what is in production, was before, or is meant to be; what served within the ledger's months, with its
decision; the newest candidate; all that these were made of; what a lease or a live process names; what was used within the
grace hours. What data.clean remembers of single documents goes by age and size too, never what the newest cleaning used.
Merged weights go first, also those of a pinned model: adapter and base, which stay, give them again. Of what
goes, the manifest stays (`<store>/.removed/`): it is the lineage of what was made from it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legal_tasks import artifacts
from legal_tasks.lease import Lease, maybe_held
from legal_tasks.step import EXIT_CALLER, EXIT_DONE, StepError, store, var_folder

if TYPE_CHECKING:
    from legal_tasks.serving.state import Database

DERIVABLE = "training.merge"  # from base and adapter, in float32: the same bytes again
CANDIDATE = "compression.compress"
LINEAGE = "lineage of the model"
MONTH_S = 30.44 * 86400
PARTS = ("store", "documents", "logs", "airflow", "mlflow")


@dataclass(frozen=True)
class Policy:
    """How long and how much is kept; days, hours, months; bytes."""

    older_than_days: float = 90.0
    keep_bytes: int | None = None
    ledger_months: float = 12.0
    merged_days: float = 7.0
    documents_bytes: int | None = None
    grace_hours: float = 72.0  # longer than a retrain may last (48 h), so that a run under way keeps what it will read

    def __post_init__(self) -> None:
        for name in ("older_than_days", "ledger_months", "merged_days", "grace_hours"):
            if getattr(self, name) < 0:
                raise StepError(f"--{name.replace('_', '-')} must be 0 or more, got {getattr(self, name):g}")


@dataclass
class Kept:
    """A finished artifact (or an abandoned work folder) and what is known of it; `used` in seconds since 1970."""

    path: Path
    step: str
    key: str
    digest: str
    inputs: dict[str, str]
    bytes: int
    used: float
    why: str = ""  # why it must stay; empty where it may go
    derivable: bool = False


@dataclass
class Plan:
    """What goes, in order, with the reason; and what stays because it is needed."""

    remove: list[tuple[Kept, str]] = field(default_factory=list)
    stay: list[Kept] = field(default_factory=list)
    total_bytes: int = 0

    @property
    def freed_bytes(self) -> int:
        return sum(each.bytes for each, _ in self.remove)


def folder_bytes(folder: Path) -> int:
    """Bytes of the files below a folder; a file that goes away meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def scan(target: artifacts.Store) -> list[Kept]:
    """Every finished artifact of the store."""
    found = []
    for path in sorted(target.root.glob(f"*/*/{artifacts.MANIFEST}")):
        if path.parts[-3].startswith("."):
            continue
        manifest = json.loads(path.read_text("utf-8"))
        step, folder = path.parts[-3], path.parent
        used = max(path.stat().st_mtime, folder.stat().st_mtime)
        inputs = {name: str(digest) for name, digest in (manifest.get("inputs") or {}).items()}
        found.append(Kept(folder, step, folder.name, str(manifest["digest"]), inputs, folder_bytes(folder), used))
    return found


def used_by_runs(folder: Path) -> dict[str, float]:
    """{artifact folder: when a task last ended with it}, from the steps' notes."""
    found: dict[str, float] = {}
    for note in folder.rglob("*.json"):
        try:
            artifact = json.loads(note.read_text("utf-8")).get("artifact")
            at = note.stat().st_mtime
        except (FileNotFoundError, json.JSONDecodeError, AttributeError):
            continue  # being replaced, or not a note
        if artifact:
            found[str(artifact)] = max(at, found.get(str(artifact), 0.0))
    return found


def held_keys(target: artifacts.Store) -> set[tuple[str, str]]:
    """(step, first 16 of the key) of every lease whose holder is alive or may be."""
    held = set()
    for path in (target.root / ".leases").glob("*.json"):
        if maybe_held(path):
            step, _, key = path.stem.rpartition("-")
            held.add((step, key))
    return held


def command_lines() -> str:
    """The command lines of all live processes: engines and steps name there the folders they read."""
    texts = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            texts.append(path.read_bytes().replace(b"\0", b"\n").decode("utf-8", "replace"))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return "\n".join(texts)


def release_states(target: artifacts.Store) -> list[Database]:
    """The release state of this seat and of every other that releases from the store; StateError where one cannot be read.

    Without one of them nobody knows what is in production: it would look like garbage.
    """
    from legal_tasks.serving.state import Database, StateError, known_states, state_path

    found = []
    for path, note in {**known_states(target), state_path(): None}.items():
        try:
            found.append(Database(path))
        except StateError as error:
            way_out = f"; an installation that is gone for good is forgotten by removing {note}" if note else ""
            raise StateError(f"nothing is removed from the store {target.root}: {error}{way_out}") from error
    return found


def pinned_models(target: artifacts.Store, ledger_months: float, now: float) -> dict[str, str]:
    """{folder or digest: why} of the models (and their decisions) that the release states and their ledgers name."""
    found: dict[str, str] = {}
    for database in release_states(target):
        found.update(named_models(database, ledger_months, now))
    return found


def named_models(database: Database, ledger_months: float, now: float) -> dict[str, str]:
    """As `pinned_models`, of one release state."""
    state, named = database.current(), {}
    for event in database.history():
        if event.at >= now - ledger_months * MONTH_S:
            named.update({json.dumps(model, sort_keys=True): "in the ledger" for model in (event.before, event.after) if model})
    roles = {
        "in production before": database.previous(),
        "meant for production": state.desired,
        "in production": state.actual,
    }
    named.update({json.dumps(model, sort_keys=True): why for why, model in roles.items() if model})
    found = {}
    for text, why in named.items():
        model = json.loads(text)
        found.update({str(model[name]): why for name in ("digest", "path", "decision") if model.get(name)})
    return found


def pin(kept: Sequence[Kept], models: Mapping[str, str]) -> None:
    """Set `why` on the artifacts that the models name, on the newest candidate, and on all that these were made of."""
    by_digest: dict[str, list[Kept]] = {}
    for each in kept:
        by_digest.setdefault(each.digest, []).append(each)
    roots = [(each, models.get(str(each.path)) or models.get(each.digest)) for each in kept]
    candidates = sorted((each for each in kept if each.step == CANDIDATE), key=lambda each: each.used)
    waiting = [(each, why or "") for each, why in roots if why]
    waiting += [(each, "not decided yet, the newest candidate") for each in candidates[-1:]]
    while waiting:
        each, why = waiting.pop()
        if each.why:
            continue
        each.why = why
        lineage = why.startswith(LINEAGE)
        each.derivable = each.step == DERIVABLE and lineage
        above = why if lineage else f"{LINEAGE} {why}"
        waiting += [(parent, above) for digest in each.inputs.values() for parent in by_digest.get(digest, [])]


def in_use(each: Kept, held: set[tuple[str, str]], lines: str) -> str:
    if (each.step, each.key) in held:
        return "a lease holds it"
    return "a process names it" if str(each.path) in lines else ""


def plan(kept: Sequence[Kept], policy: Policy, now: float, held: set[tuple[str, str]], lines: str) -> Plan:
    """Decide; `kept` is pinned already. Order: merged weights, what is old, then for the size the longest unused."""
    result = Plan(total_bytes=sum(each.bytes for each in kept))
    free = []
    for each in sorted(kept, key=lambda each: each.used):
        age_h = (now - each.used) / 3600
        busy = in_use(each, held, lines) or ("used within the grace hours" if age_h < policy.grace_hours else "")
        merged = each.step == DERIVABLE and (each.derivable or not each.why)
        if busy or (each.why and not each.derivable):
            each.why = busy or each.why
            result.stay.append(each)
        elif merged and age_h >= policy.merged_days * 24:
            result.remove.append((each, "merged weights: base and adapter give them again"))
        elif not each.why and age_h >= policy.older_than_days * 24:
            result.remove.append((each, f"not used for {age_h / 24:.0f} days"))
        else:
            free.append(each)
    result.remove.sort(key=lambda pair: pair[0].step != DERIVABLE)
    left = result.total_bytes - result.freed_bytes
    for each in sorted(free, key=lambda each: (each.step != DERIVABLE, each.used)):
        if policy.keep_bytes is not None and left > policy.keep_bytes:
            result.remove.append((each, f"the store holds more than {policy.keep_bytes} bytes"))
            left -= each.bytes
        else:
            each.why = each.why or "young enough"
            result.stay.append(each)
    return result


def abandoned(target: artifacts.Store, days: float, now: float, held: set[tuple[str, str]]) -> list[Kept]:
    """Checkpoints and half-made folders that no lease holds and that nothing has written to for so long."""
    found = []
    for folder in sorted((target.root / ".work").glob("*/*")):
        newest = max((path.lstat().st_mtime for path in [folder, *folder.rglob("*")]), default=now)
        step, key = folder.parent.name, folder.name.split(".")[0]
        if (step, key) not in held and now - newest >= days * 86400:
            found.append(Kept(folder, step, key, "", {}, folder_bytes(folder), newest))
    return found


def remove(target: artifacts.Store, each: Kept, now: float, grace_s: float) -> bool:
    """Remove one artifact under its lease, its manifest kept aside; False where somebody has used it since the plan."""
    with Lease(target.root / ".leases" / f"{each.step}-{each.key}.json", {"step": each.step, "key": each.key, "gc": True}):
        manifest = each.path / artifacts.MANIFEST
        if manifest.is_file():
            if now - manifest.stat().st_mtime < grace_s:
                return False
            lineage = target.root / ".removed" / each.step / f"{each.key}.json"
            lineage.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(manifest, lineage)
        # Renamed first: nobody ever sees half an artifact.
        aside = target.root / ".work" / each.step / f"{each.key}.removed"
        aside.parent.mkdir(parents=True, exist_ok=True)
        if each.path != aside:
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(each.path, aside)
        shutil.rmtree(aside)
    return True


def collect_store(policy: Policy, dry_run: bool, now: float | None = None) -> dict[str, Any]:
    """Plan and, unless `dry_run`, remove; {removed, freed_bytes, total_bytes, stay}."""
    now = time.time() if now is None else now
    target = store()
    models = pinned_models(target, policy.ledger_months, now)
    kept = scan(target)
    notes = used_by_runs(var_folder() / "runs")
    for each in kept:
        each.used = max(each.used, notes.get(str(each.path), 0.0))
    held, lines = held_keys(target), command_lines()
    pin(kept, models)
    made = plan(kept, policy, now, held, lines)
    goes = [*made.remove, *((each, "abandoned work") for each in abandoned(target, policy.older_than_days, now, held))]
    freed, count = 0, 0
    for each, reason in goes:
        if dry_run or remove(target, each, now, policy.grace_hours * 3600):
            freed, count = freed + each.bytes, count + 1
            print(f"{'would remove' if dry_run else 'removed'} {each.step}/{each.path.name}  {each.bytes} bytes  {reason}")
        else:
            print(f"stays {each.step}/{each.path.name}: used meanwhile")
    stay: dict[str, int] = {}
    for each in made.stay:
        stay[each.why] = stay.get(each.why, 0) + each.bytes
    for why, size in sorted(stay.items()):
        print(f"stays: {size} bytes, {why}")
    return {"removed": count, "freed_bytes": freed, "total_bytes": made.total_bytes, "stay_bytes": stay}


def collect_documents(policy: Policy, dry_run: bool, now: float | None = None) -> dict[str, Any]:
    """What data.clean found out about documents that no run has met for long; {removed, freed_bytes, total_bytes}."""
    from legal_tasks.data import memory

    path = store().root / ".documents" / "clean.sqlite"
    if not path.is_file():
        print("documents: nothing is remembered")
        return {"removed": 0, "freed_bytes": 0, "total_bytes": 0}
    age, grace = policy.older_than_days * 86400, policy.grace_hours * 3600
    pruned = memory.prune(path, age, policy.documents_bytes, grace, dry_run, time.time() if now is None else now)
    verb = "would forget" if dry_run else "forgot"
    print(f"documents: {verb} {pruned.removed} results, {pruned.freed_bytes} of {pruned.total_bytes} bytes")
    return asdict(pruned)


def run(parts: Iterable[str], policy: Policy, keep_days: float, dry_run: bool) -> dict[str, Any]:
    """Each part's numbers, in the order of PARTS; {"error": why} of a part that could not be done, which stops no other."""
    from legal_tasks import tracking, upkeep

    works = {
        "store": lambda: collect_store(policy, dry_run),
        "documents": lambda: collect_documents(policy, dry_run),
        "logs": lambda: upkeep.rotate_logs(keep_days, dry_run),
        "airflow": lambda: upkeep.clean_airflow(keep_days, dry_run),
        "mlflow": lambda: upkeep.clean_mlflow(keep_days, dry_run),
    }
    done: dict[str, Any] = {}
    for part in PARTS:
        if part in set(parts):
            try:
                done[part] = works[part]()
            except (StepError, tracking.TrackingError) as error:
                print(f"error: {part}: {error}", file=sys.stderr, flush=True)
                done[part] = {"error": str(error)}
    return done


def gib(value: float | None) -> int | None:
    """Bytes."""
    return None if value is None else int(value * 2**30)


def main(argv: list[str] | None = None) -> int:
    default = Policy()
    parser = argparse.ArgumentParser(
        prog="python -m legal_tasks.gc", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go, and the bytes")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--older-than-days", type=float, default=default.older_than_days, help="unused for so long: goes")
    parser.add_argument("--keep-gib", type=float, help="the store's size above which the longest unused goes (default: no bound)")
    parser.add_argument("--documents-gib", type=float, help="what is remembered of documents, at most (default: no bound)")
    parser.add_argument("--ledger-months", type=float, default=default.ledger_months, help="models that served since: stay")
    parser.add_argument("--merged-days", type=float, default=default.merged_days, help="merged weights unused for so long: go")
    parser.add_argument("--grace-hours", type=float, default=default.grace_hours, help="what was used since: stays")
    parser.add_argument("--keep-days", type=float, default=400.0, help="logs, Airflow's rows, MLflow's runs: kept so long")
    given = parser.parse_args(argv)
    try:
        parts = [part for part in given.parts.split(",") if part]
        for part in parts:
            if part not in PARTS:
                raise StepError(f"--parts {part}: allowed are {', '.join(PARTS)}")
        if given.keep_days < 1:
            raise StepError(f"--keep-days must be 1 or more, got {given.keep_days:g}")
        policy = Policy(
            given.older_than_days,
            gib(given.keep_gib),
            given.ledger_months,
            given.merged_days,
            gib(given.documents_gib),
            given.grace_hours,
        )
        result = run(parts, policy, given.keep_days, given.dry_run)
    except StepError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CALLER
    print(json.dumps(result))
    return EXIT_CALLER if any("error" in part for part in result.values()) else EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
