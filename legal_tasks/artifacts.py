"""The artifact store: folders with a manifest, kept under a key of what made them.

A finished artifact is a folder with `manifest.json`, written last. Its *key* says what was asked for (step, version,
parameters, digests of the inputs, lock hash of the environment); its *digest* says what came out (content of its files).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from legal_tasks.lease import Lease

MANIFEST = "manifest.json"
REPORT = "report.json"
CARD = "card/"  # like the report, what tells of the making (seconds, machine) and is no part of the content


class ArtifactError(Exception):
    """A folder that should be a finished, unchanged artifact is not one."""


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: `path` (folder), content `digest`, the step's `report`, and whether it was there before."""

    path: Path
    digest: str
    report: dict[str, Any]
    reused: bool
    manifest: dict[str, Any] = field(default_factory=dict)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text (paths and dates as text)."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sha256_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(folder: Path) -> list[Path]:
    """Every regular file below `folder`, sorted; links are refused because their target is not kept with the folder."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise ArtifactError(f"{path} is a link: an artifact holds plain files only; copy the file instead")
        if path.is_file():
            found.append(path)
    return found


def digest_files(files: Mapping[str, str]) -> str:
    """Digest of a folder from {relative name: sha256 of the content}."""
    return sha256_text(canonical(dict(files)))


def digest_content(files: Mapping[str, str]) -> str:
    """Digest of an artifact from all its files but the manifest: what tells of the making is no part of it."""
    return digest_files({name: digest for name, digest in files.items() if name != REPORT and not name.startswith(CARD)})


def digest_path(path: Path | str) -> str:
    """Content digest of a file, of a folder, or of an artifact (from its manifest, without reading its files)."""
    path = Path(path)
    if path.is_file():
        return sha256_file(path)
    if (path / MANIFEST).is_file():
        return str(read_manifest(path)["digest"])
    if path.is_dir():
        return digest_files({p.relative_to(path).as_posix(): sha256_file(p) for p in list_files(path)})
    raise FileNotFoundError(path)


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """The manifest of a finished artifact; ArtifactError where there is none."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{folder} holds no {MANIFEST}: it is not a finished artifact")
    return json.loads(path.read_text("utf-8"))


def verify(folder: Path | str) -> dict[str, Any]:
    """Read every file again and compare with the manifest; return it. ArtifactError names the first file that differs."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    expected: dict[str, str] = manifest["files"]
    if manifest["digest"] != digest_content(expected):
        raise ArtifactError(
            f"{folder / MANIFEST} was changed: its digest is not that of its files; run the step with --recompute"
        )
    present = {p.relative_to(folder).as_posix(): p for p in list_files(folder) if p.name != MANIFEST or p.parent != folder}
    for name in sorted(expected.keys() | present.keys()):
        if name not in present:
            raise ArtifactError(f"{folder / name} is missing: the manifest lists it; run the step again with --recompute")
        if name not in expected:
            raise ArtifactError(f"{folder / name} is not in the manifest: somebody put it there; remove it")
        if sha256_file(present[name]) != expected[name]:
            raise ArtifactError(f"{folder / name} was changed after it was made; run the step again with --recompute")
    return manifest


def mark_used(folder: Path) -> None:
    """Note that an artifact was asked for: its manifest's modification time is when it was made or last used."""
    try:
        os.utime(folder / MANIFEST)
    except PermissionError:
        return  # somebody else's store: only its owner collects garbage there


def hardware() -> dict[str, Any]:
    """What ran it, as far as the standard library can tell: shown beside a reused artifact, never part of a key."""
    return {"machine": platform.machine(), "processors": os.cpu_count(), "system": platform.system()}


class Store:
    """Artifacts below one local folder: `<root>/<step>/<first 16 of key>/`. Work in progress lies in `<root>/.work/`."""

    def __init__(self, root: Path | str):
        self.root = Path(root).absolute()

    def folder(self, step: str, key: str) -> Path:
        return self.root / step / key[:16]

    def work(self, step: str, key: str) -> Path:
        """Folder for checkpoints of this key; it outlives a failed attempt and is removed when the artifact is there."""
        return self.root / ".work" / step / key[:16]

    def lease(self, step: str, key: str) -> Lease:
        """The lease under which this key is made; not taken yet."""
        return Lease(self.root / ".leases" / f"{step}-{key[:16]}.json", {"step": step, "key": key})

    def find(self, step: str, key: str) -> Artifact | None:
        """The finished artifact of this key, or None."""
        folder = self.folder(step, key)
        if not (folder / MANIFEST).is_file():
            return None
        manifest = read_manifest(folder)
        if manifest["key"] != key:
            raise ArtifactError(f"{folder} holds key {manifest['key']}, wanted {key}: two keys share their first 16 digits")
        report = json.loads((folder / REPORT).read_text("utf-8"))
        return Artifact(folder, manifest["digest"], report, True, manifest)

    def with_digest(self, step: str, digest: str) -> Path | None:
        """Folder of the finished artifact of a step whose content has this digest, or None where the store has none."""
        for manifest in sorted((self.root / step).glob(f"*/{MANIFEST}")):
            if read_manifest(manifest.parent)["digest"] == digest:
                return manifest.parent
        return None

    def make(
        self,
        step: str,
        key: str,
        run: Callable[[Path], Mapping[str, Any]],
        *,
        describe: Mapping[str, Any],
        recompute: bool = False,
    ) -> Artifact:
        """Return the artifact of `key`; where there is none, let `run(folder)` fill an empty folder and finish it.

        Only one process makes a key at a time; others wait for it and take its result (see `legal_tasks.lease`).
        """
        with self.lease(step, key) as lease:
            found = self.find(step, key)
            if found is not None and (not recompute or lease.waited):
                mark_used(found.path)
                return found
            output = self.root / ".work" / step / f"{key[:16]}.output"
            shutil.rmtree(output, ignore_errors=True)
            output.mkdir(parents=True)
            started = time.time()
            try:
                report = dict(run(output))
                return self.finish(step, key, output, report, describe={**describe, "seconds": round(time.time() - started, 3)})
            except BaseException:
                shutil.rmtree(output, ignore_errors=True)  # of no use to the next attempt, and maybe the disk is full
                raise

    def finish(self, step: str, key: str, output: Path, report: Mapping[str, Any], *, describe: Mapping[str, Any]) -> Artifact:
        """Write report and manifest into `output` and move it to its place; an older one of the same key is replaced."""
        (output / REPORT).write_text(json.dumps(report, ensure_ascii=False, indent=1, default=str) + "\n", "utf-8")
        files = {p.relative_to(output).as_posix(): sha256_file(p) for p in list_files(output)}
        manifest = {
            "step": step,
            "key": key,
            "digest": digest_content(files),
            "files": files,
            **describe,
            "hardware": hardware(),
            "python": platform.python_version(),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        temporary = output / (MANIFEST + ".part")
        temporary.write_text(json.dumps(manifest, ensure_ascii=False, indent=1, default=str) + "\n", "utf-8")
        os.replace(temporary, output / MANIFEST)
        final = self.folder(step, key)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            aside = output.with_suffix(".old")
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(final, aside)
            os.rename(output, final)
            shutil.rmtree(aside)
        else:
            os.rename(output, final)
        shutil.rmtree(self.work(step, key), ignore_errors=True)
        return Artifact(final, manifest["digest"], dict(report), False, manifest)

    def get_or_make(
        self,
        step: str,
        key_parts: Mapping[str, Any],
        inputs: Mapping[str, Path],
        make: Callable[[Path], Mapping[str, Any]],
        *,
        recompute: bool = False,
    ) -> Artifact:
        """Keep a sub-result of a step: the key is sha256 of the name, `key_parts` and the digests of `inputs`."""
        digests = {name: digest_path(path) for name, path in inputs.items()}
        key = sha256_text(canonical({"step": step, "parts": key_parts, "inputs": digests}))
        describe = {"params": dict(key_parts), "inputs": digests}
        return self.make(step, key, make, describe=describe, recompute=recompute)
