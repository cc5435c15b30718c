"""Run the monthly loop through Airflow and follow it to its end: a line per task, then the decision and the links.

    python -m legal_tasks.retrain --profile small [--sources file.yaml] [--set area.module.field=value] [--recompute train]
    python -m legal_tasks.retrain --bases current,embedded-small    # the quarterly loop; the best that passes is released

Starts the services that do not run. A DAG that is off is switched on for this run alone: the schedule stays as it is, or goes
on with --schedule. Writes var/retrain.json. Exits 0 unless the run failed; then 2 (the caller can fix it)
or 1 (a bug), with the failing task's last lines.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import shlex
import sys
import time
import uuid
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from legal_tasks import notes as noted
from legal_tasks import schedule, services, settings, tracking, verdict
from legal_tasks.embedded import stored
from legal_tasks.settings import policy
from legal_tasks.step import EXIT_BUG, EXIT_CALLER, EXIT_DONE, StepError, convert, describe_params, var_folder
from legal_tasks.tracking import TrackingError

DAG, QUARTERLY = "monthly_retrain", "quarterly_retrain"
ZONE = ZoneInfo("Asia/Shanghai")
POLL_S = 1.0
EXIT_LEFT = 130  # Ctrl-C: as a shell says it
ENDED = {"success", "failed", "skipped", "upstream_failed", "removed"}


class Airflow:
    """The few calls of Airflow's REST API that following a run needs; retries what SQLite's locks make fail."""

    def __init__(self, url: str, password: str):
        import httpx

        self.url = url
        self.client = httpx.Client(base_url=url, timeout=30, trust_env=False)
        answer = self.client.post("/auth/token", json={"username": "admin", "password": password})
        if answer.status_code >= 300:
            raise StepError(f"Airflow at {url} refuses the admin password of var/airflow/passwords.json ({answer.status_code})")
        self.client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, **options: Any) -> Any:
        import httpx

        for attempt in range(6):
            try:
                answer = self.client.request(method, f"/api/v2{path}", **options)
            except httpx.TransportError as error:
                if attempt == 5:
                    raise StepError(f"Airflow at {self.url} does not answer: {error}; see: make status") from error
                time.sleep(1 + attempt)
                continue
            if answer.status_code < 500 or attempt == 5:
                break
            time.sleep(1 + attempt)
        if answer.status_code >= 400:
            raise StepError(f"Airflow refused {method} {path} with {answer.status_code}: {answer.text[:500]}")
        return answer.json() if answer.content else None

    def wait_for_dag(self, dag_id: str, timeout_s: float = 90) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            answer = self.client.get(f"/api/v2/dags/{dag_id}")
            if answer.status_code == 200:
                return
            errors = self.call("GET", "/importErrors")
            if errors["import_errors"]:
                raise RuntimeError(f"Airflow cannot import a DAG: {errors['import_errors'][0]['stack_trace'][-1500:]}")
            time.sleep(1)
        raise StepError(
            f"Airflow does not know the DAG {dag_id} after {timeout_s:.0f} s; read var/logs/airflow-dag-processor.log"
        )


def conf_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The run's conf: the trigger form's fields that were given."""
    conf: dict[str, Any] = {"profile": arguments.profile}
    if arguments.sources:
        source = Path(arguments.sources)
        if arguments.sources != "embedded" and not source.is_file():
            raise StepError(
                f"--sources {arguments.sources}: there is no such file; name a YAML that lists sources, or `embedded`"
            )
        conf["sources"] = arguments.sources if arguments.sources == "embedded" else str(source.absolute())
    if arguments.base:
        conf["base"] = arguments.base
    if arguments.bases:
        conf["bases"] = [base.strip() for base in arguments.bases.split(",")]
        if "" in conf["bases"]:
            raise StepError(f"--bases {arguments.bases}: a name is empty; write e.g. --bases current,embedded-small")
    if arguments.recompute:
        conf["recompute"] = arguments.recompute
    if arguments.set:
        conf["overrides"] = arguments.set
    return conf


def check_settings(profile: str, overrides: list[str]) -> None:
    """StepError on what no step has, what does not fit, and what a run may not set, before anything is started."""
    given = [
        (name, field, value)
        for name, part in settings.load(profile).items()
        if settings.is_step(name)
        for field, value in part.items()
    ]
    for name, field, value in given:
        specs = {spec.name: spec for spec in describe_params(importlib.import_module(f"legal_tasks.{name}").Params)}
        if field not in specs:
            raise StepError(f"{name}.{field} is not a setting of this step; allowed are: {', '.join(sorted(specs))}")
        convert(specs[field], value)
    policy.check_profile(profile)
    if wrong := policy.check_overrides(overrides, profile):
        raise StepError("; ".join(wrong))


def check_sources(name: str | None, profile: str, overrides: list[str]) -> None:
    """StepError on a sources file that lists what is not there, or may not be trained on, before anything is started."""
    if not name or name == "embedded":
        return
    from legal_tasks.data import collect, sources

    licences = settings.section(profile, "data.collect", overrides).get("licences", collect.LICENCES)
    sources.load(Path(name), tuple(licences))


class Follower:
    """Prints each task's states and progress, and gathers what the run's summary needs."""

    def __init__(self, airflow: Airflow, run_id: str, dag: str = DAG):
        self.airflow, self.run_id, self.dag = airflow, run_id, dag
        self.width = 10 if dag == DAG else 26
        self.folder = noted.run_folder(var_folder(), dag, run_id)
        self.states: dict[str, str] = {}
        self.shown: dict[str, float] = {}

    def tasks(self) -> list[dict[str, Any]]:
        found = self.airflow.call("GET", f"/dags/{self.dag}/dagRuns/{self.run_id}/taskInstances", params={"limit": 100})
        return sorted(found["task_instances"], key=lambda task: (task["start_date"] or "9", task["task_id"]))

    def note(self, task: dict[str, Any]) -> dict[str, Any]:
        return noted.read(noted.path_of(self.folder, task["task_id"], task.get("map_index", -1)))

    def last_lines(self, task: dict[str, Any], count: int = 15) -> str:
        """End of a task's log of its last try, for a task whose step left no word of its own (killed, out of memory)."""
        address = f"/dags/{self.dag}/dagRuns/{self.run_id}/taskInstances/{task['task_id']}"
        query = {"full_content": True, "map_index": task.get("map_index", -1)}
        log = self.airflow.call("GET", f"{address}/logs/{max(task['try_number'], 1)}", params=query)["content"]
        lines = [part["event"] if isinstance(part, dict) else str(part) for part in log if part]
        return "\n".join(lines[-count:])

    def follow(self, timeout_s: float) -> str:
        """Until the run ends; its state."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            run = self.airflow.call("GET", f"/dags/{self.dag}/dagRuns/{self.run_id}")
            for task in self.tasks():
                self.show(task)
            if run["state"] in ("success", "failed"):
                return run["state"]
            time.sleep(POLL_S)
        raise StepError(f"the run {self.run_id} did not end in {timeout_s:.0f} s; it goes on in Airflow, or raise --timeout-s")

    def show(self, task: dict[str, Any]) -> None:
        name, state = name_of(task), task["state"]
        if state == "running":
            self.show_progress(name, task)
        if state in (None, "scheduled", "queued") or self.states.get(name) == state:
            return
        self.states[name] = state
        note = self.note(task) if state in ENDED else {}
        extra = "reused" if note.get("reused") else note.get("reason", "")
        if note.get("error"):
            extra = note["error"].strip().splitlines()[-1]
        seconds = f"{task['duration']:6.1f} s" if state in ENDED and task.get("duration") else " " * 8
        print(f"{name:{self.width}s} {state:10s} {seconds}  {extra}".rstrip(), flush=True)

    def show_progress(self, name: str, task: dict[str, Any]) -> None:
        path = noted.path_of(self.folder, f"{task['task_id']}.progress", task.get("map_index", -1))
        if not path.is_file():
            return
        state = json.loads(path.read_text("utf-8"))
        if state["time"] - self.shown.get(name, 0) < 10:
            return
        self.shown[name] = state["time"]
        numbers = " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in state["numbers"].items())
        eta = f" ETA {state['eta_s']:.0f} s" if state.get("eta_s") else ""
        print(f"{name:{self.width}s}   {state['done']:g}/{state['total']:g} {numbers}{eta}", flush=True)


def name_of(task: dict[str, Any]) -> str:
    """A task as people know it, with its candidate where it works for one: `train [embedded-small]`."""
    index = task.get("map_index", -1)
    return task["task_id"] if index < 0 else f"{task['task_id']} [{task.get('rendered_map_index') or index}]"


def decide(state: str, notes: dict[str, dict[str, Any]]) -> tuple[str, list[str]]:
    """(decision, reasons) from the run's state and the notes of prove, gate, choose and release."""
    for name, note in notes.items():
        if note.get("error"):
            return "failed", [f"{name}: {note['error'].strip()}"]
    if state == "success" and not notes.keys() & {"gate", "prove", "release", noted.CHOICE}:
        return "skipped", ["the run did nothing: the log of its first task says why"]
    if state == "failed":
        return "failed", ["a task failed without a word from its step: see its log"]
    for name in (noted.CHOICE, "prove", "release"):
        reason = notes.get(name, {}).get("reason", "")
        if notes.get(name, {}).get("skipped"):
            if reason.startswith("unchanged"):
                return "unchanged", [reason]
            return "refused", _reasons(notes, reason)
    against = (notes.get("release", {}).get("report") or {}).get("override")
    return "released", [*([against] if against else []), *_reasons(notes, "")]


def _reasons(notes: dict[str, dict[str, Any]], reason: str) -> list[str]:
    said = decision_file(noted.judged(notes)).get("reasons") or []
    return list(said) if said else ([reason] if reason else [])


def decision_file(folder: str | None) -> dict[str, Any]:
    """decision.json in a folder made by the gate; {} where there is none."""
    path = Path(folder) / "decision.json" if folder else None
    return json.loads(path.read_text("utf-8")) if path and path.is_file() else {}


def gather(follower: Follower, tasks: list[dict[str, Any]], state: str) -> dict[str, dict[str, Any]]:
    """{task: note} of the run and of its chosen candidate, and the last words of what failed without any.

    A candidate that failed in a run that did not is named by the choice alone.
    """
    ordered: dict[str, dict[str, Any]] = {}
    for task in tasks:
        note, name = follower.note(task), name_of(task)
        if task["state"] == "failed" and not note.get("error"):
            note = {"error": f"the step ended without a word; the end of its log:\n{follower.last_lines(task)}"}
        if name == task["task_id"] or (task["state"] == "failed" and state != "success"):
            ordered[name] = note
    chosen = {task: note for task, note in noted.read_run(follower.folder).items() if task not in ordered}
    last = {task: ordered.pop(task) for task in noted.LAST if task in ordered}
    return {**ordered, **chosen, **last}


def summarise(follower: Follower, state: str, seconds: float) -> dict[str, Any]:
    """What var/retrain.json holds."""
    tasks = follower.tasks()
    notes = gather(follower, tasks, state)
    decision, reasons = decide(state, notes)
    judged = noted.judged(notes)
    if decision == "unchanged":  # the numbers are those with which the model came into production
        judged = (production_model() or {}).get("decision")
    gate = decision_file(judged)
    records = notes.get("clean", {}).get("report", {}).get("records", {})
    release = notes.get("release", {}).get("report", {})
    compress = notes.get("compress", {})
    base = notes.get("train", {}).get("report", {}).get("base")
    failed = next((note for note in notes.values() if note.get("error")), None)
    production = production_model()
    serves = (production or {}).get("version")
    code = EXIT_DONE if decision != "failed" else (failed or {}).get("exit", EXIT_BUG)
    return {
        "dag_run_id": follower.run_id,
        "decision": decision,
        "reasons": reasons,
        "shortfalls": verdict.shortfalls(gate) if decision == "refused" else [],
        "verdict": {lang: verdict.tell(decision, reasons, gate, release.get("version"), serves, lang) for lang in ("zh", "en")},
        "model": {
            "name": "legal-llm",
            "version": release.get("version") or (production or {}).get("version"),
            "base": base,
            "formats": sorted((compress.get("report", {}).get("formats") or {}).keys()) or None,
            "digest": compress.get("digest"),
        },
        "metrics": gate.get("metrics", {}),
        "candidates": noted.listed(notes),
        "records": records,
        "tasks": [
            {
                "id": name_of(task),
                "state": task["state"],
                "seconds": task.get("duration"),
                "reused": bool(follower.note(task).get("reused")),
            }
            for task in tasks
        ],
        "production": serves,
        "endpoint": f"http://127.0.0.1:{services.Ports.read().gateway}/v1" if production else None,
        "mlflow_run_url": mlflow_page(follower.dag, follower.run_id, notes),
        "airflow_run_url": f"{services.airflow_url()}/dags/{follower.dag}/runs/{follower.run_id}",
        "seconds": round(seconds, 1),
        "exit": code,
    }


def production_model() -> dict[str, Any] | None:
    """What the releaser says is in production (var/releaser.json), or None."""
    path = var_folder() / "releaser.json"
    if not path.is_file():
        return None
    return json.loads(path.read_text("utf-8")).get("production")


def mlflow_page(dag: str, run_id: str, notes: dict[str, dict[str, Any]]) -> str | None:
    """Page of the run by which months are compared; of its newest step where MLflow is away or has no such run."""
    address = services.mlflow_url()
    os.environ.setdefault("MLFLOW_TRACKING_URI", address)
    try:
        client = tracking.mlflow_client()
        parent = tracking.find_parent(client, run_id, create=False, experiment=dag)
    except tracking.failures():
        parent = None
    if parent is not None:
        return tracking.run_url(address, parent.info.experiment_id, parent.info.run_id)
    return next((note["mlflow_run_url"] for note in reversed(list(notes.values())) if note.get("mlflow_run_url")), None)


def print_summary(summary: dict[str, Any]) -> None:
    print()
    if summary["metrics"]:
        print(f"{'metric':24s} {'base':>8s} {'champion':>9s} {'candidate':>10s} {'bound':>8s} {'n':>6s}  verdict")
    for name, row in summary["metrics"].items():
        cells = [_number(row.get(key)) for key in ("base", "champion", "challenger", "bound")]
        n = "" if row.get("n") is None else str(row["n"])
        print(f"{name:24s} {cells[0]:>8s} {cells[1]:>9s} {cells[2]:>10s} {cells[3]:>8s} {n:>6s}  {row.get('verdict', '')}")
    for each in summary.get("candidates") or []:
        size = "-" if each["size_bytes"] is None else f"{each['size_bytes'] / 2**20:.1f} MiB"
        print(f"base {each['base']:21s} {each['decision']:10s} {_number(each['accuracy']):>6s}  {size}")
    if summary.get("exam"):
        print("\n" + "\n".join(stored.lines(summary["exam"])))
    print(f"\ndecision: {summary['decision']}" + (f" ({summary['seconds']:.0f} s)"))
    told = summary["shortfalls"] and not summary.get("candidates")  # the same rules, with their numbers, come next
    for reason in [] if told else summary["reasons"]:
        print(f"  - {reason}")
    if summary["decision"] == "refused":
        print_refusal(summary)
    print(f"Airflow   {summary['airflow_run_url']}")
    if summary["mlflow_run_url"]:
        print(f"MLflow    {summary['mlflow_run_url']}")
    if summary["endpoint"]:
        print(f"model     {summary['endpoint']}  (legal-llm version {summary['production']}; a key for it: make key)")


def way_out(arguments: argparse.Namespace, seed: int, page: str) -> dict[str, str]:
    """What can be done about a refusal: {what: the command, or the page's address}. `seed`: that of the refused training."""
    words = ["--base", arguments.base] if arguments.base else []
    words += ["--bases", arguments.bases] if arguments.bases else ["--dag", arguments.dag] if arguments.dag != DAG else []
    kept = [text for text in arguments.set if not text.startswith("training.lora.seed=")]
    words += [word for text in kept for word in ("--set", text)]
    start = ["make", "retrain", *([f"PROFILE={arguments.profile}"] if arguments.profile != "small" else [])]
    sources = [f"SOURCES={arguments.sources}"] if arguments.sources else []

    def command(start: list[str], words: list[str]) -> str:
        given = [f"ARGS={shlex.join(words).replace('$', '$$')}"] if words else []
        return shlex.join([*start, *given])

    return {
        "more data": command([*start, "SOURCES=file.yaml"], words),
        "another seed": command([*start, *sources], [*words, "--set", f"training.lora.seed={seed + 1}"]),
        "two people may release it all the same": page,
    }


def seed_of(arguments: argparse.Namespace) -> int:
    """The seed that a run's training took."""
    from legal_tasks.training import lora

    return int(settings.section(arguments.profile, "training.lora", arguments.set).get("seed", lora.Params.seed))


def print_refusal(summary: dict[str, Any]) -> None:
    """How near the model was, what is served now, and what can be done."""
    if summary["shortfalls"]:
        print("how near it was:")
    for fallen in summary["shortfalls"]:
        print(f"  - {verdict.say(fallen, 'en')}" + (f"  (n {fallen['n']})" if fallen["n"] is not None else ""))
    print(verdict.serving(summary["production"], "en"))
    print("what can be done:")
    for what, how in summary["next"].items():
        print(f"  {what + ':':40s} {how}")


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def retrain(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("LEXLOOP_PROFILE", arguments.profile)  # services that are started here are of this profile
    try:
        check_settings(arguments.profile, arguments.set)
        conf = conf_of(arguments)
        check_sources(arguments.sources, arguments.profile, arguments.set)
    except settings.SettingsError as error:
        raise StepError(str(error)) from error
    started = time.monotonic()
    first = not (var_folder() / "airflow" / "passwords.json").is_file()
    services.up()
    password = services.admin_password()
    if first:
        print(
            f"Airflow {services.airflow_url()}: user admin, password {password} (shown once; kept in var/airflow/passwords.json)"
        )
    airflow = Airflow(services.airflow_url(), password)
    dag = QUARTERLY if arguments.bases else arguments.dag
    airflow.wait_for_dag(dag)
    run_id = f"make__{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H-%M-%S}__{uuid.uuid4().hex[:4]}"
    follower = Follower(airflow, run_id, dag)
    try:
        airflow.call("POST", f"/dags/{dag}/dagRuns", json={"dag_run_id": run_id, "logical_date": None, "conf": conf})
        on = schedule.switch_on(airflow, dag, run_id, arguments.schedule, time.time())
        print(f"run {run_id}", flush=True)
        print(about_schedule(airflow, dag, on), flush=True)
        state = follower.follow(arguments.timeout_s)
    except KeyboardInterrupt:
        print(f"\n{on_its_own(dag, run_id)}", file=sys.stderr)
        return EXIT_LEFT
    schedule.switch_back(airflow, dag, run_id, time.time())  # as the run's own callback does, which may come later
    summary = summarise(follower, state, time.monotonic() - started)
    page = f"{services.airflow_url()}/plugin/legal-models"
    summary["next"] = way_out(arguments, seed_of(arguments), page) if summary["decision"] == "refused" else {}
    summary["exam"] = stored.read() if arguments.profile == stored.PROFILE else None
    path = var_folder() / "retrain.json"
    temporary = path.with_name("retrain.json.part")
    temporary.write_text(json.dumps(summary, ensure_ascii=False, indent=1) + "\n", "utf-8")
    os.replace(temporary, path)
    print_summary(summary)
    return summary["exit"]


def on_its_own(dag: str, run_id: str) -> str:
    """What becomes of a run that nobody follows any more, and how to look at it and to end it."""
    page = f"{services.airflow_url()}/dags/{dag}/runs/{run_id}"
    return (
        f"no longer followed; the run {run_id} goes on.\n"
        f"  look at it:  {page}\n"
        "  end it:      on that page, Mark run as failed; what it has finished is kept and taken up by the next run\n"
        "  end all:     make stop"
    )


def about_schedule(airflow: Airflow, dag: str, on: bool) -> str:
    """Whether runs come by themselves, in one line."""
    if not on:
        return (
            f"schedule off, as before: {dag} is switched on for this run alone (for good: make retrain ARGS=--schedule, or the "
            "switch on its page once the run has ended)"
        )
    due = airflow.call("GET", f"/dags/{dag}").get("next_dagrun_run_after")
    shown = datetime.datetime.fromisoformat(due).astimezone(ZONE).strftime("%Y-%m-%d %H:%M %Z") if due else "not planned yet"
    return f"schedule on, next run: {shown}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m legal_tasks.retrain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", default="small", help="which settings (default: small)")
    parser.add_argument("--sources", help="YAML that lists the sources (default: the profile's)")
    parser.add_argument("--base", help="base model (default: the profile's)")
    parser.add_argument("--dag", default=DAG, choices=(DAG, QUARTERLY), help=f"which loop (default: {DAG})")
    parser.add_argument("--bases", metavar="NAME,NAME", help=f"train on each, the best that passes is released: {QUARTERLY}")
    parser.add_argument("--set", action="append", default=[], metavar="area.module.field=value", help="override a setting")
    parser.add_argument("--recompute", action="append", default=[], metavar="TASK", help="do this task again")
    parser.add_argument("--schedule", action="store_true", help="switch the DAG's schedule on as well (default: as it is)")
    parser.add_argument("--timeout-s", type=float, default=6 * 3600, help="give up following after this many seconds")
    arguments = parser.parse_args(argv)
    try:
        return retrain(arguments)
    except (StepError, TrackingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CALLER
    except KeyboardInterrupt:
        print("stopped before a run was started; the services that run already go on (make status, make stop)", file=sys.stderr)
        return EXIT_LEFT


if __name__ == "__main__":
    sys.exit(main())
