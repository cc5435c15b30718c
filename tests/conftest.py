"""Where things are, for all tests."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def environments() -> Path:
    """Folder of the virtual environments that `make test` has built."""
    return Path(os.environ.get("LEXLOOP_ENV_DIR", REPOSITORY / "var" / "env"))


@pytest.fixture
def shared_data() -> Path:
    """The real public data, where it lies beside the checkout."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not (folder / "MANIFEST.md").is_file():
        pytest.skip(f"the real data is not here: {folder}")
    return folder
