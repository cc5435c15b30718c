"""Airflow's database for a team: a PostgreSQL of our own under the supervisor, or any server by its address.

    make up DB=postgres                                   # Debian's PostgreSQL, on 127.0.0.1, data in var/postgres
    LEXLOOP_DB=postgresql://airflow:...@db.example/airflow make up    # a server that is there

Without DB it is SQLite: one person, one machine. The choice is kept in `var/database` (mode 600), so that later commands
without DB mean the same database. Our own server takes a password (scram-sha-256), generated into var/secrets/postgres.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

from legal_tasks.step import StepError, var_folder

OWN = "postgres"
SCHEMES = ("postgresql", "postgresql+psycopg2", "sqlite")
PORT = ("LEXLOOP_POSTGRES_PORT", 5442)
ROLE = DATABASE = "airflow"
SYSTEM_USER = "postgres"  # Debian's: the server refuses to run as root
START_TIMEOUT_S = 60


def chosen() -> str:
    """LEXLOOP_DB, else what was chosen before, else ""; StepError on a scheme that Airflow is not tested with."""
    kept = var_folder() / "database"
    text = os.environ.get("LEXLOOP_DB") or (kept.read_text("utf-8").strip() if kept.is_file() else "")
    if text not in ("", OWN) and urlsplit(text).scheme not in SCHEMES:
        raise StepError(
            f"DB={urlsplit(text).scheme or text.split('@')[-1]}: write postgres, or an address that begins with postgresql:// "
            "(sqlite:// for one person); leave it out for SQLite"
        )
    return text


def keep_choice() -> None:
    """Remember LEXLOOP_DB for the commands to come."""
    from legal_tasks.services import write_private

    if os.environ.get("LEXLOOP_DB"):
        write_private(var_folder() / "database", chosen() + "\n")


def is_own() -> bool:
    return chosen() == OWN


def port() -> int:
    variable, default = PORT
    text = os.environ.get(variable, str(default))
    if not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise StepError(f"{variable} must be a port from 1024 to 65535, got {text!r}")
    return int(text)


def fingerprint() -> str:
    """Tells one database from another without its password: what was migrated."""
    return hashlib.sha256(airflow_address().encode()).hexdigest()[:16] + "\n"


def check_port() -> None:
    """StepError where somebody else holds the port of our own server."""
    if not is_own() or server_pid() is not None:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port()))
        except OSError as error:
            raise StepError(
                f"port {port()} for PostgreSQL is taken ({error.strerror}); end the program that holds it or choose another: "
                f"{PORT[0]}=<port>"
            ) from error


def airflow_address() -> str:
    """What Airflow's sql_alchemy_conn holds; the password in it makes it a secret."""
    from legal_tasks.services import secret

    text = chosen()
    if not text:
        return f"sqlite:///{var_folder()}/airflow/airflow.db"
    if text != OWN:
        return text
    return f"postgresql+psycopg2://{ROLE}:{quote(secret('postgres'), safe='')}@127.0.0.1:{port()}/{DATABASE}"


def installed() -> list[Path]:
    """Folders of the programs of each PostgreSQL that is here, the newest last."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    on_path = shutil.which("postgres")
    return sorted(found, key=lambda folder: float(folder.parent.name)) or ([Path(on_path).resolve().parent] if on_path else [])


def is_installed() -> bool:
    return bool(installed())


def binaries() -> Path:
    """Folder of the newest PostgreSQL's programs; StepError where there is none."""
    newest = installed()
    if not newest:
        raise StepError("PostgreSQL is missing; install it once with:  sudo apt-get update && sudo apt-get install -y postgresql")
    return newest[-1]


def as_user() -> list[str]:
    """The words before a command that drop root's rights; none for an ordinary user."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError as error:
        raise StepError(f"PostgreSQL does not run as root and the user {SYSTEM_USER} is missing: install postgresql") from error
    return [shutil.which("setpriv") or "/usr/bin/setpriv", f"--reuid={SYSTEM_USER}", f"--regid={SYSTEM_USER}", "--clear-groups"]


def data_folder() -> Path:
    return var_folder() / "postgres"


def server() -> list[str]:
    """argv of our own server: loopback only, its socket beside its data."""
    folder = data_folder()
    options = {"listen_addresses": "127.0.0.1", "port": str(port()), "unix_socket_directories": str(folder)}
    options |= {"unix_socket_permissions": "0700", "max_connections": "100", "log_timezone": "Asia/Shanghai"}
    words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    return [*as_user(), str(binaries() / "postgres"), "-D", str(folder), *words]


def call(argv: list[str], what: str) -> None:
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, cwd="/")
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-8:])
        raise StepError(f"{what} failed with {done.returncode}:\n{tail}")


def create() -> None:
    """The data folder of our own server, made once; a half-made one is made anew."""
    from legal_tasks.services import secret

    folder = data_folder()
    if (folder / "PG_VERSION").is_file():
        made = (folder / "PG_VERSION").read_text().strip()
        have = binaries().parent.name
        if re.fullmatch(r"\d+", have) and made != have:
            raise StepError(
                f"{folder} was made by PostgreSQL {made}, here is {have}: install postgresql-{made}, or use pg_upgrade"
            )
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    part, words = folder / "new", folder / "password"
    words.write_text(secret("postgres"), "utf-8")
    words.chmod(0o600)
    if os.geteuid() == 0:
        check_reach(folder)
        for path in (folder, words):
            shutil.chown(path, SYSTEM_USER, SYSTEM_USER)
    argv = [str(binaries() / "initdb"), "-D", str(part), "-U", ROLE, f"--pwfile={words}", "-A", "scram-sha-256"]
    call([*as_user(), *argv, "-E", "UTF8", "--locale=C.UTF-8"], "initdb")
    words.unlink()
    version = part / "PG_VERSION"
    for path in sorted(part.iterdir(), key=lambda path: path == version):  # the version last: it means finished
        path.rename(folder / path.name)
    part.rmdir()


def check_reach(folder: Path) -> None:
    """StepError where the server's user cannot enter one of the folders above its data."""
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:
            raise StepError(
                f"the user {SYSTEM_USER}, as whom PostgreSQL runs under root, cannot enter {parent}: set LEXLOOP_VAR to a folder "
                "outside of it, run as an ordinary user, or give the address of a server: DB=postgresql://..."
            )


def connect(database: str):
    import psycopg2

    from legal_tasks.services import secret

    return psycopg2.connect(
        host="127.0.0.1", port=port(), user=ROLE, password=secret("postgres"), dbname=database, connect_timeout=5
    )


def wait_ready(process: subprocess.Popen[str] | None = None) -> None:
    """Until our own server takes a connection; StepError with its last words where it ended."""
    import psycopg2

    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            connect("postgres").close()
            return
        except psycopg2.OperationalError as error:
            if process is not None and process.poll() is not None:
                said = (process.stdout.read() if process.stdout else "").splitlines()[-5:]
                raise StepError(f"PostgreSQL ended with {process.returncode}:\n" + "\n".join(said)) from error
            if time.monotonic() > deadline:
                raise StepError(f"PostgreSQL did not answer on port {port()} in {START_TIMEOUT_S} s: {error}") from error
            time.sleep(0.1)


def create_database() -> None:
    connection = connect("postgres")
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(f'CREATE DATABASE "{DATABASE}"')
    finally:
        connection.close()


@contextmanager
def running() -> Iterator[None]:
    """Our own server for as long as the block lasts, where it is the chosen one: for migrations before the supervisor starts."""
    if not is_own():
        yield
        return
    create()
    stop()
    process = subprocess.Popen(
        server(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, cwd="/"
    )
    try:
        wait_ready(process)
        create_database()
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=START_TIMEOUT_S)


def server_pid() -> int | None:
    """The process of our own server that the data folder names, if it lives and is one."""
    path = data_folder() / "postmaster.pid"
    try:
        pid = int(path.read_text().split("\n", 1)[0])
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return pid if str(data_folder()) in line else None


def stop() -> None:
    """End our own server where it still runs: after a killed supervisor, whose mark its processes do not show."""
    pid = server_pid()
    if pid is None:
        return
    for number, patience_s in ((signal.SIGINT, 20), (signal.SIGQUIT, 10)):  # fast, then at once
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if server_pid() is None:
                return
            time.sleep(0.1)
