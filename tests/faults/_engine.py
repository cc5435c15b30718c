"""A small OpenAI-compatible engine for fault injections: python -m tests.faults._engine MODEL_FOLDER PORT NAME

Serves the same GPTQ folder as vLLM does, by transformers and greedily, and starts in seconds: the injections are about
what happens around an engine, and run where several of them would not fit. The rest of serving is the real one.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Model:
    """The loaded model; one request is answered at a time."""

    def __init__(self, folder: Path):
        import torch

        from legal_tasks.compression.load import load_model

        torch.set_num_threads(1)
        self.torch, self.lock = torch, threading.Lock()
        self.model, self.tokenizer = load_model(folder, "gptq", "cpu")

    def prompt(self, messages) -> list[int]:
        from legal_tasks.training.chat import render

        return render(self.tokenizer, messages, generation=True)

    def answer(self, messages, max_tokens: int) -> list[int]:
        ids = self.prompt(messages)
        with self.lock, self.torch.inference_mode():
            tensor = self.torch.tensor([ids])
            # Every token counts: without a mask `generate` would take a pad token that a user typed for padding.
            settings = {"attention_mask": self.torch.ones_like(tensor), "do_sample": False, "num_beams": 1}
            made = self.model.generate(tensor, max_new_tokens=max_tokens, repetition_penalty=1.0, **settings)
        return made[0, len(ids) :].tolist()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: Model
    name: str

    def log_message(self, *arguments):
        pass

    def reply(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply({"data": [{"id": self.name}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            return self.reply({"tokens": self.model.prompt(body["messages"])})
        ids = self.model.answer(body["messages"], body.get("max_tokens") or 16)
        text = self.model.tokenizer.decode(ids, skip_special_tokens=True)
        usage = {"completion_tokens": len(ids)}
        if body.get("stream"):
            return self.stream(text, usage)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", "token_ids": ids}
        self.reply({"choices": [choice], "usage": usage})

    def stream(self, text, usage):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        first = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        for part in (first, last, {"choices": [], "usage": usage}):
            self.wfile.write(f"data: {json.dumps(part)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True


if __name__ == "__main__":
    Handler.model, Handler.name = Model(Path(sys.argv[1])), sys.argv[3]
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
