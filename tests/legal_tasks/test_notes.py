"""The notes of a run: its own, those of its candidates, and which candidate stands for the run."""

import json

from legal_tasks import notes


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_a_run_without_candidates_has_its_own_notes_alone(tmp_path):
    write(tmp_path / "train.json", {"digest": "t"})
    write(tmp_path / "train.progress.json", {"done": 1})
    assert notes.read_run(tmp_path) == {"train": {"digest": "t"}}


def test_an_only_candidate_counts_from_its_start(tmp_path):
    write(tmp_path / "split.json", {"digest": "s"})
    write(tmp_path / "0" / "train.json", {"error": "no room"})
    assert notes.read_run(tmp_path) == {"split": {"digest": "s"}, "train": {"error": "no room"}}


def test_of_several_candidates_none_counts_before_the_choice_and_the_chosen_one_after(tmp_path):
    write(tmp_path / "0" / "gate.json", {"artifact": "/g/0"})
    write(tmp_path / "1" / "gate.json", {"artifact": "/g/1"})
    assert notes.read_run(tmp_path) == {}
    write(tmp_path / "choose.json", {"artifact": "/c", "report": {"chosen": 1, "candidates": [{"base": "a"}, {"base": "b"}]}})
    found = notes.read_run(tmp_path)
    assert found["gate"] == {"artifact": "/g/1"} and notes.judged(found) == "/c"
    assert [each["base"] for each in notes.listed(found)] == ["a", "b"]


def test_after_a_choice_that_failed_the_last_words_are_the_choices(tmp_path):
    write(tmp_path / "0" / "train.json", {"error": "one"})
    write(tmp_path / "1" / "train.json", {"error": "two"})
    write(tmp_path / "choose.json", {"error": "no candidate came to a decision"})
    assert notes.read_run(tmp_path) == {"choose": {"error": "no candidate came to a decision"}}


RUNS = [
    ".",
    "..",
    "a/b",
    "a_b",
    "a%2Fb",
    "monthly_retrain",
    "monthly_retrain@x",
    "x",
    "",
    "0",
    "Ä",
    "x" * 250,
    "x" * 249 + "y",
    "a\0b",
]


def test_no_two_runs_meet_in_one_folder_and_none_leaves_the_place_of_notes(tmp_path):
    pairs = [(dag, run) for dag in ("monthly_retrain", "quarterly_retrain", "d" * 250) for run in RUNS]
    pairs += [("a", "b@c"), ("a@b", "c"), ("a/b", "c"), ("a", "b/c")]
    folders = {notes.run_folder(tmp_path, *pair) for pair in pairs}
    assert len(folders) == len(pairs) and {folder.parent for folder in folders} == {tmp_path / "runs"}
    for dag, run in pairs:
        folder = notes.run_folder(tmp_path, dag, run)
        folder.mkdir(parents=True)  # the file system takes it
        (folder / "collect.json").write_text(json.dumps({"dag": dag, "dag_run": run}))
        assert notes.origin(folder) == (dag, run) and notes.find_folder(tmp_path, dag, run) == folder
    assert not any(path.name == "collect.json" for path in tmp_path.glob("*"))


def test_notes_of_an_earlier_version_are_read_by_their_own_dag_alone(tmp_path):
    old = tmp_path / "runs" / "manual__1_2"
    old.mkdir(parents=True)
    (old / "collect.json").write_text(json.dumps({"dag": "quarterly_retrain"}))
    assert notes.find_folder(tmp_path, "quarterly_retrain", "manual__1/2") == old
    assert notes.find_folder(tmp_path, "monthly_retrain", "manual__1/2") == tmp_path / "runs" / "monthly_retrain@manual__1%2F2"
    assert notes.origin(old) == ("quarterly_retrain", "manual__1_2")
    (old / "collect.json").write_text("{}")
    assert notes.find_folder(tmp_path, "monthly_retrain", "manual__1_2") == old
    for run in (".", "..", "/", "x" * 300, "a\0b"):
        assert notes.find_folder(tmp_path, "monthly_retrain", run).parent == tmp_path / "runs"
        assert "@" in notes.find_folder(tmp_path, "monthly_retrain", run).name
