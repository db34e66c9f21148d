"""TorchServe without its Java: the bytes its front end sends, read and answered by its own Python.

The layout is that of `ModelRequestEncoder` and `ModelWorkerResponse` in TorchServe 0.12.0; the
worker's side is the installed `ts` package itself.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from handlers import torchserve

END = struct.pack("!i", -1)


@dataclass
class FrontEndRequest:
    headers: dict[str, str] = field(default_factory=dict)
    parameters: list[tuple[str, str, bytes]] = field(default_factory=list)  # name, type, value


@dataclass
class Reply:
    status: int
    phrase: str
    content_type: str
    headers: dict[str, str]
    body: bytes


def rest(
    body: bytes,
    content_type: str = "",
    *,
    headers: dict[str, str] | None = None,
    explain: bool = False,
) -> FrontEndRequest:
    """POST /predictions/{model} or /explanations/{model}."""
    sent = {"Host": "localhost", "url_path": "", "explain": "True" if explain else "False"}
    if content_type:
        sent["Content-Type"] = content_type
    mime = content_type.partition(";")[0]
    return FrontEndRequest({**(headers or {}), **sent}, [("body", mime, body)])


def form(**parts: bytes) -> FrontEndRequest:
    """POST of a form, as `curl -F` sends it."""
    headers = {"Content-Type": "multipart/form-data; boundary=x", "explain": "False"}
    return FrontEndRequest(
        headers, [(name, "application/octet-stream", value) for name, value in parts.items()]
    )


def grpc(**inputs: bytes) -> FrontEndRequest:
    """A Predictions call: its input map and not one header."""
    return FrontEndRequest({}, [(name, "", value) for name, value in inputs.items()])


class FrontEnd:
    """A worker that has loaded the archive in `model_dir`, and the connection to it."""

    def __init__(self, model_dir: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # ts leaves its own files open
            import ts
            from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
            from ts.service import Service

            metrics = MetricsCacheYamlImpl(
                config_file_path=str(Path(ts.__file__).parent / "configs" / "metrics.yaml")
            )
            metrics.initialize_cache()
        self.service = Service(
            "digits", str(model_dir), None, torchserve.handle, None, 8, metrics_cache=metrics
        )
        self.service.set_cl_socket(None)
        torchserve.handle(None, self.service.context)

    def send(self, *requests: FrontEndRequest) -> list[Reply]:
        """Send one batch; return one reply a request."""
        from ts.protocol.otf_message_handler import retrieve_msg

        command, batch = retrieve_msg(_Connection(_encode(requests)))
        assert command == b"I"
        return _decode(bytes(self.service.predict(batch)))


class _Connection:
    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def recv(self, size: int) -> bytes:
        return self._stream.read(size)


def _encode(requests: tuple[FrontEndRequest, ...]) -> bytes:
    return b"I" + b"".join(map(_encode_request, range(len(requests)), requests)) + END


def _encode_request(number: int, request: FrontEndRequest) -> bytes:
    parts = [_field(f"request-{number}".encode())]
    for name, value in request.headers.items():
        parts += [_field(name.encode()), _field(value.encode())]
    parts.append(END)
    for name, content_type, value in request.parameters:
        parts += [_field(name.encode()), _field(content_type.encode()), _field(value)]
    return b"".join([*parts, END])


def _field(value: bytes) -> bytes:
    return struct.pack("!i", len(value)) + value


def _decode(message: bytes) -> list[Reply]:
    stream = io.BytesIO(message)
    assert _read_int(stream) == 200
    assert _read_field(stream) == b"Prediction success"
    replies = []
    while (size := _read_int(stream)) != -1:
        stream.read(size)  # the request's id
        content_type = _read_field(stream).decode()
        status, phrase = _read_int(stream), _read_field(stream).decode()
        headers = {
            _read_field(stream).decode(): _read_field(stream).decode()
            for _ in range(_read_int(stream))
        }
        replies.append(Reply(status, phrase, content_type, headers, _read_field(stream)))
    assert stream.read() == b""
    return replies


def _read_int(stream: io.BytesIO) -> int:
    return int(struct.unpack("!i", stream.read(4))[0])


def _read_field(stream: io.BytesIO) -> bytes:
    return stream.read(_read_int(stream))
