"""Set up: check the machine, build the pinned virtual environments, see that nginx is there. Standard library only.

    python3.11 -m legal_tasks.setup [ENVIRONMENT ...] [--ports] [--nginx] [--chromium]

Without names orchestrator, ml and vllm are built, those of the CPU profile; llamafactory, llamacpp and chatglm3 by name only.

An environment is rebuilt only when its pinned files change. torch is always the CPU build here: first from where pip is
configured to look (a wheel on disk), else from PyTorch's own CPU index; a build with CUDA is never downloaded.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
TORCH = "torch==2.13.0+cpu"
TORCH_HASHES = ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)  # cp311, x86_64
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
DISK_GIB = {"orchestrator": 1, "ml": 4, "vllm": 5, "llamafactory": 4, "llamacpp": 1, "chatglm3": 3, "audit": 1}
MEMORY_GIB = 6
UNWANTED = ("torchvision", "torchaudio", "torchcodec")  # CUDA builds; their import breaks beside the CPU build of torch


class SetupError(Exception):
    """The caller can fix it: the message names what is missing and the command that mends it."""


@dataclass(frozen=True)
class Environment:
    """One virtual environment: its pinned files, and whether torch goes in first.

    `optional`: built by name only. `stubs`: modules that are imported always and used never here; empty ones stand in.
    `variables`: of the environment in which the packages are installed, for those that are built from source.
    """

    name: str
    requirements: Path
    constraints: Path
    torch: bool
    later: Path | None = None
    optional: bool = False
    stubs: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()

    def lock(self) -> str:
        """sha256 over the pinned files: what the artifact keys call the lock hash of the environment."""
        digest = hashlib.sha256((TORCH + "".join(TORCH_HASHES) if self.torch else "").encode())
        for path in (self.requirements, self.constraints, self.later):
            if path is not None:
                digest.update(path.read_bytes())
        return digest.hexdigest()


DOCKER = REPOSITORY / "docker"
UV = DOCKER / "uv.txt"  # the one package that pip itself installs
ENVIRONMENTS = {
    "orchestrator": Environment(
        "orchestrator", REPOSITORY / "requirements.txt", DOCKER / "orchestrator" / "constraints.txt", torch=False
    ),
    "ml": Environment(
        "ml",
        DOCKER / "ml" / "requirements.txt",
        DOCKER / "ml" / "constraints.txt",
        torch=True,
        later=DOCKER / "ml" / "requirements-no-isolation.txt",
    ),
    "vllm": Environment("vllm", DOCKER / "vllm" / "requirements.txt", DOCKER / "vllm" / "constraints.txt", torch=True),
    "llamafactory": Environment(
        "llamafactory",
        DOCKER / "llamafactory" / "requirements.txt",
        DOCKER / "llamafactory" / "constraints.txt",
        torch=True,
        optional=True,
        stubs=("torchaudio",),
    ),
    "llamacpp": Environment(
        "llamacpp",
        DOCKER / "llamacpp" / "requirements.txt",
        DOCKER / "llamacpp" / "constraints.txt",
        torch=False,
        optional=True,
        variables=(("CMAKE_ARGS", "-DLLAVA_BUILD=OFF"),),
    ),
    "audit": Environment(
        "audit", DOCKER / "audit" / "requirements.txt", DOCKER / "audit" / "constraints.txt", torch=False, optional=True
    ),
    "chatglm3": Environment(
        "chatglm3",
        DOCKER / "chatglm3" / "requirements.txt",
        DOCKER / "chatglm3" / "constraints.txt",
        torch=True,
        optional=True,
    ),
}


def root() -> Path:
    """Folder of the virtual environments: LEXLOOP_ENV_DIR, else var/env in the repository."""
    return Path(os.environ.get("LEXLOOP_ENV_DIR", REPOSITORY / "var" / "env")).absolute()


def python_of(name: str) -> Path:
    return root() / name / "bin" / "python"


def is_built(environment: Environment) -> bool:
    marker = root() / environment.name / "lexloop-lock.txt"
    return marker.is_file() and marker.read_text().strip() == environment.lock()


def check_machine(missing: list[Environment]) -> None:
    """SetupError where Python, disk or memory do not suffice for what must be built and run."""
    if sys.version_info[:2] != (3, 11):
        raise SetupError(
            f"Python 3.11 is needed, this is {platform.python_version()}; install it and call make PYTHON=/path/to/python3.11"
        )
    if platform.system() != "Linux":
        raise SetupError(f"Linux is needed, this is {platform.system()}; use a container or a virtual machine")
    folder = root()
    folder.mkdir(parents=True, exist_ok=True)
    needed = sum(DISK_GIB[environment.name] for environment in missing) + 1
    free = shutil.disk_usage(folder).free / 2**30
    if free < needed:
        raise SetupError(f"{folder} has {free:.1f} GiB free, {needed} GiB are needed; make room or set LEXLOOP_ENV_DIR")
    available = available_memory_gib()
    if available < MEMORY_GIB:
        raise SetupError(f"{available:.1f} GiB of memory are available, {MEMORY_GIB} GiB are needed; end other programs")


def available_memory_gib() -> float:
    """MemAvailable of /proc/meminfo in GiB."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 2**20
    raise SetupError("/proc/meminfo has no MemAvailable: a Linux kernel from 3.14 on is needed")


def call(argv: list[str], **environment: str) -> None:
    """Run a command quietly; where it fails, show the end of what it said."""
    done = subprocess.run(argv, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise SetupError(f"this command failed with {done.returncode}:\n  {' '.join(argv)}\n{tail}")


def find_links() -> list[str]:
    """Where pip is configured to look for wheels, for uv, which does not read pip's configuration."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True)
    places: list[str] = []
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        if name.rsplit(".", 1)[-1] == "find-links":
            places += value.strip().strip("'\"").split()
    return [part for place in dict.fromkeys(places) for part in ("--find-links", place)]


def uv() -> str:
    """The pinned uv, in a small environment of its own."""
    folder = root() / ".uv"
    binary = folder / "bin" / "uv"
    if not binary.is_file():
        call([sys.executable, "-m", "venv", str(folder)])
        call([str(folder / "bin" / "pip"), "install", "-q", "--no-deps", "--require-hashes", "-r", str(UV)])
    return str(binary)


def pin_torch() -> Path:
    """A file for pip that names torch with the hashes of its wheels."""
    path = root() / "torch.txt"
    path.write_text(" ".join([TORCH, *(f"--hash=sha256:{one}" for one in TORCH_HASHES)]) + "\n")
    return path


def install_torch(python: Path) -> None:
    """The CPU build of torch from pip's configured places, else from PyTorch's CPU index."""
    pip = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--require-hashes", "-r", str(pin_torch())]
    first = subprocess.run(pip, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if first.returncode == 0:
        return
    try:
        call([*pip, "--index-url", TORCH_INDEX])
    except SetupError as error:
        raise SetupError(
            f"{TORCH} was found neither where pip is configured to look nor on {TORCH_INDEX}; put the wheel on disk and "
            f"set PIP_FIND_LINKS to its folder, or allow that address; where its hash is another, it is another file\n{error}"
        ) from error


def build(environment: Environment) -> None:
    """Make one virtual environment from its pinned files; the marker with the lock hash is written last."""
    folder = root() / environment.name
    shutil.rmtree(folder, ignore_errors=True)
    started = time.time()
    print(f"building environment {environment.name} ...", flush=True)
    call([sys.executable, "-m", "venv", str(folder)])
    python = python_of(environment.name)
    constraints = ["-c", str(environment.constraints)]
    if environment.torch:
        install_torch(python)
        constraints += ["-c", str(pin_torch())]
    install = [uv(), "pip", "install", "-q", "-p", str(python), "--require-hashes", *find_links(), *constraints]
    call([*install, "-r", str(environment.requirements)], **dict(environment.variables))
    if environment.later is not None:
        call([*install, "--no-build-isolation-package", "gptqmodel", "-r", str(environment.later)], BUILD_CUDA_EXT="0")
    if environment.torch:
        call([uv(), "pip", "uninstall", "-q", "-p", str(python), *UNWANTED])
    for name in environment.stubs:
        stub = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages" / f"{name}.py"
        stub.write_text('"""Stands in for a package of which only the import is needed: there is no audio here."""\n')
    (folder / "lexloop-lock.txt").write_text(environment.lock() + "\n")
    print(f"  done in {time.time() - started:.0f} s", flush=True)


def nginx_path() -> str | None:
    return shutil.which("nginx") or next((p for p in ("/usr/sbin/nginx", "/usr/local/sbin/nginx") if Path(p).is_file()), None)


def nginx_module(name: str) -> Path | None:
    """A dynamic module of the nginx on this machine; None where it lacks it."""
    found = nginx_path()
    if found is None:
        return None
    said = subprocess.run([found, "-V"], capture_output=True, text=True).stderr
    folder = re.search(r"--modules-path=(\S+)", said)
    path = Path(folder[1]) / name if folder else None
    return path if path is not None and path.is_file() else None


def ensure_nginx() -> None:
    """Debian's nginx, where none is there, and its njs, with which the gateway checks requests and counts tokens."""
    # The package would start a server on port 80: a policy of "never" keeps it from doing so.
    if not nginx_path():
        install_debian("nginx-light", "libnginx-mod-http-js", RUNLEVEL="1")
    elif not nginx_module("ngx_http_js_module.so"):
        try:
            install_debian("libnginx-mod-http-js", RUNLEVEL="1")
        except SetupError as error:
            print(f"the gateway will not start without njs, unless LEXLOOP_GATEWAY_UNCHECKED=yes: {error}", flush=True)


def ensure_chromium() -> None:
    """Debian's Chromium with a Chinese font: the browser in which the tests look at pages."""
    if not shutil.which("chromium"):
        install_debian("chromium", "fonts-noto-cjk")


def ensure_postgres() -> None:
    """Debian's PostgreSQL, where our own server is chosen and none is there."""
    from legal_tasks import postgres
    from legal_tasks.step import StepError

    try:
        if postgres.is_own() and not postgres.is_installed():
            install_debian("postgresql", RUNLEVEL="1")  # as for nginx: no server on port 5432
    except StepError as error:
        raise SetupError(str(error)) from error


def install_debian(*packages: str, **environment: str) -> None:
    """Install Debian packages where root allows; else SetupError with the one command to run."""
    names = " ".join(packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SetupError(f"missing here; install it once with:  sudo apt-get update && sudo apt-get install -y {names}")
    print(f"installing Debian's {names} ...", flush=True)
    call(["apt-get", "update", "-q"])
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    call(install, DEBIAN_FRONTEND="noninteractive", **environment)


def check_ports() -> None:
    """SetupError where somebody else holds a port that our services will need."""
    from legal_tasks import services
    from legal_tasks.step import StepError

    if services.supervisor_pid() is None:
        try:
            services.Ports.read().check_free()
        except StepError as error:
            raise SetupError(str(error)) from error


def setup(names: list[str], nginx: bool = False, chromium: bool = False, ports: bool = False) -> None:
    """Check the machine, then build what is missing."""
    with alone():
        _setup(names, nginx, chromium, ports)


@contextmanager
def one_at_a_time(path: Path, doing: str) -> Iterator[int]:
    """One process at a time behind a lock file; the next one says who is `doing` what, and waits. Gives its descriptor."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            print(f"process {file.read().strip() or '?'} {doing} already; waiting for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield file.fileno()


@contextmanager
def alone() -> Iterator[None]:
    """One set-up at a time in a folder of environments: two would build into each other."""
    with one_at_a_time(root() / ".lock", "sets up here"):
        yield


def _setup(names: list[str], nginx: bool, chromium: bool, ports: bool) -> None:
    missing = [ENVIRONMENTS[name] for name in names if not is_built(ENVIRONMENTS[name])]
    check_machine(missing)
    if ports:
        check_ports()
        ensure_postgres()
    for environment in missing:
        build(environment)
    if nginx:
        ensure_nginx()
    if chromium:
        ensure_chromium()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m legal_tasks.setup", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "environments", nargs="*", metavar="ENVIRONMENT", help=f"of {', '.join(ENVIRONMENTS)} (default: those of the CPU profile)"
    )
    parser.add_argument("--nginx", action="store_true", help="also see that nginx is there")
    parser.add_argument("--chromium", action="store_true", help="also see that Chromium is there, for the tests of pages")
    parser.add_argument("--ports", action="store_true", help="first see that the services' ports are free or ours")
    arguments = parser.parse_args(argv)
    unknown = set(arguments.environments) - ENVIRONMENTS.keys()
    try:
        if unknown:
            raise SetupError(f"unknown environment {', '.join(sorted(unknown))}; there are {', '.join(ENVIRONMENTS)}")
        usual = [name for name, environment in ENVIRONMENTS.items() if not environment.optional]
        setup(arguments.environments or usual, arguments.nginx, arguments.chromium, arguments.ports)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("the set-up was stopped halfway; the next one goes on with what is missing", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
