"""Who guesses passwords of Airflow's users is slowed down by Airflow's own API server; who knows one gets in."""

import json
import socket
from collections import Counter

import pytest

from tests.plugins.orchestrator import ask, command

PAUSE_S, MOST = 2.0, 10


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "passwords.json").write_text(json.dumps({"admin": "the right one"}))
    done = command(home, ["-m", "airflow", "db", "migrate"])
    assert done.returncode == 0, done.stderr[-2000:]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json")}
    variables |= {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin"}
    return ask(home, "guesses_probe.py", {"port": port, "password": "the right one", "count": 3 * MOST}, **variables)


def test_a_wrong_password_is_answered_late_and_a_right_one_let_in(heard):
    right, *wrong = heard["alone"]
    assert right["status"] == 201 and [each["status"] for each in wrong] == [401, 401]
    assert min(each["seconds"] for each in wrong) >= PAUSE_S


def test_a_crowd_of_guesses_is_sent_away_and_a_right_password_gets_in_after_it(heard):
    said = Counter(each["status"] for each in heard["crowd"])
    assert said[429] > 0 and said[401] >= MOST and said.keys() == {401, 429}
    assert {each["retry"] for each in heard["crowd"] if each["status"] == 429} == {"2"}
    assert heard["after"]["status"] == 201
