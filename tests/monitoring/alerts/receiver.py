"""An HTTP server that takes alerts and remembers them; its behaviour can be changed at any time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson


@dataclass
class Receiver:
    """`answers` are the statuses to give, one a request, then `status` for all others."""

    url: str = ""
    status: int = 200
    answers: list[int] = field(default_factory=list)
    hang: threading.Event | None = None  # if set, no request is answered until this is
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def received(self) -> list[Any]:
        return [orjson.loads(body) for body in self.bodies]

    def accepted(self) -> list[tuple[str, str]]:
        """Rule and status of each alert of the bodies, in order."""
        return [
            (alert["labels"]["alertname"], alert["status"])
            for body in self.received
            for alert in body["alerts"]
        ]


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """Serve on loopback until the block ends."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if receiver.hang is not None:
                receiver.hang.wait(30)
                return
            status = receiver.answers.pop(0) if receiver.answers else receiver.status
            receiver.paths.append(self.path)
            receiver.headers.append({name.lower(): text for name, text in self.headers.items()})
            if status < 300:
                receiver.bodies.append(body)
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        if receiver.hang is not None:
            receiver.hang.set()
        server.shutdown()
        thread.join()
        server.server_close()
