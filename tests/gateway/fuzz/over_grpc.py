"""Bad inputs for the gRPC port, each from a seed of its own: sound ones, changed at random."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

import numpy as np

from tests.gateway.fuzz.material import IDS, SIDES, TEXTS, mutated, pictures, pixels
from tests.gateway.grpc_front.requests import files, raw, typed

_METHODS = (
    *(
        f"inference.GRPCInferenceService/{name}"
        for name in (
            *("ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"),
            *("RepositoryIndex", "RepositoryModelLoad", "ModelInfer", "TraceSetting", "Nothing"),
            *("SystemSharedMemoryRegister", "LogSettings", "modelinfer", ""),
        )
    ),
    "org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions",
    "org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels",
    "grpc.reflection.v1alpha.ServerReflection/Nothing",
)


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent over gRPC."""

    method: str
    body: bytes
    metadata: dict[str, str]


def over_grpc(seed: int) -> Message:
    """Return an input for the gRPC port."""
    rng = random.Random(-seed - 1)
    method = "inference.GRPCInferenceService/ModelInfer"
    metadata: dict[str, str] = {}
    if rng.random() < 0.1:
        metadata = {rng.choice(IDS): rng.choice(TEXTS)}
    body = _message(rng) if rng.random() < 0.5 else mutated(rng, rng.choice(_messages()))
    if rng.random() < 0.2:
        method = rng.choice(_METHODS)
    return Message(method, body, metadata)


@cache
def _messages() -> tuple[bytes, ...]:
    """Sound messages."""
    images = np.arange(128, dtype="|u1").reshape(2, 1, 8, 8)
    sound = [
        raw(images),
        typed(images),
        raw((images / 255).astype("<f4")),
        files([blob for blob in pictures() if len(blob) < 1000], as_raw=True),
        files(pictures()[:1], as_raw=False),
    ]
    return tuple(message.SerializeToString() for message in sound)


def _message(rng: random.Random) -> bytes:
    """Return a message whose fields do not go together."""
    how = rng.randrange(4)
    if how == 0:
        blobs = [mutated(rng, rng.choice(pictures())) for _ in range(rng.choice((0, 1, 2)))]
        message = files(blobs, as_raw=rng.random() < 0.5)
    else:
        datatype, content = pixels(rng)
        message = raw(np.zeros((1, 1, 8, 8), dtype="|u1"))
        message.inputs[0].datatype = datatype
        message.raw_input_contents[0] = content if rng.random() < 0.7 else mutated(rng, content)
    tensor = message.inputs[0]
    if how == 1:
        del tensor.shape[:]
        whole = [side for side in SIDES if isinstance(side, int) and -(2**63) <= side < 2**63]
        tensor.shape.extend(rng.choice(whole) for _ in range(rng.randrange(6)))
    elif how == 2:
        tensor.contents.uint_contents.extend([0] * rng.choice((1, 64)))
    if rng.random() < 0.2:
        message.model_name = rng.choice(("", "nothing", "digits\x00", "d" * 9999))
    if rng.random() < 0.2:
        message.id = rng.choice(TEXTS)
    if rng.random() < 0.2:
        message.outputs.add(name=rng.choice(("label", "nothing", "attribution")))
    if rng.random() < 0.2:
        message.parameters["operation"].string_param = rng.choice(("explain", "train", "predict"))
    return message.SerializeToString()


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4


def frames(seed: int, key: str) -> bytes:
    """Return what begins like HTTP/2 and carries an RPC, with bytes of it changed."""
    rng = random.Random(seed)
    body = rng.choice(_messages())
    begun = opening(f"/{rng.choice(_METHODS)}".encode(), key)
    noise = frame(rng.randrange(12), rng.randrange(256), rng.randrange(4), rng.randbytes(8))
    message = bytes([rng.choice((0, 0, 1))]) + len(body).to_bytes(4, "big") + body
    sent = noise * rng.choice((0, 0, 1, 2, 500)) + frame(_DATA, _END_STREAM, 1, message)
    return _PREFACE + mutated(rng, begun.removeprefix(_PREFACE) + sent)


def opening(path: bytes, key: str) -> bytes:
    """Return HTTP/2's greeting and the headers of an RPC on stream 1."""
    headers = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path,
        b":authority": b"x",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
        b"authorization": f"Bearer {key}".encode(),
    }
    block = b"".join(map(_literal, headers.items()))
    return _PREFACE + frame(_SETTINGS, 0, 0, b"") + frame(_HEADERS, _END_HEADERS, 1, block)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame of HTTP/2 (RFC 9113, section 4.1)."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def _literal(header: tuple[bytes, bytes]) -> bytes:
    """Return a header that enters no table (RFC 7541, section 6.2.2)."""
    return b"\0" + b"".join(bytes([len(text)]) + text for text in header)
