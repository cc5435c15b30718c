"""Faults around what serves: a crowd that is merely patient, a killed Nginx, a full disk, many keys at once, a clock that is set.

Part of the group `serving`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from legal_tasks import artifacts
from legal_tasks.lease import HEARTBEAT_S, Lease, process_start
from legal_tasks.serving import keys, nginx
from legal_tasks.serving.children import session_members
from legal_tasks.serving.state import Database, StateError
from legal_tasks.serving.status import read_status
from tests.faults._seats import QUESTION, REPOSITORY, Releaser, ask, model, put, releasing, seat, wait_for
from tests.legal_tasks.training.tiny import make_base

BUSY_S = float(os.environ.get("LEXLOOP_FAULT_BUSY_S", "600"))  # of S13
WIDE_S = 120.0  # of its second part
CROWD, TOKENS = 32, 480  # requests at once for each of two keys, tokens of an answer
DISK = 64 * 2**20
CLOCK = Path(__file__).with_name("_clock.c")
JUMPS_S = (60, 3600, -3600)


class Clients:
    """Threads that ask again and again until `end`; counts what they got and keeps the longest wait."""

    def __init__(self, url: str, own: list[str], pause_s: float = 0.0, **changes: Any):
        self.url, self.pause_s, self.changes = url, pause_s, changes
        self.statuses: Counter[int | str] = Counter()
        self.longest_s, self.tokens, self.over = 0.0, 0, threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._ask, args=(key,), daemon=True) for key in own]
        for thread in self.threads:
            thread.start()

    def _ask(self, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(timeout=900, trust_env=False, headers=headers) as client:
            while not self.over.wait(self.pause_s):
                began = time.monotonic()
                try:
                    answer = client.post(f"{self.url}/v1/chat/completions", json=QUESTION | self.changes)
                except httpx.HTTPError as error:
                    self.statuses[type(error).__name__] += 1
                    continue
                tokens = answer.json()["usage"]["completion_tokens"] if answer.status_code == 200 else 0
                with self.lock:
                    self.statuses[answer.status_code] += 1
                    self.tokens += tokens
                    self.longest_s = max(self.longest_s, time.monotonic() - began)
                if answer.status_code != 200:
                    time.sleep(1)  # as they are told

    def end(self) -> dict[int | str, int]:
        self.over.set()
        for thread in self.threads:
            thread.join(900)
        return dict(self.statuses)


def gateway_port() -> int:
    return int(os.environ["LEXLOOP_GATEWAY_PORT"])


def url() -> str:
    return f"http://127.0.0.1:{gateway_port()}"


def health() -> int | None:
    """The status of /health, None without an answer."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url()}/health", timeout=10, trust_env=False).status_code
    return None


def seconds_until(check: Callable[[], Any], timeout_s: float, what: str) -> float:
    began = time.monotonic()
    wait_for(check, timeout_s, what)
    return time.monotonic() - began


def real_model(folder: Path) -> artifacts.Artifact:
    """An artifact that vLLM serves: a random model with a context of 1,024 tokens."""

    def fill(output: Path) -> dict[str, Any]:
        variant = make_base(output / "gptq")
        for name, key in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
            content = json.loads((variant / name).read_text("utf-8"))
            (variant / name).write_text(json.dumps({**content, key: 1024}), "utf-8")
        return {}

    return artifacts.Store(folder / "store").get_or_make("compression.compress", {"text": "real"}, {}, fill)


def core_of(engine: int) -> int:
    """vLLM's process that computes, in the session of the engine."""
    return next(p for p in session_members(engine) if "EngineCore" in Path(f"/proc/{p}/cmdline").read_text("utf-8", "replace"))


@dataclass
class Load:
    """What the crowd of both keys got from one engine, which was not taken for dead."""

    statuses: dict[int | str, int]
    said: str
    out_s: float = 0.0  # from the core's freezing, if it was frozen, to the engine's end


def under_load(production: Callable[[], Any], own: list[str], end_token: int, seconds: float, freeze: bool = False) -> Load:
    """Both keys with CROWD long answers at once each; `freeze`: at the end, under the same load, the engine's core."""
    pid, port = (wait_for(production, 400, "the engine")[name] for name in ("pid", "port"))
    for path in ("/v1/models", "/health", "/metrics", "/invocations", "/tokenize", "/v1/chat/completions"):
        without = httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False).status_code
        assert without == 401, f"the engine answers {path} with {without} to somebody without its key"
    wait_for(lambda: health() == 200, 30, "/health")
    before = [event.event for event in Database().history()]
    clients = Clients(url(), own * CROWD, max_tokens=TOKENS, logit_bias={str(end_token): -100})
    bad, out, began = 0, 0.0, time.monotonic()
    while time.monotonic() - began < seconds:
        bad += health() != 200
        time.sleep(1)
    with clients.lock:
        statuses, tokens, longest = dict(clients.statuses), clients.tokens, clients.longest_s
    events = [event.event for event in Database().history()]
    assert (production() or {}).get("pid") == pid and events == before, f"the engine was taken for dead: {events}, {statuses}"
    if freeze:
        os.kill(core_of(pid), signal.SIGSTOP)
        out = seconds_until(lambda: process_start(pid) is None, 60, "the end of the engine with a frozen core")
        clients.over.set()
    else:
        clients.end()
    wrong = {status: count for status, count in statuses.items() if status not in (200, 429)}
    assert not wrong and statuses.get(200, 0) > 0, statuses
    assert tokens == TOKENS * statuses[200], "answers were cut"
    assert bad == 0, f"/health was not 200 {bad} times"
    return Load(
        statuses, f"{seconds:.0f} s, {statuses}, {tokens / seconds:.0f} tokens/s, longest wait {longest:.0f} s, no restart", out
    )


def busy(folder: Path) -> str:
    """Two keys with 32 long answers at once each: under the bounds as they are, then with all of them let in and waiting."""
    with seat(folder, tiny=False) as var:
        own = [keys.add("one"), keys.add("two")]
        artifact = real_model(folder)
        end_token = json.loads((artifact.path / "gptq" / "config.json").read_text("utf-8"))["eos_token_id"]
        with releasing(var) as production:
            Database().intend({"digest": artifact.digest, "path": str(artifact.path)}, "fault", {})
            bounded = under_load(production, own, end_token, BUSY_S)
        wide, before = folder / "wide.yaml", os.environ.get("LEXLOOP_PROFILE")
        wide.write_text(json.dumps({"serving.limits": {"total_answers": 4 * CROWD, "key_share": 0.9}}), "utf-8")
        os.environ["LEXLOOP_PROFILE"] = str(wide)
        try:
            with releasing(var) as production:
                waiting = under_load(production, own, end_token, min(BUSY_S, WIDE_S), freeze=True)
        finally:
            os.environ.pop("LEXLOOP_PROFILE") if before is None else os.environ.update(LEXLOOP_PROFILE=before)
    assert waiting.statuses.keys() == {200}, (
        f"some were sent away, so the engine had less to do than it should: {waiting.statuses}"
    )
    assert waiting.out_s < 30, f"a frozen core was out after {waiting.out_s:.0f} s"
    return (
        f"{2 * CROWD} requests at once: {bounded.said}; all let in: {waiting.said}; with its core frozen under this load it was "
        f"out after {waiting.out_s:.1f} s"
    )


def master(var: Path) -> int:
    """Nginx's master as its file says; 0 while that is being written."""
    return int((var / "gateway" / "nginx.pid").read_text() or 0)


def killed_nginx(folder: Path) -> str:
    with seat(folder) as var, releasing(var) as production:
        gone, stays = keys.add("gone"), keys.add("stays")
        put(model(folder, "one"))
        wait_for(lambda: ask_status(gone) == ask_status(stays) == 200, 20, "both keys")
        os.kill(master(var), signal.SIGKILL)
        keys.revoke(gone.split("-")[1])
        revoked = seconds_until(lambda: ask_status(gone) == 401, 20, "the revocation")
        served = seconds_until(lambda: ask_status(stays) == 200, 20, "answers")
        put(model(folder, "two"))
        assert ask(url(), stays).json()["choices"][0]["message"]["content"] == "two"

        os.kill(master(var), signal.SIGKILL)
        production.kill()
        left = nginx.holders(gateway_port())
        assert left and "nginx: worker" in left[0], left
        production.start()
        told = seconds_until(lambda: health() == 503, 20, "the truth: production is restarting")
        again = told + seconds_until(lambda: ask_status(stays) == 200, 40, "answers after both were killed")
        assert health() == 200 and ask_status(gone) == 401

        os.kill(master(var), signal.SIGKILL)
        production.kill()
        for pid in [int(each.split()[1]) for each in nginx.holders(gateway_port())]:
            os.kill(pid, signal.SIGKILL)
        with foreign() as other:
            production.start()
            wait_for(
                lambda: f"in use by process {other}" in read_status().get("phase", ""), 30, "the name of the foreign program"
            )
            assert process_start(other), "a program that is not ours was ended"
        freed = seconds_until(lambda: ask_status(stays) == 200, 60, "answers once the port was free")
    return (
        f"a revoked key was out {revoked:.1f} s after the master was killed, answers came {served:.1f} s later; with the "
        f"releaser killed too, /health said 503 after {told:.1f} s and answers came after {again:.1f} s; a foreign program on "
        f"the port was named, not ended, and {freed:.1f} s after it had gone answers came"
    )


def ask_status(key: str) -> int | None:
    with contextlib.suppress(httpx.HTTPError):
        return ask(url(), key).status_code
    return None


@contextlib.contextmanager
def foreign() -> Iterator[int]:
    """A program of somebody else on the gateway's port; its process number."""
    script = f"import socket, time; s = socket.create_server(('127.0.0.1', {gateway_port()})); time.sleep(600)"
    one = subprocess.Popen([sys.executable, "-c", script])
    try:
        wait_for(lambda: nginx.holders(gateway_port()), 20, "the foreign program")
        yield one.pid
    finally:
        one.kill()
        one.wait()


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A disk of its own where this machine lets us mount one; whether it is one."""
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    mounted = shutil.which("mount") is not None and subprocess.run(argv, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(place: Path, releaser: Releaser, disk: bool) -> None:
    """Leave no byte; where there is no disk of its own, let no file of the releaser grow any more."""
    if not disk:
        hard = resource.prlimit(releaser.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(releaser.process.pid, resource.RLIMIT_FSIZE, (0, hard))
        return
    with open(place / "ballast", "ab", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(b"\0" * 4096)


def make_room(place: Path, releaser: Releaser, disk: bool) -> None:
    if not disk:
        hard = resource.prlimit(releaser.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(releaser.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    (place / "ballast").unlink(missing_ok=True)


def make_key(disk: bool) -> subprocess.CompletedProcess[str]:
    """`make key`; where the disk is not its own, its files may not grow either."""
    limit = None if disk else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    argv = [sys.executable, "-m", "legal_tasks.serving.keys", "add", "--name", "late"]
    return subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY, preexec_fn=limit, timeout=120)


def full_disk(folder: Path) -> str:
    """The disk of the var folder is full; nothing that serves, renews or beats ends, and all of it goes on with room again."""
    with small_disk(folder / "disk") as disk, seat(folder / "disk") as var, releasing(var) as production:
        place, mine = folder / "disk", keys.add("office", per_minute=100_000)
        put(model(folder, "one"))
        wait_for(lambda: ask_status(mine) == 200, 20, "the key")
        time.sleep(2)  # the room kept back is there
        with Lease(var / "lease", {"step": "fault"}):
            kept = keys.path().read_bytes()
            fill(place, production, disk)
            clients = Clients(url(), [mine] * 4, pause_s=0.1, messages=[{"role": "user", "content": "长" * 60_000}])
            said = without_room(var, production, disk, kept)
            before = (var / "lease").stat().st_mtime_ns
            time.sleep(2 * HEARTBEAT_S)
            assert (var / "lease").stat().st_mtime_ns > before, "the lease was not renewed"
        statuses = clients.end()
        beat = read_status()["heartbeat"]
        make_room(place, production, disk)
        wait_for(lambda: read_status()["heartbeat"] > beat, 20, "the heartbeat that is written again")
        wait_for(lambda: not disk or Database().history()[-1].event == "restarted", 30, "the history")
        late = make_key(True)
        assert late.returncode == 0 and ask_status(late.stdout.strip()) == 200, late
        logged = (var / "gateway" / "access.log").stat().st_size
        put(model(folder, "two"))
        assert ask(url(), mine).json()["choices"][0]["message"]["content"] == "two"
        wait_for(lambda: (var / "gateway" / "access.log").stat().st_size > logged, 10, "lines of the log")
    failed = sum(count for status, count in statuses.items() if status not in (200, 429))  # 429: large bodies have a rate
    assert statuses.get(200, 0) > 5 and failed <= 60, statuses  # four clients, while Nginx and the engine were away
    where = "a full tmpfs" if disk else "RLIMIT_FSIZE on the releaser alone (no disk could be mounted)"
    return f"{where}: {said}; clients got {statuses}; with room again heartbeat, history, log, keys and a release went on"


def without_room(var: Path, production: Releaser, disk: bool, kept: bytes) -> str:
    """What happens to the parts, one after the other, without a byte of room."""
    refused = make_key(disk)
    assert refused.returncode == 2 and "make room" in refused.stderr and keys.path().read_bytes() == kept, refused
    for _ in range(30):
        assert read_status()["alive"], "the releaser looks dead"
        time.sleep(0.1)
    if not disk:  # what the releaser starts would inherit its limit, which ends a program instead of refusing a write
        return "a new key was refused with exit 2"
    try:
        Database().record("stopped", "fault", 0, evidence={"why": "x" * 9000})
        raise AssertionError("the history was written on a full disk")
    except StateError as error:
        assert "make room" in str(error), error
    pid = (read_status()["production"] or {})["pid"]
    os.kill(pid, signal.SIGKILL)
    engine = seconds_until(lambda: process_start(pid) is None and health() == 200, 60, "an engine on a full disk")
    old = master(var)
    os.kill(old, signal.SIGKILL)
    front = seconds_until(lambda: master(var) not in (0, old) and health() == 200, 60, "Nginx on a full disk")
    assert production.process.poll() is None, "the releaser ended"
    return f"a new key was refused with exit 2, a killed engine was back after {engine:.1f} s, a killed Nginx after {front:.1f} s"


AT_ONCE = """
import sys, time
from pathlib import Path
from legal_tasks.serving import keys
print("ready", flush=True)
while not Path(sys.argv[1]).exists():
    time.sleep(0.001)
sys.exit(keys.main(["add", "--name", sys.argv[2]]))
"""


def eight_keys(folder: Path) -> str:
    """Eight keys in the same moment, then keys that come and go without a pause, while the holder of another one asks."""
    with seat(folder) as var, releasing(var):
        mine = keys.add("office", per_minute=100_000)
        put(model(folder, "one"))
        wait_for(lambda: ask_status(mine) == 200, 20, "the key")
        clients = Clients(url(), [mine] * 4, pause_s=0.02)
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": REPOSITORY}
        makers = [subprocess.Popen([sys.executable, "-c", AT_ONCE, str(folder / "go"), f"n{n}"], **pipes) for n in range(8)]
        for maker in makers:
            assert maker.stdout is not None and maker.stdout.readline() == "ready\n"
        (folder / "go").touch()
        made = [maker.communicate(timeout=180) for maker in makers]
        assert all(maker.returncode == 0 for maker in makers), made
        found, kept = [out.strip() for out, _ in made], {key.id for key in keys.read()}
        assert len(set(found)) == 8 and {key.split("-")[1] for key in found} <= kept, "a key was lost"
        began, changes = time.monotonic(), 0
        while time.monotonic() - began < 10:
            keys.revoke(keys.add("short").split("-")[1])
            changes += 2
        answers = [ask_status(key) for key in found]
        statuses = clients.end()
    assert answers == [200] * 8, answers
    assert set(statuses) == {200}, statuses
    return f"8 of 8 keys kept and let in; {changes} more changes, {statuses[200]} answers to another key meanwhile, none refused"


def jumping(folder: Path) -> tuple[dict[str, str], Callable[[int], None], str]:
    """(environment of processes whose time of day can jump, what makes it, how it was done)."""
    state = folder / "jump"
    state.write_text("0")
    library = folder / "clock.so"
    if shutil.which("gcc") and not subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(CLOCK)]).returncode:
        values, how = {"LD_PRELOAD": str(library)}, "LD_PRELOAD"
    else:
        (folder / "sitecustomize.py").write_text(
            "import os, time\n"
            "_time, _utime = time.time, os.utime\n"
            "time.time = lambda: _time() + int(open(os.environ['JUMP']).read() or 0)\n"
            "os.utime = lambda path, times=None, **more: _utime(path, times if times or more else (time.time(),) * 2, **more)\n"
        )
        values, how = {"PYTHONPATH": f"{folder}:{REPOSITORY}"}, "time.time of Python alone"

    def jump(seconds: int) -> None:
        beside = state.with_name("jump.part")
        beside.write_text(str(seconds))
        os.replace(beside, state)

    return {**values, "JUMP": str(state)}, jump, how


HOLD = """
import sys
from pathlib import Path
from legal_tasks.lease import Lease
with Lease(Path(sys.argv[1]), {}):
    print("held", flush=True)
    sys.stdin.read()
"""
TELL = "from legal_tasks.serving.status import read_status; print(read_status()['alive'])"


def clock_jump(folder: Path) -> str:
    """The time of day jumps under a releaser, an engine, Nginx, the holder of a lease and those who wait for it."""
    values, jump, how = jumping(folder)
    with seat(folder) as var, releasing(var, **values) as production:
        mine = keys.add("office")
        put(model(folder, "one"))
        wait_for(lambda: ask_status(mine) == 200, 20, "the key")
        pid, seen = wait_for(production, 10, "the model")["pid"], []
        python, environment = sys.executable, {**os.environ, **values}
        hold: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "text": True,
            "cwd": REPOSITORY,
            "env": environment,
        }
        holder, waiter = None, None
        try:
            holder = subprocess.Popen([python, "-c", HOLD, str(var / "lease")], **hold)
            assert holder.stdout is not None and holder.stdout.readline() == "held\n"
            waiter = subprocess.Popen([python, "-c", HOLD, str(var / "lease")], **hold)
            assert waiter.stdout is not None and "waiting" in waiter.stdout.readline()
            for seconds in JUMPS_S:
                jump(seconds)
                for _ in range(10):
                    told = subprocess.run([python, "-c", TELL], capture_output=True, text=True, cwd=REPOSITORY, env=environment)
                    assert told.stdout.strip() == "True", f"after {seconds} s the releaser looks dead: {told}"
                    assert holder.poll() is None, f"a jump of {seconds} s killed the holder of a lease"
                    assert waiter.poll() is None and (production() or {}).get("pid") == pid
                    assert ask_status(mine) == 200
                    time.sleep(0.5)
                seen.append(f"{seconds:+d} s")
            holder.communicate()
            assert waiter.stdout.readline() == "held\n"
            waiter.communicate()
        finally:
            for one in (holder, waiter):
                if one is not None and one.poll() is None:
                    one.kill()
                    one.wait()
        assert [event.event for event in Database().history()] == ["intended", "released"]
    return f"{how}: after jumps of {', '.join(seen)} the lease, the engine and the releaser's sign of life were as before"


FAULTS = {"S13": busy, "S14": killed_nginx, "S15": full_disk, "S16": eight_keys, "S19": clock_jump}
