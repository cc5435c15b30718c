"""A small OpenAI-compatible server in an engine's place: python tiny_engine.py MODEL_FOLDER PORT NAME

`behaviour.json` in the model folder: {"mode": "answer" | "exit" | "refuse" | "memory" | "slow", "text": what it
answers, "pause_s": between two tokens of a stream (0.05), "token_s": what a token takes (0), "lanes": answers at once (1000)}.
One character is one token. It refuses what a real engine refuses and counts its tokens as vLLM does. The message "freeze" stops
what makes tokens for ever; the server goes on.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER, PORT, NAME = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
BEHAVIOUR = json.loads((FOLDER / "behaviour.json").read_text())
PAUSE_S, TOKEN_S = BEHAVIOUR.get("pause_s", 0.05), BEHAVIOUR.get("token_s", 0)
LANES, FROZEN = threading.Semaphore(BEHAVIOUR.get("lanes", 1000)), threading.Event()
COUNTER = "vllm:generation_tokens_total"
made = 0


def generate(count):
    global made
    with LANES:
        for _ in range(count):
            while FROZEN.is_set():
                time.sleep(3600)
            time.sleep(TOKEN_S)
            made += 1


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, status, value, kind="application/json"):
        body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, message, code):
        self.reply(status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}})

    def do_GET(self):
        if self.path.startswith("/metrics/?name"):
            return self.reply(200, f'# TYPE {COUNTER} counter\n{COUNTER}{{engine="0"}} {made}.0\n', "text/plain")
        self.reply(200, {"object": "list", "data": [{"id": NAME, "object": "model"}], "seen": dict(self.headers)})

    def do_POST(self):
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        except ValueError as error:
            return self.refuse(400, f"this is not JSON: {error}", 400)
        if BEHAVIOUR["mode"] == "refuse":
            return self.reply(500, {"error": {"message": "broken weights"}})
        if body.get("model", NAME) != NAME:
            return self.refuse(404, f"there is no model {body['model']}", 404)
        if body.get("max_tokens", 1) < 1:
            return self.refuse(400, "max_tokens must be 1 or more", 400)
        if "freeze" in [message.get("content") for message in body.get("messages", [])]:
            FROZEN.set()
        text = BEHAVIOUR["text"][: body.get("max_tokens", 1000)]
        generate(len(text))
        if body.get("stream"):
            return self.stream(text, body)
        chat = self.path.endswith("/chat/completions")
        choice = {"index": 0, "finish_reason": "stop"}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        if body.get("logprobs"):
            one = [{"token": c, "bytes": list(c.encode()), "logprob": -0.5} for c in text]
            choice["logprobs"] = {"content": [{**part, "top_logprobs": [part]} for part in one]}
        self.reply(200, {**self.head("chat.completion"), "choices": [choice], "usage": self.usage(text)})

    def head(self, kind):
        return {"id": "chatcmpl-1", "object": kind, "created": int(time.time()), "model": NAME}

    @staticmethod
    def usage(text):
        return {"prompt_tokens": 3, "completion_tokens": len(text), "total_tokens": 3 + len(text)}

    def stream(self, text, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        deltas = [{"role": "assistant", "content": ""}, *({"content": c} for c in text)]
        parts = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        parts.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            parts.append({"choices": [], "usage": self.usage(text)})
        for part in parts:
            self.wfile.write(f"data: {json.dumps({**self.head('chat.completion.chunk'), **part})}\n\n".encode())
            self.wfile.flush()
            time.sleep(PAUSE_S)
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True


if BEHAVIOUR["mode"] == "exit":
    sys.exit("ValueError: no such architecture")
if BEHAVIOUR["mode"] == "memory":
    weights = bytearray(1 << 60)
if BEHAVIOUR["mode"] == "slow":
    time.sleep(15)
Server(("127.0.0.1", PORT), Handler).serve_forever()
