"""A step's work in another virtual environment: as a child process that gets its parameters and tells its report by files."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from legal_tasks.step import REPOSITORY, StepError, convert, describe_params
from legal_tasks.training import child


def python(environment: str) -> Path:
    """The interpreter of an environment of the set-up; StepError where there is none of this name, or it is not built."""
    from legal_tasks import setup

    if environment not in setup.ENVIRONMENTS:
        raise StepError(f"--environment {environment}: there are {', '.join(setup.ENVIRONMENTS)}")
    if not setup.is_built(setup.ENVIRONMENTS[environment]):
        raise StepError(f"--environment {environment} is not built; run: python3.11 -m legal_tasks.setup {environment}")
    return setup.python_of(environment)


def lock(environment: str) -> dict[str, Path]:
    """The environment as an input of a step: what is installed there decides what it makes."""
    return {"environment": python(environment).parents[1] / "lexloop-lock.txt"} if environment else {}


def write_params(params: Any, path: Path) -> Path:
    path.write_text(json.dumps(dataclasses.asdict(params), default=str), "utf-8")
    return path


def read_params(module: Any, path: str) -> Any:
    """What `write_params` wrote, as the module's Params."""
    values = json.loads(Path(path).read_text("utf-8"))
    return module.Params(**{spec.name: convert(spec, values[spec.name]) for spec in describe_params(module.Params)})


def run(work: str, params: Any, environment: str, folder: Path) -> dict[str, Any]:
    """The report of `work` (module:function, called with the module's Params), done in `environment`; files lie in `folder`.

    StepError where the child says what to mend; RuntimeError, so that it is tried again, where it was ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given, result = write_params(params, folder / "params.json"), folder / "result.json"
    result.unlink(missing_ok=True)
    argv = [str(python(environment)), "-m", "legal_tasks.training.elsewhere", work, str(given), str(result)]
    paths = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    code, tail = child.follow(argv, {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"})
    if not result.is_file():
        raise RuntimeError(f"the child in environment {environment} ended with {code}, its last words:\n{tail}")
    found = json.loads(result.read_text("utf-8"))
    if "error" in found:
        raise StepError(found["error"])
    return found


def main(work: str, given: str, result: str) -> int:
    child.end_with_parent()
    name, _, function = work.partition(":")
    module = importlib.import_module(name)
    try:
        answer = dataclasses.asdict(getattr(module, function)(read_params(module, given)))
    except StepError as error:
        answer = {"error": str(error)}
    part = Path(f"{result}.part")
    part.write_text(json.dumps(answer, default=str), "utf-8")
    os.replace(part, result)
    return 2 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
