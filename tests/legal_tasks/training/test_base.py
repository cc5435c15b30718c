"""A base from the hub: fetched from a mirror once, admitted, then read from disk."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("huggingface_hub")

from tests.legal_tasks.training.tiny import make_base

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FETCH = "import sys; from legal_tasks.training.base import resolve; print(resolve(sys.argv[1]))"
LISTED = (
    "import json, sys; from legal_tasks.training.base import resolve; print(resolve('someone/tiny', json.loads(sys.argv[1])))"
)
FAIL = """
import sys
from legal_tasks.step import StepError
from legal_tasks.training.base import resolve
try:
    resolve(sys.argv[1])
except StepError as error:
    print(error)
    sys.exit(2)
"""


@pytest.fixture
def mirror(tmp_path):
    """(address, folder, requests): what the hub answers for the model someone/tiny, whose files lie in `folder`."""
    folder = make_base(tmp_path / "served")
    (folder / "modeling_tiny.py").write_text("raise SystemExit\n")  # on the hub, but never asked for
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            asked.append(f"{self.command} {self.path}")
            if self.path.startswith("/api/models/someone/tiny/tree/"):
                files = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": p.name} for p in folder.iterdir()]
                return self.reply(json.dumps(files).encode())
            if self.path.startswith("/api/models/someone/tiny"):
                files = [{"rfilename": path.name} for path in folder.iterdir()]
                return self.reply(json.dumps({"id": "someone/tiny", "sha": COMMIT, "siblings": files}).encode())
            path = folder / self.path.rpartition("/")[2]
            if "/resolve/" not in self.path or not path.is_file():
                return self.reply(b"{}", status=404)
            content = path.read_bytes()
            return self.reply(content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT})

        def reply(self, content, headers=None, status=200):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder, asked
    server.shutdown()


def resolve(script, name, address, tmp_path):
    """Run in a process of its own, because HF_ENDPOINT is read at import."""
    environment = {
        name: value for name, value in os.environ.items() if "proxy" not in name.lower() and not name.startswith("HF_")
    }
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "LEXLOOP_VAR": str(tmp_path / "var")}
    return subprocess.run([sys.executable, "-c", script, name], env=environment, capture_output=True, text=True, timeout=120)


def test_a_hub_model_is_fetched_once_without_its_programs(mirror, tmp_path):
    address, served, asked = mirror
    first = resolve(FETCH, "someone/tiny@main", address, tmp_path)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "var" / "bases" / "someone--tiny@main"
    assert first.stdout.strip().endswith(str(folder))
    assert {path.name for path in folder.iterdir()} == {path.name for path in served.iterdir()} - {"modeling_tiny.py"}
    assert (folder / "model.safetensors").read_bytes() == (served / "model.safetensors").read_bytes()
    assert not any("modeling_tiny" in request for request in asked)
    count = len(asked)
    assert resolve(FETCH, "someone/tiny@main", address, tmp_path).returncode == 0
    assert len(asked) == count


def test_remote_code_from_the_hub_is_refused(mirror, tmp_path):
    address, served, _ = mirror
    config = json.loads((served / "config.json").read_text("utf-8"))
    (served / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling_tiny.Model"}}))
    found = resolve(FAIL, "someone/tiny", address, tmp_path)
    assert found.returncode == 2 and "auto_map" in found.stdout, found.stderr
    assert not any((tmp_path / "var" / "bases").iterdir())


def test_listed_programs_are_fetched_and_no_other(mirror, tmp_path):
    address, served, asked = mirror
    (served / "other.py").write_text("raise SystemExit\n")
    config = json.loads((served / "config.json").read_text("utf-8"))
    (served / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling_tiny.Model"}}))
    wrong = resolve(LISTED, json.dumps({"modeling_tiny.py": "0" * 64}), address, tmp_path)
    digest = hashlib.sha256((served / "modeling_tiny.py").read_bytes()).hexdigest()
    assert f"modeling_tiny.py is a program with the sha256 {digest}" in wrong.stderr
    found = resolve(LISTED, json.dumps({"modeling_tiny.py": digest}), address, tmp_path)
    assert found.returncode == 0, found.stderr
    folder = tmp_path / "var" / "bases" / "someone--tiny"
    assert [path.name for path in folder.glob("*.py")] == ["modeling_tiny.py"] and not any("other.py" in each for each in asked)


@pytest.mark.parametrize("name", ["someone/absent", "someone/tiny"])
def test_what_cannot_be_fetched_names_the_endpoint_and_the_way_out(mirror, tmp_path, name):
    address = mirror[0] if name == "someone/absent" else "http://127.0.0.1:9"
    found = resolve(FAIL, name, address, tmp_path)
    assert found.returncode == 2, found.stderr
    assert address in found.stdout and "HF_ENDPOINT" in found.stdout and name in found.stdout
