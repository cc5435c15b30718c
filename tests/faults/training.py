"""A training that is killed, damaged, starved or fed with poison: what it leaves and how it goes on.

Each runs `python -m legal_tasks.training.lora` on a tiny random base, in processes of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.legal_tasks.training.tiny import make_base, make_split

UPDATES, SAVE = 240, 40
COMMON = ["--batch", "4", "--accumulation", "1", "--epochs", "20", "--max-updates", str(UPDATES), "--warmup", "10"]
COMMON += ["--max-length", "96", "--threads", "1", "--learning-rate", "5e-3", "--save-updates", str(SAVE)]


class Training:
    """One place to train in: base, data, store; the command line, its process and what it said."""

    def __init__(self, folder: Path, *options: str, records: int = 64):
        self.folder = folder
        self.options = [*COMMON, *options]
        self.base = make_base(folder / "base")
        self.data = make_split(folder / "data", records)
        self.store = folder / "store"
        self.mlflow: str | None = None

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        kept |= {"MLFLOW_TRACKING_URI": self.mlflow} if self.mlflow else {}
        return kept | {"LEXLOOP_VAR": str(self.folder / "var"), "PYTHONUNBUFFERED": "1"}

    def start(self) -> subprocess.Popen:
        argv = [sys.executable, "-m", "legal_tasks.training.lora", "--data", str(self.data), "--base", str(self.base)]
        argv += ["--store", str(self.store), *self.options]
        pipe = subprocess.PIPE
        values = self.environment()
        return subprocess.Popen(argv, env=values, stdout=pipe, stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def run(self) -> tuple[int, str]:
        process = self.start()
        said, _ = process.communicate(timeout=900)
        return process.returncode, said

    def kill_when(self, now: Callable[[str], bool]) -> str:
        """Start, kill -9 the whole session as soon as `now(line)` holds; what it had said."""
        process, said = self.start(), []
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if now(line):
                os.killpg(process.pid, signal.SIGKILL)
                break
        process.wait(60)
        process.stdout.close()
        assert process.returncode == -signal.SIGKILL, f"it ended before it was killed: {''.join(said)[-600:]}"
        return "".join(said)

    def checkpoints(self) -> list[Path]:
        found = self.store.glob(".work/training.lora/*/checkpoint-*")
        return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))

    def adapter(self) -> str:
        """sha256 of the finished adapter."""
        (path,) = self.store.glob("training.lora/*/adapter/adapter_model.safetensors")
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def report(self) -> dict:
        (path,) = self.store.glob("training.lora/*/report.json")
        return json.loads(path.read_text("utf-8"))

    def beside(self, name: str) -> Training:
        """The same training in an empty store: what an undisturbed run gives."""
        other = object.__new__(Training)
        other.__dict__ = self.__dict__ | {"store": self.folder / name}
        return other


def finish(training: Training) -> str:
    code, said = training.run()
    assert code == 0, said[-800:]
    return said


def update_of(line: str) -> int:
    found = re.match(r"progress (\d+)/", line)
    return int(found[1]) if found else 0


def killed_three_times(folder: Path) -> str:
    """T1: kill -9 at three random updates; the adapter is that of an undisturbed run, bit for bit."""
    training = Training(folder)
    whole = training.beside("whole")
    finish(whole)
    chooser = random.Random()
    places = sorted(chooser.sample(range(SAVE + 1, UPDATES - 5), 3))
    for place in places:
        training.kill_when(lambda line, place=place: update_of(line) >= place)
    said = finish(training)
    resumed = re.findall(r"resumed from step (\d+)", said)
    assert resumed == [str(places[-1] // SAVE * SAVE)], resumed
    assert training.adapter() == whole.adapter(), "the adapter differs from the undisturbed run's"
    return f"killed at updates {places}, resumed last at {resumed[0]} of {UPDATES}; adapter bitwise equal"


def killed_while_saving(folder: Path) -> str:
    """T2: kill -9 between the first file of a checkpoint and its mark; the half checkpoint is never resumed."""
    training = Training(folder, "--save-updates", "10")
    whole = training.beside("whole")
    finish(whole)
    hits = 0
    for _ in range(8):
        process = training.start()
        known = {path.name for path in training.checkpoints()}
        while process.poll() is None:
            if any(path.name not in known and not (path / "COMPLETE").exists() for path in training.checkpoints()):
                break
            time.sleep(0.001)
        assert process.poll() is None, f"it ended before it was killed: {process.communicate()[0][-600:]}"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        hits += any(not (path / "COMPLETE").exists() for path in training.checkpoints())
        if hits == 2:
            break
    assert hits == 2, f"the process was killed while saving {hits} times only"
    said = finish(training)
    assert "is not resumed: it was not finished" in said
    assert training.adapter() == whole.adapter(), "the adapter differs from the undisturbed run's"
    return "killed twice while saving; half checkpoints told and removed; adapter bitwise equal"


def flipped_byte(folder: Path) -> str:
    """T3: one bit of the newest checkpoint flips; the one before is resumed."""
    training = Training(folder)
    whole = training.beside("whole")
    finish(whole)
    training.kill_when(lambda line: update_of(line) >= 2 * SAVE + 15)
    newest = training.checkpoints()[-1]
    file = random.choice(
        [path for path in newest.iterdir() if path.is_file() and path.stat().st_size and path.name != "COMPLETE"]
    )
    content = bytearray(file.read_bytes())
    place = random.randrange(len(content))
    content[place] ^= 1 << random.randrange(8)
    file.write_bytes(content)
    said = finish(training)
    assert f"{newest.name} is not resumed: its {file.name} is missing or was changed" in said, said[:1500]
    assert f"resumed from step {SAVE} " in said
    assert training.adapter() == whole.adapter(), "the adapter differs from the undisturbed run's"
    return f"byte {place} of {newest.name}/{file.name} flipped; resumed at {SAVE}; adapter bitwise equal"


class Server:
    """An MLflow server with a database of its own, which can go away and come back at the same address."""

    def __init__(self, folder: Path):
        folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.address = folder, f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def come(self) -> None:
        argv = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(self.port)]
        argv += ["--backend-store-uri", f"sqlite:///{self.folder}/m.db", "--artifacts-destination", f"{self.folder}/artifacts"]
        values = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with open(self.folder / "log.txt", "a") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, env=values, start_new_session=True)
        deadline = time.monotonic() + 180
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.address}/health", timeout=2).close()
                return
            assert time.monotonic() < deadline and self.process.poll() is None, (self.folder / "log.txt").read_text()[-800:]
            time.sleep(0.3)

    def leave(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
            self.process = None

    def losses(self, step: str) -> list[tuple[int, float]]:
        """Points (update, loss) of the only finished run of a step."""
        from mlflow import MlflowClient

        client = MlflowClient(self.address)
        experiments = [one.experiment_id for one in client.search_experiments()]
        (run,) = client.search_runs(experiments, f"tags.`lexloop.step` = '{step}'")
        assert run.info.status == "FINISHED", run.info.status
        return sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss"))


def killed_without_mlflow(folder: Path) -> str:
    """T4: MLflow goes away, the trainer is killed -9, resumed and ends without it; later every point is there, once."""
    server = Server(folder / "mlflow")
    training = Training(folder)
    training.mlflow = server.address
    chooser = random.Random()
    away, place = chooser.randrange(20, SAVE + 20), chooser.randrange(2 * SAVE + 5, UPDATES - 40)
    try:
        server.come()

        def now(line: str) -> bool:
            if server.process is not None and update_of(line) >= away:
                server.leave()
            return update_of(line) >= place

        training.kill_when(now)
        said = finish(training)
        resumed = re.findall(r"resumed from step (\d+)", said)
        assert resumed == [str(place // SAVE * SAVE)], f"killed at {place}, away at {away}: {said[-1500:]}"
        server.come()
        argv = [sys.executable, "-m", "legal_tasks.tracking", "replay"]
        for _ in range(2):  # a second replay may add nothing
            done = subprocess.run(argv, env=training.environment(), capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stdout + done.stderr
        (log,) = training.store.glob("training.lora/*/log.jsonl")
        wanted = sorted((point["step"], point["loss"]) for point in map(json.loads, log.read_text("utf-8").strip().split("\n")))
        found = server.losses("training.lora")
    finally:
        server.leave()
    assert found == wanted and len(found) >= 50, f"{len(found)} points in MLflow, {len(wanted)} in the log"
    return f"MLflow away from update {away}, killed at {place}, resumed at {resumed[0]}: {len(found)} points, each once"


@contextlib.contextmanager
def small_disk(place: Path, size_mib: int) -> Iterator[Path]:
    """A file system of its own, in memory; needs the right to mount."""
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(place)], capture_output=True, text=True
    )
    assert done.returncode == 0, f"cannot mount a small disk ({done.stderr.strip()}): run as root, or under unshare -rm"
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def disk_filled(folder: Path) -> str:
    """T5: the disk fills up after the start; exit 2 with the way out, and the training goes on when there is room."""
    training = Training(folder)
    whole = training.beside("whole")
    finish(whole)
    with small_disk(folder / "disk", 96) as disk:
        training.store = disk / "store"
        process, said = training.start(), []
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if update_of(line) == SAVE + 10:
                fill(disk / "filler")
        assert process.wait(60) == 2, "".join(said)[-800:]
        message = next(line for line in said if line.startswith("error: "))
        assert re.search(r"needs about \d+ bytes", message) and "the disk is full" in message and "Traceback" not in "".join(said)
        assert [path.name for path in training.checkpoints()] == [f"checkpoint-{SAVE}"]
        (disk / "filler").unlink()
        again = finish(training)
        assert f"resumed from step {SAVE} " in again
        assert training.adapter() == whole.adapter(), "the adapter differs from the undisturbed run's"
    return f"exit 2: {message.strip()[:90]}...; with room it resumed at {SAVE}, adapter bitwise equal"


def fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65536)


def memory_capped(folder: Path) -> str:
    """T6: memory is capped so that the batch does not fit; it is computed in parts, the updates stay the same."""
    training = Training(folder, "--batch", "32", "--dropout", "0", "--max-updates", "3", records=96)
    shutil.rmtree(training.base)
    make_base(training.base, hidden=256, layers=6)
    lines = [json.loads(line) for line in (training.data / "train.jsonl").read_text("utf-8").strip().split("\n")]
    longer = [json.dumps(row | {"output": row["output"] + "违约金" * 20}, ensure_ascii=False) for row in lines]
    (training.data / "train.jsonl").write_text("\n".join(longer) + "\n", "utf-8")
    whole = training.beside("whole")
    finish(whole)
    process, said = training.start(), []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        if " records, " in line and " updates, " in line:
            cap(process.pid, 110 << 20)
    assert process.wait(600) == 0, "".join(said)[-1500:]
    told = next(line for line in said if "parts" in line)
    parts, updates = training.report()["parts"], training.report()["updates"]
    assert parts > 1 and updates == whole.report()["updates"] == 3
    gap = abs(training.report()["train_loss"] - whole.report()["train_loss"])
    assert gap < 1e-3, f"the losses differ by {gap}"
    return f"{told.strip()[:120]}; {parts} parts, {updates} updates, loss differs by {gap:.1e}"


def cap(pid: int, more: int) -> None:
    """Let a process take `more` bytes than it has now."""
    size = next(int(line.split()[1]) << 10 for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmSize" in line)
    resource.prlimit(pid, resource.RLIMIT_AS, (size + more, size + more))


def poisoned_batch(folder: Path) -> str:
    """T7: one record makes the loss no number; the message names its line, the checkpoint before it is good."""
    from safetensors.torch import load_file, save_file

    from legal_tasks.training import lora

    training = Training(folder, "--batch", "4", "--epochs", "1", "--save-updates", "20", records=UPDATES)
    shutil.rmtree(training.base)
    base = make_base(training.base, tied=False)
    model, tokenizer = lora.load_base(base, "cpu", 96)
    plan = lora.make_plan(
        lora.Params(training.data, folder, str(base), batch=4, accumulation=1, epochs=1, max_length=96), tokenizer
    )
    line = plan.ordered[random.randrange(25 * 4, 55 * 4)]["line"][0]
    rows = (training.data / "train.jsonl").read_text("utf-8").strip().split("\n")
    rows[line - 1] = rows[line - 1].replace("期限", "择限")  # as many tokens: the order stays
    (training.data / "train.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    weights = load_file(base / "model.safetensors")
    weights["model.embed_tokens.weight"][tokenizer.convert_tokens_to_ids("择")] = float("nan")
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    code, said = training.run()
    assert code == 2 and "Traceback" not in said, said[-800:]
    message = next(text for text in said.splitlines() if text.startswith("error: "))
    named = re.search(r"lines ([\d, ]+) of train.jsonl", message)
    assert "became nan" in message and named and str(line) in named[1].split(", "), message
    kept = training.checkpoints()[-1]
    assert (kept / "COMPLETE").is_file()
    assert all(value.isfinite().all() for value in load_file(kept / "adapter_model.safetensors").values())
    return f"line {line} was poisoned: {message[7:120]}...; {kept.name} kept, all its numbers finite"


def child_killed(folder: Path) -> str:
    """T8: kill -9 of LLaMA-Factory's process; it is started again from its newest checkpoint and ends like an undisturbed one."""
    training = Training(folder, "--backend", "llamafactory", "--max-updates", "120")
    whole = training.beside("whole")
    finish(whole)
    process, said, killed = training.start(), [], []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        if not killed and update_of(line) >= SAVE + 10:
            killed = [pid for pid, parent, argv in processes() if parent == process.pid and "llamafactory_child" in argv]
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
    assert process.wait(60) == 0, "".join(said)[-1500:]
    assert len(killed) == 1 and any("was killed by signal 9: starting it again" in line for line in said)
    report, wanted = training.report(), whole.report()
    assert report["resumed_at"] == SAVE and report["updates"] == wanted["updates"] == 120
    gap = abs(report["validation_loss"] - wanted["validation_loss"])
    assert gap < 1e-3, f"the validation losses differ by {gap}"
    same = "bitwise equal" if training.adapter() == whole.adapter() else "not bitwise equal"
    return f"killed past update {SAVE + 10}, resumed at {SAVE}; validation loss differs by {gap:.1e}, adapter {same}"


def processes() -> Iterator[tuple[int, int, str]]:
    """(pid, its parent, command line) of all."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                yield int(entry.name), parent, (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")


FAULTS = {
    "T1": killed_three_times,
    "T2": killed_while_saving,
    "T3": flipped_byte,
    "T4": killed_without_mlflow,
    "T5": disk_filled,
    "T6": memory_capped,
    "T7": poisoned_batch,
    "T8": child_killed,
}
