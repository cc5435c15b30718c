"""Carry out a request for deletion: a tombstone, the sets that hold the person purged, the models trained on them listed.

    python -m legal_tasks.data.forget --subject 张三 --subject 13800138000 --dry-run
    python -m legal_tasks.data.forget --item 3f2a9c0d1e4b5a67 --reason "letter of 2026-11-02"

`--subject` may be given several times: an item is meant when it holds every one of them. From then on data.collect drops such
items from every source (set aside as `forgotten`), and the next run trains without them. Sets, results and checkpoints in the
store that hold the words, or records made from the items, are removed. Models are not: they are listed, newest first, for
people to decide (retrain, then roll on). What was copied elsewhere (`make prepare`), and the sources themselves, are yours.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from legal_tasks import artifacts, gc
from legal_tasks.data import tombstones
from legal_tasks.lease import Lease
from legal_tasks.serving.state import StateError
from legal_tasks.step import EXIT_CALLER, EXIT_DONE, StepError, store

SHORTEST = 2  # characters
TEXTS = (".jsonl", ".json", ".csv", ".md", ".txt")
WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt")
TRAINED = ("training.lora", "training.merge", "compression.compress")


def texts_of(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in TEXTS and path.name != artifacts.MANIFEST and path.is_file():
            yield path


def find_items(target: artifacts.Store, matcher: tombstones.Matcher) -> dict[str, str]:
    """{item id: source} of the collected items that are meant, over all collections in the store."""
    found = {}
    for path in sorted(target.root.glob("data.collect/*/items.jsonl")):
        with open(path, encoding="utf-8") as file:
            for line in file:
                item = json.loads(line)
                if matcher.item(item["id"], item.get("fields", item.get("text"))):
                    found[item["id"].split("-")[0]] = item["source"]
    return found


def holds(folder: Path, matcher: tombstones.Matcher, items: set[str]) -> bool:
    """Whether any line of a folder's texts is meant: by its words, or by the id of the item that it was made from."""
    for path in texts_of(folder):
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if (items and names_item(line, items)) or matcher.text(line):
                    return True
    return False


def names_item(line: str, items: set[str]) -> bool:
    """Whether a JSON line is one of the items, or a record with such an item as its provenance."""
    if not any(item in line for item in items):
        return False
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return True  # a part of a larger text that names it
    if not isinstance(row, dict):
        return True
    if row.get("reason") == "forgotten":
        return False  # what data.collect set aside: an id without content
    named = [row.get("id"), *(row.get("provenance") or {}).values()]
    return any(str(value).split("-")[0].split(".")[0] in items for value in named)


def has_weights(folder: Path) -> bool:
    return any(path.suffix in WEIGHTS for path in folder.rglob("*"))


def descendants(kept: list[gc.Kept], roots: set[str]) -> list[gc.Kept]:
    """All that was made from what has these digests, directly or not, by the inputs in the manifests."""
    digests, found = set(roots), list[gc.Kept]()
    grew = True
    while grew:
        grew = False
        for each in kept:
            if each not in found and digests & set(each.inputs.values()):
                found.append(each)
                digests.add(each.digest)
                grew = True
    return found


def lineage(target: artifacts.Store) -> list[gc.Kept]:
    """What garbage collection and earlier requests removed, by the manifests that stayed."""
    found = []
    for path in sorted((target.root / ".removed").glob("*/*.json")):
        manifest = json.loads(path.read_text("utf-8"))
        inputs = {name: str(digest) for name, digest in (manifest.get("inputs") or {}).items()}
        found.append(gc.Kept(path, path.parent.name, path.stem, str(manifest["digest"]), inputs, 0, path.stat().st_mtime))
    return found


def purge_work(target: artifacts.Store, matcher: tombstones.Matcher, items: set[str], dry_run: bool) -> list[str]:
    """Checkpoints and half-made folders that hold it; those under a live lease are the caller's to wait for."""
    found = []
    for folder in sorted((target.root / ".work").glob("*/*")):
        if holds(folder, matcher, items):
            found.append(f"{folder.parent.name}/{folder.name}")
            if not dry_run:
                with Lease(target.root / ".leases" / f"{folder.parent.name}-{folder.name.split('.')[0]}.json", {"gc": True}):
                    shutil.rmtree(folder)
    return found


def purge_memory(target: artifacts.Store, dry_run: bool) -> list[str]:
    """What data.clean remembers of single documents: all of it, the next run finds out again."""
    folder = target.root / ".documents"
    if not folder.is_dir():
        return []
    if not dry_run:
        shutil.rmtree(folder)
    return [folder.name]


def roles_of(target: artifacts.Store) -> dict[str, str] | None:
    """{digest: role in production} of models; None where that cannot be known, which keeps nobody from being forgotten."""
    try:
        return gc.pinned_models(target, ledger_months=1200, now=time.time())
    except StateError as error:
        print(f"which models serve is not known: {error}", file=sys.stderr)
        return None


def model_row(each: gc.Kept, models: dict[str, str] | None, gone: bool) -> dict[str, Any]:
    unknown = "in the store, whether it serves is not known" if models is None else "in the store"
    state = (models or {}).get(each.digest) or ("removed" if gone else unknown)
    return {"step": each.step, "key": each.key, "digest": each.digest, "state": state, "used": round(each.used)}


def forget(stone: tombstones.Tombstone, most: int, dry_run: bool) -> dict[str, Any]:
    """Write the tombstone, purge, and report {tombstone, items, purged, work, waiting, models, dry_run}."""
    target = store()
    items = find_items(target, tombstones.Matcher([stone]))
    if len(items) > most:
        raise StepError(
            f"--subject means {len(items)} items, more than --most {most}: give a second word that must stand beside it "
            "(--subject twice), look with --dry-run --most N, or raise --most"
        )
    stone = replace(stone, items=tuple(sorted({*stone.items, *items})))
    matcher, named = tombstones.Matcher([stone]), set(stone.items)
    kept = gc.scan(target)
    sets = [each for each in kept if not has_weights(each.path) and holds(each.path, matcher, named)]
    stone = replace(stone, sets=tuple(sorted({each.digest for each in sets})))
    earlier = same_request(stone)
    if not dry_run and earlier is None:
        tombstones.write(stone)
    held, lines = gc.held_keys(target), gc.command_lines()
    busy = [each for each in sets if gc.in_use(each, held, lines)]
    free = [each for each in sets if each not in busy]
    former = lineage(target)
    known = {*stone.sets, *(earlier.sets if earlier else ())}
    made = [each for each in descendants([*kept, *former], known) if each.step in TRAINED]
    models = roles_of(target)
    if not dry_run:
        for each in free:
            # Its manifest, digests and numbers without content, stays as lineage.
            gc.remove(target, each, time.time(), grace_s=0.0)
    rows = [model_row(each, models, each in former) for each in sorted(made, key=lambda each: -each.used)]
    return {
        "tombstone": (earlier or stone).id,
        "items": dict(sorted(items.items())),
        "purged": [{"artifact": f"{each.step}/{each.key}", "bytes": each.bytes} for each in free],
        "work": purge_work(target, matcher, named, dry_run) + purge_memory(target, dry_run),
        "waiting": [f"{each.step}/{each.key}" for each in busy],
        "models": rows,
        "dry_run": dry_run,
    }


def same_request(stone: tombstones.Tombstone) -> tombstones.Tombstone | None:
    """An earlier tombstone for the same words, or for all of these items where no words are given."""
    for each in tombstones.read():
        if each.subject == stone.subject and set(stone.items) <= set(each.items):
            return each
    return None


def show(result: dict[str, Any]) -> None:
    would = "would purge" if result["dry_run"] else "purged"
    print(f"items meant: {len(result['items'])}")
    for row in result["purged"]:
        print(f"{would} {row['artifact']}  {row['bytes']} bytes")
    for name in result["work"]:
        print(f"{would} unfinished work {name}")
    for name in result["waiting"]:
        print(f"in use, not purged: {name}")
    for row in result["models"]:
        print(f"trained on it: {row['step']}/{row['key']}, {row['state']}")
    if not result["models"]:
        print("no model in the store was trained on it")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m legal_tasks.data.forget", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subject", action="append", default=[], metavar="WORD", help="a name, a number; all must occur")
    parser.add_argument("--item", action="append", default=[], metavar="ID", help="an item's id (provenance.parent of a record)")
    parser.add_argument("--reason", default="", help="kept with the tombstone, e.g. the letter's date")
    parser.add_argument("--most", type=int, default=100, help="refuse where more items are meant (default: 100)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be purged and which models are concerned")
    given = parser.parse_args(argv)
    try:
        subject = tuple(word.strip() for word in given.subject)
        if not subject and not given.item:
            raise StepError("--subject or --item is needed: whom or what to forget")
        for word in subject:
            if len(tombstones.squeeze(word)) < SHORTEST:
                raise StepError(f"--subject {word!r} is shorter than {SHORTEST} characters: it would mean nearly everything")
        stone = tombstones.Tombstone(
            id=secrets.token_hex(6),
            at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            subject=subject,
            items=tuple(given.item),
            reason=given.reason,
        )
        result = forget(stone, given.most, given.dry_run)
    except (StepError, artifacts.ArtifactError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CALLER
    show(result)
    print(json.dumps(result, ensure_ascii=False))
    if result["waiting"]:
        print("error: sets are in use by a run; the tombstone stands, call this again when the run has ended", file=sys.stderr)
        return EXIT_CALLER
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
