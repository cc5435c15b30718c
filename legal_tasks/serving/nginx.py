"""The processes of one Nginx: started, told to read its configuration again, ended; what a killed master left is found again.

A master that is killed leaves its workers behind: they keep the port and the old configuration, and nobody can tell them
anything. They are known by what they are and have open: an nginx of this user with a file below this gateway's folder. Nothing
else is ever ended; who else holds the port is named.

A master that root starts opens the files and gives its workers, which read what strangers send, to an account that owns nothing.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from legal_tasks.lease import process_start
from legal_tasks.serving.children import spawn

Process = tuple[int, str | None]  # (pid, start time): a number alone is given to another process one day
WORKERS = ("www-data", "nobody")  # accounts of a worker that root starts: the first that the system has
LISTENING = "0A"  # state of a socket in /proc/net/tcp
# Local addresses there by which a port of 127.0.0.1 is taken: itself, all of IPv4, all of IPv6, itself written as IPv6.
LOOPBACK = {"0100007F", "00000000", "0" * 32, "0000000000000000FFFF00000100007F"}


class GatewayError(Exception):
    """Nginx refuses its configuration, or does not answer as it should after a change."""


class NginxGone(GatewayError):
    """The master does not run."""


def worker_account() -> pwd.struct_passwd | None:
    """Whose the workers are: None for those of whoever starts them, who is not root. GatewayError where root has nobody."""
    if os.geteuid() != 0:
        return None
    known = {one.pw_name: one for one in pwd.getpwall()}
    found = next((known[name] for name in WORKERS if name in known), None)
    if found is None:
        raise GatewayError(f"Nginx's workers do not run as root: add an account {' or '.join(WORKERS)}, or start as another user")
    return found


class Nginx:
    """The Nginx `program` with its files below `root`, for the port `listen` of 127.0.0.1."""

    def __init__(self, program: str, root: Path, listen: int):
        self.program, self.root, self.listen = program, root, listen
        self.config, self.log = root / "nginx.conf", root / "error.log"
        self.process: subprocess.Popen | None = None
        self.retired: set[Process] = set()  # workers of earlier configurations, or of a killed master

    def command(self, config: Path, *arguments: str) -> list[str]:
        return [self.program, "-p", str(self.root), "-e", str(self.log), "-c", str(config), *arguments]

    def check(self, config: Path) -> None:
        """GatewayError with Nginx's own words where it would not take the file."""
        command = self.command(config, "-t", "-q")
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, start_new_session=True)
        except subprocess.TimeoutExpired as error:
            raise GatewayError(f"nginx -t took more than {error.timeout:.0f} s") from error
        if done.returncode:
            raise GatewayError(f"nginx -t failed: {done.stderr.strip()[-800:]}")

    def pid(self) -> int | None:
        """The master, if it lives and is ours: the one that was started here, or what an earlier releaser left."""
        if self.process is not None and self.process.poll() is None:
            return self.process.pid
        path = self.root / "nginx.pid"
        text = path.read_text().strip() if path.is_file() else ""
        if not text.isdigit() or process_start(int(text)) is None:
            return None
        words = _words(int(text))
        return int(text) if "nginx: master" in words and str(self.root) in words else None

    def workers(self) -> set[Process]:
        """The master's live workers."""
        pid = self.pid()
        if pid is None:
            return set()
        try:
            children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            return set()
        return {(child, started) for child in children if (started := process_start(child)) is not None}

    def start(self) -> None:
        """Start the master, on a port that was made free. GatewayError names another program that holds it."""
        self.stop(grace_s=3.0, drain=True)
        others = holders(self.listen)
        if others:
            raise GatewayError(
                f"port {self.listen} is in use by {', '.join(others)}, which is not this gateway's: end it, or choose another "
                "port with LEXLOOP_GATEWAY_PORT"
            )
        self.process = spawn(self.command(self.config), self.log, self.root)

    def reload(self) -> None:
        pid = self.pid()
        if pid is None:
            raise NginxGone("Nginx does not run")
        self.retired |= self.workers()
        os.kill(pid, signal.SIGHUP)

    def accepting(self) -> list[int]:
        """Workers of earlier configurations that still take requests."""
        return sorted(pid for pid, started in self.retired if _accepts(pid, started))

    def draining(self) -> bool:
        """True while workers of an earlier configuration still end their requests."""
        self.retired = living(self.retired)
        return bool(self.retired)

    def stop(self, grace_s: float = 5.0, drain: bool = False) -> None:
        """QUIT lets requests end; harder after `grace_s`.

        `drain`: workers without a master that have given up the port may take longer to end their requests.
        """
        pid = self.pid()
        if pid is not None:
            self._end_master(pid, grace_s)
        left = self._left_behind()
        _send(left, signal.SIGQUIT)
        _wait(lambda: not self._in_the_way(drain), grace_s)
        _send(self._in_the_way(drain), signal.SIGKILL)
        if not _wait(lambda: not self._in_the_way(drain), 5.0):
            raise GatewayError(f"Nginx processes {sorted(pid for pid, _ in self._in_the_way(drain))} do not end")
        self.retired |= living(left)

    def _end_master(self, pid: int, grace_s: float) -> None:
        master = {(pid, process_start(pid))}
        for number, patience in ((signal.SIGQUIT, grace_s), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            _send(master, number)
            if _wait(lambda: not living(master), patience):
                break
        else:
            raise GatewayError(f"Nginx {pid} does not end")
        if self.process is not None:
            self.process.poll()

    def _left_behind(self) -> set[Process]:
        """Nginx processes of this user that have a file below this folder open."""
        found, inside = set(), f"{self.root.resolve()}/"
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _is_ours(entry, inside):
                found.add((int(entry.name), process_start(int(entry.name))))
        return living(found)

    def _in_the_way(self, drain: bool) -> set[Process]:
        """Of them those that must end before another one can start, or all of them."""
        left = self._left_behind()
        if not drain:
            return left
        sockets = listening(self.listen)
        return {(pid, started) for pid, started in left if _open_files(pid) & sockets}


def living(processes: Iterable[Process]) -> set[Process]:
    """Those that still run, and are not another process with the same number."""
    return {(pid, started) for pid, started in processes if started is not None and process_start(pid) == started}


def listening(port: int) -> set[str]:
    """The sockets by which a port of 127.0.0.1 is taken, as /proc/PID/fd names them: `socket:[inode]`."""
    return set(_sockets(port))


def holders(port: int) -> list[str]:
    """Who listens at a port of 127.0.0.1, in words: `process 12 (python server.py)`; of other users no more than their number."""
    sockets = _sockets(port)
    found, seen = [], set()
    for entry in Path("/proc").iterdir() if sockets else ():
        held = _open_files(int(entry.name)) & sockets.keys() if entry.name.isdigit() else set()
        if held:
            seen |= held
            found.append(f"process {entry.name} ({_words(int(entry.name))[:120] or 'no name'})")
    return found + [f"a process of the user {sockets[each]}" for each in sorted(sockets.keys() - seen)]


def _sockets(port: int) -> dict[str, int]:
    """{`socket:[inode]`: user} of what listens at a port of 127.0.0.1 (proc(5), /proc/net/tcp)."""
    found = {}
    for name in ("tcp", "tcp6"):
        path = Path("/proc/net") / name
        for line in path.read_text().splitlines()[1:] if path.is_file() else ():
            fields = line.split()
            address, _, number = fields[1].partition(":")
            if fields[3] == LISTENING and int(number, 16) == port and address in LOOPBACK:
                found[f"socket:[{fields[9]}]"] = int(fields[7])
    return found


def _open_files(pid: int) -> set[str]:
    """What a process has open, as /proc names it; nothing where it is gone or another user's."""
    found = set()
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            found.add(os.readlink(link))
    except OSError:
        pass  # what was read of one that ends meanwhile is as good as nothing
    return found


def _users() -> set[int]:
    """Whose a master of this user and its workers are."""
    account = worker_account()
    return {os.geteuid()} | ({account.pw_uid} if account else set())


def _is_ours(entry: Path, inside: str) -> bool:
    """Whether a process (/proc/PID) is an nginx of this user that has a file below the folder open."""
    try:
        if entry.stat().st_uid not in _users() or not Path(os.readlink(entry / "exe")).name.startswith("nginx"):
            return False
    except OSError:
        return False
    return any(name.startswith(inside) for name in _open_files(int(entry.name)))


def _words(pid: int) -> str:
    """A process's command line, or title."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _accepts(pid: int, started: str | None) -> bool:
    """Whether a worker still takes new connections; one told to end says so in its title."""
    return process_start(pid) == started and "shutting down" not in (_words(pid) or "shutting down")


def _send(processes: Iterable[Process], number: signal.Signals) -> None:
    for pid, _ in living(processes):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _wait(check: Callable[[], bool], timeout_s: float) -> bool:
    """Whether `check()` became true in time."""
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
