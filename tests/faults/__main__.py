"""Run fault injections: a line each as it ends, `ID PASS|FAIL what was seen`, last `N passed, N failed`.

python -m tests.faults [--name data] [--ids D1,D4]        # make faults NAME=data ID=D1,D4
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

Fault = Callable[[Path], str]


def groups() -> list[str]:
    """Names of the groups: the modules beside this one."""
    return sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if not module.name.startswith("_"))


def load(names: list[str], ids: list[str]) -> dict[str, Fault]:
    """The chosen faults in order; ValueError names an id or a group that does not exist."""
    known = groups()
    for name in names:
        if name not in known:
            raise ValueError(f"NAME={name}: there is no such group; there are {', '.join(known) or 'none yet'}")
    found: dict[str, Fault] = {}
    for name in names or known:
        found |= importlib.import_module(f"tests.faults.{name}").FAULTS
    for one in ids:
        if one not in found:
            raise ValueError(f"ID={one}: there is no such fault; there are {', '.join(found)}")
    return {one: fault for one, fault in found.items() if not ids or one in ids}


def run(faults: dict[str, Fault]) -> int:
    """Run them one by one, each in a folder of its own; the number of those that failed."""
    failed = 0
    for one, fault in faults.items():
        with tempfile.TemporaryDirectory(prefix=f"lexloop-{one}-") as folder:
            try:
                verdict, seen = "PASS", fault(Path(folder))
            except Exception as error:  # whatever goes wrong is what the fault found
                verdict, seen = "FAIL", f"{type(error).__name__}: {error}"
                traceback.print_exc(file=sys.stderr)
        failed += verdict == "FAIL"
        print(f"{one} {verdict} {' '.join(seen.split())}", flush=True)
    print(f"{len(faults) - failed} passed, {failed} failed", flush=True)
    return failed


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--name", default="", help="groups, by comma (default: all)")
    parser.add_argument("--ids", default="", help="faults, by comma (default: all of the groups)")
    arguments = parser.parse_args(argv)
    try:
        faults = load([part for part in arguments.name.split(",") if part], [part for part in arguments.ids.split(",") if part])
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # Told to end, it ends like a failed run: what a fault started is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return 1 if run(faults) else 0


if __name__ == "__main__":
    sys.exit(main())
