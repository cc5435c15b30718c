"""The command line of tracking: close, replay, reap."""

from __future__ import annotations

import argparse
import sys

from legal_tasks import tracking
from legal_tasks.tracking.sending import close_later, close_run, reap, replay
from legal_tasks.tracking.server import failures, uri


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m legal_tasks.tracking", description=(tracking.__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("action", choices=["close", "replay", "reap"])
    parser.add_argument("--dag-run", help="close: id of the DAG run")
    parser.add_argument("--status", choices=["FINISHED", "FAILED", "KILLED"], help="close: how it ended")
    parser.add_argument("--keep", action="append", default=[], help="reap: id of a DAG run that is at work")
    arguments = parser.parse_args(argv)
    if arguments.action == "close" and not (arguments.dag_run and arguments.status):
        parser.error("close needs --dag-run and --status")
    if uri() is None:
        print("MLFLOW_TRACKING_URI is not set: nothing to do")
        return 0
    try:
        return _do(arguments)
    except failures() as error:
        print(f"error: {error}", file=sys.stderr)
        if arguments.action == "close":
            close_later(arguments.dag_run, arguments.status)
            print("noted: the run is closed when MLflow is back", file=sys.stderr)
        return 2


def _do(arguments: argparse.Namespace) -> int:
    if arguments.action == "close":
        close_run(arguments.dag_run, arguments.status)
    elif arguments.action == "reap":
        print(f"{len(reap(arguments.keep))} runs ended")
    else:
        left = replay()
        print(f"{left} journals could not be sent" if left else "MLflow has everything")
        return 2 if left else 0
    return 0
