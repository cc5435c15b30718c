"""MLflow's registry: the versions of `legal-llm` and the aliases that follow what is in production."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from legal_tasks import tracking

MODEL = "legal-llm"


def register_model(digest: str, source: str, tags: Mapping[str, str], aliases: Mapping[str, str] | None = None) -> str | None:
    """Register a version of `legal-llm` whose artifact has this digest (once) and return its number.

    `aliases` maps an alias to a digest; each is set to that digest's version, so that they follow the release state.
    Returns None without MLflow.
    """
    client = tracking.mlflow_client()
    if client is None:
        return None
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(MODEL)
    except MlflowException:
        client.create_registered_model(MODEL)
    versions = {v.tags.get("digest"): v for v in client.search_model_versions(f"name='{MODEL}'")}
    version = versions.get(digest)
    if version is None:
        version = _create_version(client, digest, source, tags)
        versions[digest] = version
    else:
        for name, value in tags.items():  # the gate's word on a model may change from one run to the next
            if version.tags.get(name) != str(value)[:8000]:
                client.set_model_version_tag(MODEL, version.version, name, str(value)[:8000])
    for alias, wanted in (aliases or {}).items():
        if wanted in versions:
            client.set_registered_model_alias(MODEL, alias, versions[wanted].version)
    return str(version.version)


def _create_version(client: Any, digest: str, source: str, tags: Mapping[str, str]) -> Any:
    """A new version whose files in MLflow are the artifact's manifest and report; the weights stay in the store.

    MLflow takes no local folder as a source that is not below a run's artifacts, and large uploads through it fail.
    """
    run_id = tracking.current_run_id()
    if run_id is None:
        raise tracking.TrackingError("a model version is registered from inside a step's run only: call it from run()")
    for name in ("manifest.json", "report.json", "table.md"):
        if (Path(source) / name).is_file():
            client.log_artifact(run_id, str(Path(source) / name), "model")
    texts = {name: str(value)[:8000] for name, value in {**tags, "digest": digest, "store_path": source}.items()}
    return client.create_model_version(MODEL, f"runs:/{run_id}/model", run_id=run_id, tags=texts)
