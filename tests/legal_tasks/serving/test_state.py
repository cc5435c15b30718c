import sqlite3
import threading

import pytest

from legal_tasks.artifacts import Store
from legal_tasks.serving.state import Conflict, Database, StateError, known_states

A, B = {"digest": "a" * 64, "path": "/models/a"}, {"digest": "b" * 64, "path": "/models/b"}


@pytest.fixture
def database(tmp_path):
    return Database.create(tmp_path / "release.sqlite")


def test_reading_creates_nothing(tmp_path):
    path = tmp_path / "release.sqlite"
    with pytest.raises(StateError, match="there is no release state .*make up"):
        Database(path)
    assert not path.exists()
    database = Database.create(path)
    database.intend(A, "me")
    assert Database.create(path).current().desired == A  # creating it again changes nothing
    path.unlink()
    with pytest.raises(StateError, match="there is no release state"):
        database.history()
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0"])
def test_what_is_no_state_is_not_read_as_an_empty_one(tmp_path, content):
    path = tmp_path / "release.sqlite"
    path.write_bytes(content)
    with pytest.raises(StateError, match="cannot be read"):
        Database(path)


def test_a_lost_state_is_not_replaced_by_a_new_one(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    monkeypatch.delenv("LEXLOOP_STORE", raising=False)
    path = Database.create().path
    [note] = known_states(Store(tmp_path / "var" / "store")).values()
    path.write_bytes(b"")
    with pytest.raises(StateError, match="cannot be read"):
        Database.create()
    path.unlink()
    with pytest.raises(StateError, match=f"is gone.*remove {note}"):
        Database.create()
    note.unlink()
    assert Database.create().history() == []


def release(database, model):
    state = database.intend(model, "test")
    return database.record("released", "test", state.revision, actual=model)


def test_a_release_moves_desired_then_actual_and_both_enter_the_history(database):
    state = database.intend(A, "me", {"why": "better"})
    assert (state.desired, state.actual) == (A, None)
    state = database.record("released", "releaser", state.revision, actual=A)
    assert state.actual == A
    first, second = database.history()
    assert (first.event, first.actor, first.after, first.evidence) == ("intended", "me", A, {"why": "better"})
    assert (second.event, second.before, second.after) == ("released", None, A)


def test_a_decision_on_an_old_revision_is_refused(database):
    seen = database.current().revision
    database.intend(A, "first", revision=seen)
    with pytest.raises(Conflict, match="at revision 1"):
        database.intend(B, "second", revision=seen)
    assert database.current().desired == A


def test_of_many_who_decide_on_the_same_revision_one_wins(database):
    won, lost = [], []

    def attempt(number):
        try:
            won.append(database.intend({**A, "by": number}, str(number), revision=0))
        except Conflict:
            lost.append(number)

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)


REPLACE = "INSERT OR REPLACE INTO history (id, at, revision, event, actor, evidence) VALUES (1, 0, 0, 'released', 'x', '{}')"


@pytest.mark.parametrize("statement", ["UPDATE history SET actor = 'x'", "DELETE FROM history", "DELETE FROM state", REPLACE])
def test_the_database_itself_refuses_to_rewrite_history(database, statement):
    database.intend(A, "me")
    connection = sqlite3.connect(database.path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only|cannot be deleted"):
        connection.execute(statement)
    connection.close()
    assert database.history()[0].actor == "me"


def test_a_failure_takes_the_intent_back_to_what_serves(database):
    release(database, A)
    state = database.intend(B, "me")
    state = database.record("failed", "releaser", state.revision, desired=B, evidence={"reason": "no token"})
    assert state.desired == A and state.actual == A
    assert database.history()[-1].evidence == {"reason": "no token"}


def test_a_failure_leaves_a_newer_intent_alone(database):
    old = database.intend(A, "me")
    database.intend(B, "you")
    assert database.record("failed", "releaser", old.revision, desired=A).desired == B


def test_previous_is_what_served_before(database):
    assert database.previous() is None
    release(database, A)
    assert database.previous() is None
    release(database, B)
    assert database.previous() == A
    release(database, A)
    assert database.previous() == B
