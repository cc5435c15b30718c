"""The step: one module with Params, Report, VERSION and run becomes a command line, an artifact and an exit code.

    python -m legal_tasks.data.clean --profile small --set data.clean.threshold=0.8 --items DIR [--store DIR | --output DIR]

Exit codes: 0 done, 2 the caller can fix it (message, no traceback), 99 nothing to do (with the reason), 1 a bug.
The last line on standard output is JSON: {artifact, digest, key, report, reused, step, reason, mlflow_run_url}.
"""

from __future__ import annotations

import argparse
import atexit
import dataclasses
import datetime
import gc
import importlib
import json
import os
import shutil
import sys
import time
import traceback
import types
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from legal_tasks import artifacts, attempt, private, room, settings, tracking

REPOSITORY = Path(__file__).resolve().parents[1]
EXIT_DONE, EXIT_BUG, EXIT_CALLER, EXIT_SKIPPED = 0, 1, 2, 99


class StepError(Exception):
    """The caller can fix it: the message names the option, the value, what is allowed and the next action."""


class Skip(Exception):
    """Nothing to do, for the reason given; not an error. `report`: numbers that are known all the same."""

    def __init__(self, reason: str, report: dict[str, Any] | None = None):
        super().__init__(reason)
        self.report = report or {}


@dataclasses.dataclass(frozen=True)
class Option:
    """An ordinary parameter: it enters the key."""

    help: str


class Input(Option):
    """A file, folder or artifact: its content digest enters the key, its place does not."""


class Output(Option):
    """The folder that the runner names and hands over empty."""


class Runtime(Option):
    """How it is done, not what: does not enter the key."""


@dataclasses.dataclass(frozen=True)
class ParamSpec:
    name: str
    kind: Any
    option: Option
    default: Any
    optional: bool

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def var_folder() -> Path:
    """Where everything that a run writes goes: LEXLOOP_VAR or `var/` in the repository."""
    return Path(os.environ.get("LEXLOOP_VAR", REPOSITORY / "var")).absolute()


def describe_params(params_type: type) -> list[ParamSpec]:
    """The fields of a Params dataclass: type without None, help, default."""
    hints = typing.get_type_hints(params_type, include_extras=True)
    specs = []
    for item in dataclasses.fields(params_type):
        hint = hints[item.name]
        if get_origin(hint) is not Annotated:
            raise TypeError(f"{params_type.__module__}.Params.{item.name} needs Annotated[type, help]")
        kind, first, *_ = get_args(hint)
        option = first if isinstance(first, Option) else Option(str(first))
        optional = False
        if get_origin(kind) in (Union, types.UnionType):
            inner = [part for part in get_args(kind) if part is not type(None)]
            optional = len(inner) < len(get_args(kind))
            kind = inner[0]
        default = item.default
        if default is dataclasses.MISSING and item.default_factory is not dataclasses.MISSING:
            default = item.default_factory()
        specs.append(ParamSpec(item.name, kind, option, default, optional))
    return specs


def convert(spec: ParamSpec, value: Any) -> Any:
    """A value from the command line or YAML as the field's type; StepError where it does not fit."""
    if value is None or (spec.optional and value in ("", "None", "null")):
        if spec.optional:
            return None
        raise StepError(f"{spec.flag}: a value is needed, got nothing")
    try:
        return _convert(spec.kind, value)
    except (ValueError, TypeError, RecursionError) as error:
        kind = getattr(spec.kind, "__name__", str(spec.kind))
        raise StepError(f"{spec.flag} must be {kind} ({spec.option.help}), got {value!r}: {error}") from error


def _convert(kind: Any, value: Any) -> Any:
    origin = get_origin(kind)
    if origin is tuple:
        inner = get_args(kind)[0]
        parts = [part for part in value.split(",") if part.strip()] if isinstance(value, str) else list(value)
        return tuple(_convert(inner, part.strip() if isinstance(part, str) else part) for part in parts)
    if origin is dict:
        inner = get_args(kind)[1]
        mapping = json.loads(value) if isinstance(value, str) else value
        return {str(name): _convert(inner, part) for name, part in dict(mapping).items()}
    if kind is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "yes", "1"):
            return True
        if str(value).lower() in ("false", "no", "0"):
            return False
        raise ValueError("write true or false")
    if kind is int and (isinstance(value, bool) or (isinstance(value, float) and value != int(value))):
        raise ValueError("not a whole number")
    if kind is datetime.date:
        return value if isinstance(value, datetime.date) else datetime.date.fromisoformat(str(value))
    if kind is Path and not isinstance(value, str | Path):
        raise TypeError("not a path")
    if kind is str and not isinstance(value, str):
        raise TypeError("not a text")
    return kind(value)


def _parser(module: Any, name: str, specs: list[ParamSpec]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for spec in specs:
        if isinstance(spec.option, Output):
            continue
        needed = spec.default is dataclasses.MISSING
        note = "" if needed else f" (default: {spec.default})"
        text = (spec.option.help + note).replace("%", "%%")
        if spec.kind is bool:
            parser.add_argument(spec.flag, dest=spec.name, action=argparse.BooleanOptionalAction, help=text, default=None)
        else:
            parser.add_argument(spec.flag, dest=spec.name, default=None, metavar="VALUE", help=text)
    run = parser.add_argument_group("running")
    run.add_argument("--profile", help=f"take values from this profile ({', '.join(settings.profiles()) or 'a YAML file'})")
    run.add_argument("--set", action="append", default=[], metavar="area.module.field=value", help="override a profile's value")
    run.add_argument("--store", type=Path, help="artifact store (default: LEXLOOP_STORE or var/store)")
    run.add_argument("--output", type=Path, dest="_output", help="write the artifact into this new folder, not the store")
    run.add_argument("--report", type=Path, dest="_report", help="also write the result line to this file")
    run.add_argument("--recompute", action="store_true", help="do it again although the artifact is there")
    return parser


def build_params(module: Any, name: str, given: dict[str, Any], profile: str | None, overrides: list[str]) -> Any:
    """Params from defaults < profile < overrides < given values. StepError on unknown names and bad values."""
    specs = {spec.name: spec for spec in describe_params(module.Params)}
    step = name.removeprefix("legal_tasks.")
    try:
        values = settings.section(profile, step, overrides)
    except settings.SettingsError as error:
        raise StepError(str(error)) from error
    for unknown in values.keys() - specs.keys():
        allowed = ", ".join(sorted(specs))
        raise StepError(f"{step}.{unknown} is not a setting of this step; allowed are: {allowed}")
    values.update({key: value for key, value in given.items() if value is not None})
    built = {}
    for spec in specs.values():
        if isinstance(spec.option, Output):
            built[spec.name] = Path("output")
        elif spec.name in values:
            built[spec.name] = convert(spec, values[spec.name])
        elif spec.default is dataclasses.MISSING:
            raise StepError(f"{spec.flag} is needed: {spec.option.help}")
    return module.Params(**built)


def _input_paths(module: Any, params: Any) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for spec in describe_params(module.Params):
        value = getattr(params, spec.name)
        if not isinstance(spec.option, Input) or value is None:
            continue
        for number, path in enumerate(value if isinstance(value, tuple) else (value,)):
            label = f"{spec.name}[{number}]" if isinstance(value, tuple) else spec.name
            if not Path(path).exists():
                raise StepError(f"{spec.flag}: {path} does not exist; {spec.option.help}")
            paths[label] = Path(path)
    if hasattr(module, "extra_inputs"):
        paths.update(module.extra_inputs(params))
    return paths


def environment_lock() -> str:
    """Digest of the pinned requirements that built the running environment, as the set-up noted it."""
    marker = Path(sys.prefix) / "lexloop-lock.txt"
    return marker.read_text().strip() if marker.is_file() else "unlocked"


def code_digest() -> str:
    """Digest of our own Python files: noted in manifests, shown when it differs, never part of a key."""
    package = Path(__file__).parent
    return artifacts.digest_files({p.relative_to(package).as_posix(): artifacts.sha256_file(p) for p in package.rglob("*.py")})


def _key(module: Any, step: str, params: Any, inputs: dict[str, str]) -> tuple[str, dict[str, Any]]:
    values = {}
    for spec in describe_params(module.Params):
        if not isinstance(spec.option, Input | Output | Runtime):
            values[spec.name] = getattr(params, spec.name)
    parts: dict[str, Any] = {"step": step, "version": module.VERSION, "params": values, "inputs": inputs}
    parts["environment"] = environment_lock()
    if getattr(module, "REUSE", "always") == "never":
        parts["run"] = os.environ.get("LEXLOOP_DAG_RUN", "") + f"/{time.time_ns()}"
    return artifacts.sha256_text(artifacts.canonical(parts)), values


_current: dict[str, Any] = {}


def work_folder() -> Path:
    """Checkpoints of the running step: a folder that survives a failed attempt with the same key."""
    folder = _current.get("work")
    if folder is None:
        raise RuntimeError("work_folder() is for use inside run(), called by the runner")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def store() -> artifacts.Store:
    """The store of the running step, else LEXLOOP_STORE or var/store."""
    return _current.get("store") or artifacts.Store(os.environ.get("LEXLOOP_STORE", var_folder() / "store"))


def recomputing() -> bool:
    """Whether the running step was told to do its work again although there is a result."""
    return bool(_current.get("recompute"))


def progress(done: float, total: float, **numbers: float | str) -> None:
    """Tell how far the step is: a line on standard output, and `LEXLOOP_PROGRESS` (a file) for who follows the run."""
    now = time.monotonic()
    started = _current.setdefault("progress_started", now)
    eta = (now - started) / done * (total - done) if done else None
    shown = " ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in numbers.items())
    tail = f" eta={eta:.0f}s" if eta is not None else ""
    print(f"progress {done:g}/{total:g} {shown}{tail}", flush=True)
    target = os.environ.get("LEXLOOP_PROGRESS")
    if target:
        state = {"done": done, "total": total, "eta_s": eta, "numbers": numbers, "time": time.time()}
        path = Path(target)
        with suppress(OSError):  # progress is a courtesy: a step does not fail for want of it
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(path.name + ".part")
            temporary.write_text(json.dumps(state), "utf-8")
            os.replace(temporary, path)


@contextmanager
def _running(target: artifacts.Store, work: Path, recompute: bool) -> Iterator[None]:
    before = dict(_current)
    _current.clear()
    _current.update(store=target, work=work, recompute=recompute)
    try:
        yield
    finally:
        _current.clear()
        _current.update(before)


def execute(
    name: str,
    params: Any,
    *,
    target: artifacts.Store | None = None,
    output: Path | None = None,
    recompute: bool = False,
) -> dict[str, Any]:
    """Run a step through the store (or into the new folder `output`) and return the result line as a mapping."""
    module = importlib.import_module(name)
    step = name.removeprefix("legal_tasks.")
    paths = _input_paths(module, params)
    inputs = {label: artifacts.digest_path(path) for label, path in paths.items()}
    key, values = _key(module, step, params, inputs)
    target = target or store()
    output_name = next(s.name for s in describe_params(module.Params) if isinstance(s.option, Output))
    describe = {
        "version": module.VERSION,
        "params": values,
        "inputs": inputs,
        "environment": environment_lock(),
        "code": code_digest(),
        "run": os.environ.get("LEXLOOP_DAG_RUN", "by hand"),
        "dag": os.environ.get("LEXLOOP_DAG", ""),
        "candidate": os.environ.get("LEXLOOP_CANDIDATE", ""),
    }
    run_url = None
    side = artifacts.Store(output.absolute().parent / f".{output.name}.store") if output is not None else target
    checkpoints = side.work(step, key)

    def work(folder: Path) -> dict[str, Any]:
        nonlocal run_url
        told = tracking.step_run(step, key, values, inputs, (Skip,), paths, watched=getattr(module, "WATCHED", False))
        with _running(target, checkpoints, recompute), told as run:
            try:
                report = dataclasses.asdict(module.run(dataclasses.replace(params, **{output_name: folder})))
            except Exception as error:
                if isinstance(error, StepError) or not room.is_full(error):
                    raise
                written, read = room.size_of(folder) + room.size_of(checkpoints), sum(map(room.size_of, paths.values()))
                raise StepError(room.explain(step, target.root, written, read)) from error
            run.finish(report, summary=getattr(module, "SUMMARY", False), folder=folder)
            run_url = run.url
        return report

    if output is not None:
        if output.exists() and any(output.iterdir()):
            raise StepError(f"--output {output} is not empty: name a new folder")
        part = output.with_name(output.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        report = work(part)
        made = side.finish(step, key, part, report, describe=describe)
        if output.exists():
            output.rmdir()
        os.rename(made.path, output)
        shutil.rmtree(side.root, ignore_errors=True)
        artifact = dataclasses.replace(made, path=output.absolute())
    else:
        if attempt.current() is not None and (lease := target.lease(step, key)).holder() is not None:
            from legal_tasks.attend import become_follower

            become_follower(lease)
        artifact = target.make(step, key, work, describe=describe, recompute=recompute)
    if artifact.reused:
        _tell_reuse(artifact, describe)
        tracking.note_reuse(step, key, values, inputs, paths, artifact)
    return {
        "artifact": str(artifact.path),
        "digest": artifact.digest,
        "key": key,
        "step": step,
        "reused": artifact.reused,
        "report": artifact.report,
        "mlflow_run_url": run_url or tracking.url_of(key),
    }


def _tell_reuse(artifact: artifacts.Artifact, describe: dict[str, Any]) -> None:
    made = artifact.manifest
    print(
        f"reused: {artifact.path}, made by run {made.get('run', '?')} on {made['created']} in {made.get('seconds', '?')} s; "
        "to do it again, name this task under `recompute` (on the command line: --recompute)"
    )
    if made.get("code") != describe["code"]:
        print("note: our code has changed since it was made (the step's VERSION has not)")
    if made.get("hardware") != artifacts.hardware():
        print(f"note: it was made on other hardware: {made.get('hardware')}")


def _write_note(result: dict[str, Any], note: Path | None) -> None:
    dag, run = os.environ.get("LEXLOOP_DAG"), os.environ.get("LEXLOOP_DAG_RUN")
    result = {**result, "dag": dag, "dag_run": run} if dag else result
    # A container's operator reads the result from a place of its own.
    copy = os.environ.get("LEXLOOP_RESULT_COPY")
    for target in (note, Path(copy) if copy else None):
        if target is None:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(target.name + ".part")
        temporary.write_text(json.dumps(result, ensure_ascii=False, default=str) + "\n", "utf-8")
        os.replace(temporary, target)


def _emit(result: dict[str, Any], note: Path | None) -> None:
    _write_note(result, note)
    sys.stdout.flush()
    print(json.dumps(result, ensure_ascii=False, default=str), flush=True)


def spare_collections() -> None:
    """Let Python look for dead cycles less often, and not at all at its end.

    A step imports a million objects that live to its end; walking them again and again takes three seconds of each step.
    """
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)


def main(name: str, argv: Sequence[str] | None = None) -> int:
    """Run the step module `name` (e.g. "legal_tasks.data.clean") as a command; return the exit code."""
    private.keep()
    spare_collections()
    module = importlib.import_module(name)
    specs = describe_params(module.Params)
    arguments = vars(_parser(module, name, specs).parse_args(argv))
    note = arguments["_report"] or (Path(os.environ["LEXLOOP_RESULT"]) if os.environ.get("LEXLOOP_RESULT") else None)
    given = {spec.name: arguments.get(spec.name) for spec in specs if not isinstance(spec.option, Output)}
    step, target = name.removeprefix("legal_tasks."), None
    tracking.set_profile(arguments["profile"])
    attempt.begin(outlive=getattr(module, "REUSE", "always") == "always")
    try:
        params = build_params(module, name, given, arguments["profile"], arguments["set"])
        target = artifacts.Store(arguments["store"]) if arguments["store"] else None
        result = execute(name, params, target=target, output=arguments["_output"], recompute=arguments["recompute"])
    except Skip as reason:
        print(f"skipped: {reason}")
        _emit({"step": step, "skipped": True, "reason": str(reason), "report": reason.report}, note)
        return EXIT_SKIPPED
    except (StepError, tracking.TrackingError, artifacts.ArtifactError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        with suppress(OSError):  # a full disk: the words stand in the log
            _write_note({"step": step, "error": str(error), "exit": EXIT_CALLER}, note)
        return EXIT_CALLER
    except Exception as error:
        root = (target or store()).root
        if room.is_full(error) and root.is_dir():
            said = room.explain(step, root, 0, 0)
            print(f"error: {said}", file=sys.stderr, flush=True)
            with suppress(OSError):  # the note may not fit either
                _write_note({"step": step, "error": said, "exit": EXIT_CALLER}, note)
            return EXIT_CALLER
        told = "".join(traceback.format_exception(error)).splitlines()
        tail = told if len(told) <= 40 else [*told[:1], "  ...", *told[-38:]]
        _write_note({"step": step, "error": "\n".join(tail), "exit": EXIT_BUG}, note)
        raise
    _emit(result, note)
    return EXIT_DONE
