"""A refused model is released only where two people have said so, and is then marked wherever it is shown."""

import json
import time

import pytest

from legal_tasks import artifacts, months
from legal_tasks.serving import override, release
from legal_tasks.serving.state import Database
from legal_tasks.step import Skip, StepError
from tests import judged

REASON = "The court's new form is due on Monday, and the old model does not know it."


@pytest.fixture(autouse=True)
def database(tmp_path, monkeypatch):
    """The seat's release state; its store is that of `model` and `make_decision`."""
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("LEXLOOP_STORE", str(tmp_path / "store"))
    return Database.create()


@pytest.fixture
def make_decision(tmp_path, whole):
    """make_decision("refused", number) -> folder of a finished gate artifact about `model` with its report."""

    def make(verdict, number=1, about=None):
        page = f"<h1>{verdict}</h1>{override.MARK}<ul></ul>"
        files = {"report.html": page, "report.md": f"# {verdict}\n", "number": str(number)}
        return judged.judge(artifacts.Store(tmp_path / "store"), about or whole, verdict, files=files).path

    return make


@pytest.fixture
def whole(tmp_path):
    """A model with all that it was made of."""
    behaviour = json.dumps({"mode": "answer", "text": "one"})
    files = {"gptq/model.safetensors": "weights", "gptq/behaviour.json": behaviour}
    return judged.model(artifacts.Store(tmp_path / "store"), "one", files)


@pytest.fixture
def model(whole):
    return whole.compress


def found(database, decision, model):
    return override.find(database, artifacts.digest_path(decision), model.digest)


def test_two_people_and_a_reason_let_a_refused_model_through(database, make_decision, model):
    decision = make_decision("refused")
    asked = override.ask(database, decision, model.path, "1", "alice", f"  {REASON}\n")
    assert found(database, decision, model) is None
    override.confirm(database, asked.id, "2", "bob")
    granted = found(database, decision, model)
    assert (granted.by, granted.second, granted.reason) == ("alice", "bob", REASON)
    assert [(event.event, event.actor) for event in database.history()] == [
        ("override asked", "alice"),
        ("override confirmed", "bob"),
    ]
    assert all(event.evidence["reason"] == REASON and event.after["digest"] == model.digest for event in database.history())
    assert database.current().desired is None  # to say so releases nothing yet


@pytest.mark.parametrize("reason", ["", " \n ", "because", "x" * 2001])
def test_a_reason_has_to_be_written_out(database, make_decision, model, reason):
    with pytest.raises(override.OverrideError, match="reason"):
        override.ask(database, make_decision("refused"), model.path, "1", "alice", reason)
    assert database.history() == []


@pytest.mark.parametrize(("user", "name"), [("1", "alice"), ("1", "alice under another name"), ("3", "alice")])
def test_one_person_cannot_confirm_what_they_asked_for(database, make_decision, model, user, name):
    decision = make_decision("refused")
    asked = override.ask(database, decision, model.path, "1", "alice", REASON)
    with pytest.raises(override.OverrideError, match="a second person"):
        override.confirm(database, asked.id, user, name)
    assert found(database, decision, model) is None


def test_a_model_that_passed_needs_no_override(database, make_decision, model):
    with pytest.raises(override.OverrideError, match="nothing to override"):
        override.ask(database, make_decision("pass"), model.path, "1", "alice", REASON)


def test_an_override_counts_for_its_own_decision_and_model_alone(database, make_decision, make_model, model):
    first, second, other = make_decision("refused"), make_decision("refused", 2), make_model("two")
    asked = override.ask(database, first, model.path, "1", "alice", REASON)
    with pytest.raises(override.OverrideError, match="another model or decision"):
        override.confirm(database, asked.id, "2", "bob", about=(first, other.path))
    override.confirm(database, asked.id, "2", "bob", about=(first, model.path))
    assert found(database, first, model) is not None
    assert found(database, second, model) is None and found(database, first, other) is None


def test_it_is_asked_for_once_confirmed_once_and_not_after_a_week(database, make_decision, model):
    decision = make_decision("refused")
    asked = override.ask(database, decision, model.path, "1", "alice", REASON)
    with pytest.raises(override.OverrideError, match="alice has asked for it already"):
        override.ask(database, decision, model.path, "2", "bob", REASON)
    digest = artifacts.digest_path(decision)
    assert override.pending(database, digest, model.digest, now=asked.at + 6 * 86400).id == asked.id
    assert override.pending(database, digest, model.digest, now=asked.at + 8 * 86400) is None
    override.confirm(database, asked.id, "2", "bob")
    with pytest.raises(override.OverrideError, match="was confirmed"):
        override.confirm(database, asked.id, "3", "carol")
    with pytest.raises(override.OverrideError, match="nobody asked"):
        override.confirm(database, asked.id + 1, "3", "carol")


def test_a_decision_that_was_changed_afterwards_is_not_overridden(database, make_decision, model):
    decision = make_decision("refused")
    asked = override.ask(database, decision, model.path, "1", "alice", REASON)
    (decision / "decision.json").write_text(json.dumps({"decision": "refused", "reasons": ["nothing much"]}))
    with pytest.raises(StepError, match="was changed"):
        override.confirm(database, asked.id, "2", "bob")


def test_a_release_uses_the_override_up(database, make_decision, make_model, model):
    decision, other = make_decision("refused"), make_model("two")
    override.confirm(database, override.ask(database, decision, model.path, "1", "alice", REASON).id, "2", "bob")
    granted = found(database, decision, model)
    serving = {"digest": model.digest, "path": str(model.path), "override": granted.as_dict()}
    database.record("released", "releaser", 1, actual=serving)
    assert found(database, decision, model) is not None  # an attempt that died after the release may go on
    database.record("released", "releaser", 2, actual={"digest": other.digest, "path": str(other.path)})
    assert found(database, decision, model) is None


def test_what_was_confirmed_and_not_released_lapses_after_a_week(database, make_decision, model):
    decision = make_decision("refused")
    override.confirm(database, override.ask(database, decision, model.path, "1", "alice", REASON).id, "2", "bob")
    digest, now = artifacts.digest_path(decision), time.time()
    assert override.find(database, digest, model.digest, now + 6 * 86400) is not None
    assert override.find(database, digest, model.digest, now + 8 * 86400) is None
    serving = {"digest": model.digest, "path": str(model.path), "override": found(database, decision, model).as_dict()}
    database.record("released", "releaser", 1, actual=serving)
    assert override.find(database, digest, model.digest, now + 8 * 86400) is not None  # it serves by it


def test_an_overridden_model_serves_and_is_shown_as_against_the_recommendation(releaser, make_decision, model, tmp_path):
    decision, out = make_decision("refused"), tmp_path / "out"
    out.mkdir()
    with pytest.raises(Skip, match="refused: general ability: fail"):
        release.run(release.Params(decision, model.path, out))
    database = Database()
    override.confirm(database, override.ask(database, decision, model.path, "1", "alice", REASON).id, "2", "bob")
    report = release.run(release.Params(decision, model.path, out))
    said = f"against the gate's recommendation: asked for by alice ({REASON}), confirmed by bob"
    assert report.override == said
    assert database.current().actual["override"]["second"] == "bob"
    assert [event.event for event in database.history()][-2:] == ["intended", "released"]
    assert database.history()[-2].evidence["override"]["reason"] == REASON
    page = (out / "report.html").read_text()
    assert "Released against the recommendation" in page and "confirmed by bob" in page
    assert said in (out / "report.md").read_text()
    production = months.read_production(tmp_path / "var" / "release.sqlite")[0]
    assert production.against == said
