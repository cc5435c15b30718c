"""A small OpenAI-compatible server of our own, which the tests start in vLLM's place through LEXLOOP_ENGINE_ARGV.

    python -m tests.legal_tasks.serving.engine --model FOLDER --port PORT

`engine.json` in the model folder may hold: `name` (what it answers with), `token_s` (seconds per token), `fault`:
`start` (ends at once), `mute` (answers 500), `freeze_after` (number of answers after which it answers no more).
"""

import argparse
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, settings: dict):
        super().__init__(("127.0.0.1", port), Handler)
        self.settings = settings
        self.answered = 0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_):
        return

    def send_json(self, status: int, value: dict) -> None:
        body = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/v1/models":
            return self.send_json(200, {"object": "list", "data": [{"id": "legal-llm", "object": "model"}]})
        return self.send_json(404, {"error": {"message": "no such path", "type": "NotFound", "param": None, "code": 404}})

    def do_POST(self):
        settings = self.server.settings
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.answered += 1
            number = self.server.answered
        if settings.get("fault") == "mute":
            return self.send_json(500, {"error": {"message": "mute", "type": "InternalError", "param": None, "code": 500}})
        if number > settings.get("freeze_after", number):
            threading.Event().wait()
        words = [f"{settings.get('name', 'engine')} "] + [f"{i} " for i in range(body.get("max_tokens", 4) - 1)]
        usage = {"prompt_tokens": 1, "completion_tokens": len(words), "total_tokens": 1 + len(words)}
        if not body.get("stream"):
            time.sleep(settings.get("token_s", 0.0) * len(words))
            message = {"role": "assistant", "content": "".join(words)}
            choice = {"index": 0, "message": message, "finish_reason": "length"}
            return self.send_json(200, {"object": "chat.completion", "choices": [choice], "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for word in words:
            time.sleep(settings.get("token_s", 0.0))
            self.send_chunk({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
        self.send_chunk({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def send_chunk(self, value: dict) -> None:
        self.wfile.write(f"data: {json.dumps(value)}\n\n".encode())
        self.wfile.flush()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    path = arguments.model / "engine.json"
    settings = json.loads(path.read_text()) if path.is_file() else {}
    if settings.get("fault") == "start":
        print("RuntimeError: not enough memory for the weights", file=sys.stderr)
        return 1
    Server(arguments.port, settings).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
