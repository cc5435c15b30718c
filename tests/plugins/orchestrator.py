"""Run a function of a test's own probe file in the orchestrator's environment, where Airflow is, and get its JSON back."""

import json
import os
import subprocess
from pathlib import Path

from tests.conftest import REPOSITORY

ENVIRONMENTS = os.environ.get("LEXLOOP_ENV_DIR", str(REPOSITORY / "var" / "env"))


def command(home: Path, argv: list[str], timeout: float = 120, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python ARGV` in that environment, with an Airflow home and a var folder of its own."""
    values = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "LEXLOOP_VAR": str(home / "var"),
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}",
    }
    python = f"{ENVIRONMENTS}/orchestrator/bin/python"
    return subprocess.run(
        [python, *argv], capture_output=True, text=True, timeout=timeout, cwd=REPOSITORY, env={**values, **variables}
    )


def ask(home: Path, probe: str, question: dict, **variables: str) -> dict:
    """The probe gets the question as its first argument and answers with a last line of JSON."""
    path = Path(__file__).with_name(probe)
    done = command(home, [str(path), json.dumps(question)], **variables)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().split("\n")[-1])
