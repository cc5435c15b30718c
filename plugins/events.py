"""What happened to our DAGs and to production since the last look, each told once to each channel.

Read from where it is true: DAG runs from Airflow's API, reasons from the steps' notes, releases from the release history.
What was told is kept in `notify.json` of the var folder, so that a channel that was away gets its messages at the next look.
Of one run or state that cannot be read the message says so: it keeps no other event from being told.
"""

from __future__ import annotations

import datetime
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import notify
from notify import Message

TAG, RETRAIN = "legal-llm", "retrain"  # of all our DAGs; of those that retrain
OWN = "watch"
UNENDED = ("queued", "running")
LATE_S = 36 * 3600.0  # a run that was queued so long ago and has not ended
RUNS = 50  # runs looked at per DAG: more than can end between two looks
KEPT_S = 60 * 86400.0
LAST_LINES = 8
TITLES = {
    "started": "定期再训练已开始 · scheduled run started",
    "failed": "再训练失败 · run failed",
    "upkeep": "维护任务失败 · upkeep failed",
    "late": "运行超过预定时间仍未结束 · run is late",
    "no_state": "发布状态不可读 · release state missing",
    "refused": "新模型未通过门槛 · model refused",
    "lost": "一个候选底座失败，其余继续 · a candidate failed, the others went on",
    "released": "新模型已上线 · model released",
    "rolled_back": "已回滚到先前的模型 · rolled back",
    "not_released": "上线失败，生产未变 · release failed, production unchanged",
    "missed": "长时间没有定期再训练 · no scheduled run",
    "test": "测试消息 · test message",
}


@dataclass(frozen=True)
class Event:
    """`id` names it for ever; `at` in seconds since 1970."""

    id: str
    at: float
    message: Message


@dataclass
class Told:
    """When a channel was first seen ({name: seconds}) and which events it has got ({event id: [names]})."""

    path: Path
    since: dict[str, float] = field(default_factory=dict)
    sent: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Told:
        if not path.is_file():
            return cls(path)
        content = json.loads(path.read_text("utf-8"))
        return cls(path, content["since"], content["sent"])

    def write(self) -> None:
        temporary = self.path.with_name(self.path.name + ".part")
        temporary.write_text(json.dumps({"since": self.since, "sent": self.sent}), "utf-8")
        os.replace(temporary, self.path)


def message(event: str, lines: list[str], links: Mapping[str, str] | None = None) -> Message:
    return Message(event, f"[LexLoop] {TITLES[event]}", tuple(lines), dict(links or {}))


def seconds_of(text: str | None) -> float:
    return datetime.datetime.fromisoformat(text).timestamp() if text else 0.0


def our_dags(airflow: Any) -> list[dict[str, Any]]:
    return airflow.call("GET", "/dags", params={"tags": TAG, "limit": 100, "exclude_stale": True})["dags"]


def retrains(dags: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [dag for dag in dags if RETRAIN in {tag["name"] for tag in dag["tags"]}]


def part(name: str) -> str:
    """An id as one part of an address; a dot too, because `.` and `..` would be taken out of it on the way."""
    return quote(name, safe="").replace(".", "%2E")


def address(run: Mapping[str, Any]) -> str:
    """Of a DAG run below Airflow's address, as its pages have it."""
    return f"/dags/{part(run['dag_id'])}/runs/{part(run['dag_run_id'])}"


def run_events(airflow: Any, dag_id: str, var: Path) -> Iterator[Event]:
    """Started (scheduled runs), late, failed, refused."""
    from legal_tasks.notes import find_folder

    found = airflow.call("GET", f"/dags/{dag_id}/dagRuns", params={"limit": RUNS, "order_by": "-start_date"})
    for run in found["dag_runs"]:
        name, links = run["dag_run_id"], {"Airflow": airflow.url + address(run)}
        if run["run_type"] == "scheduled" and run["start_date"]:
            text = [f"{dag_id}, {name}"]
            yield Event(f"started|{dag_id}|{name}", seconds_of(run["start_date"]), message("started", text, links))
        folder = find_folder(var, dag_id, name)
        queued = seconds_of(run.get("queued_at"))
        if run["state"] in UNENDED and queued and time.time() - queued > LATE_S:
            yield late_event(airflow, run, queued + LATE_S)
        if run["state"] == "failed":
            ended = seconds_of(run["end_date"])
            # A run that was cleared and failed again is told again.
            yield Event(f"failed|{dag_id}|{name}|{ended:.0f}", ended, message("failed", failure(airflow, run, folder), links))
        elif run["state"] == "success":
            reason = skipped_release(folder)
            if reason is not None:
                text = [f"{dag_id}, {name}", *reason]
                yield Event(f"refused|{dag_id}|{name}", seconds_of(run["end_date"]), message("refused", text, links))
            text = [f"{each['base']}: {reason}" for each in failed_candidates(folder) for reason in each["reasons"]]
            if text:
                text = [f"{dag_id}, {name}", *text, "the others went on; clear the task to try it again"]
                yield Event(f"lost|{dag_id}|{name}", seconds_of(run["end_date"]), message("lost", text, links))


def upkeep_events(airflow: Any, dag_id: str, var: Path) -> Iterator[Event]:
    """Failed runs of a DAG that looks after the seat."""
    from legal_tasks.notes import find_folder

    found = airflow.call("GET", f"/dags/{dag_id}/dagRuns", params={"limit": RUNS, "order_by": "-start_date", "state": "failed"})
    for run in found["dag_runs"]:
        name, ended = run["dag_run_id"], seconds_of(run["end_date"])
        lines = failure(airflow, run, find_folder(var, dag_id, name))
        yield Event(
            f"upkeep|{dag_id}|{name}|{ended:.0f}", ended, message("upkeep", lines, {"Airflow": airflow.url + address(run)})
        )


def own_events(airflow: Any, dag_id: str, var: Path) -> Iterator[Event]:
    """The looks that failed since the last one that ended well: one event for all of them, told by the first that can."""
    from legal_tasks.notes import find_folder

    place, newest = f"/dags/{dag_id}/dagRuns", {"limit": RUNS, "order_by": "-start_date"}
    good = airflow.call("GET", place, params={**newest, "limit": 1, "state": "success"})["dag_runs"]
    since = seconds_of(good[0]["start_date"]) if good else 0.0
    failed = airflow.call("GET", place, params={**newest, "state": "failed"})["dag_runs"]
    failed = [run for run in failed if seconds_of(run["start_date"]) > since]
    if failed:
        count = f"{len(failed)} looks failed" if len(failed) < RUNS else f"at least {RUNS} looks failed"
        said = failure(airflow, failed[0], find_folder(var, dag_id, failed[0]["dag_run_id"]))
        lines = [f"{count} since {good[0]['start_date'] if good else 'the beginning'}; the last of them:", *said]
        links = {"Airflow": airflow.url + address(failed[0])}
        event = f"upkeep|{dag_id}|after {good[0]['dag_run_id'] if good else 'nothing'}"
        yield Event(event, seconds_of(failed[0]["end_date"]), message("upkeep", lines, links))


def late_folder(var: Path) -> Path:
    return var / "late"


async def note_late(context: Mapping[str, Any]) -> str:
    """Airflow's deadline alert of a run that has not ended in time (runs in the triggerer): noted, told by the next look."""
    from legal_tasks.notes import folder_name
    from legal_tasks.step import var_folder

    run = context["dag_run"]
    if run["state"] not in UNENDED:
        return f"{run['dag_run_id']} is {run['state']}"
    path = late_folder(var_folder()) / f"{folder_name(run['dag_id'], run['dag_run_id'])}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {name: run[name] for name in ("dag_id", "dag_run_id", "queued_at", "state")} | {"at": time.time()}
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(content), "utf-8")
    os.replace(temporary, path)
    return str(path)


def late_events(airflow: Any, var: Path) -> Iterator[Event]:
    """Runs whose deadline passed before they had ended."""
    from legal_tasks.notes import read

    for path in sorted(late_folder(var).glob("*.json")):
        run = read(path)
        if run:
            yield late_event(airflow, run, run["at"])


def late_event(airflow: Any, run: Mapping[str, Any], at: float) -> Event:
    lines = [f"{run['dag_id']}, {run['dag_run_id']}", f"{run['state']}, queued at {run['queued_at']}"]
    lines.append("see what it waits for in Airflow; a DAG that is paused keeps its runs queued")
    name = f"late|{run['dag_id']}|{run['dag_run_id']}|{seconds_of(run['queued_at']):.0f}"
    return Event(name, at, message("late", lines, {"Airflow": airflow.url + address(run)}))


def state_event(error: Exception, now: float) -> Event:
    """The release state cannot be read; told once a week while it lasts."""
    return Event(f"no_state|{int(now // (7 * 86400))}", now, message("no_state", [str(error)]))


def failed_candidates(folder: Path) -> list[dict[str, Any]]:
    """The candidates of a run that failed while another one came to a decision."""
    from legal_tasks.notes import listed, read_run

    return [each for each in listed(read_run(folder)) if each["decision"] == "failed"]


def failure(airflow: Any, run: Mapping[str, Any], folder: Path) -> list[str]:
    """Run, task, its last lines and what to do; where Airflow does not tell them, why."""
    from legal_tasks.step import StepError

    try:
        return failed_task(airflow, run, folder)
    except StepError as error:
        return [f"{run['dag_id']}, {run['dag_run_id']}", f"its tasks cannot be read: {error}", "open the run in Airflow"]


def failed_task(airflow: Any, run: Mapping[str, Any], folder: Path) -> list[str]:
    from legal_tasks.notes import path_of, read
    from legal_tasks.retrain import name_of

    place = f"/dags/{part(run['dag_id'])}/dagRuns/{part(run['dag_run_id'])}/taskInstances"
    tasks = airflow.call("GET", place, params={"limit": 100})["task_instances"]
    failed = sorted((task for task in tasks if task["state"] == "failed"), key=lambda task: task["end_date"] or "")
    lines = [f"{run['dag_id']}, {run['dag_run_id']}"]
    if not failed:
        return [*lines, "no task failed: the run was marked failed or ran out of time", "open the run in Airflow"]
    task = failed[0]
    note = path_of(folder, task["task_id"], task.get("map_index", -1))
    said = read(note).get("error") or last_log(airflow, f"{place}/{task['task_id']}", task)
    lines += [f"task {name_of(task)}, try {task['try_number']}", *said.strip().splitlines()[-LAST_LINES:]]
    return [*lines, "mend what the last line names, then clear the task in Airflow: finished work is kept"]


def last_log(airflow: Any, place: str, task: Mapping[str, Any]) -> str:
    query = {"map_index": task.get("map_index", -1)}
    answer = airflow.call("GET", f"{place}/logs/{task['try_number']}", params=query, headers={"Accept": "application/json"})
    content = answer["content"]
    return "\n".join(str(line.get("event", "") if isinstance(line, dict) else line) for line in content)


def skipped_release(folder: Path) -> list[str] | None:
    """The gate's reasons where it refused the model of this run (each of its models), else None."""
    from legal_tasks.notes import judged, read, read_run

    note = read(folder / "release.json")
    if not note.get("skipped") or not note.get("reason", "").startswith("refused"):
        return None
    artifact = judged(read_run(folder))
    reasons = read(Path(artifact) / "decision.json").get("reasons") if artifact else None
    return [str(reason) for reason in reasons or [note["reason"]]]


def release_events(history: list[Any]) -> Iterator[Event]:
    """Released, rolled back (to a model that has served before), and releases that failed."""
    from legal_tasks.serving.override import Override

    served: set[str] = set()
    for entry in history:
        model = entry.after or {}
        digest = str(model.get("digest", ""))
        lines = [f"version {model.get('version') or digest[:12]}, digest {digest[:12]}"]
        if entry.event == "released":
            before = entry.before or {}
            if before:
                lines.append(f"before: version {before.get('version') or str(before.get('digest'))[:12]}")
            if model.get("override"):
                lines.append(Override(**model["override"]).sentence())
            kind = "rolled_back" if digest in served else "released"
            served.add(digest)
            yield Event(f"{kind}|{entry.id}", entry.at, message(kind, lines))
        elif entry.event == "failed":
            lines.append(str(entry.evidence.get("reason", "")))
            yield Event(f"not_released|{entry.id}", entry.at, message("not_released", lines))


def missed_event(airflow: Any, dags: list[dict[str, Any]], since: float, days: float, now: float) -> Event | None:
    """Where no scheduled run of any retrain has started for `days`; told once a week while it lasts."""
    newest = since
    for dag in dags:
        query = {"limit": 1, "order_by": "-start_date", "run_type": "scheduled"}
        for run in airflow.call("GET", f"/dags/{dag['dag_id']}/dagRuns", params=query)["dag_runs"]:
            newest = max(newest, seconds_of(run["start_date"]))
    passed = (now - newest) / 86400
    if passed < days:
        return None
    paused = [dag["dag_id"] for dag in dags if dag["is_paused"]]
    lines = [f"none for {passed:.0f} days (bound: {days:g})"]
    lines.append(
        f"paused: {', '.join(paused)}; unpause it in Airflow" if paused else "see whether Airflow's scheduler runs: make status"
    )
    return Event(f"missed|{int(now // (7 * 86400))}", now, message("missed", lines))


def tell(events: list[Event], told: Told, channels: Mapping[str, Any], now: float) -> list[str]:
    """Send each event to each channel that has not got it and was there when it happened; what went wrong."""
    trouble: list[str] = []
    for name in channels:
        told.since.setdefault(name, now)
    for name in told.since.keys() - channels.keys():
        del told.since[name]
    for event in sorted(events, key=lambda each: each.at):
        got = told.sent.get(event.id, [])
        wanting = {name: each for name, each in channels.items() if name not in got and told.since[name] <= event.at}
        wanting = {name: each for name, each in wanting.items() if not any(text.startswith(f"{name}:") for text in trouble)}
        if wanting:
            taken, failed = notify.deliver(event.message, wanting, now)
            trouble += failed
            if taken:
                told.sent[event.id] = [*got, *taken]
                told.write()
                print(f"{event.id}: told to {', '.join(taken)}")
    current = {event.id for event in events}
    told.sent = {name: got for name, got in told.sent.items() if name in current}
    told.write()
    return trouble


def watch(days: float, test: str | None = None, find: Callable[[str], Any] = notify.find_connection) -> None:
    """One look: gather, tell, raise where a channel did not take its messages (the next look tries again).

    A look that ends well is told to `lexloop_heartbeat`, where there is one: who waits there in vain knows that this is dead.
    """
    from legal_tasks import services
    from legal_tasks.retrain import Airflow
    from legal_tasks.serving.state import Database, StateError
    from legal_tasks.step import var_folder

    now = time.time()
    told = Told.read(var_folder() / "notify.json")
    channels = notify.channels(find)
    if not channels:
        told.write()
        print(f"no channel: make one of the Connections {', '.join(notify.names())} in Airflow")
        notify.beat(find)
        return
    airflow, var = Airflow(services.airflow_url(), services.admin_password()), var_folder()
    every = our_dags(airflow)
    dags = retrains(every)
    events = [each for dag in dags for each in run_events(airflow, dag["dag_id"], var)]
    for dag in every:
        if dag not in dags:
            events += (own_events if dag["dag_id"] == OWN else upkeep_events)(airflow, dag["dag_id"], var)
    events += late_events(airflow, var)
    try:
        events += release_events(Database().history())
    except StateError as error:
        events.append(state_event(error, now))
    missed = missed_event(airflow, dags, min(told.since.values(), default=now), days, now)
    events += [missed] if missed else []
    if test:
        events.append(Event(f"test|{test}", now, message("test", ["asked for in Airflow"])))
    recent = [event for event in events if event.at > now - KEPT_S]
    trouble = tell(recent, told, channels, now)
    if trouble:
        raise notify.ChannelError("; ".join(trouble))
    notify.beat(find)
