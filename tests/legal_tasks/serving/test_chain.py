"""Only a decision about this very model releases it: whatever paths somebody writes into Airflow's XCom."""

import json
import shutil
import time

import pytest

from legal_tasks import artifacts
from legal_tasks.serving import chain, override, release
from legal_tasks.serving.state import Database
from legal_tasks.step import StepError
from tests import judged

RUN = {"run": "manual__1", "dag": "monthly_retrain"}


@pytest.fixture
def seat(tmp_path, monkeypatch):
    """A store with a good model that passed in this run and a bad one that was refused in another."""
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path / "var"))
    monkeypatch.delenv("LEXLOOP_STORE", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("LEXLOOP_DAG_RUN", RUN["run"])
    monkeypatch.setenv("LEXLOOP_DAG", RUN["dag"])
    Database.create()
    store = artifacts.Store(tmp_path / "var" / "store")
    good, bad = judged.model(store, "good"), judged.model(store, "bad")
    return store, good, bad


def alone(decision, model, serving=None, history=(), now=None):
    found = chain.check(decision.path, model.compress.path)
    chain.check_alone(found, RUN["dag"], RUN["run"], serving, history, now)
    return found


def try_release(decision, model, tmp_path):
    (tmp_path / "out").mkdir(exist_ok=True)
    release.run(release.Params(decision, model, tmp_path / "out", timeout_s=1))


def test_a_passing_decision_of_this_run_about_this_model_counts(seat):
    store, good, _ = seat
    found = alone(judged.judge(store, good, **RUN), good)
    assert (found.model_path, found.decision["step"]) == (good.compress.path, "evaluation.gate")


def test_an_exchanged_model_or_decision_releases_nothing(seat, tmp_path):
    store, good, bad = seat
    passing, refused = judged.judge(store, good, **RUN), judged.judge(store, bad, "refused", **RUN)
    for decision, model in ((passing, bad), (refused, good)):
        with pytest.raises(StepError, match="do not belong together: the gate judged the model"):
            try_release(decision.path, model.compress.path, tmp_path)
    assert Database().history() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gate_compression": None}, "not told which model"),
        ({"comparison_compression": "c" * 64}, "comparison is not of the model"),
        ({"gate_comparison": "c" * 64}, "comparison is not of the model"),
        ({"proof_model": "c" * 64}, "proof is not of the model"),
        ({"evaluation_challenger": "c" * 64}, "answers that were compared"),
    ],
)
def test_what_the_gate_judged_by_is_about_this_model_too(seat, tmp_path, change, said):
    store, good, _ = seat
    for verdict in ("pass", "refused"):
        with pytest.raises(StepError, match=said):
            try_release(judged.judge(store, good, verdict, **RUN, **change).path, good.compress.path, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gate_proof": None}, "no proof or no data"),
        ({"gate_data": None}, "no proof or no data"),
        ({"gate_data": "c" * 64}, "data that the gate looked at are not those"),
        ({"evaluation_items": "c" * 64}, "exam was not that of the sources"),
        ({"evaluation_base": "c" * 64}, "base that the model was compared with"),
        ({"gate_history": "c" * 64}, "history by hand"),
    ],
)
def test_a_measure_that_is_not_the_models_own_needs_two_people(seat, tmp_path, change, said):
    store, good, _ = seat
    with pytest.raises(StepError, match=said):
        try_release(judged.judge(store, good, **RUN, **change).path, good.compress.path, tmp_path)


def test_a_champion_that_was_left_out_needs_two_people_once_something_serves(seat):
    store, good, bad = seat
    decision = judged.judge(store, good, **RUN)
    alone(decision, good)
    alone(decision, good, serving={"digest": good.compress.digest})
    serving = {"digest": bad.compress.digest, "path": str(bad.compress.path)}
    with pytest.raises(StepError, match="not compared with what is in production now"):
        alone(decision, good, serving=serving)
    for champion in (bad.merge.digest, artifacts.digest_path(bad.compress.path / "gptq")):
        alone(judged.judge(store, good, **RUN, evaluation_champion=champion), good, serving=serving)
    former = judged.judge(store, good, **RUN, evaluation_champion=judged.model(store, "former").merge)
    with pytest.raises(StepError, match="not compared with what is in production now"):
        alone(former, good, serving=serving)
    shutil.rmtree(bad.compress.path)
    with pytest.raises(StepError, match="cannot be told apart"):
        alone(decision, good, serving=serving)


def test_losses_on_another_exam_need_two_people(seat):
    store, good, _ = seat
    inputs = {"model": good.merge, "exams": "c" * 64}
    good.compress = judged.finished(store, "compression.compress", {**judged.WEIGHTS, "name": "other"}, inputs)
    with pytest.raises(StepError, match="losses by compression were measured on another exam"):
        alone(judged.judge(store, good, **RUN), good)


@pytest.mark.parametrize(
    "other", [{"run": "manual__2", "dag": "monthly_retrain"}, {"run": "manual__1", "dag": "quarterly_retrain"}]
)
def test_a_decision_of_another_run_or_of_the_same_name_in_another_dag_does_not_count(seat, tmp_path, other):
    store, good, _ = seat
    with pytest.raises(StepError, match="was made by manual__. of .*clear the task gate"):
        try_release(judged.judge(store, good, **other).path, good.compress.path, tmp_path)


def test_only_the_runs_last_word_counts_whatever_model_it_is_about(seat):
    store, good, bad = seat
    older = judged.judge(store, good, **RUN, created=time.time() - 60)
    alone(older, good)
    judged.judge(store, bad, "refused", **RUN)
    with pytest.raises(StepError, match="has spoken again since"):
        alone(older, good)


def test_a_decision_lasts_a_week(seat):
    store, good, _ = seat
    decision = judged.judge(store, good, **RUN)
    alone(decision, good, now=time.time() + 6.9 * 86400)
    with pytest.raises(StepError, match="after 7 days a model is judged anew"):
        alone(decision, good, now=time.time() + 7.1 * 86400)


def test_a_decision_puts_its_model_into_production_once(seat):
    store, good, bad = seat
    decision = judged.judge(store, good, **RUN)
    database = Database()
    for number, (model, path) in enumerate(((good, str(decision.path)), (bad, "/another"))):
        alone(decision, good, history=database.history())  # an attempt that died after the release may go on
        serving = {"digest": model.compress.digest, "path": str(model.compress.path), "decision": path}
        database.record("released", "releaser", number, actual=serving)
    with pytest.raises(StepError, match="make rollback"):
        alone(decision, good, history=database.history())


def test_a_decision_that_was_edited_is_named(seat, tmp_path):
    store, good, bad = seat
    refused = judged.judge(store, bad, "refused", **RUN)
    (refused.path / "decision.json").write_text(json.dumps({"decision": "pass"}))
    with pytest.raises(StepError, match="decision.json was changed after it was made"):
        try_release(refused.path, bad.compress.path, tmp_path)
    manifest = artifacts.read_manifest(refused.path)
    manifest["files"]["decision.json"] = artifacts.sha256_file(refused.path / "decision.json")
    (refused.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StepError, match="its digest is not that of its files"):
        try_release(refused.path, bad.compress.path, tmp_path)


def test_a_folder_from_elsewhere_a_copy_and_a_link_are_no_artifacts_of_the_store(seat, tmp_path):
    store, good, bad = seat
    other = artifacts.Store(tmp_path / "elsewhere")
    forged = judged.judge(other, judged.model(other, "bad"), **RUN)
    with pytest.raises(StepError, match="--decision .* is no artifact of the store"):
        try_release(forged.path, bad.compress.path, tmp_path)
    (store.root / "evaluation.gate").mkdir(exist_ok=True)
    (store.root / "evaluation.gate" / forged.path.name).symlink_to(forged.path)
    with pytest.raises(StepError, match="is no artifact of the store"):
        try_release(store.root / "evaluation.gate" / forged.path.name, bad.compress.path, tmp_path)
    copied = store.root / "evaluation.gate" / "0123456789abcdef"
    shutil.copytree(judged.judge(store, good, **RUN).path, copied)
    with pytest.raises(StepError, match="is a copy"):
        try_release(copied, good.compress.path, tmp_path)
    with pytest.raises(StepError, match="--model .* was made by training.merge"):
        try_release(judged.judge(store, good, **RUN).path, good.merge.path, tmp_path)


def test_a_choice_releases_what_its_gate_judged_and_a_candidates_gate_alone_nothing(seat):
    store, good, bad = seat
    quarter = {"run": "manual__1", "dag": "monthly_retrain"}
    gates = {"a": judged.judge(store, good, **quarter), "b": judged.judge(store, bad, "refused", **quarter)}
    chosen = judged.choose(store, gates, "a", **quarter)
    assert alone(chosen, good).gate["key"] == artifacts.read_manifest(gates["a"].path)["key"]
    with pytest.raises(StepError, match="the gate judged the model"):
        alone(chosen, bad)
    own = artifacts.read_manifest(gates["a"].path) | {"candidate": "a"}
    (gates["a"].path / "manifest.json").write_text(json.dumps(own))
    with pytest.raises(StepError, match="one candidate of several"):
        alone(gates["a"], good)


def test_what_housekeeping_removed_is_still_known_by_its_manifest(seat):
    store, good, _ = seat
    decision = judged.judge(store, good, **RUN)
    aside = store.root / ".removed" / "training.merge" / f"{good.merge.path.name}.json"
    aside.parent.mkdir(parents=True)
    shutil.move(good.merge.path / "manifest.json", aside)
    shutil.rmtree(good.merge.path)
    alone(decision, good)


def test_nobody_asks_for_or_confirms_an_override_of_a_decision_about_another_model(seat):
    store, good, bad = seat
    refused, reason = judged.judge(store, bad, "refused", **RUN), "The court's new form is due on Monday."
    with pytest.raises(StepError, match="do not belong together"):
        override.ask(Database(), refused.path, good.compress.path, "1", "alice", reason)
    asked = override.ask(Database(), refused.path, bad.compress.path, "1", "alice", reason)
    shutil.rmtree(refused.path)
    with pytest.raises(StepError, match="no artifact of the store"):
        override.confirm(Database(), asked.id, "2", "bob")


def test_a_model_by_hand_is_released_by_the_newest_decision_about_it(seat, monkeypatch):
    store, good, bad = seat
    older = judged.judge(store, good, created=time.time() - 60)
    judged.judge(store, bad, "refused")
    found = chain.check(older.path, good.compress.path)
    chain.check_alone(found, "", chain.BY_HAND, None, [])
    judged.judge(store, good, "refused")
    with pytest.raises(StepError, match="has spoken again since"):
        chain.check_alone(found, "", chain.BY_HAND, None, [])
