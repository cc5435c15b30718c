"""Where things are, for all tests."""

import os
from pathlib import Path

import pytest

from tests.seat import Seat

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The whole loop comes first: it takes as long as all others together, which run beside it."""
    items.sort(key=lambda item: item.get_closest_marker("loop") is None)


@pytest.fixture
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def environments() -> Path:
    """Folder of the virtual environments that `make test` has built."""
    return Path(os.environ.get("LEXLOOP_ENV_DIR", REPOSITORY / "var" / "env"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real public data, where it lies beside the checkout."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not (folder / "MANIFEST.md").is_file():
        pytest.skip(f"the real data is not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def seat(tmp_path_factory):
    """One seat for all tests of the whole loop; its services are stopped at the end."""
    seat = Seat(tmp_path_factory.mktemp("seat"), REPOSITORY)
    yield seat
    seat.stop()


@pytest.fixture(scope="session")
def released(seat):
    """(the ended command, its summary) of the first retrain on the seat, minutes long; run once for all that look at it."""
    return seat.retrain("--profile", "small")
