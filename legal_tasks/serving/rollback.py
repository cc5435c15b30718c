"""Put the model that served before back into production.

    python -m legal_tasks.serving.rollback [--to DIGEST] [--timeout-s 300]

Needs the releaser only: neither Airflow nor MLflow.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys

from legal_tasks.serving.intent import bring
from legal_tasks.serving.state import Conflict, Database, Model
from legal_tasks.step import EXIT_CALLER, EXIT_DONE, StepError


def choose(database: Database, digest: str | None) -> Model:
    """The model to go back to: the one before, or the one whose digest begins with `digest`."""
    if digest is None:
        model = database.previous()
        if model is None:
            raise StepError("no model served before the present one: there is nothing to go back to")
        return model
    served = {e.after["digest"]: e.after for e in database.history() if e.event == "released" and e.after}
    found = [model for key, model in served.items() if key.startswith(digest)]
    if len(found) != 1:
        known = ", ".join(key[:12] for key in served) or "none"
        raise StepError(f"--to {digest}: {len(found)} models that have served begin so; those that have served: {known}")
    return found[0]


def rollback(digest: str | None, timeout_s: float) -> dict:
    database = Database()
    before = database.current().actual
    model = choose(database, digest)
    seconds = bring(model, getpass.getuser(), {"reason": "rollback", "from": (before or {}).get("digest")}, timeout_s, database)
    return {"digest": model["digest"], "version": model.get("version"), "seconds": round(seconds, 2)}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m legal_tasks.serving.rollback", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--to", metavar="DIGEST", help="go back to this model (beginning of its digest), not to the last one")
    parser.add_argument("--timeout-s", type=float, default=300.0, help="wait so long for the model to serve")
    arguments = parser.parse_args(argv)
    try:
        print(json.dumps(rollback(arguments.to, arguments.timeout_s)))
    except (StepError, Conflict) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CALLER
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
