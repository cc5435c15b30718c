"""A bucket with objects of any name, behind enough of S3's protocol for a client that lists and reads."""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

CHANGED = "2026-11-01T00:00:00.000Z", "Sun, 01 Nov 2026 00:00:00 GMT"


class Bucket(ThreadingHTTPServer):
    """`objects`: {key: content} of the bucket `law`. `asked`: the keys that were read."""

    daemon_threads = True

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects, self.asked = objects, list[str]()
        super().__init__(("127.0.0.1", 0), Answer)

    def environment(self) -> dict[str, str]:
        """What a client needs."""
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_address[1]}",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bucket

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        bucket, _, key = urllib.parse.unquote(path.removeprefix("/")).partition("/")
        if bucket != "law":
            self.say(404, b"")
        elif "list-type" in query:
            self.say(200, self.listing(urllib.parse.parse_qs(query)), "application/xml")
        elif not key:
            self.say(200, b"")
        elif key in self.server.objects:
            if self.command == "GET":
                self.server.asked.append(key)
            self.say(200, self.server.objects[key])
        else:
            self.say(404, b"")

    def listing(self, query: dict[str, list[str]]) -> bytes:
        prefix = query.get("prefix", [""])[0]
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size><LastModified>{CHANGED[0]}</LastModified>"
            '<ETag>"e"</ETag><StorageClass>STANDARD</StorageClass></Contents>'
            for key, data in sorted(self.server.objects.items())
            if key.startswith(prefix)
        )
        head = f"<Name>law</Name><Prefix>{escape(prefix)}</Prefix><IsTruncated>false</IsTruncated><MaxKeys>1000</MaxKeys>"
        xml = "http://s3.amazonaws.com/doc/2006-03-01/"
        return f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="{xml}">{head}{rows}</ListBucketResult>'.encode()

    def say(self, code: int, body: bytes, kind: str = "application/octet-stream") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", CHANGED[1])
        self.send_header("ETag", '"e"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


@contextmanager
def serving(objects: dict[str, bytes]) -> Iterator[Bucket]:
    """The bucket on a port of its own, until the end."""
    with Bucket(objects) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
