"""Every package that is installed is pinned with the hashes of its files: write the pins, audit them, list their licences.

    make pins        # after a changed requirements file: resolves again and writes docker/*/constraints.txt with hashes
    make audit       # known faults of the pinned versions, by pip-audit (needs a network)
    make sbom        # a bill of materials (CycloneDX) of each environment that is built, in var/sbom/
    make licences    # docs/dependencies.md from the environments that are built

Set-up installs with --require-hashes: a file that is not the one that was pinned is refused, wherever it comes from.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from legal_tasks import setup
from legal_tasks.setup import ENVIRONMENTS, REPOSITORY, Environment, SetupError
from legal_tasks.step import var_folder

LISTED = REPOSITORY / "docs" / "dependencies.md"
ABOUT = """# Dependencies

Written by `make licences` from the environments that are built; versions and hashes are pinned in `docker/*/constraints.txt`.
The licence is what the package itself says. `make sbom` writes a bill of materials, `make audit` asks for known faults.

| package | version | licence | environments |
|---|---|---|---|
"""
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(\S+)")


def plain(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(path: Path) -> Iterator[tuple[str, str, int]]:
    """(name, version, number of hashes) of each pin in a file of pip's format."""
    text = re.sub(r"\\\n", " ", path.read_text("utf-8"))
    for line in text.splitlines():
        if found := PIN.match(line):
            yield plain(found[1]), found[2], line.count("--hash=sha256:")


def compile_pins(environment: Environment, constraints: Path) -> None:
    """Resolve an environment's packages under its present pins and write them with the hashes of all their files."""
    torch = setup.root() / "torch.txt"
    torch.parent.mkdir(parents=True, exist_ok=True)
    torch.write_text(f"{setup.TORCH}\n")
    names = [str(path) for path in (environment.requirements, environment.later) if path is not None]
    argv = [setup.uv(), "pip", "compile", "-q", "--generate-hashes", "--no-annotate", "--no-header", "--python-version", "3.11"]
    argv += ["--no-emit-package", "torch"]  # pinned by set-up itself, which installs it first
    argv += [*setup.find_links(), *names, "-c", str(environment.constraints), *(["-c", str(torch)] if environment.torch else [])]
    setup.call([*argv, "-o", str(constraints)])


def write_pins() -> int:
    for name, environment in ENVIRONMENTS.items():
        neighbour = environment.constraints.with_suffix(".part")
        compile_pins(environment, neighbour)
        lacking = [package for package, _, hashes in pinned(neighbour) if not hashes]
        if lacking:
            raise SetupError(f"{name}: no hash for {', '.join(lacking)}; the index names none for these files")
        neighbour.replace(environment.constraints)
        print(f"{name}: {sum(1 for _ in pinned(environment.constraints))} packages")
    return 0


def tool(name: str) -> str:
    """A program of the environment `audit`, which is built when it is missing."""
    if not setup.is_built(ENVIRONMENTS["audit"]):
        setup.setup(["audit"])
    return str(setup.python_of("audit").with_name(name))


def audit() -> int:
    """Ask for known faults of every pinned version; 0 where all were asked for and none has one, 1 where one has, 2 else."""
    pins = sorted(
        {(name, version.partition("+")[0]) for each in ENVIRONMENTS.values() for name, version, _ in pinned(each.constraints)}
    )
    with tempfile.TemporaryDirectory(prefix="lexloop-audit-") as folder:
        asked: list[Path] = []
        # A version of a package a file: pip's format has each package once.
        for part in parts(pins):
            path = Path(folder) / f"{len(asked)}.txt"
            path.write_text("".join(f"{name}=={version}\n" for name, version in part), "utf-8")
            asked.append(path)
        found = [entry for path in asked for entry in ask(path)]
    return tell(found, len(pins))


def parts(pins: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """The pins in as few lists as need be for each to hold a package once."""
    found: list[dict[str, str]] = []
    for name, version in pins:
        for part in found:
            if name not in part:
                part[name] = version
                break
        else:
            found.append({name: version})
    return [list(part.items()) for part in found]


def ask(path: Path) -> list[dict[str, Any]]:
    """What pip-audit says about each package of a requirements file; SetupError where it says nothing."""
    argv = [
        tool("pip-audit"),
        "--requirement",
        str(path),
        "--no-deps",
        "--disable-pip",
        "--format",
        "json",
        "--progress-spinner",
        "off",
    ]
    done = subprocess.run(argv, capture_output=True, text=True)
    try:
        entries: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError) as error:
        raise SetupError(f"pip-audit found nothing out:\n{done.stderr[-1500:]}") from error
    return entries


def tell(found: list[dict[str, Any]], pins: int) -> int:
    """Print the known faults, and what nobody could be asked about; `audit`'s exit code."""
    faulty = [entry for entry in found if entry.get("vulns")]
    for entry in faulty:
        for fault in entry["vulns"]:
            mended = ", ".join(fault.get("fix_versions") or []) or "no version yet"
            print(f"{entry['name']} {entry['version']}: {fault['id']}; mended in {mended}")
    known = [entry for entry in found if "vulns" in entry]
    print(f"{pins} pinned versions, {len(known)} asked about, {len(faulty)} with known faults")
    if faulty:
        return 1
    if len(known) < pins:
        print("error: the rest is not known to the package index that answered; ask again with a network", file=sys.stderr)
        return 2
    return 0


def built() -> list[str]:
    return [name for name, environment in ENVIRONMENTS.items() if setup.is_built(environment)]


def sbom() -> int:
    folder = var_folder() / "sbom"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in built():
        path = folder / f"{name}.cdx.json"
        argv = [tool("cyclonedx-py"), "environment", "--output-reproducible", "--of", "JSON", "-o", str(path)]
        setup.call([*argv, str(setup.python_of(name))])
        print(f"{path}: {len(json.loads(path.read_text('utf-8'))['components'])} components")
    return 0


def licences() -> int:
    found: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for name in built():
        argv = [tool("pip-licenses"), f"--python={setup.python_of(name)}", "--format=json", "--from=mixed", "--with-system"]
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
        for package in json.loads(done.stdout):
            key = (plain(package["Name"]), package["Version"])
            found.setdefault(key, (" ".join(package["License"].split())[:80], []))[1].append(name)
    lines = [
        f"| {name} | {version} | {licence} | {', '.join(where)} |" for (name, version), (licence, where) in sorted(found.items())
    ]
    LISTED.write_text(ABOUT + "\n".join(line.replace(" |  | ", " | unknown | ") for line in lines) + "\n", "utf-8")
    print(f"{LISTED}: {len(lines)} packages of {', '.join(built())}")
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m legal_tasks.pins", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=["write", "audit", "sbom", "licences"])
    action = parser.parse_args(argv).action
    try:
        return {"write": write_pins, "audit": audit, "sbom": sbom, "licences": licences}[action]()
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
