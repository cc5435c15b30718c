"""The set-up: pinned files, lock hashes, checks of the machine."""

import re

import pytest

from legal_tasks import setup


def test_every_requirement_is_pinned_exactly():
    for environment in setup.ENVIRONMENTS.values():
        for path in (environment.requirements, environment.constraints, environment.later):
            if path is None:
                continue
            for line in path.read_text().splitlines():
                if line and not line.startswith("#"):
                    assert re.fullmatch(r"[\w.\[\]-]+==[\w.+!]+( --hash=sha256:[0-9a-f]{64})?", line), f"{path}: {line}"


def test_no_pinned_file_names_a_cuda_package():
    for environment in setup.ENVIRONMENTS.values():
        assert not re.search(r"(?im)^(nvidia|cuda|torch==|triton)", environment.constraints.read_text())


def test_the_lock_follows_the_pinned_files(tmp_path):
    for name in ("r.txt", "c.txt"):
        (tmp_path / name).write_text("a==1\n")
    environment = setup.Environment("x", tmp_path / "r.txt", tmp_path / "c.txt", torch=False)
    before = environment.lock()
    (tmp_path / "c.txt").write_text("a==2\n")
    assert environment.lock() != before


def test_too_little_disk_is_refused_with_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setenv("LEXLOOP_ENV_DIR", str(tmp_path))
    monkeypatch.setitem(setup.DISK_GIB, "ml", 10**9)
    with pytest.raises(setup.SetupError, match="LEXLOOP_ENV_DIR"):
        setup.check_machine([setup.ENVIRONMENTS["ml"]])


def test_an_unknown_environment_exits_2(capsys):
    assert setup.main(["nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
