"""Python snippets in the orchestrator's environment, where the plugins can be imported as Airflow does."""

import json
import os
import subprocess

import pytest

from tests.conftest import REPOSITORY

# One process for all snippets (Airflow takes seconds to import); each runs in a namespace of its own.
LOOP = """
import contextlib, io, json, os, sys, traceback
for line in sys.stdin:
    asked = json.loads(line)
    os.environ["LEXLOOP_VAR"] = asked["var"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            exec(asked["code"], {})
        answer = {"said": said.getvalue()}
    except BaseException:
        answer = {"error": traceback.format_exc()}
    print(json.dumps(answer), file=sys.__stdout__, flush=True)
"""


@pytest.fixture(scope="session")
def interpreter(tmp_path_factory):
    home = tmp_path_factory.mktemp("airflow")
    folder = os.environ.get("LEXLOOP_ENV_DIR", str(REPOSITORY / "var" / "env"))
    values = {"AIRFLOW_HOME": str(home), "PATH": "/usr/bin:/bin", "HOME": str(home)}
    values["PYTHONPATH"] = f"{REPOSITORY}:{REPOSITORY}/plugins:{REPOSITORY}/dags"
    with open(home / "errors.txt", "w") as errors:
        process = subprocess.Popen(
            [f"{folder}/orchestrator/bin/python", "-c", LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=values,
        )
        yield process
        process.stdin.close()
        process.wait(timeout=30)


@pytest.fixture
def orchestrate(interpreter, tmp_path):
    """orchestrate(code) -> what the code's last printed line holds as JSON."""

    def run(code):
        interpreter.stdin.write(json.dumps({"code": code, "var": str(tmp_path)}) + "\n")
        interpreter.stdin.flush()
        while not (line := interpreter.stdout.readline()).startswith("{"):
            assert line, "the interpreter ended"
        answer = json.loads(line)
        assert "error" not in answer, answer.get("error")
        return json.loads(answer["said"].strip().split("\n")[-1])

    return run
