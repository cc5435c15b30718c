"""Keep logs and databases from growing for ever: rotation, Airflow's `db clean`, MLflow's `gc`."""

from __future__ import annotations

import datetime
import gzip
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from legal_tasks.setup import python_of
from legal_tasks.step import StepError, var_folder

ROTATE_BYTES = 50 * 2**20
ROTATED_KEPT = 4
BACKEND_TIMEOUT_S = 3600
FREQUENT, FREQUENT_DAYS = "watch", 3.0  # 288 runs a day, of which nobody looks at last week's


def old_files(folder: Path, cutoff: float) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_mtime < cutoff:
            yield path


def rotate(path: Path, dry_run: bool) -> int:
    """Compress a log that is too long into `<name>.1.gz` and empty it; the bytes that it held.

    Copied and emptied, not renamed: who writes to it has it open for appending and goes on. A line that is written between
    the two is lost; Nginx and the engines know no better way without being told.
    """
    size = path.stat().st_size
    if dry_run:
        return size
    for number in range(ROTATED_KEPT, 1, -1):
        older = path.with_name(f"{path.name}.{number - 1}.gz")
        if older.is_file():
            os.replace(older, path.with_name(f"{path.name}.{number}.gz"))
    part = path.with_name(f"{path.name}.1.gz.part")
    with open(path, "rb") as source, gzip.open(part, "wb") as target:
        shutil.copyfileobj(source, target, 2**20)
    os.replace(part, path.with_name(f"{path.name}.1.gz"))
    os.truncate(path, 0)
    return size


def rotate_logs(keep_days: float, dry_run: bool, now: float | None = None) -> dict[str, int]:
    """Task logs and notes of runs older than `keep_days` go; long service logs are rotated; {removed, rotated, bytes}.

    Logs of the DAG that looks every five minutes go after FREQUENT_DAYS.
    """
    var, now = var_folder(), time.time() if now is None else now
    days = dict.fromkeys((var / "airflow" / "logs", var / "runs", var / "late", var / "mlflow-runs"), keep_days)
    days[var / "airflow" / "logs" / f"dag_id={FREQUENT}"] = min(keep_days, FREQUENT_DAYS)
    old = dict.fromkeys(path for folder, kept in days.items() for path in old_files(folder, now - kept * 86400))
    removed, rotated, size = len(old), 0, sum(path.stat().st_size for path in old)
    if not dry_run:
        for path in old:
            path.unlink()
        for folder in days:
            for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
                if not any(path.iterdir()):
                    path.rmdir()
    for folder in (var / "logs", var / "gateway"):
        for path in sorted(folder.glob("*.log")):
            if path.stat().st_size > ROTATE_BYTES:
                rotated, size = rotated + 1, size + rotate(path, dry_run)
    print(f"logs: {removed} files, {rotated} rotated, {size} bytes")
    return {"removed": removed, "rotated": rotated, "bytes": size}


def call(argv: list[str], **variables: str) -> str:
    """Run a command; its words, or a StepError with the last of them."""
    values = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
    done = subprocess.run(
        argv,
        env={**values, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=BACKEND_TIMEOUT_S,
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-10:])
        raise StepError(f"{' '.join(argv[1:5])} failed with {done.returncode}:\n{tail}")
    return done.stdout


def clean_airflow(keep_days: float, dry_run: bool) -> dict[str, Any]:
    """Airflow's rows older than `keep_days` go (the newest run of each DAG stays: the schedule counts from it).

    Those of the DAG that looks every five minutes go after FREQUENT_DAYS.
    """
    from legal_tasks import retrain, services

    config = var_folder() / "airflow" / "airflow.cfg"
    if not config.is_file():
        raise StepError(f"{config} is missing: Airflow was never started here; make up")
    now = datetime.datetime.now(datetime.UTC)
    before = now - datetime.timedelta(days=keep_days)
    argv = [str(python_of("orchestrator")), "-m", "airflow", "db", "clean", "--yes", "--skip-archive"]
    argv += ["--error-on-cleanup-failure", "--clean-before-timestamp", before.isoformat()]
    argv += ["--dry-run"] if dry_run else []
    said = call(argv, AIRFLOW_HOME=str(config.parent), AIRFLOW_CONFIG=str(config))
    counts = [line.strip() for line in said.splitlines() if "Found" in line and "rows" in line]
    print("\n".join(counts) or "airflow: nothing to clean")
    airflow = retrain.Airflow(services.airflow_url(), services.admin_password())
    frequent = clean_frequent(airflow, now - datetime.timedelta(days=min(keep_days, FREQUENT_DAYS)), dry_run)
    print(f"airflow: {frequent} runs of {FREQUENT}")
    return {"before": before.isoformat(), "said": counts, "frequent_runs": frequent}


def clean_frequent(airflow: Any, before: datetime.datetime, dry_run: bool) -> int:
    """Delete the ended runs of FREQUENT that began earlier, but for the newest run; how many there are, or were.

    Through the API: in Airflow 3.3.2 `db clean --dag-ids` fails on tables that hold no DAG's name (deadline, task_reschedule).
    """
    place, newest = f"/dags/{FREQUENT}/dagRuns", {"limit": 1, "order_by": "-start_date"}
    kept = {run["dag_run_id"] for run in airflow.call("GET", place, params=newest)["dag_runs"]}
    old = {"start_date_lt": before.isoformat(), "state": ["success", "failed"], "order_by": "start_date", "limit": 100}
    count = 0
    while True:
        page = airflow.call("GET", place, params={**old, "offset": count if dry_run else 0})["dag_runs"]
        names = [run["dag_run_id"] for run in page if run["dag_run_id"] not in kept]
        if not names:
            return count
        if not dry_run:
            action = {"action": "delete", "entities": names, "action_on_non_existence": "skip"}
            answer = airflow.call("PATCH", place, json={"actions": [action]})["delete"]
            if answer["errors"]:
                raise StepError(
                    f"Airflow did not delete runs of {FREQUENT}: {answer['errors'][0]['error']}; clear this task later"
                )
        count += len(names)


def runs_of_versions(client: Any) -> set[str]:
    """Ids of the runs that tell what the registered versions were trained by: of each its training, release and parents.

    A version of an older LexLoop names its release alone: the training stands beside that, below the same parent. A run that
    reused its result keeps the run that made it.
    """
    from mlflow.exceptions import MlflowException

    from legal_tasks import registry, tracking

    found: dict[str, Any] = {}
    parents: set[str] = set()
    versions = client.search_model_versions(f"name='{registry.MODEL}'", max_results=10_000)
    waiting = [run_id for version in versions for run_id in (version.run_id, *map(version.tags.get, registry.RUNS)) if run_id]
    while waiting:
        run_id = waiting.pop()
        if run_id in found or not run_id.isalnum():
            continue
        try:
            run = found[run_id] = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            found[run_id] = None  # it went before it was kept
            continue
        tags = run.data.tags
        waiting += [tags[name] for name in ("mlflow.parentRunId", tracking.TAG_REUSED) if tags.get(name)]
        parent = tags.get("mlflow.parentRunId")
        if parent and parent not in parents:
            parents.add(parent)
            wanted = f"tags.`mlflow.parentRunId` = '{parent}' and tags.`{tracking.TAG_STEP}` = 'training.lora'"
            waiting += [each.info.run_id for each in client.search_runs([run.info.experiment_id], wanted)]
    return set(found)


def clean_mlflow(keep_days: float, dry_run: bool) -> dict[str, Any]:
    """Runs older than `keep_days` that gave no registered version are deleted, then all deleted ones for good."""
    from legal_tasks import services, tracking

    address = tracking.uri() or services.mlflow_url()
    tracking.check_reachable(address)
    tracking.log_in()
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient(tracking_uri=address, registry_uri=address)
    kept = runs_of_versions(client)
    cutoff_ms = int((time.time() - keep_days * 86400) * 1000)
    old = []
    for experiment in client.search_experiments(view_type=ViewType.ACTIVE_ONLY):
        token = None
        while True:
            page = client.search_runs(
                [experiment.experiment_id], f"attributes.start_time < {cutoff_ms}", max_results=1000, page_token=token
            )
            old += [run for run in page if run.info.run_id not in kept]
            token = page.token
            if not token:
                break
    if not dry_run:
        for run in old:
            client.delete_run(run.info.run_id)
    print(f"mlflow: {len(old)} runs older than {keep_days:g} days without a registered version")
    own = address == f"http://127.0.0.1:{services.Ports.read().mlflow}"
    if own and not dry_run:
        argv = [str(python_of("ml")), "-m", "mlflow", "gc", "--backend-store-uri", services.mlflow_database()]
        call([*argv, "--artifacts-destination", str(var_folder() / "mlflow" / "artifacts"), "--tracking-uri", address])
    elif not own:
        print("mlflow: the server is somebody else's; its owner runs `mlflow gc`")
    return {"deleted_runs": len(old), "purged": own and not dry_run}
