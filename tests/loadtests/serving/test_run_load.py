"""The load client itself, against a real server: what it measures, and what it finds out."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from loadtests.benchmarks.serving.doors import raw_rest
from loadtests.benchmarks.serving.h2load import PROGRAM, VoidRunError, run_load

IMAGE = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
ANSWER = b'{"probabilities": [0.5, 0.5]}'

if shutil.which(PROGRAM) is None:
    pytest.skip("no h2load; run scripts/install-debian-packages", allow_module_level=True)


@contextmanager
def server(*, bad_every: int = 0) -> Iterator[tuple[str, list[bytes]]]:
    """Answer each request well, or every so-manieth with 503; yields the address and all bodies."""
    bodies: list[bytes] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with lock:
                bodies.append(body)
                number = len(bodies)
            self.send_response(503 if bad_every and number % bad_every == 0 else 200)
            self.send_header("content-length", str(len(ANSWER)))
            self.end_headers()
            self.wfile.write(ANSWER)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = False
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/predict", bodies
        finally:
            http.shutdown()
            thread.join()


def test_every_request_is_sent_and_timed(tmp_path: Path) -> None:
    with server() as (url, bodies):
        for _ in range(2):  # the log of the first run is not taken for that of the second
            load = run_load(
                raw_rest(url, IMAGE), clients=4, requests=40, answer_bytes=0, folder=tmp_path
            )
    assert load.requests == 40
    assert bodies == [IMAGE.tobytes()] * 80
    assert 0 < load.p50_ms <= load.p99_ms
    assert load.rate > 0


def test_a_single_bad_answer_voids_the_run(tmp_path: Path) -> None:
    with server(bad_every=40) as (url, _), pytest.raises(VoidRunError):
        run_load(raw_rest(url, IMAGE), clients=4, requests=40, answer_bytes=0, folder=tmp_path)


def test_nobody_there_voids_the_run(tmp_path: Path) -> None:
    with server() as (url, _):
        pass
    with pytest.raises(VoidRunError):
        run_load(raw_rest(url, IMAGE), clients=2, requests=4, answer_bytes=0, folder=tmp_path)
