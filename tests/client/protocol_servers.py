"""Two small real servers, REST and gRPC, that speak as TorchServe with our handler does.

One `Model` answers for both. It "predicts" from the bytes it gets, so that equal questions get
equal answers; what an item or a model is called decides what goes wrong:

| item begins with | its answer      | model named | the request                          |
|------------------|-----------------|-------------|--------------------------------------|
| `screened`       | rejected (422)  | `slow`      | is answered after 5 s                |
| `broken`         | bad_input (400) | `drip`      | is answered a byte at a time (REST)  |
| anything else    | ok              | `garbage`   | is answered by what is no answer     |
|                  |                 | `full`      | is refused: the queue is full        |
|                  |                 | `crashing`  | makes the handler crash              |
|                  |                 | `absent`    | is refused: there is no such model   |
|                  |                 | `refusing`  | is refused as a whole by the handler |
|                  |                 | `busy`      | is refused: too many requests        |
"""

from __future__ import annotations

import base64
import io
import json
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.empty_pb2 import Empty

from torchkeep.client.stubs import inference_pb2, inference_pb2_grpc
from torchkeep.schema import HTTP_STATUS, SCHEMA_VERSION, ItemStatus

TOKEN = "dG9rZW4="  # noqa: S105  (these servers guard nothing)
CLASSES = 10
SHAPE = (1, 2, 3)
WRONG = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"
NO_WORKER = 'Model "full" has no worker to serve inference request. Please use scale workers API'


@dataclass(frozen=True)
class Asked:
    """What reached a server, in words that do not depend on the protocol."""

    operation: str
    model: str
    version: str
    content_type: str
    data: bytes
    tags: dict[str, str]


@dataclass
class Model:
    """Answers questions and remembers them."""

    asked: list[Asked] = field(default_factory=list)
    health: str = "Healthy"
    retry_after: str | None = None
    """What a busy server says of when to come back."""
    status_details: bytes | None = None
    """The same over gRPC, as a `google.rpc.Status`."""
    stopping: threading.Event = field(default_factory=threading.Event)

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        """Return the HTTP status and the body of the answer."""
        self.asked.append(asked)
        if asked.model == "slow":
            self.stopping.wait(5)
        if asked.model == "garbage":
            return 200, b"<html>It works!</html>"
        if asked.model == "busy":
            body = {"code": 429, "type": "TooManyRequests", "message": "slow down"}
            return 429, json.dumps(body).encode()
        answer: dict[str, Any] = {
            "schema": SCHEMA_VERSION,
            "request_id": asked.tags["request_id"],
            "model": asked.model,
            "model_version": asked.version or "1.0",
            "predictions": [],
        }
        if asked.model == "refusing":
            answer["error"] = {"status": "too_large", "message": "10001 items, at most 10000"}
            return 413, json.dumps(answer).encode()
        rows = [_row(i, item, asked.operation) for i, item in enumerate(_items(asked))]
        answer["predictions"] = rows
        status = HTTP_STATUS[ItemStatus(rows[0]["status"])] if len(rows) == 1 else 200
        return status, json.dumps(answer, indent=2).encode()


def _items(asked: Asked) -> list[bytes]:
    if asked.content_type == "application/json":
        instances = json.loads(asked.data)["instances"]
        return [base64.b64decode(instance["b64"], validate=True) for instance in instances]
    if asked.content_type == "application/x-npy":
        array = np.lib.format.read_array(io.BytesIO(asked.data), allow_pickle=False)
        return [image.tobytes() for image in (array if array.ndim == 4 else array[None])]
    return [asked.data]


def _row(index: int, item: bytes, operation: str) -> dict[str, Any]:
    row: dict[str, Any] = {"item": index}
    if item.startswith(b"broken"):
        return row | {"status": "bad_input", "error": "not an image"}
    if item.startswith(b"screened"):
        screening = {"verdict": "suspicious", "score": 7.5, "p_value": 0.001, "threshold": 4.0}
        return row | {"status": "rejected", "screening": screening, "error": "screened out"}
    seen = np.random.default_rng(zlib.crc32(item))
    probabilities = seen.dirichlet(np.ones(CLASSES))
    best = int(probabilities.argmax())
    row |= {
        "status": "ok",
        "label": f"class {best}",
        "class_index": best,
        "probability": probabilities[best],
        "probabilities": probabilities.tolist(),
        "screening": {"verdict": "clean"},
    }
    if operation == "explain":
        values = seen.normal(size=SHAPE).astype("<f4")
        data = base64.b64encode(values.tobytes()).decode()
        row["attribution"] = {
            "method": "saliency",
            "shape": SHAPE,
            "dtype": "float32",
            "data": data,
        }
    return row


class _RestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    model: Model

    def do_GET(self) -> None:
        healthy = self.model.health == "Healthy"
        if self._authorized():
            body = json.dumps({"status": self.model.health}).encode()
            self._send(200 if healthy else 500, body)

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._authorized():
            return
        kind, model, *version = self.path.removeprefix("/prefix").strip("/").split("/")
        tags = ("request_id", "correlation_id", "session_id", "segments")
        headers = {tag: self.headers.get(f"X-{tag.replace('_', '-')}") for tag in tags}
        asked = Asked(
            operation={"predictions": "predict", "explanations": "explain"}[kind],
            model=model,
            version=version[0] if version else "",
            content_type=self.headers["Content-Type"],
            data=data,
            tags={tag: value for tag, value in headers.items() if value is not None},
        )
        if model == "absent":
            self._refuse(404, "ModelNotFoundException", "Model not found: absent")
        elif model == "full":
            self._refuse(503, "ServiceUnavailableException", NO_WORKER)
        elif model == "crashing":
            self._refuse(503, "InternalServerException", "Prediction failed")
        else:
            self._send(*self.model.answer(asked), drip=model == "drip")

    def _authorized(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._refuse(400, "InvalidKeyException", WRONG)
        return False

    def _refuse(self, status: int, kind: str, message: str) -> None:
        body = {"code": status, "type": kind, "message": message}
        self._send(status, json.dumps(body, indent=2).encode())

    def _send(self, status: int, body: bytes, *, drip: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status in (429, 503) and self.model.retry_after is not None:
            self.send_header("Retry-After", self.model.retry_after)
        if status >= 400:  # so does TorchServe
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        try:
            for part in (bytes([byte]) for byte in body) if drip else (body,):
                self.wfile.write(part)
                time.sleep(0.05 if drip else 0)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client gave up

    def log_message(self, *_: Any) -> None:
        """Keep the test's output quiet."""


class _Servicer(inference_pb2_grpc.InferenceAPIsServiceServicer):
    def __init__(self, model: Model) -> None:
        self._model = model

    def Ping(  # noqa: N802  (the protocol's name)
        self, request: Empty, context: grpc.ServicerContext
    ) -> inference_pb2.TorchServeHealthResponse:
        _authorize(context)
        health = json.dumps({"status": self._model.health})
        return inference_pb2.TorchServeHealthResponse(health=health)

    def Predictions(  # noqa: N802
        self, request: inference_pb2.PredictionsRequest, context: grpc.ServicerContext
    ) -> inference_pb2.PredictionResponse:
        _authorize(context)
        model = request.model_name
        if model == "absent":
            error = (
                "Model not found: absent\norg.pytorch.serve.archive.model.ModelNotFoundException"
            )
            context.abort(grpc.StatusCode.INTERNAL, error)
        if model == "full":
            context.abort(grpc.StatusCode.INTERNAL, f"{NO_WORKER}\nInternalServerException.()")
        if model == "crashing":
            error = "Prediction failed\norg.pytorch.serve.http.InternalServerException"
            context.abort(grpc.StatusCode.UNAVAILABLE, error)
        known = {"data", "content_type", "operation"}
        asked = Asked(
            operation=request.input.get("operation", b"predict").decode(),
            model=model,
            version=request.model_version,
            content_type=request.input["content_type"].decode(),
            data=request.input["data"],
            tags={key: request.input[key].decode() for key in request.input if key not in known},
        )
        status, body = self._model.answer(asked)
        if status == 429:
            context.set_trailing_metadata(self._when_to_come_back())
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
        return inference_pb2.PredictionResponse(prediction=body)

    def _when_to_come_back(self) -> tuple[tuple[str, str | bytes], ...]:
        told = {
            "retry-after": self._model.retry_after,
            "grpc-status-details-bin": self._model.status_details,
        }
        return tuple((key, value) for key, value in told.items() if value is not None)


def _authorize(context: grpc.ServicerContext) -> None:
    if ("authorization", f"Bearer {TOKEN}") not in context.invocation_metadata():
        context.abort(grpc.StatusCode.PERMISSION_DENIED, WRONG)


@dataclass(frozen=True)
class Servers:
    """Where the two servers listen, and the model behind them."""

    rest: str
    grpc: str
    model: Model


@dataclass(frozen=True)
class Certificate:
    """PEM files with which the servers encrypt."""

    chain: Path
    key: Path


@contextmanager
def serve(certificate: Certificate | None = None) -> Iterator[Servers]:
    """Run both servers on free ports of the loopback while the block lasts."""
    model = Model()
    with serve_rest(model, certificate) as rest, serve_grpc(model, 0, certificate) as grpc_port:
        s = "s" if certificate else ""
        try:
            yield Servers(f"http{s}://127.0.0.1:{rest}", f"grpc{s}://127.0.0.1:{grpc_port}", model)
        finally:
            model.stopping.set()


@contextmanager
def serve_rest(model: Model, certificate: Certificate | None = None) -> Iterator[int]:
    """Run the REST server alone; yield its port."""
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (_RestHandler,), {"model": model})
    )
    server.daemon_threads = True
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.chain, certificate.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serve_grpc(
    model: Model, port: int = 0, certificate: Certificate | None = None
) -> Iterator[int]:
    """Run the gRPC server alone; yield its port."""
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=8), options=(("grpc.so_reuseport", 0),)
    )
    servicer = _Servicer(model)  # type: ignore[abstract]  # the base answers StreamPredictions
    inference_pb2_grpc.add_InferenceAPIsServiceServicer_to_server(servicer, server)
    address = f"127.0.0.1:{port}"
    if certificate:
        pair = (certificate.key.read_bytes(), certificate.chain.read_bytes())
        bound = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    else:
        bound = server.add_insecure_port(address)
    server.start()
    try:
        yield bound
    finally:
        server.stop(grace=None).wait()
