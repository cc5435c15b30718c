"""A server in an engine's place that notes what reaches it, and answers at once or not before it is let go."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Engine(ThreadingHTTPServer):
    """Notes (method, path, headers, body) of each request; `answer` is the (status, content type, body) that it gives.

    While `go` is not set, whoever asks waits.
    """

    daemon_threads = True
    request_queue_size = 256
    good = (200, "application/json", b'{"usage": {"prompt_tokens": 1, "completion_tokens": 1}}')

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Noting)
        self.seen, self.answer, self.go = [], self.good, threading.Event()
        self.go.set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.go.set()
        self.shutdown()
        self.server_close()


class Noting(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, self.path, dict(self.headers), body))
        self.server.go.wait(60)
        status, kind, said = self.server.answer
        try:
            self.send_response(status)
            for name, value in (("Content-Type", kind), ("Content-Length", len(said)), ("Access-Control-Allow-Origin", "*")):
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(said)
        except OSError:
            pass  # who asked has left

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = handle_any


def raw(port, sent, patience_s=10):
    """The whole answer to bytes as they are."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as line:
        line.sendall(sent)
        return b"".join(iter(lambda: line.recv(65536), b""))
