"""Faults of housekeeping: a disk that fills up, secrets that must stay secret, garbage collection in the middle of a run.

Part of the group `orchestration`. O6 and O11 call the steps as Airflow's tasks do, by their command lines; O9 is a whole run
through Airflow on a seat of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from legal_tasks import artifacts
from legal_tasks.serving.state import Database
from legal_tasks.step import REPOSITORY
from tests.seat import Seat

SMALL = [  # every step real, at sizes that end in seconds
    *("training.lora.max_updates=120", "training.lora.save_updates=20", "training.lora.max_length=128"),
    *("training.lora.batch=8", "training.lora.warmup=20", "training.lora.max_tokens=", "compression.compress.limit=20"),
    *("compression.compress.samples=16", "compression.compress.perplexity_records=16", "compression.compress.max_length=128"),
    *("evaluation.harness.limit=20", "evaluation.harness.free_answers=10", "evaluation.harness.new_tokens=16"),
]
STEPS = {  # task -> step, its inputs
    "collect": ("data.collect", {}),
    "clean": ("data.clean", {"items": "collect"}),
    "split": ("data.split", {"records": "clean"}),
    "train": ("training.lora", {"data": "split"}),
    "merge": ("training.merge", {"adapter": "train"}),
    "compress": ("compression.compress", {"model": "merge", "data": "split", "exams": "collect"}),
}
STEP_S = 900.0
POLL_S = 0.05
DISK = 256 * 2**20
NO_ROOM = re.compile(r"no room left in \S+: (\S+) needs about (\d+) bytes .*?, (\d+) are free")


class Line:
    """The steps by hand, in a var folder of their own."""

    def __init__(self, var: Path):
        self.var, self.store = var, artifacts.Store(var / "store")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LEXLOOP_", "MLFLOW_", "AIRFLOW_"))}
        self.values = {**kept, "LEXLOOP_VAR": str(var), "LEXLOOP_STORE": str(self.store.root), "PYTHONPATH": str(REPOSITORY)}
        self.made: dict[str, dict] = {}

    def start(self, task: str, *options: str) -> subprocess.Popen[str]:
        step, inputs = STEPS[task]
        argv = [sys.executable, "-m", f"legal_tasks.{step}", "--profile", "small", *options]
        argv += [word for text in SMALL for word in ("--set", text)]
        argv += ["--as-of", "2026-11-01"] if step in ("data.collect", "data.clean") else []
        for option, source in inputs.items():
            argv += [f"--{option}", self.made[source]["artifact"]]
        log = open(self.log(task), "a")
        return subprocess.Popen(
            argv, env=self.values, stdout=log, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY, start_new_session=True
        )

    def log(self, task: str) -> Path:
        return self.var.parent / f"{task}.log"

    def end(self, task: str, process: subprocess.Popen[str]) -> int:
        code = process.wait(timeout=STEP_S)
        lines = self.log(task).read_text("utf-8", "replace").strip().splitlines()
        if code == 0:
            self.made[task] = json.loads(lines[-1])
        return code

    def run(self, task: str) -> dict:
        code = self.end(task, self.start(task))
        assert code == 0, f"{task} ended with {code}: {self.log(task).read_text()[-1500:]}"
        return self.made[task]

    def gc(self, *options: str) -> dict:
        argv = [sys.executable, "-m", "legal_tasks.gc", "--parts", "store", *options]
        done = subprocess.run(argv, env=self.values, capture_output=True, text=True, cwd=REPOSITORY, timeout=300)
        assert done.returncode == 0, f"gc ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}"
        return json.loads(done.stdout.strip().split("\n")[-1])["store"]

    def whole(self) -> int:
        """How many artifacts there are; AssertionError (ArtifactError) where one is not what its manifest says."""
        found = [path.parent for path in self.store.root.glob("*/*/manifest.json") if not path.parts[-3].startswith(".")]
        for folder in found:
            artifacts.verify(folder)
        return len(found)


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A disk of its own below `folder` where this machine lets us mount one; whether it is one."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], capture_output=True).returncode
    try:
        yield mounted == 0
    finally:
        if mounted == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(line: Line, process: subprocess.Popen[str], disk: bool) -> None:
    """Leave no byte on the disk; where there is no disk of its own, let the process's files not grow any more."""
    if not disk:
        import resource

        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
        return
    with open(line.var / "ballast", "ab", buffering=0) as ballast, suppress(OSError):
        os.posix_fallocate(ballast.fileno(), 0, shutil.disk_usage(line.var).free)
        ballast.seek(0, os.SEEK_END)
        while True:
            ballast.write(b"\0" * 4096)


def begun(line: Line, task: str) -> Callable[[], bool]:
    """Tells when a step is in the middle of its work: its output is begun, or its training has saved twice."""
    step, _ = STEPS[task]
    folder = line.store.root / ".work" / step
    if task == "train":
        return lambda: len(list(folder.glob("*/checkpoint-*/COMPLETE"))) >= 2
    return lambda: any(folder.glob("*.output"))


def disk_full(folder: Path) -> str:
    """O6: the disk is filled from outside during clean, train and compress; named, nothing half made, resumed with room."""
    seen = []
    with small_disk(folder / "disk") as disk:
        line = Line(folder / "disk" / "var")
        line.var.mkdir()
        line.values["TMPDIR"] = str(folder)
        line.log = lambda task: folder / f"{task}.log"  # the log is Airflow's, on another disk
        for task in STEPS:
            if task in ("clean", "train", "compress"):
                seen.append(fill_during(line, task, disk))
            line.run(task)
        count = line.whole()
        said = line.log("train").read_text("utf-8")
        resumed = re.findall(r"resumed from step (\d+) of (\d+)", said)
        assert resumed and int(resumed[-1][0]) >= 20, f"the training did not resume: {said[-800:]}"
    where = "a full tmpfs" if disk else "RLIMIT_FSIZE"
    return f"{where}: {'; '.join(seen)}; training resumed at {resumed[-1][0]} of {resumed[-1][1]}; {count} artifacts whole"


def fill_during(line: Line, task: str, disk: bool) -> str:
    process, ready = line.start(task), begun(line, task)
    deadline = time.monotonic() + STEP_S
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(POLL_S)
    assert process.poll() is None, f"{task} ended with {process.returncode} before its disk was filled"
    fill(line, process, disk)
    code = line.end(task, process)
    (line.var / "ballast").unlink(missing_ok=True)
    said = line.log(task).read_text("utf-8", "replace")
    found = NO_ROOM.findall(said)
    assert code == 2 and found, f"{task} ended with {code}: {said[-1500:]}"
    assert "Traceback" not in said, f"{task}: a traceback: {said[-1500:]}"
    step, _ = STEPS[task]
    assert not list((line.store.root / step).glob("*")), f"{task}: an artifact is visible"
    assert not list((line.store.root / ".work" / step).glob("*.output")), f"{task}: half an output is left"
    return f"{task} said it needs {found[-1][1]} bytes ({found[-1][2]} free)"


def gc_in_a_run(folder: Path) -> str:
    """O11: the harshest garbage collection over and over during a run; then with the champion the oldest of all."""
    line = Line(folder / "var")
    line.var.mkdir()
    Database.create(line.var / "release.sqlite")
    for number in range(3):
        old = junk(line, f"old-{number}")
        age(old, 300)
    over, passes, removed = threading.Event(), [], []

    def sweep() -> None:
        while not over.is_set():
            result = line.gc("--older-than-days", "0", "--merged-days", "0", "--keep-gib", "0")
            passes.append(1)
            removed.append(result["removed"])

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for task in STEPS:
            line.run(task)
    finally:
        over.set()
        sweeper.join()
    assert sum(removed) == 3, f"{sum(removed)} were removed, 3 were old"
    for task, made in line.made.items():
        assert Path(made["artifact"]).is_dir(), f"{task}'s artifact is gone"
    kept = line.whole()
    return f"{len(passes)} passes during {len(STEPS)} steps removed the 3 old ones and none of {kept}; {oldest_champion(line)}"


def oldest_champion(line: Line) -> str:
    """The champion is the oldest; what serves and its lineage stay, its merged weights go and come back the same."""
    champion, merged = line.made["compress"], line.made["merge"]
    model = {"digest": champion["digest"], "path": champion["artifact"]}
    database = Database.create(line.var / "release.sqlite")
    database.record("released", "releaser", database.intend(model, "fault").revision, actual=model)
    for path in line.store.root.glob("*/*/manifest.json"):
        age(path.parent, 900)
    candidate = age(junk(line, "candidate", "compression.compress"), 10)
    stranger = age(junk(line, "stranger"), 10)
    line.gc("--older-than-days", "1", "--merged-days", "1", "--ledger-months", "0", "--keep-gib", "0")
    assert not stranger.exists() and candidate.is_dir(), "the young stranger stayed, or the newest candidate went"
    for task in ("collect", "clean", "split", "train", "compress"):
        assert Path(line.made[task]["artifact"]).is_dir(), f"the champion's {task} is gone"
        artifacts.verify(line.made[task]["artifact"])
    assert not Path(merged["artifact"]).exists(), "the merged weights stayed"
    again = line.run("merge")
    assert again["digest"] == merged["digest"] and not again["reused"], "merging again gave other weights"
    return "the oldest champion stayed with its lineage; its merged weights went and came back with the same digest"


def junk(line: Line, name: str, step: str = "data.clean") -> Path:
    """An artifact that nothing points at."""
    output = line.store.root / ".work" / step / f"{name}.output"
    output.mkdir(parents=True)
    (output / "records.jsonl").write_text(name)
    return line.store.finish(step, artifacts.sha256_text(f"{step} {name}"), output, {}, describe={"inputs": {}}).path


def age(folder: Path, days: float) -> Path:
    at = time.time() - days * 86400
    for path in (folder / artifacts.MANIFEST, folder):
        os.utime(path, (at, at))
    return folder


CHANNELS = ("wecom", "dingtalk", "feishu", "webhook")


def canary_connections() -> dict[str, dict]:
    """{name: Connection} whose every secret field holds a canary; nobody listens at their addresses."""
    found: dict[str, dict] = {}
    for name in CHANNELS:
        address = f"http://127.0.0.1:9/{name}?key=canary-{name}-address"
        extra = json.dumps({"secret": f"canary-{name}-secret"})
        found[f"lexloop_{name}"] = {"conn_type": "http", "password": address, "extra": extra}
    extra = json.dumps({"from_email": "a@example.com", "to": "b@example.com", "disable_ssl": True, "disable_tls": True})
    smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": 9, "login": "robot", "password": "canary-smtp-password"}
    return found | {"lexloop_smtp": smtp | {"extra": extra}}


def secrets_of(seat: Seat) -> dict[str, bytes]:
    """{where it is kept: the secret} of every key and password of a seat, and the canaries."""
    found = {}
    for path in (seat.var / "secrets").iterdir():
        for number, line in enumerate(path.read_text("utf-8").splitlines()):
            found[f"{path.name}:{number}"] = line.split(":")[-1].encode()
    for user, word in json.loads((seat.var / "airflow" / "passwords.json").read_text("utf-8")).items():
        found[f"password of {user}"] = word.encode()
    return {name: word for name, word in found.items() if len(word) >= 8} | {"canary": b"canary-"}


def public_files(var: Path) -> Iterator[Path]:
    """Logs, databases (XCom, MLflow), artifacts, notes: everything but the private files themselves."""
    private = {var / "secrets", var / "airflow" / "airflow.cfg", var / "airflow" / "passwords.json", var / "supervisord.conf"}
    private |= {var / "gateway" / "keys.conf"}
    for path in var.rglob("*"):
        if path.is_file() and not path.is_symlink() and path not in private and var / "secrets" not in path.parents:
            yield path


def canary_secrets(folder: Path) -> str:
    """O9: every Connection, key and password is a canary; a whole run shows none of them anywhere."""
    seat = Seat(folder / "v", REPOSITORY)
    engine = [sys.executable, "-m", "tests.faults._engine", "{model}", "{port}", "{name}"]
    seat.values |= {"LEXLOOP_FAULTS": "1", "LEXLOOP_PROFILE": "faults", "LEXLOOP_ENGINE_ARGV": json.dumps(engine)}
    names: dict[str, bytes] = {}
    hits: set[str] = set()
    over = threading.Event()

    def watch_processes() -> None:
        while not over.wait(0.5):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    line = path.read_bytes()
                    hits.update(f"{name} in a process list" for name, word in names.items() if word in line)

    try:
        done = seat.run("legal_tasks.services", "up", timeout_s=420)
        assert done.returncode == 0, done.stderr[-800:]
        from legal_tasks.retrain import Airflow

        word = json.loads((seat.var / "airflow" / "passwords.json").read_text("utf-8"))["admin"]
        airflow = Airflow(seat.url("AIRFLOW"), word)
        for name, values in canary_connections().items():
            airflow.call("POST", "/connections", json={"connection_id": name, **values})
        names.update(secrets_of(seat))
        watcher = threading.Thread(target=watch_processes)
        watcher.start()
        done, result = seat.retrain("--profile", "faults")
        assert done.returncode == 0, f"the run failed: {(done.stdout + done.stderr)[-1500:]}"
        told = tell_everybody(airflow)
        names.update(secrets_of(seat))
        over.set()
        watcher.join()
    finally:
        over.set()
        seat.stop()
    count = 0
    for path in public_files(seat.var):
        count, content = count + 1, path.read_bytes()
        hits |= {f"{name} in {path.relative_to(seat.var)}" for name, word in names.items() if word in content}
    assert not hits, f"{len(hits)} hits: {sorted(hits)[:10]}"
    return f"{len(names)} secrets, run {result['decision']}, messages {told}: 0 hits in {count} files and the process lists"


def tell_everybody(airflow) -> str:
    """Let `watch` send a test message through every Connection, none of which answers; how the task ended."""
    airflow.wait_for_dag("watch")
    run = {"dag_run_id": "canary", "logical_date": None, "conf": {"test": True}}
    airflow.call("POST", "/dags/watch/dagRuns", json=run)
    airflow.call("PATCH", "/dags/watch", params={"update_mask": "is_paused"}, json={"is_paused": False})
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        state = airflow.call("GET", "/dags/watch/dagRuns/canary")["state"]
        if state in ("success", "failed"):
            break
        time.sleep(1)
    content = airflow.call("GET", "/dags/watch/dagRuns/canary/taskInstances/tell/logs/1", headers={"Accept": "application/json"})[
        "content"
    ]
    said = json.dumps(content)
    assert all(f"{name}: ConnectError" in said for name in CHANNELS), f"the channels were not tried: {said[-1500:]}"
    return f"{state} as they must ({len(CHANNELS) + 1} channels away)"


FAULTS = {"O6": disk_full, "O9": canary_secrets, "O11": gc_in_a_run}
