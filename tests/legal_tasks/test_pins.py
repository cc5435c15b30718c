"""Every package is pinned with hashes, its licence is listed, and an audit that found nothing out is no pass."""

import re
import subprocess
import sys

import pytest

from legal_tasks import pins, setup
from legal_tasks.setup import ENVIRONMENTS
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_package_is_pinned_with_the_hashes_of_its_files(name):
    found = list(pins.pinned(ENVIRONMENTS[name].constraints))
    assert found and not [package for package, _, hashes in found if not hashes]
    assert len({package for package, _, _ in found}) == len(found)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_what_is_asked_for_is_pinned_as_it_is_asked_for(name):
    environment = ENVIRONMENTS[name]
    pinned = {package: version for package, version, _ in pins.pinned(environment.constraints)}
    for path in filter(None, (environment.requirements, environment.later)):
        for package, version, _ in pins.pinned(path):
            assert pinned[package] == version, f"{path}: {package}"


def test_uv_and_torch_are_pinned_too():
    assert [(name, hashes > 0) for name, _, hashes in pins.pinned(setup.UV)] == [("uv", True)]
    assert setup.TORCH_HASHES and all(re.fullmatch("[0-9a-f]{64}", one) for one in setup.TORCH_HASHES)


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path, monkeypatch):
    """pip compares: the same name and version with other bytes does not get in."""
    monkeypatch.setenv("LEXLOOP_ENV_DIR", str(tmp_path / "env"))
    wheel = tmp_path / "six-1.17.0-py2.py3-none-any.whl"
    wheel.write_bytes(b"PK\x05\x06" + bytes(18))  # an empty archive
    (tmp_path / "wrong.txt").write_text(f"six==1.17.0 --hash=sha256:{'0' * 64}\n")
    (tmp_path / "env").mkdir()
    argv = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-index", "--find-links", str(tmp_path)]
    argv += ["--require-hashes", "-r", str(tmp_path / "wrong.txt"), "-d", str(tmp_path / "got")]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode and "DO NOT MATCH THE HASHES" in done.stderr


def test_every_installed_package_is_in_the_list_of_licences():
    listed = set(re.findall(r"^\| (\S+) \| (\S+) \|", pins.LISTED.read_text("utf-8"), re.M))
    for name in ("orchestrator", "ml", "vllm"):
        wanted = {(package, version) for package, version, _ in pins.pinned(ENVIRONMENTS[name].constraints)}
        # async-timeout: of Python before 3.11.3 alone.
        missing = {package for package, version in wanted - listed} - {*setup.UNWANTED, "async-timeout"}
        assert not missing, f"make licences: {sorted(missing)[:5]} of {name} are not in {pins.LISTED.name}"


def test_a_fault_fails_the_audit_and_so_does_a_silent_index(capsys):
    clean = {"name": "a", "version": "1", "vulns": []}
    faulty = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
    assert pins.tell([clean], 1) == 0
    assert pins.tell([clean, faulty], 2) == 1 and "b 2: CVE-1; mended in 3" in capsys.readouterr().out
    assert pins.tell([clean, {"name": "c", "skip_reason": "not found"}], 2) == 2
    assert pins.tell([], 0) == 0


def test_two_versions_of_a_package_are_asked_about_one_after_the_other():
    assert pins.parts([("a", "1"), ("a", "2"), ("b", "1")]) == [[("a", "1"), ("b", "1")], [("a", "2")]]


def test_the_makefile_has_the_commands():
    text = (REPOSITORY / "Makefile").read_text()
    assert all(f"legal_tasks.pins {action}" in text for action in ("write", "audit", "sbom", "licences"))
