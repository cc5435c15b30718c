"""A DAG that is off works for one run and is off again; what was due meanwhile is known to have been due while it was off."""

import pytest

from legal_tasks import schedule

DAG = "monthly_retrain"


class Airflow:
    """One DAG with its switch and its runs, answering as the API does; every state of the switch is kept."""

    def __init__(self, paused=True):
        self.paused, self.runs, self.switched = paused, {}, []

    def call(self, method, path, params=None, json=None):
        if path.endswith("/dagRuns"):
            return {"dag_runs": [{"dag_run_id": run} for run, state in self.runs.items() if state in params["state"]]}
        if method == "PATCH":
            assert params == {"update_mask": "is_paused"}
            self.paused = json["is_paused"]
            self.switched.append(self.paused)
        return {"is_paused": self.paused}


@pytest.fixture(autouse=True)
def var(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXLOOP_VAR", str(tmp_path))


def test_a_dag_that_is_off_is_on_for_the_run_and_off_afterwards_however_often_its_end_is_told():
    airflow = Airflow(paused=True)
    assert schedule.switch_on(airflow, DAG, "one", keep=False, now=100.0) is False
    assert airflow.paused is False and schedule.is_lent(DAG)
    assert schedule.switch_back(airflow, DAG, "one", 200.0) and airflow.paused and not schedule.is_lent(DAG)
    airflow.paused = False  # a person switches the schedule on
    assert not schedule.switch_back(airflow, DAG, "one", 201.0) and airflow.paused is False


def test_a_dag_that_is_on_stays_on():
    airflow = Airflow(paused=False)
    assert schedule.switch_on(airflow, DAG, "one", keep=False, now=100.0) is True
    assert not schedule.switch_back(airflow, DAG, "one", 200.0) and airflow.switched == []


def test_asked_for_the_schedule_goes_on_for_good_even_while_it_is_lent():
    airflow = Airflow(paused=True)
    schedule.switch_on(airflow, DAG, "one", keep=False, now=100.0)
    assert schedule.switch_on(airflow, DAG, "two", keep=True, now=150.0) is True
    assert not schedule.switch_back(airflow, DAG, "one", 200.0) and airflow.paused is False


def test_the_last_of_several_runs_switches_off_and_a_deleted_one_keeps_nothing_on():
    airflow = Airflow(paused=True)
    airflow.runs = {"one": "running", "two": "queued"}
    for run in ("one", "two", "deleted"):
        schedule.switch_on(airflow, DAG, run, keep=False, now=100.0)
    airflow.runs["one"] = "success"
    assert not schedule.switch_back(airflow, DAG, "one", 200.0) and airflow.paused is False
    airflow.runs["two"] = "failed"
    assert schedule.switch_back(airflow, DAG, "two", 300.0) and airflow.paused


def test_a_date_that_passed_during_a_loan_was_due_while_the_schedule_was_off():
    airflow = Airflow(paused=True)
    schedule.switch_on(airflow, DAG, "one", keep=False, now=100.0)
    assert schedule.was_off(DAG, 150.0, 151.0)
    schedule.switch_back(airflow, DAG, "one", 200.0)
    assert (
        schedule.was_off(DAG, 150.0, 201.0) and not schedule.was_off(DAG, 99.0, 99.0) and not schedule.was_off(DAG, 201.0, 202.0)
    )


def test_a_date_that_passed_while_the_dag_was_seen_off_was_due_while_it_was_off():
    schedule.saw(DAG, True, 1000.0)
    assert schedule.was_off(DAG, 2000.0, 9000.0)  # switched on at once after an outage: not seen on yet
    schedule.saw(DAG, False, 9000.0)
    assert schedule.was_off(DAG, 2000.0, 9001.0)
    assert not schedule.was_off(DAG, 999.0, 9001.0) and not schedule.was_off(DAG, 9500.0, 9501.0)
    # Airflow looks twice a minute: switched on a minute before it was seen on, and due in between.
    assert not schedule.was_off(DAG, 8990.0, 9001.0)
    schedule.saw(DAG, True, 20000.0)
    assert schedule.was_off(DAG, 21000.0, 30000.0) and not schedule.was_off(DAG, 15000.0, 30000.0)


def test_a_dag_that_was_never_seen_off_was_on():
    schedule.saw(DAG, False, 1000.0)
    assert not schedule.was_off(DAG, 500.0, 2000.0) and not schedule.path_of(DAG).exists()
