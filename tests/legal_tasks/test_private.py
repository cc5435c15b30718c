"""What an installation writes is its owner's alone."""

import json
import os
import stat
import subprocess
import sys

import pytest

from legal_tasks import private, services
from tests.conftest import REPOSITORY


def mode(path):
    return oct(stat.S_IMODE(path.lstat().st_mode))


@pytest.fixture
def var(tmp_path, monkeypatch):
    folder = tmp_path / "var"
    monkeypatch.setenv("LEXLOOP_VAR", str(folder))
    for name in ("LEXLOOP_STORE", "LEXLOOP_DB", "LEXLOOP_USERS"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def open_folder(var):
    """A var folder as an earlier version left it: open to every account."""
    for name in ("store", "logs", "postgres"):
        (var / name).mkdir(parents=True, mode=0o755)
        (var / name).chmod(0o755)
    (var / "retrain.json").write_text("{}")
    (var / "retrain.json").chmod(0o644)
    (var / "program").write_text("")
    (var / "program").chmod(0o755)
    (var / "link").symlink_to("/etc")
    var.chmod(0o755)
    return var


def test_a_folder_and_what_lies_in_it_are_closed_and_named(open_folder):
    found = private.close(open_folder)
    assert mode(open_folder) == mode(open_folder / "store") == mode(open_folder / "program") == "0o700"
    assert mode(open_folder / "retrain.json") == "0o600"
    assert {path.name for path in found} == {"var", "store", "logs", "postgres", "retrain.json", "program"}
    assert private.close(open_folder) == []


def test_a_link_is_not_followed(open_folder):
    before = mode(open_folder.parent.parent)
    (open_folder / "link").unlink()
    (open_folder / "link").symlink_to(open_folder.parent.parent)
    private.close(open_folder)
    assert mode(open_folder.parent.parent) == before


def test_another_account_gets_past_to_its_own_folder_and_sees_no_names(open_folder):
    private.close(open_folder, frozenset({"postgres"}))
    assert mode(open_folder) == "0o711" and mode(open_folder / "postgres") == "0o755" and mode(open_folder / "store") == "0o700"
    assert private.close(open_folder, frozenset({"postgres"})) == []


def test_a_store_outside_of_var_is_closed_too(open_folder, tmp_path, monkeypatch, capsys):
    store = tmp_path / "elsewhere"
    store.mkdir()
    store.chmod(0o755)
    monkeypatch.setenv("LEXLOOP_STORE", str(store))
    services.close()
    assert mode(store) == mode(open_folder) == "0o700" and str(open_folder) in capsys.readouterr().out


def test_what_a_step_writes_is_its_owners_alone(tmp_path):
    argv = [sys.executable, "-m", "legal_tasks.data.collect", "--sources", "embedded", "--as-of", "2026-11-01"]
    values = {
        **os.environ,
        "LEXLOOP_VAR": str(tmp_path / "var"),
        "LEXLOOP_STORE": str(tmp_path / "store"),
        "LEXLOOP_PROFILE": "small",
    }
    done = subprocess.run(
        [*argv, "--report", str(tmp_path / "note.json")], env=values, cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    made = [path for path in [*(tmp_path / "store").rglob("*"), tmp_path / "note.json"] if not path.is_symlink()]
    assert len(made) > 10 and not [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077]


def test_every_user_has_a_password_before_the_server_would_make_one_and_log_it(var, monkeypatch):
    services.admin_password()
    path = var / "airflow" / "passwords.json"
    before = json.loads(path.read_text())
    monkeypatch.setenv("LEXLOOP_USERS", "alice:user,bob:op")
    after = services.passwords()
    assert after["admin"] == before["admin"] and after.keys() == {"admin", "alice", "bob"} and len(set(after.values())) == 3
    assert json.loads(path.read_text()) == after and mode(path) == "0o600"


def test_the_supervisors_children_and_airflows_logs_are_private(var):
    services.write_airflow_config()
    assert "umask=077" in services.write_supervisor_config().read_text().splitlines()
    text = (var / "airflow" / "airflow.cfg").read_text()
    assert "file_task_handler_new_folder_permissions = 0o700" in text
    assert "file_task_handler_new_file_permissions = 0o600" in text
