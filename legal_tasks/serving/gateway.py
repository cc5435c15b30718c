"""The gateway: an Nginx of our own on 127.0.0.1 with keys, OpenAI-style errors, request ids and a JSON access log.

A change is applied in one order only: write a neighbour file, `nginx -t`, rename, reload, probe; a probe that fails
brings the old file back. Everything lies below one folder, so no privilege is needed.
"""

from __future__ import annotations

import grp
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from legal_tasks import artifacts
from legal_tasks.room import Reserve
from legal_tasks.services import nginx_path, write_private
from legal_tasks.serving import fields, keys, limits
from legal_tasks.serving.backends import MODEL_NAME
from legal_tasks.serving.keys import PATTERN, Key
from legal_tasks.serving.nginx import GatewayError, Nginx, NginxGone, worker_account
from legal_tasks.setup import nginx_module
from legal_tasks.step import StepError

TEMPLATES = Path(__file__).parent / "templates"
# Between two pieces of an answer. Long: an answer that is not a stream comes in one, and waits its turn where many ask; of an
# engine that is frozen the releaser's watch rids the clients long before.
READ_TIMEOUT_S = 600
BODY_MIB = 2
RESERVE = 2**19  # bytes: a configuration with a thousand keys, twice, and what Nginx writes at its start
RELOAD_S = 30.0  # for new workers to serve and old ones to stop accepting; under a second where the machine is not overloaded
SCRIPTS_MODULE = "ngx_http_js_module.so"  # njs: checks what is asked, counts what is answered
UNCHECKED = "LEXLOOP_GATEWAY_UNCHECKED"  # "yes": serve without njs
ORIGINS = "LEXLOOP_CORS_ORIGINS"
ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::\d{1,5})?")
# What a browser may send: what the API reads, and what OpenAI's JavaScript client sends of its own accord.
CORS_HEADERS = ("Authorization", "Content-Type", "X-User-Id") + tuple(
    f"X-Stainless-{name}"
    for name in ("Arch", "Helper-Method", "Lang", "OS", "Package-Version", "Retry-Count", "Runtime", "Runtime-Version", "Timeout")
)
WORD = re.compile(r"[A-Za-z0-9_.-]+")  # what may enter the configuration as a name or version


@dataclass(frozen=True)
class Error:
    """An answer of the gateway's own, in OpenAI's form. `statuses`: those of Nginx that become it."""

    code: str
    status: int
    statuses: str
    kind: str
    message: str
    extra: tuple[str, ...] = ()
    pathless: bool = False
    door: str = ""  # where Nginx goes first, if not to the answer itself

    @property
    def place(self) -> str:
        # A request without a path cannot go to a named location; the others keep their path for the log.
        return f"/error/{self.code}" if self.pathless else f"@{self.code}"

    @property
    def location(self) -> str:
        return self.place if self.place.startswith("@") else f"= {self.place}"


REFUSED = "invalid_request_error"
ERRORS = (
    Error(
        "bad_request",
        400,
        "400 408 411 412 416 421 495 496 497 501 505",
        REFUSED,
        "this is not an HTTP request that can be answered",
        pathless=True,
    ),
    # 418 is nobody's: the template answers with it what holds a query, or a key in its address.
    Error(
        "query_not_taken",
        400,
        "418 =400",
        REFUSED,
        "this API takes no query, and no key in an address: what you ask belongs into the body, the key into a header: "
        "Authorization: Bearer KEY",
    ),
    Error("uri_too_long", 414, "414", REFUSED, "the address is too long: the question belongs into the body", pathless=True),
    Error("headers_too_large", 431, "431 494 =431", REFUSED, "the headers are too large", pathless=True),
    Error(
        "invalid_api_key",
        401,
        "401",
        REFUSED,
        "send a valid API key: Authorization: Bearer KEY",
        ("add_header WWW-Authenticate Bearer always;",),
        door="@wrong_key",
    ),
    Error(
        "too_many_wrong_keys",
        429,
        "",
        "rate_limit_error",
        "too many wrong keys came from this address; wait, and send a valid one: Authorization: Bearer KEY",
        ("add_header Retry-After 5 always;",),
    ),
    Error("unknown_url", 404, "404", REFUSED, "no such path: the API lies below /v1/"),
    Error(
        "method_not_allowed",
        405,
        "405",
        REFUSED,
        "this path does not know the method",
        ("add_header Allow $allowed_methods always;",),
    ),
    Error("request_too_large", 413, "413", REFUSED, f"the request is larger than {BODY_MIB} MiB"),
    Error(
        "rate_limit_exceeded",
        429,
        "429",
        "rate_limit_error",
        "this key has reached its limit of requests; wait and try again",
        ("add_header Retry-After 2 always;",),
    ),
    Error("internal_error", 500, "500", "server_error", "the gateway failed; try again", ("add_header Retry-After 5 always;",)),
    Error(
        "engine_unavailable",
        502,
        "502 504",
        "server_error",
        "the engine does not answer; try again",
        ("add_header Retry-After 5 always;",),
    ),
    Error(
        "no_model",
        503,
        "503",
        "server_error",
        "no model answers now: none was released yet, or it is being started again",
        ("add_header Retry-After 15 always;",),
    ),
)


@dataclass(frozen=True)
class Variant:
    """One engine behind the gateway: its port on 127.0.0.1, the version that clients see, its share of users in percent."""

    name: str
    port: int
    version: str
    share: float = 100.0
    context: int | None = None  # tokens of question and answer together, as the engine says
    created: int = 0  # when the model was made, seconds since 1970

    def __post_init__(self) -> None:
        for word in (self.name, self.version):
            if not WORD.fullmatch(word):
                raise ValueError(f"a name or version is made of letters, digits, - _ . only, got {word!r}")


@dataclass(frozen=True)
class Route:
    """Where requests go: the variants, the growing one first, so that users do not move when its share grows.

    Each variant takes over from the others while they do not answer. Empty before any release, and while the model of the
    version `awaited` gets an engine.
    """

    variants: tuple[Variant, ...] = ()
    awaited: str = ""

    def __post_init__(self) -> None:
        if self.awaited and not WORD.fullmatch(self.awaited):
            raise ValueError(f"a version is made of letters, digits, - _ . only, got {self.awaited!r}")
        names, ports = {one.name for one in self.variants}, {one.port for one in self.variants}
        if len(names) < len(self.variants) or len(ports) < len(self.variants):
            raise ValueError(f"variants need names and ports of their own, got {self.variants}")
        if self.variants and abs(sum(one.share for one in self.variants) - 100) > 0.01:
            raise ValueError(f"the shares must add up to 100, got {[one.share for one in self.variants]}")
        if any(one.share < 0.01 for one in self.variants):
            raise ValueError("a share must be at least 0.01 percent: leave the variant out")

    @classmethod
    def only(cls, port: int, version: str, context: int | None = None, created: int = 0) -> Route:
        """Everything to one engine."""
        return cls((Variant("production", port, version, context=context, created=created),))

    @property
    def versions(self) -> str:
        return ",".join(one.version for one in self.variants) or "none"


def cors_origins() -> tuple[str, ...]:
    """The origins whose pages may ask, from LEXLOOP_CORS_ORIGINS (separated by commas); none by default."""
    found = tuple(word.strip() for word in os.environ.get(ORIGINS, "").split(",") if word.strip())
    for origin in found:
        if not ORIGIN.fullmatch(origin):
            raise StepError(
                f"{ORIGINS}: {origin!r} is no origin: name each as a browser sends it, in small letters and without a path, "
                "https://example.org or http://127.0.0.1:3000, separated by commas; * and null are not taken"
            )
    return found


def model_list(one: Variant) -> str:
    """What /v1/models says of a variant, as JSON: OpenAI's fields, the context, and how answers are asked for by default."""
    own = {"version": one.version, "defaults": dict(fields.DEFAULTS)}
    card = {"id": MODEL_NAME, "object": "model", "created": one.created, "owned_by": "lexloop"}
    length = {} if one.context is None else {"max_model_len": one.context}
    return json.dumps({"object": "list", "data": [{**card, **length, "lexloop": own}]})


def render(
    root: Path,
    listen: int,
    route: Route,
    mark: str,
    keys: Sequence[Key] = (),
    module: Path | None = None,
    origins: Sequence[str] = (),
    engine_key: str = "",
) -> str:
    """The text of nginx.conf; `mark` is what /health carries once it is in force, `module` is njs, which checks and counts."""
    import jinja2

    account = worker_account()
    workers = f"{account.pw_name} {grp.getgrgid(account.pw_gid).gr_name}" if account else ""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, trim_blocks=True, autoescape=False
    )
    rates = sorted({key.per_minute for key in keys})
    return environment.get_template("nginx.conf.j2").render(
        root=root,
        listen=listen,
        variants=route.variants,
        awaited=route.awaited,
        mark=mark,
        errors=ERRORS,
        key_maps=render_keys(keys),
        read_timeout_s=READ_TIMEOUT_S,
        body_mib=BODY_MIB,
        rates=rates,
        # A sixth of a minute's requests may come at once: people click, programs start in parallel.
        bursts={rate: max(1, rate // 6) for rate in rates},
        connections=sorted({key.at_once for key in keys}),
        workers=workers,
        nowhere=limits.folder(root),
        engine_key=engine_key,
        scripts=module,
        templates=TEMPLATES,
        models={one.name: model_list(one) for one in route.variants},
        origins=origins,
        cors_headers=", ".join(CORS_HEADERS),
    )


def render_keys(keys: Sequence[Key]) -> str:
    """Maps from the Authorization header to id, digest, name and limits; the scheme has no case and may be followed by blanks."""

    def table(source: str, target: str, rows: Sequence[tuple[str, str]]) -> list[str]:
        return [f"  map {source} {target} {{", '    default "";', *(f'    "{left}" "{right}";' for left, right in rows), "  }"]

    lines = table("$http_authorization", "$key_id", [(f"~^[Bb][Ee][Aa][Rr][Ee][Rr] +{PATTERN}$", "$sent_id")])
    lines += table("$key_id", "$key_digest", [(key.id, key.digest) for key in keys])
    lines += table("$key_id", "$client", [(key.id, key.name) for key in keys])
    for rate in sorted({key.per_minute for key in keys}):
        lines += table("$key_id", f"$limit_{rate}", [(key.id, key.id) for key in keys if key.per_minute == rate])
    for number in sorted({key.at_once for key in keys}):
        # Each worker counts its own: what a killed one had under way would stay counted for ever.
        lines += table("$key_id", f"$at_once_{number}", [(key.id, f"$pid/{key.id}") for key in keys if key.at_once == number])
    return "\n".join(lines)


class Gateway:
    """One Nginx below `root`, listening on 127.0.0.1:`listen`. `engine_key`: what its engines answer to alone, if they do."""

    def __init__(self, root: Path, listen: int, engine_key: str = ""):
        self.root, self.listen, self.engine_key = root.absolute(), listen, engine_key
        self.route = Route()
        self.instance = secrets.token_hex(4)
        # Our own probes go through the gateway like anybody's requests; this key lives as long as the object.
        self.probe, self.probe_key = keys.make("probe", per_minute=100_000, at_once=10_000)
        self.known: tuple[Key, ...] = ()
        self.module = nginx_module(SCRIPTS_MODULE)
        self.limits = limits.read()
        self.origins = cors_origins()
        self.mark = ""
        self.reserve = Reserve(self.root / "reserve", RESERVE)
        if any(c in str(self.root) for c in " ;{}'\"$"):
            raise StepError(f"LEXLOOP_VAR: Nginx cannot read paths with spaces or quotes: {self.root}")
        found = nginx_path()
        if found is None:
            raise StepError(
                "nginx is missing; install it: apt-get install nginx-light libnginx-mod-http-js (make setup does it for root)"
            )
        self.nginx = Nginx(found, self.root, self.listen)
        if self.module is None and os.environ.get(UNCHECKED) != "yes":
            raise StepError(
                "this nginx has no njs, by which the gateway checks what is asked; install it: apt-get install "
                f"libnginx-mod-http-js (make setup does it for root). {UNCHECKED}=yes serves without it: then any field that the "
                "engine knows reaches it, its errors keep their own form, and the log counts no tokens"
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listen}"

    @property
    def config(self) -> Path:
        return self.nginx.config

    def _write(self, route: Route) -> str:
        """The neighbour, checked by nginx itself, then in the place of the file in force; returns its mark."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.reserve.give_up()
        known = (*keys.read(), self.probe)
        # Tells this start of Nginx from every other on the same port, and one engine of a version from the next.
        mark = f"{self.instance}/{artifacts.sha256_text(repr((route, known)))[:16]}"
        neighbour = self.root / "nginx.conf.new"
        folder = limits.folder(self.root)
        limits.sweep(folder, {pid for pid, _ in self.nginx.workers()}, worker_account())
        bounds = limits.of_engines(self.limits, [one.context for one in route.variants]).script(folder)
        write_private(self.root / "fields.js", fields.script(MODEL_NAME, self.probe.id, bounds))
        write_private(neighbour, render(self.root, self.listen, route, mark, known, self.module, self.origins, self.engine_key))
        self.nginx.check(neighbour)
        os.replace(neighbour, self.config)
        self.known = known
        return mark

    def refresh_keys(self) -> bool:
        """Take in keys that were made or revoked since; whether there were any. StepError leaves the old ones in force."""
        if (*keys.read(), self.probe) == self.known:
            return False
        self.apply(self.route)
        return True

    def pid(self) -> int | None:
        """The master process, if it lives and is ours."""
        return self.nginx.pid()

    def start(self, route: Route | None = None) -> None:
        """Start Nginx, after ending what an earlier one left, and wait until it serves `route`."""
        self.route, self.instance = route or Route(), secrets.token_hex(4)
        self.mark = mark = self._write(self.route)
        self.nginx.start()
        process = self.nginx.process
        assert process is not None

        def check() -> str | None:
            if process.poll() is not None:
                tail = self.nginx.log.read_text("utf-8", errors="replace").splitlines()[-3:]
                raise GatewayError(f"Nginx ended with {process.returncode}: {' | '.join(tail)}")
            return None if self._in_force() == mark else "Nginx does not answer"

        self._wait(check)

    def _in_force(self) -> str | None:
        """The mark of the route by which requests go, None without an answer."""
        import httpx

        try:
            return httpx.get(f"{self.url}/route", timeout=2, trust_env=False).headers.get("x-route")
        except httpx.HTTPError:
            return None

    def _not_yet(self, mark: str, route: Route) -> str | None:
        """Why requests may still go another way than `route`, or None: old workers accept until the master tells them to end.

        NginxGone where nobody is there to tell them.
        """
        if self.pid() is None:
            raise NginxGone("Nginx has ended")
        if self._in_force() != mark:
            return f"Nginx does not serve {route.versions} yet"
        accepting = self.nginx.accepting()
        return f"workers {accepting} of the earlier configuration still take requests" if accepting else None

    @staticmethod
    def _wait(check: Callable[[], str | None], timeout_s: float = RELOAD_S) -> None:
        deadline = time.monotonic() + timeout_s
        while (reason := check()) is not None:
            if time.monotonic() > deadline:
                raise GatewayError(reason)
            time.sleep(0.05)

    def apply(self, route: Route, probe: Callable[[], str | None] | None = None) -> None:
        """Send all requests to `route`; `probe` returns None or what is wrong. GatewayError after the old is back."""
        before, known = self.config.read_text("utf-8") if self.config.is_file() else None, self.known
        old = self.route, self.mark
        mark = self._write(route)
        try:
            try:
                self.nginx.reload()
                self._wait(lambda: self._not_yet(mark, route))
                self.route, self.mark = route, mark
            except NginxGone:  # killed meanwhile, which says nothing about the route
                self.start(route)
            reason = probe() if probe else None
            if reason is not None:
                raise GatewayError(f"the probe through the gateway failed: {reason}")
        except GatewayError:
            self.route, self.mark = old
            if before is not None:
                self._restore(before, known)
            raise

    def _restore(self, before: str, known: tuple[Key, ...]) -> None:
        neighbour = self.root / "nginx.conf.new"
        write_private(neighbour, before)
        os.replace(neighbour, self.config)
        self.known = known
        if self.pid() is not None:
            self.nginx.reload()
            self._wait(lambda: self._not_yet(self.mark, self.route))

    def draining(self) -> bool:
        """True while workers of an earlier configuration still end their requests."""
        return self.nginx.draining()

    def stop(self, grace_s: float = 5.0) -> None:
        """Let requests end for `grace_s`, then end every process of this Nginx, also those of a killed master."""
        self.nginx.stop(grace_s)
        shutil.rmtree(limits.folder(self.root), ignore_errors=True)


def last_requests(root: Path, count: int = 20) -> list[dict]:
    """The newest lines of the access log."""
    path = root / "access.log"
    lines = path.read_text("utf-8").split("\n") if path.is_file() else []
    return [json.loads(line) for line in lines if line][-count:]
