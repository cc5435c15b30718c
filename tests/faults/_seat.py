"""A seat for fault injections: services of its own, the profile `faults`, and what an injection looks at or does to it."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from legal_tasks import services
from legal_tasks.artifacts import CARD, canonical, read_manifest, sha256_text, verify
from legal_tasks.notes import read_run, run_folder
from legal_tasks.retrain import Airflow, decide
from legal_tasks.services import marked_processes, python_of
from legal_tasks.step import REPOSITORY, StepError

PORTS = ("LEXLOOP_AIRFLOW_PORT", "LEXLOOP_MLFLOW_PORT", "LEXLOOP_GATEWAY_PORT", "LEXLOOP_ENGINE_PORT")
HASHED = ("collect", "clean", "check", "split", "train", "merge", "evaluate", "compress")
TIMED = ("report.json", "summary.json", "table.json", "table.md")  # files that hold seconds
BACK_S = 180.0  # a killed API server is back before, on a busy machine too
RUN_S = 900.0  # a run that takes longer has got stuck
MONTHLY, QUARTERLY = "monthly_retrain", "quarterly_retrain"


def wait_for(check: Callable[[], Any], what: str, timeout_s: float, poll_s: float = 0.3) -> Any:
    """What `check` gives as soon as it is true; AssertionError naming `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s in vain: {what}"
        time.sleep(poll_s)
    return found


def _free_ports() -> list[int]:
    sockets = [socket.socket() for _ in PORTS]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


_shared: list[Any] = []


@contextmanager
def shared() -> Iterator[Seat]:
    """The seat of the faults that can follow each other in one: started for the first, stopped when all is over.

    Where a fault fails, the next gets a new one.
    """
    if not _shared:
        folder = tempfile.TemporaryDirectory(prefix="lexloop-O-")
        holder = seat(Path(folder.name))
        _shared.extend([holder.__enter__(), holder, folder])
        atexit.register(_end_shared)
    try:
        yield _shared[0]
    except BaseException:
        _end_shared()
        raise


def _end_shared() -> None:
    if _shared:
        _, holder, folder = _shared
        _shared.clear()
        holder.__exit__(None, None, None)
        folder.cleanup()


@contextmanager
def seat(folder: Path, started: bool = True) -> Iterator[Seat]:
    """Started services with an empty store; stopped whatever happens. Ports are those of the environment, else free ones.

    `started=False`: nothing runs yet.
    """
    _end_shared()  # one seat at a time: they may have been given the same ports
    before = dict(os.environ)
    engine = [sys.executable, "-m", "tests.faults._engine", "{model}", "{port}", "{name}"]
    for name, port in zip(PORTS, _free_ports(), strict=True):
        os.environ.setdefault(name, str(port))
    os.environ |= {
        "LEXLOOP_VAR": str(folder / "v"),
        "LEXLOOP_ENV_DIR": str(python_of("ml").parents[2]),
        "LEXLOOP_FAULTS": "1",
        "LEXLOOP_PROFILE": "faults",
        "LEXLOOP_ENGINE_ARGV": json.dumps(engine),
        "PYTHONPATH": str(REPOSITORY),
    }
    for name in ("LEXLOOP_STORE", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    one = Seat(folder / "v")
    try:
        if started:
            began = time.monotonic()
            one.up()
            print(f"services up after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        yield one
    finally:
        one.stop()
        os.environ.clear()
        os.environ.update(before)


class Seat:
    def __init__(self, var: Path):
        self.var = var
        self.connection: Airflow | None = None

    # Commands

    def command(self, action: str) -> str:
        argv = [str(python_of("orchestrator")), "-m", "legal_tasks.services", action]
        done = subprocess.run(argv, text=True, capture_output=True, cwd=REPOSITORY, timeout=420)
        assert done.returncode == 0, f"{action} ended with {done.returncode}: {(done.stdout + done.stderr)[-800:]}"
        return done.stdout

    def up(self) -> None:
        """What `make up` does after its set-up."""
        self.command("up")
        self.connection = None

    def stop(self) -> str:
        return self.command("stop")

    def supervise(self, *words: str) -> str:
        """What supervisorctl says."""
        argv = [str(python_of("orchestrator")), "-m", "supervisor.supervisorctl", "-c", str(self.var / "supervisord.conf")]
        return subprocess.run([*argv, *words], text=True, capture_output=True, timeout=120).stdout

    def service_pid(self, name: str) -> int:
        said = self.supervise("pid", name).strip()
        return int(said) if said.isdigit() else 0

    # Airflow

    def call(self, method: str, path: str, **options: Any) -> Any:
        """An answer of Airflow's API; waits for an API server that was killed and is on its way back."""
        deadline = time.monotonic() + BACK_S
        while True:
            try:
                if self.connection is None:
                    self.connection = Airflow(services.airflow_url(), services.admin_password())
                return self.connection.call(method, path, **options)
            except (StepError, httpx.TransportError) as error:
                away = isinstance(error, httpx.TransportError) or "does not answer" in str(error)
                if not away or time.monotonic() > deadline:
                    raise
                time.sleep(2)

    def switch_on(self, dag: str, paused: bool = False) -> None:
        self.call("GET", "/dags")  # a connection
        assert self.connection is not None
        self.connection.wait_for_dag(dag, 180)
        self.call("PATCH", f"/dags/{dag}", params={"update_mask": "is_paused"}, json={"is_paused": paused})

    def trigger(self, run_id: str, dag: str = MONTHLY, **conf: Any) -> None:
        self.switch_on(dag)
        self.post(run_id, dag, **conf)

    def post(self, run_id: str, dag: str = MONTHLY, **conf: Any) -> None:
        """Trigger a DAG that is switched on."""
        self.call("POST", f"/dags/{dag}/dagRuns", json={"dag_run_id": run_id, "logical_date": None, "conf": conf})

    def state(self, run_id: str, dag: str = MONTHLY) -> str:
        return self.call("GET", f"/dags/{dag}/dagRuns/{run_id}")["state"]

    def task(self, run_id: str, task: str, dag: str = MONTHLY) -> dict[str, Any]:
        return self.call("GET", f"/dags/{dag}/dagRuns/{run_id}/taskInstances/{task}")

    def wait_end(self, run_id: str, dag: str = MONTHLY, timeout_s: float = RUN_S) -> str:
        """The state in which a run ends."""
        ended = ("success", "failed")
        return wait_for(lambda: (s := self.state(run_id, dag)) in ended and s, f"the end of {run_id}", timeout_s, 1.0)

    def log(self, run_id: str, task: str, dag: str = MONTHLY) -> str:
        """The logs of all attempts of a task, one after the other."""
        folder = self.var / "airflow" / "logs" / f"dag_id={dag}" / f"run_id={run_id}" / f"task_id={task}"
        return "\n".join(path.read_text("utf-8", errors="replace") for path in sorted(folder.glob("attempt=*.log")))

    # Results

    def note(self, run_id: str, task: str) -> dict[str, Any]:
        """What a task has noted; of a quarterly run's tasks that of the chosen, or only, candidate."""
        return read_run(self.notes(run_id)).get(task, {})

    def notes(self, run_id: str) -> Path:
        """Folder with the notes of a run of either loop."""
        monthly, quarterly = (run_folder(self.var, dag, run_id) for dag in (MONTHLY, QUARTERLY))
        return quarterly if quarterly.is_dir() else monthly

    def progress(self, run_id: str, task: str = "train") -> float:
        """Share of a task that is done, 0 where it has not begun."""
        run = self.notes(run_id)
        path = next(
            (path for path in (run / f"{task}.progress.json", run / "0" / f"{task}.progress.json") if path.is_file()), None
        )
        if path is None:
            return 0.0
        state = json.loads(path.read_text("utf-8"))
        return state["done"] / state["total"]

    def decision(self, run_id: str, dag: str = MONTHLY) -> str:
        """released, refused, unchanged or failed; as `make retrain` says it."""
        verdict, reasons = decide(self.state(run_id, dag), read_run(run_folder(self.var, dag, run_id)))
        return f"{verdict}: {'; '.join(reasons)[-900:]}" if verdict in ("failed", "refused") else verdict

    def blame(self, run_id: str, dag: str = MONTHLY) -> str:
        """The tasks of a run that failed, each with the last words of its log."""
        tasks = self.call("GET", f"/dags/{dag}/dagRuns/{run_id}/taskInstances", params={"limit": 100})["task_instances"]
        failed = [task["task_id"] for task in tasks if task["state"] == "failed"]
        return "; ".join(f"{task}: {self.log(run_id, task, dag)[-700:]}" for task in failed) or str(self.state(run_id, dag))

    def production(self) -> dict[str, Any] | None:
        from legal_tasks.serving.state import Database

        return Database(self.var / "release.sqlite").current().actual

    def state_hash(self, run_id: str) -> str:
        """sha256 over keys and contents up to compress, decision, failed rules and what is in production.

        Left out are the files that hold seconds: what a measurement took is no state.
        """
        made = {task: self._made(self.note(run_id, task)) for task in HASHED}
        gate = Path(self.note(run_id, "gate")["artifact"]) / "decision.json"
        rules = [rule["name"] for rule in json.loads(gate.read_text("utf-8"))["rules"] if rule["verdict"] == "fail"]
        serving = (self.production() or {}).get("path")
        production = serving and read_manifest(serving)["key"]
        return sha256_text(canonical([made, self.decision(run_id), rules, production]))

    @staticmethod
    def _made(note: dict[str, Any]) -> list[Any]:
        """Key and content of an artifact; the folder must be what its manifest says."""
        files = verify(note["artifact"])["files"]
        return [
            note["key"],
            {name: digest for name, digest in files.items() if not (name.startswith(CARD) or Path(name).name in TIMED)},
        ]

    # Processes

    def workers(self, step: str) -> list[int]:
        """Processes of this seat that run a step (and have loaded what it computes with, where that is torch)."""
        found = []
        for pid in marked_processes():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                computes = b"libtorch" in Path(f"/proc/{pid}/maps").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if words[1:3] == [b"-m", f"legal_tasks.{step}".encode()] and (computes or step != "training.lora"):
                found.append(pid)
        return found

    def runs_at_work(self) -> set[str]:
        """DAG runs that have a step process of this seat now."""
        found = set()
        for pid in marked_processes():
            try:
                values = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            found |= {value.partition(b"=")[2].decode() for value in values if value.startswith(b"LEXLOOP_DAG_RUN=")}
        return found

    def wait_training(self, run_id: str, share: float, timeout_s: float = RUN_S) -> int:
        """The trainer's process as soon as `share` of the updates is done."""
        wait_for(lambda: self.progress(run_id) >= share, f"{share:.0%} of {run_id}'s training", timeout_s)
        return wait_for(lambda: self.workers("training.lora"), "a trainer in /proc", 20)[0]

    def last_save(self) -> int:
        """The newest complete checkpoint, updates; 0 for none."""
        found = self.var.glob("store/.work/training.lora/*/checkpoint-*/COMPLETE")
        return max((int(path.parent.name.rpartition("-")[2]) for path in found), default=0)


def gone_within(pids: list[int], timeout_s: float) -> float:
    """Seconds until none of the processes works any more; AssertionError after `timeout_s`."""
    from legal_tasks.lease import process_start

    began = time.monotonic()
    wait_for(lambda: not any(process_start(pid) for pid in pids), f"the end of {pids}", timeout_s, 0.05)
    return time.monotonic() - began


def group_of(pid: int) -> list[int]:
    """Processes of a process's group."""
    group = os.getpgid(pid)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


class Sampler(threading.Thread):
    """Calls `look` twice a second until it is stopped and keeps what it saw."""

    def __init__(self, look: Callable[[], Any]):
        super().__init__(daemon=True)
        self.look = look
        self.seen: list[Any] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.5):
            self.seen.append(self.look())

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()
