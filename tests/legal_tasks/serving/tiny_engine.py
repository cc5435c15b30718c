"""A small OpenAI-compatible server in an engine's place: python tiny_engine.py MODEL_FOLDER PORT NAME

`behaviour.json` in the model folder: {"mode": "answer" | "exit" | "refuse"}; its answers name the folder's artifact.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER, PORT, NAME = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
BEHAVIOUR = json.loads((FOLDER / "behaviour.json").read_text())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply(200, {"data": [{"id": NAME}], "seen": dict(self.headers)})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if BEHAVIOUR["mode"] == "refuse":
            return self.reply(500, {"error": {"message": "broken weights"}})
        text = BEHAVIOUR["text"]
        if body.get("stream"):
            return self.stream(text)
        self.reply(
            200, {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": {"completion_tokens": len(text)}}
        )

    def stream(self, text):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        parts = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}]
        parts += [{"choices": [{"index": 0, "delta": {"content": c}}]} for c in text]
        parts.append({"choices": [], "usage": {"completion_tokens": len(text)}})
        for part in parts:
            self.wfile.write(f"data: {json.dumps(part)}\n\n".encode())
            self.wfile.flush()
            time.sleep(0.05)
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True


if BEHAVIOUR["mode"] == "exit":
    sys.exit("ValueError: no such architecture")
ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
