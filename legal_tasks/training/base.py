"""Find the base model: an embedded one, a local folder, or a model of the Hugging Face hub (or its mirror).

The hub is asked only for weights in safetensors, JSON and text; what it sends is admitted like any other folder.
`HF_ENDPOINT` (set before the start) names a mirror, `HF_TOKEN` a login for gated models.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from legal_tasks.compression.load import admit
from legal_tasks.step import StepError, var_folder

WORLD = Path(__file__).resolve().parents[1] / "embedded"
EMBEDDED = {"embedded": WORLD / "base", "embedded-small": WORLD / "base_small"}
WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "*.txt", "LICENSE*"]


def resolve(base: str, programs: Mapping[str, str] | None = None) -> Path:
    """The admitted folder of `embedded` or `embedded-small`, of a path, or of a hub id `organisation/name[@revision]`.

    A hub model is fetched once into `var/bases/` and read from there afterwards; a revision pins it. `programs`: those of
    its own that may be fetched and lie there, see `load.admit`. Raises StepError.
    """
    if base in EMBEDDED:
        return admit(EMBEDDED[base])
    if Path(base).is_dir():
        return admit(Path(base), programs)
    name, _, revision = base.partition("@")
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise StepError(
            f"--base {base}: no such folder; give {' or '.join(EMBEDDED)}, a model folder or a hub id "
            "organisation/name[@revision]"
        )
    folder = var_folder() / "bases" / (name.replace("/", "--") + (f"@{revision}" if revision else ""))
    if not folder.is_dir():
        _fetch(name, revision or None, folder, programs)
    return admit(folder, programs)


def _fetch(name: str, revision: str | None, folder: Path, programs: Mapping[str, str] | None) -> None:
    """Download to a neighbour, admit, rename: a folder that is there is complete."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    part = folder.with_name(folder.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    try:
        snapshot_download(name, revision=revision, local_dir=part, allow_patterns=[*WANTED, *(programs or ())])
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise StepError(
            f"--base {name}: cannot be fetched from {constants.ENDPOINT} ({type(error).__name__}: {error}); "
            "set HF_ENDPOINT to a mirror, HF_TOKEN for a gated model, or give a local folder"
        ) from error
    shutil.rmtree(part / ".cache", ignore_errors=True)
    try:
        admit(part, programs)
    except StepError:
        shutil.rmtree(part)
        raise
    part.rename(folder)
