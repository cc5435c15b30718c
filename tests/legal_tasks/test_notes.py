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
