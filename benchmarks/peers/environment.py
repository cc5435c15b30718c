"""Peers whose packages would clash with ours get an environment of their own, from pinned requirements beside this file."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from legal_tasks.setup import call, find_links, python_of, root, uv

MARKER = "peer.sha256"


def python(name: str) -> Path:
    """The Python of the peer's environment, which is built where it is missing or its requirements have changed.

    SetupError with the last lines of the installer where its packages cannot be had.
    """
    requirements = Path(__file__).with_name(f"{name}.txt")
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    folder = root() / "peers" / name
    marker, binary = folder / MARKER, folder / "bin" / "python"
    if not marker.is_file() or marker.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        call([uv(), "venv", "-q", "-p", str(python_of("ml")), str(folder)])
        call([uv(), "pip", "install", "-q", "-p", str(binary), *find_links(), "-r", str(requirements)])
        marker.write_text(wanted)
    return binary
