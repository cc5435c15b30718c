"""Every suite is asked without a network: the embedded world's, the stock data sets', and those of the public exams."""

import datetime
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lm_eval")

from legal_tasks.data import collect  # noqa: E402
from legal_tasks.evaluation.items import read_lines  # noqa: E402
from tests.conftest import REPOSITORY  # noqa: E402
from tests.legal_tasks.training.tiny import make_base  # noqa: E402

pytestmark = pytest.mark.slow
ALONE = ["unshare", "--net", "--map-root-user"]
LISTEN = "import socket; socket.create_connection(('127.0.0.1', {port}), 5)"


@pytest.fixture(scope="module", autouse=True)
def namespaces():
    if shutil.which("unshare") is None or subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a network namespace (unshare --net)")


def run_harness(tmp_path: Path, items: Path, *more: str) -> dict[str, int]:
    """{suite: rows of the challenger} after an evaluation in a network namespace that has no device up."""
    base = make_base(tmp_path / "base")
    argv = [sys.executable, "-m", "legal_tasks.evaluation.harness", "--profile=small", f"--challenger={base}", f"--base={base}"]
    argv += [f"--items={items}", "--champion=none", "--limit=4", "--new-tokens=4", f"--output={tmp_path / 'out'}", *more]
    values = {**os.environ, "LEXLOOP_VAR": str(tmp_path / "var"), "LEXLOOP_STORE": str(tmp_path / "store")}
    values.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run([*ALONE, *argv], cwd=REPOSITORY, env=values, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return {path.stem: len(list(read_lines(path))) for path in (tmp_path / "out" / "challenger").glob("*.jsonl")}


def test_the_namespace_really_has_no_network():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        code = LISTEN.format(port=server.getsockname()[1])
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0
        assert subprocess.run([*ALONE, sys.executable, "-c", code], capture_output=True).returncode != 0


def test_the_embedded_worlds_suites_and_the_stock_ones_are_asked_offline(tmp_path):
    (tmp_path / "collect").mkdir()
    collect.run(collect.Params(output=tmp_path / "collect", as_of=datetime.date(2026, 11, 1)))
    found = run_harness(tmp_path, tmp_path / "collect")
    own = ("legal_exam", "case_analysis", "general", "refusal", "over_refusal", "answers")
    assert {name: found[name] for name in own} == {**dict.fromkeys(own, 4), "answers": 4}
    assert found["ceval-valid"] > 0 and found["cmmlu"] > 0


def test_the_suites_of_the_public_exams_are_asked_offline(shared_data, tmp_path):
    rows = re.findall(r"^\| ((?:exam|cases|safety)/\S+) \| \S+ \| \d+ \|", (shared_data / "MANIFEST.md").read_text("utf-8"), re.M)
    files = [name for name in rows if not name.endswith(".labels.csv")]
    spec = {
        "sources": [{"kind": "document", "path": str(shared_data / "MANIFEST.md"), "licence": "x"}],
        "licences": ["x"],
        "exams": [{"name": re.sub(r"\W", "_", Path(name).stem), "path": str(shared_data / name)} for name in files],
    }
    (tmp_path / "sources.yaml").write_text(json.dumps(spec))
    (tmp_path / "collect").mkdir()
    day = datetime.date(2026, 11, 1)
    collect.run(collect.Params(output=tmp_path / "collect", as_of=day, sources=str(tmp_path / "sources.yaml")))
    found = run_harness(tmp_path, tmp_path / "collect")
    asked = {path.stem for path in (tmp_path / "out" / "items").glob("*.jsonl")}
    names = {exam["name"] for exam in spec["exams"]}
    assert all(any(suite == name or suite.startswith(f"{name}-") for suite in asked) for name in names)
    assert found.keys() >= asked and all(found[suite] for suite in asked)
