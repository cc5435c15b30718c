"""MLflow's registry: the versions of `legal-llm` and the aliases that follow what is in production.

A version's run is its training. Its files in MLflow are the manifest, the report and a small pyfunc (`registered.py`), which
answers with the weights in the store: `mlflow.pyfunc.load_model("models:/legal-llm@champion").predict(...)`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legal_tasks import artifacts, tracking
from legal_tasks.tracking.names import flatten

MODEL = "legal-llm"
DESCRIPTION = """Chinese-law assistant, retrained monthly. One version per compressed model; `champion` serves, `previous` served
before it, `challenger` is the newest that was judged. A refused model has a version too: see its tag `gate`.

    mlflow.pyfunc.load_model("models:/legal-llm@champion").predict(pandas.DataFrame({"prompt": ["..."]}))

answers with the weights in the artifact store (tag `store_path`), which are not in MLflow.

中文法律助手，每月重训。`champion` 为在用版本。权重保存在制品库，不在 MLflow。"""
RUNS = ("training_run", "release_run", "parent_run")  # tags of a version: runs that outlive housekeeping with it
LIMIT = tracking.TAG_LIMIT


@dataclass
class Lineage:
    """Folders in the store that a compressed model was made of; None where they are gone."""

    merged: Path | None
    adapter: Path | None


def lineage(model: Path) -> Lineage:
    inputs = artifacts.read_manifest(model).get("inputs", {}) if (model / artifacts.MANIFEST).is_file() else {}
    store = artifacts.Store(model.absolute().parents[1])
    merged = store.with_digest("training.merge", inputs.get("model", ""))
    made = artifacts.read_manifest(merged).get("inputs", {}) if merged else {}
    return Lineage(merged, store.with_digest("training.lora", made.get("adapter", "")))


def register_model(digest: str, source: str, tags: Mapping[str, str], aliases: Mapping[str, str] | None = None) -> str | None:
    """Register a version of `legal-llm` whose artifact has this digest (once) and return its number.

    `aliases` maps an alias to a digest; each is set to that digest's version, so that they follow the release state.
    Returns None without MLflow.
    """
    client = tracking.mlflow_client()
    if client is None:
        return None
    _describe_model(client)
    versions = {v.tags.get("digest"): v for v in client.search_model_versions(f"name='{MODEL}'")}
    version = versions.get(digest)
    if version is None:
        version = _create_version(client, digest, source, tags)
        versions[digest] = version
    else:
        for name, value in tags.items():  # the gate's word on a model may change from one run to the next
            if version.tags.get(name) != str(value)[:LIMIT]:
                client.set_model_version_tag(MODEL, version.version, name, str(value)[:LIMIT])
    said = _describe_version(str(version.version), source, {**version.tags, **tags})
    if version.description != said:
        client.update_model_version(MODEL, version.version, said)
    for alias, wanted in (aliases or {}).items():
        if wanted in versions:
            client.set_registered_model_alias(MODEL, alias, versions[wanted].version)
    return str(version.version)


def _describe_model(client: Any) -> None:
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_registered_model(MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(MODEL, description=DESCRIPTION)
        return
    if not found.description:
        client.update_registered_model(MODEL, DESCRIPTION)


def _describe_version(version: str, source: str, tags: Mapping[str, str]) -> str:
    """What the version's page says, Markdown."""
    lines = [f"Gate 门禁: **{tags.get('gate', 'not told')}**" + (f" ({tags['override']})" if tags.get("override") else "")]
    lines += [f"- {name}: `{tags[name]}`" for name in ("base", "data", "adapter", "formats") if tags.get(name)]
    lines += [f"- weights 权重: `{source}`", "", f'`mlflow.pyfunc.load_model("models:/{MODEL}/{version}")` answers with them.']
    return "\n".join(lines)


def _create_version(client: Any, digest: str, source: str, tags: Mapping[str, str]) -> Any:
    """A new version whose files in MLflow point to the artifact; the weights stay in the store.

    MLflow takes no local folder as a source that is not below a run's artifacts, and large uploads through it fail.
    """
    release = tracking.current_run_id()
    if release is None:
        raise tracking.TrackingError("a model version is registered from inside a step's run only: call it from run()")
    made_of = lineage(Path(source))
    run_id = find_training(client, made_of.adapter, release)
    parent = client.get_run(run_id).data.tags.get("mlflow.parentRunId", "")
    place = f"model-{digest[:12]}"
    with tempfile.TemporaryDirectory() as scratch:
        save_pointer(Path(scratch) / "model", digest, Path(source), made_of.merged, run_id)
        for name in ("manifest.json", "report.json", "table.md"):
            if (Path(source) / name).is_file():
                (Path(scratch) / "model" / name).write_bytes((Path(source) / name).read_bytes())
        client.log_artifacts(run_id, str(Path(scratch) / "model"), place)
    texts = {**tags, "digest": digest, "store_path": source}
    texts |= dict(zip(RUNS, (run_id, release, parent), strict=True))
    shown = {name: str(value)[:LIMIT] for name, value in texts.items() if value}
    return client.create_model_version(MODEL, f"runs:/{run_id}/{place}", run_id=run_id, tags=shown)


def find_training(client: Any, adapter: Path | None, release: str) -> str:
    """Id of the run that trained an adapter; where MLflow has none, of one that is made of the artifact's numbers.

    `release`: id of the running step's run, which stands for it where the store no longer has the adapter.
    """
    if adapter is None:
        return release
    manifest = artifacts.read_manifest(adapter)
    found = tracking.find_original(client, manifest["step"], manifest["key"])
    if found is not None:
        return str(found.info.run_id)
    return _rebuild(client, adapter, manifest, client.get_run(release))


def _rebuild(client: Any, adapter: Path, manifest: Mapping[str, Any], release: Any) -> str:
    """A run beside the release's with what the artifact says of its training: parameters, numbers, the curve."""
    from mlflow.entities import Metric, Param

    kept = ("mlflow.parentRunId", tracking.TAG_DAG_RUN, tracking.TAG_SEAT)
    tags = {name: release.data.tags[name] for name in kept if name in release.data.tags}
    tags |= {tracking.TAG_STEP: manifest["step"], tracking.TAG_KEY: manifest["key"]}
    tags |= {tracking.NOTE: f"Made again from `{adapter}`: MLflow has no run of this training any more. 依据制品重建。"}
    made = client.create_run(release.info.experiment_id, tags=tags, run_name=manifest["step"])
    params = [Param(name, str(value)[: tracking.PARAM_LIMIT]) for name, value in manifest.get("params", {}).items()]
    report = json.loads((adapter / artifacts.REPORT).read_text("utf-8"))
    points = [Metric(name, value, made.info.start_time, 0) for name, value in flatten(report).items()]
    points += [Metric(*point) for point in _curve(adapter / "log.jsonl", made.info.start_time)]
    client.log_batch(made.info.run_id, params=params)
    for first in range(0, len(points), 900):
        client.log_batch(made.info.run_id, metrics=points[first : first + 900])
    client.set_terminated(made.info.run_id, "FINISHED")
    return str(made.info.run_id)


def _curve(path: Path, at: int) -> Iterator[tuple[str, float, int, int]]:
    for line in filter(None, path.read_text("utf-8").split("\n")) if path.is_file() else ():
        point = json.loads(line)
        step = int(point.get("step", 0))
        for name, value in flatten({key: value for key, value in point.items() if key != "step"}).items():
            yield name, value, at, step


def save_pointer(folder: Path, digest: str, source: Path, merged: Path | None, run_id: str) -> None:
    """Write the pyfunc of a version into a new folder: code, signature and where the weights lie, no weights."""
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    turn = Object([Property("role", DataType.string), Property("content", DataType.string)])
    asked: list[Any] = [ColSpec(DataType.string, "prompt", required=False), ColSpec(Array(turn), "messages", required=False)]
    bound = ParamSchema([ParamSpec("max_new_tokens", DataType.long, 256)])
    report = json.loads((source / artifacts.REPORT).read_text("utf-8")) if (source / artifacts.REPORT).is_file() else {}
    told = {"digest": digest, "artifact": str(source), "gguf": report.get("gguf") or ""}
    told |= {"merged": str(merged) if merged else "", "merged_digest": artifacts.digest_path(merged) if merged else ""}
    # What it runs on has one pinned place, docker/ml; MLflow must not guess from what happens to be installed.
    mlflow.pyfunc.save_model(
        os.fspath(folder),
        python_model=os.fspath(Path(__file__).with_name("registered.py")),
        signature=ModelSignature(Schema(asked), Schema([ColSpec(DataType.string)]), bound),
        model_config=told,
        pip_requirements=["mlflow", "torch", "transformers", "gguf"],
        mlflow_model=Model(run_id=run_id, artifact_path=folder.name),
    )
