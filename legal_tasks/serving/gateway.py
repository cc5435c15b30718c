"""The gateway: an Nginx of our own on 127.0.0.1 with keys, OpenAI-style errors, request ids and a JSON access log.

A change is applied in one order only: write a neighbour file, `nginx -t`, rename, reload, probe; a probe that fails
brings the old file back. Everything lies below one folder, so no privilege is needed.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from legal_tasks.lease import process_start
from legal_tasks.services import nginx_path, write_private
from legal_tasks.serving.children import spawn
from legal_tasks.step import StepError, var_folder

TEMPLATES = Path(__file__).parent / "templates"
READ_TIMEOUT_S = 120  # a frozen engine costs a request this long
KEY_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")

# (name, status, OpenAI error type, message, further directives)
ERRORS: tuple[tuple[str, int, str, str, list[str]], ...] = (
    (
        "e401",
        401,
        "invalid_request_error",
        "send a valid API key: Authorization: Bearer KEY",
        ["add_header WWW-Authenticate Bearer always;"],
    ),
    ("e404", 404, "invalid_request_error", "no such path: the API lies below /v1/", []),
    ("e413", 413, "invalid_request_error", "the request is larger than 2 MB", []),
    ("e502", 502, "server_error", "the engine does not answer; try again", ["add_header Retry-After 5 always;"]),
    ("e503", 503, "server_error", "no model is in production yet", ["add_header Retry-After 30 always;"]),
)


class GatewayError(Exception):
    """Nginx refuses its configuration, or does not answer as it should after a change."""


@dataclass(frozen=True)
class Route:
    """Where requests go. `port` of the engine on 127.0.0.1, None before any release; `version` as clients see it."""

    port: int | None = None
    version: str = "none"


def api_keys(path: Path | None = None) -> dict[str, str]:
    """{key: name of its holder} from var/secrets/api_keys (lines `name:key`), generated with one key on first use.

    Raises StepError for a line of another form: it would end up in a configuration file.
    """
    path = path or var_folder() / "secrets" / "api_keys"
    if not path.is_file():
        write_private(path, f"default:ll-{secrets.token_urlsafe(32)}\n")
    keys: dict[str, str] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, key = line.strip().partition(":")
        if not name or not set(name + key) <= KEY_CHARACTERS or len(key) < 16:
            raise StepError(f"{path} line {number}: write `name:key`, letters, digits, - _ . only, keys of 16 characters or more")
        keys[key] = name
    if not keys:
        raise StepError(f"{path} holds no key: remove the file to have one generated")
    return keys


def first_key() -> str:
    """Any valid key, for our own probes."""
    return next(iter(api_keys()))


def render(root: Path, listen: int, route: Route, mark: str) -> str:
    """The text of nginx.conf; `mark` is what /health carries once it is in force."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, trim_blocks=True, autoescape=False
    )
    if not set(route.version) <= KEY_CHARACTERS:
        raise ValueError(f"a version is made of letters, digits, - _ . only, got {route.version!r}")
    return environment.get_template("nginx.conf.j2").render(
        root=root,
        listen=listen,
        port=route.port,
        version=route.version,
        mark=mark,
        errors=ERRORS,
        read_timeout_s=READ_TIMEOUT_S,
        as_root=os.geteuid() == 0,
    )


def render_keys(keys: dict[str, str]) -> str:
    """The map from the Authorization header to the holder's name; the regular word `bearer` in any case is taken."""
    lines = ["map $http_authorization $client {", '  default "";']
    lines += [f'  "~^[Bb]earer {key.replace(".", "[.]")}$" "{name}";' for key, name in keys.items()]
    return "\n".join([*lines, "}", ""])


class Gateway:
    """One Nginx below `root`, listening on 127.0.0.1:`listen`."""

    def __init__(self, root: Path, listen: int):
        self.root, self.listen = root.absolute(), listen
        self.route = Route()
        self.instance = secrets.token_hex(4)
        self.process: subprocess.Popen | None = None
        self.retired: set[tuple[int, str | None]] = set()  # workers of earlier configurations
        if any(c in str(self.root) for c in " ;{}'\"$"):
            raise StepError(f"LEXLOOP_VAR: Nginx cannot read paths with spaces or quotes: {self.root}")
        found = nginx_path()
        if found is None:
            raise StepError("nginx is missing; install it: apt-get install nginx-light (make setup does it for root)")
        self.nginx = found

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listen}"

    @property
    def config(self) -> Path:
        return self.root / "nginx.conf"

    def _call(self, config: Path, *arguments: str) -> None:
        command = [self.nginx, "-p", str(self.root), "-e", str(self.root / "error.log"), "-c", str(config), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, start_new_session=True)
        if done.returncode:
            raise GatewayError(f"nginx {' '.join(arguments)} failed: {done.stderr.strip()[-800:]}")

    def _write(self, route: Route) -> None:
        """The neighbour, checked by nginx itself, then in the place of the file in force."""
        self.root.mkdir(parents=True, exist_ok=True)
        write_private(self.root / "keys.conf", render_keys(api_keys()))
        neighbour = self.root / "nginx.conf.new"
        neighbour.write_text(render(self.root, self.listen, route, self._mark(route)), "utf-8")
        self._call(neighbour, "-t", "-q")
        os.replace(neighbour, self.config)

    def pid(self) -> int | None:
        """The master process, if it lives and is ours."""
        path = self.root / "nginx.pid"
        text = path.read_text().strip() if path.is_file() else ""
        if not text.isdigit() or process_start(int(text)) is None:
            return None
        command = Path(f"/proc/{text}/cmdline").read_bytes().decode(errors="replace")
        return int(text) if "nginx" in command and str(self.root) in command else None

    def start(self, route: Route | None = None) -> None:
        """Start Nginx (ending one that a killed releaser left behind) and wait for its /health."""
        self.stop()
        self.route = route or Route()
        self._write(self.route)
        command = [self.nginx, "-p", str(self.root), "-e", str(self.root / "error.log"), "-c", str(self.config)]
        process = self.process = spawn(command, self.root / "error.log", self.root)

        def check() -> str | None:
            if process.poll() is not None:
                tail = (self.root / "error.log").read_text("utf-8", errors="replace").splitlines()[-3:]
                raise GatewayError(f"Nginx ended with {process.returncode}: {' | '.join(tail)}")
            return None if self._in_force() == self._mark(self.route) else "Nginx does not answer on /health"

        self._wait(check)

    def _mark(self, route: Route) -> str:
        """Tells this gateway from another one on the same port, and one engine of a version from the next."""
        return f"{self.instance}/{route.version}/{route.port or 0}"

    def _in_force(self) -> str | None:
        """The mark of the route that /health tells, None without an answer."""
        import httpx

        try:
            return httpx.get(f"{self.url}/health", timeout=2, trust_env=False).headers.get("x-route")
        except httpx.HTTPError:
            return None

    @staticmethod
    def _wait(check: Callable[[], str | None], timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while (reason := check()) is not None:
            if time.monotonic() > deadline:
                raise GatewayError(reason)
            time.sleep(0.05)

    def reload(self) -> None:
        pid = self.pid()
        if pid is None:
            raise GatewayError("Nginx does not run")
        self.retired |= self._workers()
        os.kill(pid, signal.SIGHUP)

    def _workers(self) -> set[tuple[int, str | None]]:
        """(pid, start time) of the live worker processes."""
        pid = self.pid()
        if pid is None:
            return set()
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return {(child, started) for child in children if (started := process_start(child)) is not None}

    def apply(self, route: Route, probe: Callable[[], str | None] | None = None) -> None:
        """Send all requests to `route`; `probe` returns None or what is wrong. GatewayError after the old is back."""
        before = self.config.read_bytes() if self.config.is_file() else None
        self._write(route)
        try:
            self.reload()
            self._wait(lambda: None if self._in_force() == self._mark(route) else f"Nginx still does not serve {route.version}")
            reason = probe() if probe else None
            if reason is not None:
                raise GatewayError(f"the probe through the gateway failed: {reason}")
        except GatewayError:
            if before is not None:
                neighbour = self.root / "nginx.conf.new"
                neighbour.write_bytes(before)
                os.replace(neighbour, self.config)
                if self.pid() is not None:
                    self.reload()
                    old = self._mark(self.route)
                    self._wait(lambda: None if self._in_force() == old else f"Nginx does not serve {old} again")
            raise
        self.route = route

    def draining(self) -> bool:
        """True while workers of an earlier configuration still end their requests."""
        self.retired &= self._workers()
        return bool(self.retired)

    def stop(self, grace_s: float = 5.0) -> None:
        """QUIT lets requests end; TERM after `grace_s`."""
        pid = self.pid()
        if pid is None:
            return
        for number, patience in ((signal.SIGQUIT, grace_s), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                if process_start(pid) is None:
                    if self.process is not None:
                        self.process.poll()
                    return
                time.sleep(0.05)
        raise GatewayError(f"Nginx {pid} does not end")


def last_requests(root: Path, count: int = 20) -> list[dict]:
    """The newest lines of the access log."""
    path = root / "access.log"
    lines = path.read_text("utf-8").splitlines()[-count:] if path.is_file() else []
    return [json.loads(line) for line in lines]
