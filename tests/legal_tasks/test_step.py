"""The step runner: values, keys, exit codes, nothing half-written."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

MODULE = '''
"""Count words."""
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from legal_tasks.step import Input, Output, Runtime, Skip, StepError, main, progress

VERSION = 1

@dataclass(frozen=True)
class Params:
    text: Annotated[Path, Input("a text file")]
    output: Annotated[Path, Output("folder with words.txt")]
    least: Annotated[int, "shortest word, characters"] = 1
    upper: Annotated[bool, "write in capitals"] = False
    names: Annotated[tuple[str, ...], "words to leave out"] = ()
    workers: Annotated[int, Runtime("processes")] = 1

    def __post_init__(self):
        if self.least < 1:
            raise StepError(f"--least must be at least 1, got {self.least}; leave it out for all words")

@dataclass(frozen=True)
class Report:
    words: int

def run(params):
    words = params.text.read_text().split()
    if words == ["bug"]:
        return Report(1 // 0)
    if words == ["nothing"]:
        raise Skip("nothing new")
    words = [w for w in words if len(w) >= params.least and w not in params.names]
    progress(1, 2, words=len(words))
    (params.output / "words.txt").write_text("\\n".join(w.upper() if params.upper else w for w in words))
    return Report(len(words))

if __name__ == "__main__":
    sys.exit(main("count_words"))
'''


@pytest.fixture
def call(tmp_path: Path, repository: Path):
    """Run the sample step as a command: (exit code, last line as JSON or None, everything it said)."""
    (tmp_path / "count_words.py").write_text(textwrap.dedent(MODULE))

    def run(text: str, *options: str):
        (tmp_path / "text.txt").write_text(text)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "count_words",
                "--text",
                str(tmp_path / "text.txt"),
                "--store",
                str(tmp_path / "store"),
                *options,
            ],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": f"{tmp_path}:{repository}", "PATH": "/usr/bin:/bin", "LEXLOOP_VAR": str(tmp_path)},
        )
        lines = done.stdout.strip().splitlines()
        last = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else None
        return done.returncode, last, done.stdout + done.stderr

    return run


def test_a_step_makes_an_artifact_with_manifest_and_report(call):
    code, result, _ = call("one two three", "--least", "4")
    folder = Path(result["artifact"])
    assert code == 0
    assert (folder / "words.txt").read_text() == "three"
    assert json.loads((folder / "report.json").read_text()) == {"words": 1}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["params"] == {"least": 4, "upper": False, "names": []}
    assert result["digest"] == manifest["digest"] and not result["reused"]


def test_the_same_question_is_answered_from_the_store_and_recompute_asks_again(call):
    first = call("one two")[1]
    again = call("one two", "--workers", "2")[1]
    redone = call("one two", "--recompute")[1]
    assert again["reused"] and again["artifact"] == first["artifact"]
    assert not redone["reused"] and redone["digest"] == first["digest"]


def test_another_parameter_or_input_is_another_artifact(call):
    keys = {call("one two")[1]["key"], call("one two", "--upper")[1]["key"], call("one two three")[1]["key"]}
    assert len(keys) == 3


def test_bad_values_exit_2_with_the_option_and_no_traceback(call, tmp_path):
    for options, named in [(["--least", "0"], "--least"), (["--least", "many"], "--least"), (["--set", "a=1"], "--set")]:
        code, _, said = call("one", *options)
        assert code == 2 and named in said and "Traceback" not in said
    assert not list((tmp_path / "store").rglob("words.txt"))


def test_a_missing_input_is_named(call):
    code, _, said = call("one", "--text", "/nowhere/at/all")
    assert code == 2 and "--text" in said and "/nowhere/at/all" in said


def test_a_bug_exits_1_with_its_traceback_and_leaves_no_artifact(call, tmp_path):
    code, _, said = call("bug", "--report", str(tmp_path / "note.json"))
    assert code == 1 and "ZeroDivisionError" in said
    assert not list((tmp_path / "store").rglob("manifest.json"))
    note = json.loads((tmp_path / "note.json").read_text())
    assert note["exit"] == 1 and "ZeroDivisionError" in note["error"]


def test_skip_exits_99_with_the_reason(call):
    code, result, _ = call("nothing")
    assert code == 99 and result == {"step": "count_words", "skipped": True, "reason": "nothing new", "report": {}}


def test_a_named_output_is_written_there_and_never_over_something(call, tmp_path):
    code, result, _ = call("one two", "--output", str(tmp_path / "out"))
    assert code == 0 and Path(result["artifact"]) == tmp_path / "out"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"words.txt", "report.json", "manifest.json"}
    assert call("one two", "--output", str(tmp_path / "out"))[0] == 2


def test_help_shows_every_option_with_its_default(call):
    code, _, said = call("one", "--help")
    assert code == 0
    for part in ("--least", "shortest word", "(default: 1)", "--no-upper", "--recompute"):
        assert part in said


def test_the_result_is_also_written_where_a_containers_operator_looks(call, tmp_path):
    copy = tmp_path / "xcom" / "return.json"
    (tmp_path / "text.txt").write_text("one")
    done = subprocess.run(
        [sys.executable, "-m", "count_words", "--text", str(tmp_path / "text.txt")],
        capture_output=True,
        text=True,
        env={
            "PYTHONPATH": f"{tmp_path}:{Path(__file__).resolve().parents[2]}",
            "PATH": "/usr/bin:/bin",
            "LEXLOOP_VAR": str(tmp_path),
            "LEXLOOP_RESULT": str(tmp_path / "note.json"),
            "LEXLOOP_RESULT_COPY": str(copy),
        },
    )
    line = json.loads(done.stdout.strip().split("\n")[-1])
    assert json.loads(copy.read_text()) == json.loads((tmp_path / "note.json").read_text()) == line
