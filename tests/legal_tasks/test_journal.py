"""The journal survives its writer's death and tells nothing twice."""

from legal_tasks import journal
from legal_tasks.journal import Journal


def test_a_line_that_a_killed_writer_did_not_finish_is_left_out_and_written_over(tmp_path):
    book = Journal(tmp_path / "j.jsonl", {"name": "train"})
    book.add_metrics({"loss": 2.0}, 1)
    book.file.write(b'{"metrics": [["lo')
    book.close(remove=False)
    again = Journal(tmp_path / "j.jsonl", {"name": "train"})
    again.add_metrics({"loss": 2.0}, 1)  # the retry's own first point: told before
    again.add_metrics({"loss": 1.5}, 2)
    kinds = [next(iter(entry)) for entry in journal.read(tmp_path / "j.jsonl")]
    assert kinds == ["open", "metrics", "again", "metrics"] and again.about["id"] == book.about["id"]


def test_a_finished_journal_is_kept_apart_from_the_next_run_of_the_same_step(tmp_path):
    book = Journal(tmp_path / "j.jsonl", {"name": "train"})
    book.append({"end": "FINISHED", "at": 1})
    book.close(remove=False)
    fresh = Journal(tmp_path / "j.jsonl", {"name": "train"})
    assert fresh.about["id"] != book.about["id"] and not fresh.continued
    (aside,) = tmp_path.glob("j.*.jsonl")
    assert journal.ended(journal.read(aside)) == "FINISHED"


def test_the_journal_of_a_working_process_is_locked(tmp_path):
    book = Journal(tmp_path / "j.jsonl", {"name": "train"})
    with journal.locked(book.path) as file:
        assert file is None
    book.close(remove=False)
    with journal.locked(book.path) as file:
        assert file is not None
