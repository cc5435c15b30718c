"""What a retrain does when something is different: another sentence, real sources, a fault in our code (make test-all)."""

import json
import shutil
import threading
from collections import Counter
from pathlib import Path

import pytest

from legal_tasks.notes import run_folder
from tests.seat import Seat

pytestmark = [pytest.mark.slow, pytest.mark.loop]
REQUESTS = 100


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The embedded world as a user's own files."""
    from legal_tasks.embedded import world

    folder = tmp_path_factory.mktemp("world")
    world.write(folder, 0)
    return folder


def notes(seat, result, task: str) -> dict:
    return json.loads((run_folder(seat.var, "monthly_retrain", result["dag_run_id"]) / f"{task}.json").read_text("utf-8"))


def test_one_changed_sentence_gives_other_data_another_adapter_and_another_version(seat, released, world):
    first = seat.retrain("--sources", str(world / "sources.yaml"))[1]
    notice = next(iter(sorted((world / "documents").iterdir())))
    notice.write_text(notice.read_text("utf-8").replace("请在", "务必在"), "utf-8")
    second = seat.retrain("--sources", str(world / "sources.yaml"))[1]
    for task in ("split", "train"):
        assert notes(seat, first, task)["digest"] != notes(seat, second, task)["digest"], task
    assert second["decision"] in ("released", "refused") and second["model"]["version"] != first["model"]["version"]


def test_real_sources_are_refused_with_reasons_while_production_answers(seat, released, shared_data, tmp_path):
    before, stop, answers = released[1]["model"]["version"], threading.Event(), []

    def ask():
        while len(answers) < REQUESTS and not stop.wait(1.0):
            status, headers, _ = seat.ask(seat.key(), f"第{len(answers)}问")
            answers.append((status, headers.get("x-model-version")))

    asking = threading.Thread(target=ask)
    asking.start()
    done, result = seat.retrain("--sources", str(real_sources(shared_data, tmp_path)), timeout_s=2400)
    asking.join(REQUESTS * 10)
    stop.set()
    assert len(answers) == REQUESTS and {status for status, _ in answers} == {200}
    assert Counter(version for _, version in answers).keys() == {str(result["production"])}
    assert done.returncode == 0 and result["decision"] == "refused" and len(result["reasons"]) >= 2
    assert str(result["model"]["version"]) != str(before)
    records = result["records"]
    assert records["in"] == records["used"] + records["reference"] + sum(records["set_aside"].values())
    assert notes(seat, result, "train")["report"]["records"] >= 1000


def real_sources(shared: Path, folder: Path) -> Path:
    """A SOURCES file over the real data: statutes, judgments, cases, consultations, instructions, and their exams."""
    named = [("statute", "statutes_justlaws_md"), ("statute", "statutes_lawrefbook_md"), ("case", "judgments_txt")]
    named += [("case", f"cases/{path.name}") for path in sorted((shared / "cases").iterdir())]
    named += [("consultation", f"consultation/{path.name}") for path in sorted((shared / "consultation").iterdir())]
    named += [("instruction", f"instruction/{path.name}") for path in sorted((shared / "instruction").iterdir())]
    sources = [{"kind": kind, "path": str(shared / place), "licence": "local"} for kind, place in named]
    exams = [path for path in sorted((shared / "exam").iterdir()) if "labels" not in path.name]
    spec = {"sources": sources, "licences": ["local"]}
    spec["exams"] = [{"name": path.name.split(".")[0], "path": str(path)} for path in exams]
    (folder / "real.yaml").write_text(json.dumps(spec), "utf-8")
    return folder / "real.yaml"


def test_a_fault_in_our_code_exits_1_with_its_traceback(repository, tmp_path):
    copy = tmp_path / "checkout"
    shutil.copytree(repository, copy, ignore=shutil.ignore_patterns("var", ".git", "__pycache__"))
    module = copy / "legal_tasks" / "data" / "check.py"
    module.write_text(
        module.read_text("utf-8").replace("def run(params: Params)", "def run(params: Params, planted=1 // 0)"), "utf-8"
    )
    seat = Seat(tmp_path / "var", copy)
    try:
        done, result = seat.retrain("--profile", "small", timeout_s=400)
    finally:
        seat.stop()
    assert done.returncode == 1 and result["exit"] == 1 and result["decision"] == "failed"
    assert "Traceback" in done.stdout and "ZeroDivisionError" in done.stdout
