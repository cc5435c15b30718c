"""API keys of the gateway: made here, shown once, kept as digests only.

    python -m legal_tasks.serving.keys add [--name NAME] [--per-minute 600] [--at-once 32]
    python -m legal_tasks.serving.keys list
    python -m legal_tasks.serving.keys revoke ID

A key is `ll-<id>-<secret>` with 256 random bits in the secret. Nginx itself compares digests, by its secure_link module,
which knows MD5 alone: for a secret that nobody can guess, a fast digest without known preimages keeps the secret. `add`
prints the key alone on standard output, once the gateway lets it in; where none runs it says so on standard error.

The file changes under a lock and as a whole: two that make keys at once both have theirs, who reads meanwhile finds every key,
and where the disk has no room the old file stays and the command ends with 2.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from legal_tasks.services import write_private
from legal_tasks.step import EXIT_CALLER, EXIT_DONE, StepError, var_folder

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
IDENTITY = re.compile(r"[0-9a-z]{8}")
DIGEST = re.compile(r"[A-Za-z0-9_-]{22}")
PATTERN = "ll-(?<sent_id>[0-9a-z]{8})-(?<sent_secret>[A-Za-z0-9_-]{43})"  # what Nginx takes apart
IN_FORCE_S = 60.0  # a reload takes a fraction of a second, on a busy machine some


@dataclass(frozen=True)
class Key:
    """What is kept of a key. `per_minute`: requests; `at_once`: requests under way at the same time."""

    id: str
    name: str
    digest: str  # base64url of MD5("<id>.<secret>"), without padding
    per_minute: int = 600
    at_once: int = 32
    created: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise StepError(f"--name must be 1 to 64 letters, digits, - _ . only, got {self.name!r}")
        if not IDENTITY.fullmatch(self.id) or not DIGEST.fullmatch(self.digest):
            raise StepError(f"the key {self.id!r} of {self.name!r} was not written by legal_tasks.serving.keys: make a new one")
        if not 1 <= self.per_minute <= 100_000:
            raise StepError(f"--per-minute must be 1 to 100000 requests, got {self.per_minute}")
        if not 1 <= self.at_once <= 10_000:
            raise StepError(f"--at-once must be 1 to 10000 requests, got {self.at_once}")


def digest(identity: str, secret: str) -> str:
    raw = hashlib.md5(f"{identity}.{secret}".encode(), usedforsecurity=False).digest()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def make(name: str, per_minute: int = 600, at_once: int = 32) -> tuple[Key, str]:
    """(what is kept, the key itself); nothing is written."""
    identity, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Key(identity, name, digest(identity, secret), per_minute, at_once, created), f"ll-{identity}-{secret}"


def path() -> Path:
    return var_folder() / "secrets" / "api_keys.jsonl"


def read() -> list[Key]:
    """All keys; none where there is no file. StepError names a line that is no key: it would enter a configuration."""
    if not path().is_file():
        return []
    found = []
    for number, line in enumerate(path().read_text("utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found.append(Key(**json.loads(line)))
        except (ValueError, TypeError, StepError) as error:
            raise StepError(f"{path()} line {number}: {error}; remove the line and make another key: make key") from error
    return found


@contextmanager
def changing() -> Iterator[list[Key]]:
    """All keys, to be changed in place and written back at the end; no other process changes them meanwhile.

    StepError where they cannot be written: then none is made, and none revoked.
    """
    try:
        path().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(path().with_name("api_keys.lock"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            found = read()
            yield found
            write_private(path(), "".join(json.dumps(dataclasses.asdict(key)) + "\n" for key in found))
    except OSError as error:
        raise StepError(
            f"{path()} cannot be written ({error.strerror}): no key was made or revoked; make room and try again"
        ) from error


def add(name: str, per_minute: int = 600, at_once: int = 32) -> str:
    """Make a key and keep its digest; returns the key, which is nowhere else."""
    kept, key = make(name, per_minute, at_once)
    with changing() as found:
        found.append(kept)
    return key


def revoke(identity: str) -> Key:
    """Take a key's digest away; StepError where there is no such id."""
    with changing() as found:
        gone = next((key for key in found if key.id == identity), None)
        if gone is None:
            raise StepError(f"revoke {identity}: there is no such key; there are {', '.join(k.id for k in found) or 'none'}")
        found.remove(gone)
    return gone


def in_force(key: str, timeout_s: float = IN_FORCE_S) -> str | None:
    """Wait until the gateway lets the key in; None, or why it does not yet: no gateway runs, or it is busy for `timeout_s`.

    One answer would not do: while Nginx reloads, its old worker still takes connections. The releaser tells of the keys in
    force once no old worker does.
    """
    from legal_tasks import services
    from legal_tasks.serving.status import read_status

    identity, deadline = key.split("-")[1], time.monotonic() + timeout_s
    while True:
        status = read_status()
        if not status["alive"] and services.supervisor_pid() is None:
            return "no gateway runs: the key counts as soon as one does (make up)"
        if status["alive"] and identity in status.get("keys", ()) and _let_in(status["gateway"], key):
            return None
        if time.monotonic() > deadline:
            phase = status.get("phase", "starting")
            return (
                f"the gateway has not taken the key within {timeout_s:.0f} s (the releaser is {phase}); it will, without more ado"
            )
        time.sleep(0.1)


def _let_in(gateway: str, key: str) -> bool:
    """Whether the gateway knows the key, with or without a model behind it."""
    import http.client
    import urllib.error
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{gateway}/v1/models", headers={"Authorization": f"Bearer {key}"})
    try:
        opener.open(request, timeout=5).close()
    except urllib.error.HTTPError as error:
        return error.code != 401
    except (OSError, http.client.HTTPException):  # it is being started
        return False
    return True


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m legal_tasks.serving.keys", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", help="make a key and print it, this once")
    adding.add_argument("--name", default="default", help="whose key it is; enters the log")
    adding.add_argument("--per-minute", type=int, default=600, help="requests a minute (default: 600)")
    adding.add_argument("--at-once", type=int, default=32, help="requests under way at the same time (default: 32)")
    commands.add_parser("list", help="ids, names and limits")
    revoking = commands.add_parser("revoke", help="let a key in no longer")
    revoking.add_argument("id")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "add":
            key = add(arguments.name, arguments.per_minute, arguments.at_once)
            waiting = in_force(key)
            if waiting:
                print(waiting, file=sys.stderr)
            print(key)
        elif arguments.command == "revoke":
            gone = revoke(arguments.id)
            print(f"{gone.id} ({gone.name}) is revoked; a running gateway learns it within a second", file=sys.stderr)
        else:
            for one in read():
                print(f"{one.id}  {one.name}  {one.per_minute} a minute, {one.at_once} at once  {one.created}")
    except StepError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CALLER
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
