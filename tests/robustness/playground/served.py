"""The real data plane behind a small HTTP server, in the place of TorchServe's Java."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from handlers.config import LimitsConfig, ScreeningConfig
from handlers.request import Request
from handlers.served_model import ServedModel
from handlers.service import Service
from monitoring.request_log import RequestLog, RequestLogConfig
from robustness.screened_model import load_screened_model
from torchkeep.artifact import ModelArtifact


@dataclass
class Running:
    """A server's address, and how many images it was asked for."""

    url: str
    asked: int = 0


@contextmanager
def serving(
    artifact: ModelArtifact, folder: Path, screening: ScreeningConfig | None = None
) -> Iterator[Running]:
    """Serve an artifact over HTTP as a handler does; its log goes to `folder`."""
    model, config = load_screened_model(artifact, "cpu"), RequestLogConfig()
    log = RequestLog(config, directory=folder)
    service = Service(
        model,
        ServedModel.of(artifact, model, "0.1.0"),
        log,
        limits=LimitsConfig(),
        screening=screening or ScreeningConfig(),
        log_config=config,
    )

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = self.headers["Content-Type"]
            answer = service.answer([Request(body=body, content_type=kind, protocol="rest")])[0]
            running.asked += 1
            self.send_response(answer.http_status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: Any) -> None:
            """Keep the test's output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running = Running(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
        log.close()
