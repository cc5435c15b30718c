"""Real local servers that keep what they were sent: HTTP with answers to choose, and SMTP with a login."""

import base64
import json
import socketserver
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def http_server(answer, kind="application/json", kinds=None):
    """`answer(method, path, body)` gives (status, text); yields (port, list of {method, path, headers, body}).

    `kind` is the content type of what is answered, `kinds` that of single paths.
    """
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append({"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body})
            status, text = answer(self.command, self.path, body)
            self.send_response(status)
            data = text.encode()
            self.send_header("Content-Type", (kinds or {}).get(self.path, kind))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PATCH = do_POST

        def log_message(self, *arguments):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1], seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class SmtpHandler(socketserver.StreamRequestHandler):
    """As much of RFC 5321 and AUTH PLAIN/LOGIN (RFC 4954) as a client needs to log in and hand over a message."""

    def say(self, text):
        self.wfile.write((text + "\r\n").encode())

    def line(self):
        return self.rfile.readline().decode().rstrip("\r\n")

    def login(self, words):
        if words[1].upper() == "PLAIN":
            _, user, password = base64.b64decode(words[2]).decode().split("\0")
            return user, password
        user = words[2] if len(words) > 2 else None
        if user is None:
            self.say("334 VXNlcm5hbWU6")
            user = self.line()
        self.say("334 UGFzc3dvcmQ6")
        return base64.b64decode(user).decode(), base64.b64decode(self.line()).decode()

    def handle(self):
        self.say("220 local")
        mail = {"to": [], "login": None}
        while text := self.line():
            command = text.split()[0].upper()
            if command == "EHLO":
                self.say("250-local")
                self.say("250 AUTH PLAIN LOGIN")
            elif command == "AUTH":
                mail["login"] = self.login(text.split())
                known = mail["login"] == self.server.login
                self.say("235 yes" if known else f"535 no such login {mail['login'][1]}")
            elif command == "RCPT":
                mail["to"].append(text.split("<")[1].split(">")[0])
                self.say("250 ok")
            elif command == "DATA":
                self.say("354 go on")
                lines = []
                while (part := self.line()) != ".":
                    lines.append(part)
                mail["data"] = "\n".join(lines)
                self.server.mails.append(mail)
                self.say("250 kept")
            elif command == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")


@contextmanager
def smtp_server(user, password):
    """Yields (port, list of {to, login, data})."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), SmtpHandler)
    server.daemon_threads = True
    server.login, server.mails = (user, password), []
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1], server.mails
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def connection(**fields):
    """An Airflow Connection as the text of its environment variable."""
    return json.dumps(fields)
