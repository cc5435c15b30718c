"""Faults of orchestration: what is killed, cleared or cut off in the middle of a retrain, and what must come of it.

Each returns what was seen; an AssertionError says what did not hold. All steps are real (settings/faults.yaml).
"""

from __future__ import annotations

import datetime
import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

from legal_tasks.services import admin_password, airflow_url, marked_processes, python_of
from legal_tasks.step import REPOSITORY, StepError
from tests import browser
from tests.faults import _housekeeping
from tests.faults._seat import MONTHLY, PORTS, QUARTERLY, Sampler, Seat, gone_within, group_of, kill, seat, shared, wait_for

LONG = ["training.lora.max_updates=1200", "training.lora.epochs=60"]  # a training that outlasts a scheduler's restart
SEED = int(os.environ.get("LEXLOOP_FAULTS_SEED", "20261101"))
RANDOM_RUNS = int(os.environ.get("LEXLOOP_FAULTS_RUNS", "10"))


def ends_released(s: Seat, run_id: str, dag: str = MONTHLY) -> float:
    """Seconds until a run has ended released."""
    began = time.monotonic()
    s.wait_end(run_id, dag)
    decision = s.decision(run_id, dag)
    assert decision == "released", f"{run_id} ended {decision}"
    return time.monotonic() - began


def trainer_killed(folder: Path) -> str:
    """O1: kill -9 of the trainer's process group; the retry goes on from the last save."""
    with shared() as s:
        began = time.monotonic()
        s.trigger("o1", seed=11)
        pid = s.wait_training("o1", 0.4)
        saved, share = s.last_save(), s.progress("o1")
        os.killpg(os.getpgid(pid), signal.SIGKILL)
        ends_released(s, "o1")
        found = re.findall(r"resumed from step (\d+) of (\d+)", s.log("o1", "train"))
        assert found, "no attempt logged `resumed from step`"
        step, updates = map(int, found[-1])
        assert updates >= 200 and step >= saved > 0, f"resumed from {step} of {updates}, last save {saved}"
        return (
            f"killed at {share:.0%} of {updates} updates, last save {saved}: resumed from step {step}; released, "
            f"{time.monotonic() - began:.0f} s"
        )


def scheduler_killed(folder: Path) -> str:
    """O2: kill -9 of the scheduler during training; the new attempt attaches, there is one trainer at every moment."""
    with shared() as s:
        s.trigger("o2", seed=12, overrides=LONG)
        pid = s.wait_training("o2", 0.05)
        with Sampler(lambda: (s.workers("training.lora"), s.progress("o2"))) as sampler:
            kill(s.service_pid("airflow-scheduler"))
            s.up()
            wait_for(lambda: s.note("o2", "train"), "the end of the training", 600)
        during = [found for found, share in sampler.seen if share < 0.98]
        assert all(found == [pid] for found in during), f"trainers seen: {sorted({tuple(found) for found in during})}"
        ends_released(s, "o2")
        log, tries = s.log("o2", "train"), s.task("o2", "train")["try_number"]
        assert f"attached to process {pid}" in log, "no attempt logged that it attached"
        assert tries >= 2, f"try number {tries}"
        return f"trainer {pid} alone in {len(during)} samples; attempt {tries} attached to it; released"


def services_killed(folder: Path) -> str:
    """O3: kill -9 of each service and of the supervisor in one run; it ends, and nothing is left after the stop."""
    names = ("airflow-api-server", "airflow-dag-processor", "airflow-triggerer", "mlflow")
    with seat(folder) as s:
        s.trigger("o3", overrides=LONG)
        s.wait_training("o3", 0.02)
        for name in names:
            pid = s.service_pid(name)
            kill(pid)
            wait_for(lambda name=name, pid=pid: s.service_pid(name) not in (0, pid), f"a new {name}", 120)
        s.up()
        kill(int((s.var / "supervisord.pid").read_text()))
        s.up()
        ends_released(s, "o3")
        left = stop_and_look(s)
        return f"killed {', '.join(names)} and the supervisor in one run: released; {left}"


def stop_and_look(s: Seat) -> str:
    """AssertionError where a process or a port is left after the stop."""
    s.stop()
    left = marked_processes()
    assert not left, f"processes left: {left}"
    for name in PORTS:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(os.environ[name]))) != 0, f"{name} {os.environ[name]} is still held"
    return "no process and no port left"


def two_at_once(folder: Path) -> str:
    """O4: retrains within a second, by the form and the API, of one DAG and of two; one works at a time, none shares output."""
    with shared() as s, Sampler(s.runs_at_work) as sampler:
        s.switch_on(QUARTERLY)
        with form_filled(s, seed=41) as press:  # closed before the runs work: a page that shows them takes a part of a core
            began = time.monotonic()
            press()
            s.post("o4-second", seed=42)
            s.post("o4-quarterly", QUARTERLY, seed=43)
            apart = time.monotonic() - began
            first = wait_for(lambda: triggered_first(s), "the run of the form", 60)
        all_three = ((first, MONTHLY), ("o4-second", MONTHLY), ("o4-quarterly", QUARTERLY))
        ends = [s.wait_end(run, dag) for run, dag in all_three]
        assert apart <= 1.0, f"triggered in {apart:.1f} s"
        assert ends == ["success"] * 3, f"they ended {ends}"
        assert all(len(at_work) <= 1 for at_work in sampler.seen), "two DAG runs worked at once"
        assert set().union(*sampler.seen) == {run for run, _ in all_three}, f"at work were {set().union(*sampler.seen)}"
        outputs = [s.note(run, task)["artifact"] for run, _ in all_three for task in ("train", "merge", "compress")]
        assert len(set(outputs)) == len(outputs), "an output is shared"
        logs = s.log("o4-quarterly", "collect", QUARTERLY) + s.log(first, "collect") + s.log("o4-second", "collect")
        said = re.findall(r"waiting for (\S+) of (\w+), which is at work", logs)
        assert said, "nobody logged that it waits"
        return (
            f"by {press.__name__} and the API, triggered in {apart:.1f} s, ended one after the other "
            f"({len(sampler.seen)} samples); waited for: {said[0][0]}"
        )


@contextmanager
def form_filled(s: Seat, seed: int) -> Iterator[Callable[[], None]]:
    """Triggers the monthly run: by the button of the form that a browser has filled in, by the API where there is none."""
    s.switch_on(MONTHLY)

    def api() -> None:
        s.post("o4-first", seed=seed)

    if browser.missing():
        yield api
        return
    with browser.open_page() as page:
        browser.sign_in(page, airflow_url(), admin_password())
        browser.open_form(page, airflow_url(), MONTHLY, "Training", "seed")
        page.locator("input[name=element_seed]").fill(str(seed))

        def form() -> None:
            browser.press_trigger(page)

        yield form


def triggered_first(s: Seat) -> str | None:
    """The run with seed 41, whatever its name."""
    runs = s.call("GET", f"/dags/{MONTHLY}/dagRuns", params={"limit": 100, "run_type": ["manual"]})["dag_runs"]
    return next((run["dag_run_id"] for run in runs if (run["conf"] or {}).get("seed") in (41, "41")), None)


def mlflow_away(folder: Path) -> str:
    """O5: MLflow stopped for 60 s, and for the whole training until the release waits for it."""
    with shared() as s:
        s.trigger("o5-minute", seed=51, overrides=LONG)
        s.wait_training("o5-minute", 0.05)
        s.supervise("stop", "mlflow")
        time.sleep(60)
        s.supervise("start", "mlflow")
        ends_released(s, "o5-minute")
        points = whole_curve(s, "o5-minute")
        before = s.production()
        s.trigger("o5-training", seed=52)
        wait_for(lambda: s.note("o5-training", "split"), "the split", 300)
        s.supervise("stop", "mlflow")
        wait_for(lambda: "for MLflow at" in s.log("o5-training", "release"), "the release waiting for MLflow", 600)
        assert s.production() == before, "something was promoted while MLflow was away"
        s.supervise("start", "mlflow")
        ends_released(s, "o5-training")
        more = whole_curve(s, "o5-training")
        return (
            f"away for 60 s: {points} points, each once; away for a whole training: {more} points, each once; promoted only after"
        )


def mlflow(path: str, body: dict | None = None) -> dict:
    """An answer of MLflow's REST API."""
    data = json.dumps(body).encode() if body is not None else None
    url = f"http://127.0.0.1:{os.environ['LEXLOOP_MLFLOW_PORT']}/api/2.0/mlflow/{path}"
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        return json.load(answer)


def whole_curve(s: Seat, run_id: str) -> int:
    """Points of the training's loss in MLflow: those of log.jsonl, each once. AssertionError otherwise."""
    note = s.note(run_id, "train")
    lines = (Path(note["artifact"]) / "log.jsonl").read_text("utf-8").strip().split("\n")
    wanted = [(point["step"], point["loss"]) for point in map(json.loads, lines)]
    experiment = mlflow(f"experiments/get-by-name?experiment_name={MONTHLY}")["experiment"]["experiment_id"]
    query = f"tags.`lexloop.key` = '{note['key']}' and tags.`lexloop.dag_run_id` = '{run_id}'"
    runs = mlflow("runs/search", {"experiment_ids": [experiment], "filter": query})["runs"]
    assert len(runs) == 1 and runs[0]["info"]["status"] == "FINISHED", f"{len(runs)} runs of the training"
    found = mlflow(f"metrics/get-history?run_id={runs[0]['info']['run_id']}&metric_key=loss&max_results=5000")["metrics"]
    points = sorted((int(point["step"]), point["value"]) for point in found)
    assert points == sorted(wanted), f"{len(points)} points in MLflow, {len(wanted)} in the log"
    return len(points)


MONTHS = int(os.environ.get("LEXLOOP_FAULTS_MONTHS", "24"))
DATES = """
import json, pendulum
from due_dates import DueDates
found = {}
for dag_id, cron in (("monthly_retrain", "0 3 1 * *"), ("quarterly_retrain", "0 3 1 1,4,7,10 *")):
    timetable = DueDates(cron, dag_id=dag_id)
    plan, last, dates = timetable.choose(pendulum.datetime(2023, 12, 15), False, None, None), None, []
    while plan < pendulum.datetime(2025, 12, 15):
        dates.append(plan.in_timezone("Asia/Shanghai").format("YYYY-MM-DD HH:mm"))
        last, plan = plan, timetable.choose(plan.add(seconds=30), False, plan, plan)
    found[dag_id] = dates
print(json.dumps(found))
"""


def months_in_a_row(folder: Path) -> str:
    """O7: 24 months by the timetables, a run for each; through the scheduler what an outage and a pause leave behind.

    A due date cannot be waited for: the outage is a plan that has passed when the scheduler starts, which is what an
    outage is to it, and the months are a backfill, whose runs take their dates from the same timetables.
    """
    with shared() as s:
        dates = due_dates(s)
        assert dates[MONTHLY] == [f"{2024 + n // 12}-{n % 12 + 1:02d}-01 03:00" for n in range(24)]
        assert dates[QUARTERLY] == [date for date in dates[MONTHLY] if date[5:7] in ("01", "04", "07", "10")]
        s.trigger("o7-first")
        ends_released(s, "o7-first")
        s.switch_on(QUARTERLY)
        chosen = {dag: [date for date in some if date in dates[MONTHLY][:MONTHS]] for dag, some in dates.items()}
        ended = backfill(s, chosen)
        merged = sum(state == "skipped" for _, state in ended[MONTHLY].values())
        assert merged == len(chosen[QUARTERLY]), f"{merged} monthly runs left to the quarterly ones"
        done = sum(state == "success" for some in ended.values() for _, state in some.values())
        assert done == len(chosen[MONTHLY]), f"{done} runs worked in {len(chosen[MONTHLY])} months"
        missed, started = scheduler_off(s), unpaused_late(s)
    return (
        f"24 dates by the timetable; {done} months ran and ended once each, {merged} of them quarterly (29 February 2024 among "
        f"them); scheduler off on {missed[:10]}: one run made up for it; unpaused late: {started} runs"
    )


def due_dates(s: Seat) -> dict[str, list[str]]:
    """{dag_id: dates of 2024 and 2025 in Asia/Shanghai} by the timetables themselves, in Airflow's environment."""
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "plugins")])
    values = {**os.environ, "PYTHONPATH": path, "AIRFLOW_HOME": str(s.var / "airflow")}
    argv = [str(python_of("orchestrator")), "-c", DATES]
    return json.loads(subprocess.run(argv, env=values, text=True, capture_output=True, check=True).stdout.strip().split("\n")[-1])


def backfill(s: Seat, dates: dict[str, list[str]]) -> dict[str, dict[str, tuple[str, str]]]:
    """{dag_id: {run_id: (its state, state of its last task)}} when a run for each date has ended."""
    for dag in (QUARTERLY, MONTHLY):
        body = {"dag_id": dag, "run_backwards": False, "max_active_runs": 1, "reprocess_behavior": "none"}
        # These months lie before the one that serves by then: the run says that older law is wanted.
        body |= {"dag_run_conf": {"older_law": True, **({"recompute": []} if dag == QUARTERLY else {})}}
        first, last = (f"{date.replace(' ', 'T')}:00+08:00" for date in (dates[dag][0], dates[dag][-1]))
        s.call("POST", "/backfills", json={**body, "from_date": first, "to_date": last})
    ended: dict[str, dict[str, tuple[str, str]]] = {MONTHLY: {}, QUARTERLY: {}}

    def over() -> bool:
        for dag, found in ended.items():
            runs = s.call("GET", f"/dags/{dag}/dagRuns", params={"limit": 100, "run_type": ["backfill"]})["dag_runs"]
            for run in runs:
                if run["state"] in ("success", "failed") and run["dag_run_id"] not in found:
                    collect = s.task(run["dag_run_id"], "collect", dag)
                    found[run["dag_run_id"]] = (run["state"], collect["state"])
        return all(len(found) == len(dates[dag]) for dag, found in ended.items())

    wait_for(over, f"the ends of {sum(map(len, dates.values()))} runs", 150.0 * sum(map(len, dates.values())), 3.0)
    bad = {
        f"{run} of {dag}": s.blame(run, dag)
        for dag, found in ended.items()
        for run, (end, _) in found.items()
        if end != "success"
    }
    assert not bad, f"{len(bad)} runs failed: {bad}"
    return ended


def set_plan(s: Seat, dag: str) -> str:
    """Put the first of this month, 03:00 in Shanghai, down as the DAG's next run; returns it as Airflow writes it (UTC)."""
    zone = ZoneInfo("Asia/Shanghai")
    due = datetime.datetime.now(zone).replace(day=1, hour=3, minute=0, second=0, microsecond=0)
    text = f"{due.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S}.000000"
    names = ("next_dagrun", "next_dagrun_data_interval_start", "next_dagrun_data_interval_end", "next_dagrun_create_after")
    with sqlite3.connect(s.var / "airflow" / "airflow.db", timeout=60) as connection:
        sets = ", ".join(f"{name} = ?" for name in names)
        connection.execute(f"UPDATE dag SET {sets} WHERE dag_id = ?", (*[text] * len(names), dag))
    return text


def scheduled(s: Seat, dag: str) -> list[dict]:
    return s.call("GET", f"/dags/{dag}/dagRuns", params={"limit": 100, "run_type": ["scheduled"]})["dag_runs"]


def scheduler_off(s: Seat) -> str:
    """The date for which one scheduled run came and ended after an outage over it."""
    s.switch_on(QUARTERLY, paused=True)
    s.stop()
    missed = set_plan(s, MONTHLY)
    s.up()
    (run,) = wait_for(lambda: scheduled(s, MONTHLY), "the run that an outage had delayed", 180)
    assert run["logical_date"].replace("T", " ")[:16] == missed[:16], f"{run['logical_date']}, not {missed}"
    assert s.wait_end(run["dag_run_id"]) == "success" and len(scheduled(s, MONTHLY)) == 1
    return missed


def unpaused_late(s: Seat) -> int:
    """How many scheduled runs came of switching on a DAG whose date had passed while it was off: none may."""
    set_plan(s, QUARTERLY)
    time.sleep(75)  # two readings of the DAG file
    s.switch_on(QUARTERLY)
    time.sleep(45)
    found = scheduled(s, QUARTERLY)
    assert not found, f"switching on started {[run['dag_run_id'] for run in found]}"
    return len(found)


def task_taken_away(folder: Path) -> str:
    """O8: a task cleared, marked failed, its DAG run ended and deleted, while it trains; its process group is gone in 5 s."""
    seen = []
    with shared() as s:
        production = s.production()
        s.trigger("o8", seed=81, overrides=LONG)
        group = group_of(s.wait_training("o8", 0.05))
        body = {"dry_run": False, "task_ids": ["train"], "dag_run_id": "o8", "only_failed": False, "reset_dag_runs": True}
        s.call("POST", f"/dags/{MONTHLY}/clearTaskInstances", json=body)
        seen.append(f"cleared: gone in {gone_within(group, 5):.1f} s")
        wait_for(lambda: re.search(r"resumed from step [1-9]", s.log("o8", "train")), "the cleared task resuming", 120)
        wait_for(lambda: s.workers("training.lora"), "the trainer of the cleared task", 60)
        group = group_of(s.workers("training.lora")[0])
        s.call("PATCH", f"/dags/{MONTHLY}/dagRuns/o8/taskInstances/train", json={"new_state": "failed"})
        seen.append(f"then resumed; marked failed: gone in {gone_within(group, 5):.1f} s")
        assert s.wait_end("o8") == "failed" and s.production() == production
        s.trigger("o8-again", seed=81, overrides=LONG)
        group = group_of(s.wait_training("o8-again", 0.05))
        seen.append(deleted(s, "o8-again", group))
        s.trigger("o8-last", seed=81, overrides=LONG)
        ends_released(s, "o8-last")
        resumed = re.findall(r"resumed from step (\d+)", s.log("o8-last", "train"))
        assert resumed, "the next run did not go on from the checkpoint"
        seen.append(f"the next run resumed from step {resumed[-1]} and was released")
    return "; ".join(seen)


def deleted(s: Seat, run_id: str, group: list[int]) -> str:
    """Airflow deletes no run that is at work: it is ended first, which ends its processes, and can go then."""
    path = f"/dags/{MONTHLY}/dagRuns/{run_id}"
    try:
        s.call("DELETE", path)
    except StepError as error:
        assert "409" in str(error) and "cannot be deleted in running state" in str(error), str(error)
    else:
        raise AssertionError("Airflow deleted a run that was at work")
    s.call("PATCH", path, json={"state": "failed"})
    seconds = gone_within(group, 5)
    s.wait_end(run_id)
    s.call("DELETE", path)
    runs = s.call("GET", f"/dags/{MONTHLY}/dagRuns", params={"limit": 100})["dag_runs"]
    assert run_id not in {run["dag_run_id"] for run in runs}
    return f"deleting it at work refused (409); run marked failed: gone in {seconds:.1f} s, then deleted"


def killed_anywhere(folder: Path) -> str:
    """O10: runs of which something is killed -9 at a random second; each ends in the state of an undisturbed one."""
    chance = random.Random(SEED)
    with seat(folder / "0") as s:
        began = time.monotonic()
        s.trigger("undisturbed")
        ends_released(s, "undisturbed")
        seconds = time.monotonic() - began
        wanted = s.state_hash("undisturbed")
    done = []
    for number in range(1, RANDOM_RUNS + 1):
        with seat(folder / str(number)) as s:
            s.trigger("undisturbed")  # the same id: nothing of it may enter the state
            time.sleep(chance.uniform(1, seconds))
            victims = sorted(marked_processes().items())
            pid, command = chance.choice(victims)
            kill(pid)
            s.up()
            ends_released(s, "undisturbed")
            got = s.state_hash("undisturbed")
            assert got == wanted, f"run {number}, {command[:80]} killed: state {got[:12]}, undisturbed {wanted[:12]}"
            done.append(command.split(" -m ")[-1].split(" ")[0])
    return f"undisturbed in {seconds:.0f} s, state {wanted[:12]}; same after {len(done)} kills: {', '.join(done)} (seed {SEED})"


FAULTS = {
    "O1": trainer_killed,
    "O2": scheduler_killed,
    "O3": services_killed,
    "O4": two_at_once,
    "O5": mlflow_away,
    "O7": months_in_a_row,
    "O8": task_taken_away,
    "O10": killed_anywhere,
} | _housekeeping.FAULTS
