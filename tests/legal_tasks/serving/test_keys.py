"""API keys: what is kept of them, what is refused, and how the command behaves."""

import json
import os
import subprocess
import sys
import threading

import pytest

from legal_tasks.serving import keys
from legal_tasks.step import StepError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))
    return tmp_path


def test_a_key_is_told_once_and_only_its_digest_is_kept(folder, capsys):
    assert keys.main(["add", "--name", "office", "--per-minute", "30", "--at-once", "3"]) == 0
    said = capsys.readouterr()
    key = said.out.strip()
    assert key.startswith("ll-") and len(key) == 3 + 8 + 1 + 43 and "no gateway runs" in said.err and "make up" in said.err
    assert {file.stat().st_mode & 0o777 for file in (folder / "secrets").iterdir()} == {0o600}
    secret = key.split("-", 2)[2]
    assert all(secret not in file.read_text() for file in folder.rglob("*") if file.is_file())
    (kept,) = keys.read()
    assert (kept.name, kept.per_minute, kept.at_once, kept.id) == ("office", 30, 3, key.split("-")[1])


def test_the_digest_is_md5_of_id_and_secret_as_nginx_computes_it():
    # printf 'abc.def' | openssl md5 -binary | openssl base64 | tr +/ -_ | tr -d =
    assert keys.digest("abc", "def") == "fTEFhN6amMTjI753r4ePZA"


def test_a_revoked_key_is_gone_and_the_others_stay(folder, capsys):
    first, second = keys.add("one"), keys.add("two")
    assert keys.main(["revoke", first.split("-")[1]]) == 0
    assert [key.id for key in keys.read()] == [second.split("-")[1]]
    assert keys.main(["revoke", "00000000"]) == 2
    assert second.split("-")[1] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--name", '"; return 200; '], "--name"),
        (["--per-minute", "0"], "--per-minute"),
        (["--at-once", "0"], "--at-once"),
    ],
)
def test_a_bad_value_names_its_option_and_makes_no_key(folder, capsys, options, said):
    assert keys.main(["add", *options]) == 2
    assert said in capsys.readouterr().err and keys.read() == []


def test_a_broken_line_is_named_and_never_enters_a_configuration(folder):
    keys.add("one")
    good = json.loads(keys.path().read_text())
    for bad in ({**good, "digest": 'x" ""; } evil {'}, {**good, "id": "short"}, {"name": "one"}):
        keys.path().write_text(json.dumps(good) + "\n" + json.dumps(bad) + "\n")
        with pytest.raises(StepError, match="line 2"):
            keys.read()


def test_keys_that_are_made_at_once_are_all_kept(folder, repository):
    script = "import sys; from legal_tasks.serving import keys; [keys.add(sys.argv[1]) for _ in range(10)]"
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    makers = [subprocess.Popen([sys.executable, "-c", script, f"n{number}"], env=environment) for number in range(4)]
    while any(maker.poll() is None for maker in makers):
        seen = keys.read()  # never half a file
    assert [maker.returncode for maker in makers] == [0] * 4
    names = sorted(key.name for key in keys.read())
    assert names == sorted([f"n{number}" for number in range(4)] * 10) and len(seen) <= 40


def test_who_reads_while_keys_are_written_finds_those_that_were_there(folder):
    keys.add("one")
    over = threading.Event()

    def write():
        while not over.is_set():
            keys.revoke(keys.add("two").split("-")[1])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all("one" in [key.name for key in keys.read()] for _ in range(3000))
    finally:
        over.set()
        writer.join()


FULL = """
import resource, sys
from legal_tasks.serving import keys
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file may grow any more, as on a full disk
sys.exit(keys.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", ["add", "revoke"])
def test_a_full_disk_leaves_the_old_keys_and_says_so(folder, repository, command):
    one, _ = keys.add("one"), keys.add("two")
    before = keys.path().read_bytes()
    argv = [sys.executable, "-c", FULL, command, *([one.split("-")[1]] if command == "revoke" else [])]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(repository)}, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and "no key was made or revoked; make room" in done.stderr, done
    assert keys.path().read_bytes() == before and not list(keys.path().parent.glob(".*"))
