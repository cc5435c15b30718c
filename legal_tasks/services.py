"""Start, stop and show the services of one machine: Airflow, MLflow, the releaser and its gateway, under supervisord.

    python -m legal_tasks.services up|stop|status

Everything binds to 127.0.0.1. Every process carries LEXLOOP_SERVICES=<var folder> in its environment: `stop` ends by it
whatever is left, also after the supervisor itself was killed; `up` then ends the services that are left and spares the
steps at work, to which the restarted scheduler's tasks attach. A service that is restarted first ends what an earlier one
of its name left behind.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import secrets
import signal
import socket
import string
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from legal_tasks import postgres, private, tracking, verdict
from legal_tasks.addresses import take_login
from legal_tasks.setup import nginx_path, one_at_a_time, python_of
from legal_tasks.step import REPOSITORY, StepError, var_folder

MARK = "LEXLOOP_SERVICES"
NAME = "LEXLOOP_SERVICE"  # of the service that a process belongs to
STEP = "LEXLOOP_DAG_RUN"  # what a step has in its environment and a service has not
START_TIMEOUT_S = 420  # a quiet machine needs half a minute, a busy one many times that


@dataclass(frozen=True)
class Ports:
    """Ports on 127.0.0.1, each with the environment variable that moves it."""

    airflow: int
    mlflow: int
    gateway: int

    VARIABLES: ClassVar[dict[str, tuple[str, int]]] = {
        "airflow": ("LEXLOOP_AIRFLOW_PORT", 8080),
        "mlflow": ("LEXLOOP_MLFLOW_PORT", 5000),
        "gateway": ("LEXLOOP_GATEWAY_PORT", 8000),
    }

    @classmethod
    def read(cls) -> Ports:
        values = {}
        for name, (variable, default) in cls.VARIABLES.items():
            text = os.environ.get(variable, str(default))
            if not text.isdigit() or not 1024 <= int(text) <= 65535:
                raise StepError(f"{variable} must be a port from 1024 to 65535, got {text!r}")
            values[name] = int(text)
        return cls(**values)

    def check_free(self, patience_s: float = 0.0) -> None:
        """StepError naming the first port that is held by others, still after the patience, and the variable that moves ours."""
        deadline = time.monotonic() + patience_s
        for name, (variable, _) in self.VARIABLES.items():
            port = getattr(self, name)
            if name == "mlflow" and os.environ.get("MLFLOW_TRACKING_URI"):
                continue
            while (problem := _bind(port)) and time.monotonic() < deadline:
                time.sleep(0.2)
            if problem:
                raise StepError(
                    f"port {port} for {name.replace('_', ' ')} is taken ({problem}); end the program that holds it "
                    f"or choose another: {variable}=<port>"
                )


def _bind(port: int) -> str | None:
    """Why a server could not listen at a port of 127.0.0.1; None where it could."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.strerror
    return None


def airflow_url() -> str:
    return f"http://127.0.0.1:{Ports.read().airflow}"


def mlflow_url() -> str:
    """MLflow's address, without a login that the given one carries."""
    return tracking.uri() or f"http://127.0.0.1:{Ports.read().mlflow}"


def mlflow_login() -> dict[str, str]:
    """What MLflow's client wants in its environment where the address that was given carries a login."""
    _, login, password = take_login(os.environ.get("MLFLOW_TRACKING_URI", ""))
    return {"MLFLOW_TRACKING_USERNAME": login, "MLFLOW_TRACKING_PASSWORD": password} if login else {}


def mlflow_database() -> str:
    """Where our MLflow server keeps its rows."""
    return f"sqlite:///{var_folder()}/mlflow/mlflow.db"


def secret(name: str, make=lambda: secrets.token_urlsafe(32)) -> str:
    """A generated secret, kept in var/secrets/<name> with mode 600."""
    path = var_folder() / "secrets" / name
    if not path.is_file():
        write_private(path, make())
    return path.read_text("utf-8").strip()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, never readable by others, and whole at every moment.

    Who reads meanwhile gets the old or the new content. OSError, as on a full disk, leaves the old file as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    beside.unlink(missing_ok=True)  # of a process with this number that was killed
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def passwords() -> dict[str, str]:
    """{user: password} of Airflow's users, each generated on first use into the private file that the simple auth manager reads.

    It would make those that are missing itself, and write them into its log.
    """
    path = var_folder() / "airflow" / "passwords.json"
    known: dict[str, str] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    names = [user.partition(":")[0] for user in airflow_users().split(",")]
    missing = [name for name in names if name not in known]
    if missing:
        known |= {name: secrets.token_urlsafe(12) for name in missing}
        neighbour = path.with_name(path.name + ".part")
        write_private(neighbour, json.dumps(known))
        os.replace(neighbour, path)
    return known


def admin_password() -> str:
    return passwords()["admin"]


def airflow_users() -> str:
    """`name:role,...` of the simple auth manager: admin, and those that LEXLOOP_USERS adds."""
    users = [part.strip() for part in os.environ.get("LEXLOOP_USERS", "").split(",") if part.strip()]
    for user in users:
        if not re.fullmatch(r"[\w.-]+:(viewer|user|op|admin)", user):
            raise StepError(f"LEXLOOP_USERS: {user!r} is not name:role with a role of viewer, user, op or admin")
    return ",".join(["admin:admin", *(user for user in users if not user.startswith("admin:"))])


def environment() -> dict[str, str]:
    """What every service gets: places and the mark; keys stay in files."""
    var, ports = var_folder(), Ports.read()
    return {
        MARK: str(var),
        "LEXLOOP_VAR": str(var),
        "LEXLOOP_ENV_DIR": str(python_of("ml").parents[2]),
        "LEXLOOP_STORE": os.environ.get("LEXLOOP_STORE", str(var / "store")),
        "LEXLOOP_GATEWAY_PORT": str(ports.gateway),
        "LEXLOOP_ENGINE_PORT": os.environ.get("LEXLOOP_ENGINE_PORT", "8100"),
        "MLFLOW_TRACKING_URI": mlflow_url(),
        **mlflow_login(),
        "AIRFLOW_HOME": str(var / "airflow"),
        "AIRFLOW_CONFIG": str(var / "airflow" / "airflow.cfg"),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
        # Programs that write a title over their command line (Airflow's, vLLM's) leave their environment as it is: the mark
        # by which an orphan is known again stands there.
        "SPT_NOENV": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def write_airflow_config() -> None:
    var, ports = var_folder(), Ports.read()
    values = {
        "REPOSITORY": REPOSITORY,
        "VAR": var,
        "EXECUTOR": os.environ.get("LEXLOOP_EXECUTOR", "LocalExecutor"),
        "USERS": airflow_users(),
        # A % begins an interpolation in this format.
        "DB": postgres.airflow_address().replace("%", "%%"),
        "AIRFLOW_PORT": ports.airflow,
        "FERNET_KEY": secret("fernet", fernet_key),
        "API_SECRET": secret("api"),
        "JWT_SECRET": secret("jwt"),
    }
    template = string.Template((REPOSITORY / "airflow.cfg.template").read_text("utf-8"))
    write_private(var / "airflow" / "airflow.cfg", template.substitute({k: str(v) for k, v in values.items()}))


def programs() -> dict[str, list[str]]:
    """Service name -> argv, in the order of starting."""
    var, ports = var_folder(), Ports.read()
    airflow = [str(python_of("orchestrator")), "-m", "airflow"]
    found: dict[str, list[str]] = {}
    if postgres.is_own():
        found["postgres"] = postgres.server()
    if mlflow_url() == f"http://127.0.0.1:{ports.mlflow}":  # else somebody else's server is named
        found["mlflow"] = [
            *(str(python_of("ml")), "-m", "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(ports.mlflow)),
            *(
                "--backend-store-uri",
                mlflow_database(),
                "--artifacts-destination",
                str(var / "mlflow" / "artifacts"),
            ),
        ]
    # The log servers of scheduler and triggerer bind to every address; the API server reads the shared folder instead.
    skip = {"scheduler": ["--skip-serve-logs"], "triggerer": ["--skip-serve-logs"]}
    for name in ("api-server", "scheduler", "dag-processor", "triggerer"):
        found[f"airflow-{name}"] = [*airflow, name, *skip.get(name, [])]
    if (REPOSITORY / "legal_tasks" / "serving" / "releaser.py").is_file():
        found["releaser"] = [str(python_of("orchestrator")), "-m", "legal_tasks.serving.releaser"]
    return found


def write_supervisor_config() -> Path:
    """The supervisor's file: every program in its own group, restarted when it ends, its log bounded in size."""
    var = var_folder()
    logs = var / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    socket_path = var / "supervisor.sock"
    if len(str(socket_path)) > 100:
        raise StepError(f"LEXLOOP_VAR {var} is too long for a Unix socket (100 characters at most with its name); choose another")
    variables = ",".join(f'{name}="{value.replace("%", "%%")}"' for name, value in environment().items())
    lines = [
        "[unix_http_server]",
        f"file={socket_path}",
        "chmod=0600",
        "[supervisord]",
        f"logfile={logs}/supervisord.log",
        f"pidfile={var}/supervisord.pid",
        f"childlogdir={logs}",
        f"directory={REPOSITORY}",
        f"umask={private.UMASK:03o}",
        f"environment={variables}",
        *(["user=root"] if os.geteuid() == 0 else []),
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        "[supervisorctl]",
        f"serverurl=unix://{socket_path}",
    ]
    python = str(python_of("orchestrator"))
    for name in programs():
        lines += [
            f"[program:{name}]",
            "command=" + " ".join([python, "-m", "legal_tasks.services", "run", name]).replace("%", "%%"),
            f"stdout_logfile={logs}/{name}.log",
            "redirect_stderr=true",
            "stdout_logfile_maxbytes=20MB",
            "stdout_logfile_backups=2",
            "autorestart=true",
            "startsecs=3",
            "startretries=5",
            f"stopwaitsecs={45 if name == 'releaser' else 15}",
            "stopasgroup=" + ("false" if name in ("releaser", "postgres") else "true"),
            "killasgroup=true",
        ]
        if name == "postgres":
            lines += ["priority=1", "stopsignal=INT"]  # first up, last down; INT ends sessions, TERM waits for them
    path = var / "supervisord.conf"
    write_private(path, "\n".join(lines) + "\n")
    return path


def run_service(name: str) -> None:
    """Become the service `name`, after ending what an earlier one left: orphans would keep its port or its tasks."""
    argv = programs().get(name)
    if argv is None:
        raise StepError(f"run {name}: there is no such service; there are {', '.join(programs())}")
    for pid in marked_processes(service=name, steps=False):
        _send(pid, signal.SIGKILL)
    values = {**os.environ, NAME: name}
    if name == "mlflow":
        values["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.execve(argv[0], argv, values)


def marked_processes(service: str | None = None, steps: bool = True) -> dict[int, str]:
    """{pid: command line} of live processes that were started for this var folder, except this one's own line.

    `service`: only those of one service; `steps=False`: without the steps that work for a DAG run, and their children.
    """
    wanted = f"{MARK}={var_folder()}".encode()
    wanted_name = f"{NAME}={service}".encode()
    own = {os.getpid()}
    parent = os.getppid()
    while parent > 1:
        own.add(parent)
        stat = Path(f"/proc/{parent}/stat")
        parent = int(stat.read_text().rsplit(")", 1)[1].split()[1]) if stat.exists() else 0
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in own:
            continue
        try:
            values = (entry / "environ").read_bytes().split(b"\0")
            marked = wanted in values and (not service or wanted_name in values)
            if not marked and (service or not _is_our_nginx(entry)):
                continue
            if steps or not any(value.startswith(STEP.encode() + b"=") for value in values):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended meanwhile, or is another user's
    return found


def _is_our_nginx(entry: Path) -> bool:
    """Whether a process (/proc/PID) is an nginx that has files of this var folder open; it writes over its environment."""
    if not Path(os.readlink(entry / "exe")).name.startswith("nginx"):
        return False
    inside = f"{var_folder()}/"
    return any(os.readlink(link).startswith(inside) for link in (entry / "fd").iterdir())


def is_up() -> bool:
    """The supervisor answers and so does Airflow's API server."""
    return supervisor_pid() is not None and answers(f"{airflow_url()}/api/v2/monitor/health")


def supervisor_pid() -> int | None:
    path = var_folder() / "supervisord.pid"
    if not path.is_file():
        return None
    pid = int(path.read_text())
    return pid if pid in marked_processes() else None


def answers(url: str, timeout_s: float = 2.0) -> bool:
    """Whether a server is there; one that asks who we are is."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return response.status == 200
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)
    except (urllib.error.URLError, OSError):
        return False


def migrate(held: int | None = None) -> None:
    """Databases of Airflow and MLflow, side by side; then Airflow's pools (a task of a missing pool would wait for ever).

    `held`: the descriptor of the lock of `up`.
    """
    var = var_folder()
    (var / "mlflow").mkdir(parents=True, exist_ok=True)
    full = {**os.environ, **environment()}
    jobs: list[subprocess.Popen[str]] = []
    marker = var / "airflow" / "migrated"
    version = python_of("orchestrator").parents[1].joinpath("lexloop-lock.txt").read_text() + postgres.fingerprint()
    if marker.is_file() and marker.read_text() == version:
        return
    airflow = [str(python_of("orchestrator")), "-m", "airflow"]
    commands = [[*airflow, "db", "migrate"]]
    if "mlflow" in programs():
        commands.append([str(python_of("ml")), "-m", "mlflow", "db", "upgrade", mlflow_database()])
    # In sessions of their own, with the lock: neither Ctrl-C nor the end of this process stops one halfway, and who comes
    # next waits for it.
    kept = {"start_new_session": True, "pass_fds": (held,)} if held is not None else {"start_new_session": True}
    for argv in commands:
        jobs.append(subprocess.Popen(argv, env=full, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kept))
    try:
        said = [job.communicate()[0] for job in jobs]
    except KeyboardInterrupt:
        print("the databases are being made; a few seconds more until this can end", file=sys.stderr, flush=True)
        for job in jobs:
            job.communicate()
        raise
    for job, text in zip(jobs, said, strict=True):
        if job.returncode:
            raise StepError(f"{job.args!r} failed with {job.returncode}:\n" + "\n".join(text.splitlines()[-15:]))
    pools = var / "airflow" / "pools.json"
    pools.write_text(json.dumps({"training": {"slots": 1, "description": "one trainer at a time", "include_deferred": True}}))
    subprocess.run([*airflow, "pools", "import", str(pools)], env=full, check=True, stdout=subprocess.DEVNULL)
    marker.write_text(version)


def close() -> None:
    """Nobody else reads what lies below var or in the store; a database server under another account gets past."""
    own_server = postgres.is_own() and os.geteuid() == 0
    found = private.close(var_folder(), frozenset({postgres.data_folder().name} if own_server else ()))
    store = Path(environment()["LEXLOOP_STORE"])
    found += private.close(store) if store.is_dir() and store.parent != var_folder() else []
    if found:
        print(f"closed to other accounts: {', '.join(map(str, found[:5]))}{' …' if len(found) > 5 else ''}")
    if os.geteuid() == 0:
        print(
            "started by root: services run as root, all but the gateway's workers; a shared machine wants an account of its own"
        )


@contextmanager
def alone() -> Iterator[int]:
    """One `up` at a time in a var folder. Gives the lock's descriptor."""
    with one_at_a_time(var_folder() / "up.lock", "is starting the services") as held:
        yield held


def up() -> bool:
    """Start what does not run and wait until it answers; returns True where something had to be started."""
    verdict.languages()  # a wrong setting is told now, not in the log of a callback
    private.keep()
    with alone() as held:
        return False if is_up() else start(held)


def start(held: int) -> bool:
    """`up` where not all of it is there, under the lock whose descriptor is `held`."""
    if supervisor_pid() is not None:
        control("start", "all", quiet=True)
        wait_healthy()
        return True
    # A killed supervisor: its services are ended at once, so that no scheduler ends its tasks in passing.
    killed = marked_processes(steps=False)
    _kill(killed)
    if nginx_path() is None:
        raise StepError(
            "nginx is missing; install it: apt-get install nginx-light libnginx-mod-http-js (make setup does it for root)"
        )
    Ports.read().check_free(10.0 if killed else 0.0)  # a thread of what was killed may hold a port a moment longer
    postgres.check_port()
    if os.environ.get("MLFLOW_TRACKING_URI"):
        tracking.check_reachable(mlflow_url())
    from legal_tasks.serving.state import Database

    Database.create()
    passwords()
    postgres.keep_choice()
    close()
    write_airflow_config()
    with postgres.running():
        migrate(held)
    config = write_supervisor_config()
    argv = [str(python_of("orchestrator")), "-m", "supervisor.supervisord", "-c", str(config)]
    values = {**os.environ, **environment()}
    values.pop("LEXLOOP_DB", None)  # an address with a password; it stands in private files
    subprocess.run(argv, env=values, check=True, stdout=subprocess.DEVNULL)
    wait_healthy()
    return True


def wait_healthy() -> None:
    """Wait until Airflow (with scheduler and DAG processor) and MLflow answer; StepError names what does not."""
    started = time.monotonic()
    wanted = {"Airflow": f"{airflow_url()}/api/v2/monitor/health", "MLflow": f"{mlflow_url()}/health"}
    while True:
        waiting = [name for name, url in wanted.items() if not answers(url)]
        if not waiting and not scheduler_healthy():
            waiting = ["Airflow's scheduler"]
        if not waiting:
            return
        passed = time.monotonic() - started
        if passed > START_TIMEOUT_S or (passed > 15 and supervisor_pid() is None):
            raise StepError(f"{' and '.join(waiting)} did not come up in {passed:.0f} s; read {var_folder()}/logs/*.log")
        time.sleep(1)


def scheduler_healthy() -> bool:
    try:
        with urllib.request.urlopen(f"{airflow_url()}/api/v2/monitor/health", timeout=3) as response:
            state = json.load(response)
    except (urllib.error.URLError, OSError):
        return False
    return all((state.get(part) or {}).get("status") == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))


def stop(quiet: bool = False) -> None:
    """End the supervisor and, after it, every process that carries our mark; TERM first, KILL for what stays."""
    pid = supervisor_pid()
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        _wait_gone({pid}, 60)
    postgres.stop()
    left = marked_processes()
    services = marked_processes(steps=False)
    for victim in left:  # a step would take the end of its scheduler for a reason to go on
        _send(victim, signal.SIGTERM if victim in services else signal.SIGKILL)
    _wait_gone(set(left), 10)
    _kill(marked_processes())
    if not quiet:
        print("stopped: no process left" if not marked_processes() else f"still there: {marked_processes()}")


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _kill(pids: Iterable[int], timeout_s: float = 30.0) -> None:
    """KILL, then wait until all have ended: one that is ending has lost its mark before it gives up its ports."""
    for pid in pids:
        _send(pid, signal.SIGKILL)
    _wait_gone(set(pids), timeout_s)


def _wait_gone(pids: set[int], timeout_s: float) -> None:
    from legal_tasks.lease import process_start

    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and any(process_start(pid) is not None for pid in pids):
        time.sleep(0.2)


def control(*words: str, quiet: bool = False) -> int:
    """Let supervisorctl do something; its exit code."""
    argv = [
        str(python_of("orchestrator")),
        "-m",
        "supervisor.supervisorctl",
        "-c",
        str(var_folder() / "supervisord.conf"),
        *words,
    ]
    return subprocess.run(argv, env={**os.environ, **environment()}, stdout=subprocess.DEVNULL if quiet else None).returncode


def status() -> int:
    """Print a line per service; 0 when all run."""
    if supervisor_pid() is None:
        print("not running; start with: make up")
        return 3
    code = control("status")
    print(f"Airflow {airflow_url()}   MLflow {mlflow_url()}   gateway http://127.0.0.1:{Ports.read().gateway}/v1")
    return code


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m legal_tasks.services", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=["up", "stop", "status", "run"])
    parser.add_argument("service", nargs="?", default="", help="run: the service to become (the supervisor does this)")
    arguments = parser.parse_args(argv)
    action = arguments.action
    from legal_tasks.tracking import TrackingError

    try:
        if action == "status":
            return status()
        if action == "run":
            run_service(arguments.service)
        if action == "stop":
            stop()
        elif up():
            print(
                f"Airflow {airflow_url()} (user admin, password in {var_folder()}/airflow/passwords.json)   MLflow {mlflow_url()}"
            )
    except (StepError, TrackingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{action} was stopped halfway; call it again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
