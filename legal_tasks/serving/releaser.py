"""The releaser: one supervised process that turns the release state into an engine and a route, and watches both.

    python -m legal_tasks.serving.releaser

A new model gets an engine beside the old one; only when it generates does the gateway send it everything, only when it
answers through the gateway is the old one drained and ended. Whatever fails before leaves the old one serving and is
noted with its reason. Needs neither Airflow nor MLflow. What it does stands in var/releaser.json.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from legal_tasks import artifacts
from legal_tasks.serving import engines
from legal_tasks.serving.children import end_session
from legal_tasks.serving.engines import Engine, EngineError
from legal_tasks.serving.gateway import Gateway, GatewayError, Route
from legal_tasks.serving.state import Database, Model, State, StateError
from legal_tasks.step import StepError, var_folder

ACTOR = "releaser"
TICK_S = 0.3
HEARTBEAT_S = 1.0
PROBE_EVERY_S = 5.0
PROBE_TIMEOUT_S, LISTEN_TIMEOUT_S = 3.0, 2.0
# Probes lost in a row until the engine is ended: a busy engine still answers /health and has time, a silent one is frozen.
SILENT_PROBES, STUCK_PROBES = 3, 12
DRAIN_S = 30.0
BACK_OFF_S = (1.0, 2.0, 5.0, 15.0, 60.0)
STALE_S = 10.0
FAILURES = (EngineError, GatewayError, StepError, artifacts.ArtifactError, OSError)


def status_path() -> Path:
    return var_folder() / "releaser.json"


def read_status() -> dict[str, Any]:
    """What var/releaser.json says, with `alive`: whether the releaser wrote it in the last STALE_S seconds."""
    path = status_path()
    if not path.is_file():
        return {"production": None, "failed": None, "alive": False}
    status = json.loads(path.read_text("utf-8"))
    return {**status, "alive": time.time() - status["heartbeat"] < STALE_S and not status["stopped"]}


def version_of(model: Model) -> str:
    """The version that clients see: the registry's number, else the digest's beginning."""
    return str(model.get("version") or model["digest"][:12])


class Releaser:
    def __init__(self, gateway_port: int, engine_port: int):
        self.var = var_folder()
        self.database = Database.create()
        self.gateway = Gateway(self.var / "gateway", gateway_port)
        self.engine_port = engine_port
        self.engine: Engine | None = None
        self.model: Model | None = None
        self.since = 0.0
        self.ready = False
        self.phase = "starting"
        self.failed: dict[str, Any] | None = None
        self.stopping = threading.Event()
        self.restarts = 0
        self.not_before = 0.0
        self.next_probe = 0.0
        self.lost = self.silent = 0
        self.keys_fault = ""
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
            "pid": os.getpid(),
            "heartbeat": time.time(),
            "stopped": stopped,
        }
        with self.write_lock:
            temporary = status_path().with_name("releaser.json.part")
            temporary.write_text(json.dumps(status, ensure_ascii=False, indent=1, default=str) + "\n", "utf-8")
            os.replace(temporary, status_path())

    def heartbeat(self) -> None:
        while not self.stopping.wait(HEARTBEAT_S):
            self.publish()

    def say(self, text: str) -> None:
        print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}", flush=True)

    # Engines

    @property
    def pids_path(self) -> Path:
        return self.var / "releaser.engines.json"

    def note_engines(self, *running: Engine | None) -> None:
        """Which engines a later releaser must end, should this one be killed."""
        noted = [{"pid": engine.pid, "started": engine.started} for engine in running if engine is not None]
        temporary = self.pids_path.with_name(self.pids_path.name + ".part")
        temporary.write_text(json.dumps(noted), "utf-8")
        os.replace(temporary, self.pids_path)

    def end_orphans(self) -> int:
        """End the engines that a killed releaser left behind; how many there were."""
        if not self.pids_path.is_file():
            return 0
        noted = json.loads(self.pids_path.read_text("utf-8"))
        for entry in noted:
            end_session(entry["pid"], entry["started"])
        self.note_engines()
        return len(noted)

    def launch(self, model: Model) -> Engine:
        """An engine that generates, beside whatever runs. EngineError, StepError or ArtifactError with the reason."""
        path = Path(model["path"])
        manifest = artifacts.read_manifest(path)
        if manifest["digest"] != model["digest"]:
            raise StepError(f"{path} holds {manifest['digest'][:12]}, not {model['digest'][:12]}")
        folder = engines.admit(path)
        port = engines.free_port(self.engine_port)
        engine = Engine.start(folder, port, self.var / "logs" / f"engine-{port}.log")
        self.note_engines(self.engine, engine)
        try:
            seconds = engine.wait_ready(stop=self.meanwhile)
        except EngineError:
            engine.stop()
            self.note_engines(self.engine)
            raise
        self.say(f"engine {engine.pid} of {version_of(model)} generates on port {port} after {seconds:.1f} s")
        return engine

    def meanwhile(self) -> bool:
        """What is done while an engine starts, which takes minutes: keys are taken in. Whether to give the engine up."""
        self.take_keys()
        return self.stopping.is_set()

    def route_to(self, engine: Engine, model: Model) -> None:
        key = self.gateway.probe_key
        made = int((Path(model["path"]) / artifacts.MANIFEST).stat().st_mtime)
        route = Route.only(engine.port, version_of(model), engine.context(), made)
        self.gateway.apply(route, lambda: engines.probe(self.gateway.url, key))

    def adopt(self, engine: Engine, model: Model) -> None:
        self.engine, self.model, self.ready, self.since = engine, model, True, time.time()
        self.lost, self.silent, self.next_probe = 0, 0, time.monotonic() + PROBE_EVERY_S
        self.note_engines(engine)

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
            if self.stopping.is_set():
                return
            reason = f"{type(error).__name__}: {error}"
            self.failed = {"digest": wanted["digest"], "revision": state.revision, "reason": reason, "at": time.time()}
            self.publish()
            self.database.record("failed", ACTOR, state.revision, desired=wanted, evidence={"reason": reason})
            self.say(f"not released: {reason}")
            return
        self.adopt(engine, wanted)
        self.failed, self.restarts = None, 0
        self.publish()
        seconds = round(time.monotonic() - began, 2)
        self.database.record("released", ACTOR, state.revision, actual=wanted, evidence={"seconds": seconds, "port": engine.port})
        self.say(f"released {version_of(wanted)} in {seconds} s")
        if old is not None:
            self.drain()
            old.stop()

    def drain(self) -> None:
        deadline = time.monotonic() + DRAIN_S
        while self.gateway.draining() and time.monotonic() < deadline and not self.stopping.is_set():
            time.sleep(0.1)

    def take_out(self) -> None:
        """Nothing goes to the engine any more: clients are told at once to come again, instead of waiting for it."""
        try:
            self.gateway.apply(Route())
        except (GatewayError, StepError) as error:
            self.say(f"the gateway keeps its route: {error}")

    def restore(self, model: Model, reason: str) -> None:
        """Start an engine again for what is in production; waits longer after each failure."""
        self.phase = f"restarting {version_of(model)}"
        self.ready = False
        self.say(f"{self.phase}: {reason}")
        if self.engine is not None:
            self.take_out()
            self.engine.stop(grace_s=2.0)
            self.engine = None
        pause = BACK_OFF_S[min(self.restarts, len(BACK_OFF_S) - 1)]
        self.restarts += 1
        self.not_before = time.monotonic() + pause
        revision = self.database.current().revision
        try:
            engine = self.launch(model)
            self.route_to(engine, model)
        except FAILURES as error:
            text = f"{type(error).__name__}: {error}"
            self.failed = {"digest": model["digest"], "revision": revision, "reason": text, "at": time.time()}
            self.say(f"not restarted, next try in {pause:.0f} s: {text}")
            return
        self.adopt(engine, model)
        self.failed = None
        self.database.record("restarted", ACTOR, revision, evidence={"reason": reason, "attempts": self.restarts})

    def trouble(self) -> str | None:
        """What is wrong with the running engine, or None."""
        if self.engine is None:
            return "no engine runs"
        if not self.engine.alive():
            return f"the engine ended with {self.engine.process.returncode}: {self.engine.tail(3)}"
        if time.monotonic() >= self.next_probe:
            self.next_probe = time.monotonic() + PROBE_EVERY_S
            reason = engines.probe(self.engine.url, timeout_s=PROBE_TIMEOUT_S)
            self.lost = self.lost + 1 if reason else 0
            self.silent = self.silent + 1 if reason and not engines.listens(self.engine.url, LISTEN_TIMEOUT_S) else 0
            self.ready = self.lost == 0
            if self.lost == 0:
                self.restarts = 0
            if self.silent >= SILENT_PROBES or self.lost >= STUCK_PROBES:
                return f"{self.lost} probes in a row failed: {reason}"
        return None

    def take_keys(self) -> None:
        """Let keys in that were made since, and revoked ones no more; a broken file leaves the old ones in force."""
        try:
            if self.gateway.refresh_keys():
                self.say(f"the gateway knows {len(self.gateway.known) - 1} keys now")
            known = [key.id for key in self.gateway.known]
            if known != self.keys_in_force:
                self.keys_in_force = known
                self.publish()
            self.keys_fault = ""
        except (StepError, GatewayError) as error:
            if str(error) != self.keys_fault:
                self.say(f"the keys were not taken in: {error}")
            self.keys_fault = str(error)

    def tick(self) -> None:
        if self.gateway.pid() is None:
            self.say("Nginx is gone: starting it again")
            self.gateway.start(self.gateway.route)
        self.take_keys()
        state = self.database.current()
        if state.actual is not None:
            trouble = self.trouble()
            if trouble is not None and time.monotonic() >= self.not_before:
                self.restore(state.actual, trouble)
        if state.desired is not None and (state.actual is None or state.desired["digest"] != state.actual["digest"]):
            self.release(state)
        self.phase = "serving" if self.engine is not None else "waiting for a model"

    def run(self) -> None:
        ended = self.end_orphans()
        if ended:
            self.say(f"ended {ended} engines of an earlier releaser")
        self.gateway.start()
        self.publish()
        self.say(f"gateway on {self.gateway.url}")
        beat = threading.Thread(target=self.heartbeat, daemon=True)
        beat.start()
        try:
            while not self.stopping.is_set():
                try:
                    self.tick()
                except StateError as error:  # what serves goes on: a lost file is no reason to take production away
                    if self.phase != str(error):
                        self.say(f"error: {error}")
                    self.phase = str(error)
                self.stopping.wait(TICK_S)
        finally:
            self.stopping.set()
            beat.join()
            self.phase = "stopped"
            self.gateway.stop()
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
