"""The releaser: one supervised process that turns the release state into an engine and a route, and watches both.

    python -m legal_tasks.serving.releaser

A new model gets an engine beside the old one; only when it generates does the gateway send it everything, only when it
answers through the gateway is the old one drained and ended. Whatever fails before leaves the old one serving and is
noted with its reason. Needs neither Airflow nor MLflow. What it does stands in var/releaser.json.

What serves goes on whatever happens around it: a full disk, a lost release state, a killed Nginx or one whose port somebody else
took. What could not be written then (history, notes, logs, heartbeat) is written as soon as it can be.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from legal_tasks import artifacts
from legal_tasks.room import is_full
from legal_tasks.serving import engines
from legal_tasks.serving.backends import Settings
from legal_tasks.serving.children import end_session
from legal_tasks.serving.engines import Engine, EngineError
from legal_tasks.serving.gateway import Gateway, GatewayError, Route
from legal_tasks.serving.state import Database, Model, State, StateError
from legal_tasks.serving.status import beat, write_status
from legal_tasks.serving.watch import Watch, stall_limit
from legal_tasks.step import StepError, var_folder

ACTOR = "releaser"
TICK_S = 0.3
HEARTBEAT_S = 1.0
DRAIN_S = 30.0
BACK_OFF_S = (1.0, 2.0, 5.0, 15.0, 60.0)
AGAIN_S = 2.0  # until Nginx is started again
FULL_S = 15.0  # until a release that found no room is tried again
ROOM = 8 * 2**20  # bytes on the disk: with less no release begins
FAILURES = (EngineError, GatewayError, StepError, artifacts.ArtifactError, OSError)


def version_of(model: Model) -> str:
    """The version that clients see: the registry's number, else the digest's beginning."""
    return str(model.get("version") or model["digest"][:12])


class Releaser:
    def __init__(self, gateway_port: int, engine_port: int):
        self.var = var_folder()
        self.database = Database.create()
        key = secrets.token_urlsafe(32)  # what engines answer to alone; it lives as long as this process
        self.settings = Settings(key=key)
        self.gateway = Gateway(self.var / "gateway", gateway_port, key)
        self.engine_port, self.stall_s = engine_port, stall_limit()
        self.engine: Engine | None = None
        self.watch: Watch | None = None
        self.model: Model | None = None  # in production as far as this process knows, also while its engine is away
        self.revision = 0
        self.since = 0.0
        self.ready = False
        self.phase = "starting"
        self.failed: dict[str, Any] | None = None
        self.stopping = threading.Event()
        self.restarts = 0
        self.not_before = self.gateway_not_before = self.release_not_before = 0.0
        self.given_up: int | None = None  # the revision whose release was left once for the sake of production
        self.complaints: dict[str, str] = {}  # what -> what was last said of it
        self.unrecorded: list[tuple[str, int, dict[str, Any]]] = []
        self.keys_in_force: list[str] = []  # ids, once no worker of an earlier configuration takes requests
        self.write_lock = threading.Lock()

    # What others see

    def publish(self, stopped: bool = False) -> None:
        engine, model = self.engine, self.model
        production = None
        if model is not None and engine is not None:
            production = {
                **model,
                "version": version_of(model),
                "port": engine.port,
                "pid": engine.pid,
                "ready": self.ready,
                "since": self.since,
            }
        status = {
            "production": production,
            "failed": self.failed,
            "phase": self.phase,
            "gateway": self.gateway.url,
            "keys": self.keys_in_force,
            "stopped": stopped,
        }
        with self.write_lock:
            beat()
            try:
                write_status(status)
                self.complain("status", "")
            except OSError as error:
                self.complain("status", f"what is going on cannot be written down: {error}")

    def heartbeat(self) -> None:
        while not self.stopping.wait(HEARTBEAT_S):
            self.publish()

    def say(self, text: str) -> None:
        with suppress(OSError):  # a log without room is no reason to stop
            print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}", flush=True)

    def complain(self, about: str, text: str) -> None:
        """Say what is wrong with something when it begins, or becomes something else; "" when it is over."""
        if text and text != self.complaints.get(about):
            self.say(text)
        self.complaints[about] = text

    # Engines

    @property
    def pids_path(self) -> Path:
        return self.var / "releaser.engines.json"

    def note_engines(self, *running: Engine | None) -> None:
        """Which engines a later releaser must end, should this one be killed (the kernel tells the engines alone)."""
        noted = [{"pid": engine.pid, "started": engine.started} for engine in running if engine is not None]
        temporary = self.pids_path.with_name(self.pids_path.name + ".part")
        try:
            temporary.write_text(json.dumps(noted), "utf-8")
            os.replace(temporary, self.pids_path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            self.complain("engines", f"the running engines cannot be noted: {error}")

    def end_orphans(self) -> int:
        """End the engines that a killed releaser left behind; how many there were."""
        if not self.pids_path.is_file():
            return 0
        noted = json.loads(self.pids_path.read_text("utf-8"))
        for entry in noted:
            end_session(entry["pid"], entry["started"])
        self.note_engines()
        return len(noted)

    def launch(self, model: Model, port: int | None = None) -> Engine:
        """An engine that generates, beside whatever runs; on `port` if it is free. FAILURES with the reason."""
        path = Path(model["path"])
        manifest = artifacts.read_manifest(path)
        if manifest["digest"] != model["digest"]:
            raise StepError(f"{path} holds {manifest['digest'][:12]}, not {model['digest'][:12]}")
        folder = engines.admit(path)
        port = engines.free_port(self.engine_port if port is None else port)
        engine = Engine.start(folder, port, self.var / "logs" / f"engine-{port}.log", self.settings)
        self.note_engines(self.engine, engine)
        try:
            seconds = engine.wait_ready(stop=self.meanwhile)
        except BaseException:
            engine.stop()
            self.note_engines(self.engine)
            raise
        self.say(f"engine {engine.pid} of {version_of(model)} generates on port {port} after {seconds:.1f} s")
        return engine

    def meanwhile(self) -> bool:
        """What is done while an engine starts, which takes minutes. Whether to give it up: production comes first."""
        self.keep_gateway()
        return self.stopping.is_set() or (self.engine is not None and self.trouble() is not None)

    def route_to(self, engine: Engine, model: Model) -> None:
        """Send all requests to the engine; where they go there already, nothing needs to be written."""
        key = self.gateway.probe_key
        made = int((Path(model["path"]) / artifacts.MANIFEST).stat().st_mtime)
        route = Route.only(engine.port, version_of(model), engine.context(), made)
        if route == self.gateway.route:
            reason = engines.probe(self.gateway.url, key)
            if reason is not None:
                raise GatewayError(f"the probe through the gateway failed: {reason}")
        else:
            self.gateway.apply(route, lambda: engines.probe(self.gateway.url, key))

    def adopt(self, engine: Engine, model: Model) -> None:
        if self.watch is not None:
            self.watch.end()
        self.engine, self.model, self.ready, self.since = engine, model, True, time.time()
        self.watch = engine.watch(self.stall_s)
        self.watch.begin()
        self.note_engines(engine)

    # What it writes into the history

    def record(self, event: str, revision: int, **what: Any) -> None:
        """Write down what happened, now or as soon as the disk lets it."""
        self.unrecorded.append((event, revision, {**what, "at": time.time()}))
        self.catch_up()

    def catch_up(self) -> bool:
        """Write down what could not be written before; whether nothing is left."""
        while self.unrecorded:
            event, revision, what = self.unrecorded[0]
            try:
                self.database.record(event, ACTOR, revision, **what)
            except StateError as error:
                self.complain("history", f"the history waits to be written: {error}")
                return False
            self.unrecorded.pop(0)
        self.complain("history", "")
        return True

    # What it decides

    def release(self, state: State) -> None:
        """Bring the desired model into production, or note why not and leave what serves."""
        assert state.desired is not None
        wanted, old = state.desired, self.engine
        self.phase = f"releasing {version_of(wanted)}"
        self.say(self.phase)
        began = time.monotonic()
        engine: Engine | None = None
        try:
            engine = self.launch(wanted)
            self.route_to(engine, wanted)
        except FAILURES as error:
            if engine is not None:
                engine.stop()
                self.note_engines(old)
            if not self.stopping.is_set() and not self.postponed(state.revision, error):
                self.not_released(wanted, state.revision, f"{type(error).__name__}: {error}")
            return
        self.adopt(engine, wanted)
        self.failed, self.restarts = None, 0
        self.publish()
        seconds = round(time.monotonic() - began, 2)
        self.record("released", state.revision, actual=wanted, evidence={"seconds": seconds, "port": engine.port})
        self.say(f"released {version_of(wanted)} in {seconds} s")
        if old is not None:
            self.drain()
            old.stop()

    def postponed(self, revision: int, error: Exception) -> bool:
        """Whether a release that failed says nothing about its model and is tried again: no room, or production needed help."""
        if is_full(error):
            self.release_not_before = time.monotonic() + FULL_S
            self.complain("room", f"not released for want of room, will be tried again: {error}")
            return True
        if self.engine is not None and self.trouble() is not None and self.given_up != revision:
            self.given_up = revision
            self.say("not released yet: what is in production comes first")
            return True
        return False

    def not_released(self, wanted: Model, revision: int, reason: str) -> None:
        self.failed = {"digest": wanted["digest"], "revision": revision, "reason": reason, "at": time.time()}
        self.publish()
        self.record("failed", revision, desired=wanted, evidence={"reason": reason})
        self.say(f"not released: {reason}")

    def drain(self) -> None:
        deadline = time.monotonic() + DRAIN_S
        while self.gateway.draining() and time.monotonic() < deadline and not self.stopping.is_set():
            self.keep_gateway()
            time.sleep(0.1)

    def take_out(self, model: Model) -> None:
        """Nothing goes to the engine any more: clients are told at once to come again, instead of waiting for it."""
        try:
            self.gateway.apply(Route(awaited=version_of(model)))
        except FAILURES as error:
            self.say(f"the gateway keeps its route: {error}")

    def restore(self, model: Model, reason: str) -> None:
        """Start an engine again for what is in production; waits longer after each failure."""
        self.phase = f"restarting {version_of(model)}"
        self.ready = False
        self.say(f"{self.phase}: {reason}")
        port = None
        if self.engine is not None:
            port = self.engine.port  # the same one, for the case that the gateway could not change its route
            if self.watch is not None:
                self.watch.end()
            self.take_out(model)
            self.engine.stop(grace_s=2.0)
            self.engine = None
        pause = BACK_OFF_S[min(self.restarts, len(BACK_OFF_S) - 1)]
        self.restarts += 1
        self.not_before = time.monotonic() + pause
        engine: Engine | None = None
        try:
            engine = self.launch(model, port)
            self.route_to(engine, model)
        except FAILURES as error:
            if engine is not None:
                engine.stop()
                self.note_engines()
            text = f"{type(error).__name__}: {error}"
            self.failed = {"digest": model["digest"], "revision": self.revision, "reason": text, "at": time.time()}
            self.say(f"not restarted, next try in {pause:.0f} s: {text}")
            return
        self.adopt(engine, model)
        self.failed = None
        self.record("restarted", self.revision, evidence={"reason": reason, "attempts": self.restarts})

    def trouble(self) -> str | None:
        """What is wrong with the running engine, or None."""
        if self.engine is None or self.watch is None:
            return "no engine runs"
        if not self.engine.alive():
            return f"the engine ended with {self.engine.process.returncode}: {self.engine.tail(3)}"
        self.ready = self.watch.well
        if self.watch.worked:
            self.restarts = 0
        return self.watch.fault

    def keep_gateway(self) -> None:
        """Nginx runs, also after it was killed, and knows the keys of now."""
        if self.gateway.pid() is None:
            if time.monotonic() < self.gateway_not_before:
                return
            self.gateway_not_before = time.monotonic() + AGAIN_S
            try:
                self.complain("nginx", "Nginx is not there: starting it")
                self.gateway.start(self.gateway.route)
            except FAILURES as error:
                self.phase = f"no gateway: {error}"
                self.complain("gateway", f"the gateway does not start: {error}")
                return
            self.say(f"gateway on {self.gateway.url}")
            self.complain("nginx", "")
            self.complain("gateway", "")
        self.gateway.reserve.keep()
        self.take_keys()

    def take_keys(self) -> None:
        """Let keys in that were made since, and revoked ones no more; a broken file leaves the old ones in force."""
        try:
            if self.gateway.refresh_keys():
                self.say(f"the gateway knows {len(self.gateway.known) - 1} keys now")
            known = [key.id for key in self.gateway.known]
            if known != self.keys_in_force:
                self.keys_in_force = known
                self.publish()
            self.complain("keys", "")
        except (StepError, GatewayError, OSError) as error:
            self.complain("keys", f"the keys were not taken in: {error}")

    def tick(self) -> None:
        self.keep_gateway()
        if self.gateway.pid() is None:
            return
        try:
            state = self.database.current()
        except StateError as error:  # what serves goes on: a lost file is no reason to take production away
            self.complain("state", f"error: {error}")
            self.look_after(self.model)
            self.phase = str(error)
            return
        self.complain("state", "")
        self.revision = state.revision
        actual = self.model or state.actual
        self.look_after(actual)
        if self.catch_up() and self.wants(state, actual):
            self.release(state)
        else:
            self.phase = "serving" if self.engine is not None else "waiting for a model"

    def look_after(self, model: Model | None) -> None:
        """Give the model in production its engine again where it has none that works."""
        trouble = None if model is None else self.trouble()
        if model is not None and trouble is not None and time.monotonic() >= self.not_before:
            self.restore(model, trouble)

    def wants(self, state: State, actual: Model | None) -> bool:
        """Whether another model than the present one shall be released now."""
        if state.desired is None or (actual is not None and state.desired["digest"] == actual["digest"]):
            return False
        if shutil.disk_usage(self.var).free < ROOM:
            self.complain("room", f"no release begins with less than {ROOM} bytes free on the disk of {self.var}: make room")
            return False
        if time.monotonic() < self.release_not_before:
            return False
        self.complain("room", "")
        return True

    def begin(self) -> None:
        """What an earlier releaser left is ended, and the gateway tells what is to come."""
        ended = self.end_orphans()
        if ended:
            self.say(f"ended {ended} engines of an earlier releaser")
        with suppress(StateError):
            actual = self.database.current().actual
            if actual is not None:
                self.gateway.route = Route(awaited=version_of(actual))
        self.keep_gateway()
        self.publish()

    def run(self) -> None:
        pulse = threading.Thread(target=self.heartbeat, daemon=True)
        pulse.start()
        try:
            self.begin()
            while not self.stopping.is_set():
                self.tick()
                self.stopping.wait(TICK_S)
        finally:
            self.stopping.set()
            pulse.join()
            self.phase = "stopped"
            if self.watch is not None:
                self.watch.end()
            try:
                self.gateway.stop()
            except GatewayError as error:
                self.say(f"error: {error}")
            if self.engine is not None:
                self.engine.stop()
                self.engine = None
            self.note_engines()
            self.publish(stopped=True)
            self.say("stopped")


def port_from(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise StepError(f"{variable} must be a port from 1024 to 65535, got {text!r}")
    return int(text)


def main() -> int:
    var_folder().mkdir(parents=True, exist_ok=True)
    with open(var_folder() / "releaser.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"error: another releaser serves {var_folder()}; see: make status", file=sys.stderr)
            return 2
        try:
            releaser = Releaser(port_from("LEXLOOP_GATEWAY_PORT", 8000), port_from("LEXLOOP_ENGINE_PORT", 8100))
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: releaser.stopping.set())
            releaser.run()
        except (StepError, GatewayError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
