"""A run is green only where nothing that matters failed: Airflow's own word on every DAG, for each task that fails."""

import json

import pytest

from tests.conftest import REPOSITORY
from tests.plugins.orchestrator import command

DAGS = {path.stem for path in (REPOSITORY / "dags").glob("*.py")}
# A base that fails loses the others nothing: the choice names it, and `watch` tells it.
ONE_OF_SEVERAL = {("quarterly_retrain", "train of one"), ("quarterly_retrain", "gate of one")}


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    folders = {"AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags")}
    for argv in (["-m", "airflow", "db", "migrate"], ["-m", "airflow", "dags", "reserialize"], ["tests/dags/states_probe.py"]):
        done = command(home, argv, timeout=300, **folders)
        assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().split("\n")[-1])


@pytest.mark.parametrize("dag", sorted(DAGS))
def test_a_run_ends_as_the_worst_of_its_tasks(states, dag):
    assert states[dag][""] == "success" and len(states[dag]) > 1
    green = {(dag, task) for task, state in states[dag].items() if task and state == "success"}
    assert green == {each for each in ONE_OF_SEVERAL if each[0] == dag}
