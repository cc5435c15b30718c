"""The set-up: pinned files, lock hashes, checks of the machine."""

import re
import socket

import pytest

from legal_tasks import setup


def test_every_requirement_is_pinned_exactly():
    for environment in setup.ENVIRONMENTS.values():
        for path in (environment.requirements, environment.constraints, environment.later):
            if path is None:
                continue
            for line in re.sub(r"\\\n", "", path.read_text()).splitlines():
                if line and not line.startswith("#"):
                    pin = r"[\w.\[\]-]+==[\w.+!]+( ; [^;\\]+)?( +--hash=sha256:[0-9a-f]{64})*"
                    assert re.fullmatch(pin, line.strip()), f"{path}: {line[:200]}"


def test_no_pinned_file_names_a_cuda_package():
    for environment in setup.ENVIRONMENTS.values():
        assert not re.search(r"(?im)^(nvidia|cuda|torch==)", environment.constraints.read_text())


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


def test_a_taken_port_is_named_before_anything_is_built(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEXLOOP_ENV_DIR", str(tmp_path / "environments"))
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        monkeypatch.setenv("LEXLOOP_MLFLOW_PORT", port)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name in ("AIRFLOW", "GATEWAY"):
            monkeypatch.setenv(f"LEXLOOP_{name}_PORT", free_port())
        assert setup.main(["ml", "--ports"]) == 2
    said = capsys.readouterr().err
    assert port in said and "LEXLOOP_MLFLOW_PORT" in said
    assert not (tmp_path / "environments" / "ml").exists()


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_without_names_only_the_environments_of_the_cpu_profile_are_built(repository):
    yaml = pytest.importorskip("yaml")
    profile = yaml.safe_load((repository / "legal_tasks" / "settings" / "small.yaml").read_text("utf-8"))
    usual = [name for name, environment in setup.ENVIRONMENTS.items() if not environment.optional]
    assert usual == profile["environments"] and "llamafactory" in setup.ENVIRONMENTS
