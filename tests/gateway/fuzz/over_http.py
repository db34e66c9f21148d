"""Bad inputs for the REST port, each from a seed of its own: sound ones, changed at random."""

from __future__ import annotations

import gzip
import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.gateway.fuzz.material import (
    IDS,
    LENGTHS,
    SIDES,
    TEXTS,
    bombs,
    mutated,
    pictures,
    pixels,
)
from tests.gateway.fuzz.wire import JSON_LENGTH, request

MODEL = "/v2/models/digits"
INFER = f"{MODEL}/infer"

Change = Callable[[random.Random], bytes]


@dataclass(frozen=True, slots=True)
class Bytes:
    """What is sent over HTTP; `alone`: on a connection of its own, whatever comes back."""

    data: bytes
    alone: bool = False
    only_head: bool = False


def over_http(seed: int, key: str) -> Bytes:
    """Return an input for the REST port."""
    rng = random.Random(seed)
    kind = rng.choice(
        (_json, _json, _json, _binary, _binary, _files, _packed, _heads, _foreign, _raw)
    )
    return kind(rng, {"authorization": f"Bearer {key}"})


def _tensor(rng: random.Random) -> dict[str, Any]:
    tensor: dict[str, Any] = {
        "name": "image",
        "datatype": "UINT8",
        "shape": [1, 1, 8, 8],
        "data": [0] * 64,
    }
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice((*tensor, "parameters"))
        tensor[name] = rng.choice(_STRANGE[name])(rng)
    return tensor


def _value(rng: random.Random) -> Any:
    return rng.choice(
        (None, True, -1, 2**63, 2**70, 1e308, "", "x", "\ud800", [], {}, [[]], [None], {"a": [1]})
    )


def _shape(rng: random.Random) -> Any:
    return [rng.choice(SIDES) for _ in range(rng.choice((0, 1, 2, 3, 4, 4, 4, 4, 5, 70)))]


def _nested(rng: random.Random) -> Any:
    depth, leaf = rng.choice((2, 4, 5, 60, 900)), rng.choice((0, "x", None, 0.5))
    value: Any = [leaf] * 8
    for _ in range(depth):
        value = [value]
    return value


def _numbers(rng: random.Random) -> Any:
    strange = rng.choice((-1, 256, 0.5, float("nan"), float("inf"), -float("inf"), 1e400, 10**400))
    return [strange if rng.random() < 0.1 else 0 for _ in range(rng.choice((0, 1, 63, 64, 65)))]


_STRANGE: dict[str, tuple[Callable[[random.Random], Any], ...]] = {
    "name": (_value, lambda rng: rng.choice(("image ", "IMAGE", "i" * 10_000))),
    "datatype": (
        _value,
        lambda rng: rng.choice(
            ("FP32", "FP16", "BF16", "BYTES", "INT64", "FP64", "BOOL", "x" * 999)
        ),
    ),
    "shape": (_value, _shape, _shape, _shape),
    "data": (_value, _numbers, _numbers, _nested, lambda _: ["AAAA"], lambda _: ["\x00"] * 64),
    "parameters": (
        _value,
        lambda rng: {"binary_data_size": rng.choice(LENGTHS)},
        lambda rng: {"content_type": rng.choice(("base64", "str", 1))},
        lambda rng: {"shared_memory_region": rng.choice(("x", 1))},
    ),
}


def _document(rng: random.Random) -> dict[str, Any]:
    document: dict[str, Any] = {"inputs": [_tensor(rng)]}
    how = rng.randrange(12)
    if how == 0:
        document["inputs"] = _value(rng)
    elif how == 1:
        document["inputs"] *= rng.choice((0, 2, 17))
    elif how == 2:
        document["parameters"] = rng.choice((_value(rng), {"binary_data_output": _value(rng)}))
    elif how == 3:
        document["id"] = _value(rng)
    elif how == 4:
        names = ("label", "probabilities", "attribution", "nothing", 1, None)
        document["outputs"] = [{"name": rng.choice(names)} for _ in range(rng.choice((1, 2, 17)))]
    elif how == 5:
        document["outputs"] = _value(rng)
    return document


def _json(rng: random.Random, headers: dict[str, str]) -> Bytes:
    body = json.dumps(_document(rng)).encode("utf-8", "surrogatepass")
    if rng.random() < 0.3:
        body = mutated(rng, body)
    path = rng.choice((INFER, INFER, f"{MODEL}/explain", f"{MODEL}/versions/1.0/infer"))
    return Bytes(request("POST", path, headers, body))


def _binary(rng: random.Random, headers: dict[str, str]) -> Bytes:
    datatype, content = pixels(rng)
    return _behind_json(rng, headers, datatype, [1, 1, 8, 8], content)


def _files(rng: random.Random, headers: dict[str, str]) -> Bytes:
    blobs = [mutated(rng, rng.choice(pictures())) for _ in range(rng.choice((1, 1, 1, 3)))]
    content = b"".join(struct.pack("<I", len(blob)) + blob for blob in blobs)
    return _behind_json(rng, headers, "BYTES", [len(blobs)], content)


def _behind_json(
    rng: random.Random, headers: dict[str, str], datatype: str, shape: Any, content: bytes
) -> Bytes:
    size: Any = len(content)
    lie = rng.randrange(8)
    if lie == 0:
        size = rng.choice((*LENGTHS, size - 1, size + 1))
    elif lie == 1:
        shape = _shape(rng)
    elif lie == 2:
        content = mutated(rng, content)
    tensor = {
        "name": "image",
        "datatype": datatype,
        "shape": shape,
        "parameters": {"binary_data_size": size},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    length: Any = len(head)
    if lie == 3:
        length = rng.choice((*LENGTHS, length - 1, length + 1, length + len(content) + 1))
    return Bytes(request("POST", INFER, headers | {JSON_LENGTH: str(length)}, head + content))


def _packed(rng: random.Random, headers: dict[str, str]) -> Bytes:
    """Return a body in some coding, sound or not."""
    plain = json.dumps(_document(rng)).encode("utf-8", "surrogatepass")
    how = rng.randrange(8)
    if how == 0 and rng.random() < 0.2:
        coding, body = rng.choice(bombs())
    elif how < 3:
        coding, body = "gzip", gzip.compress(plain)
    elif how < 5:
        coding, body = "deflate", zlib.compress(plain)
    else:
        coding = rng.choice(("gzip", "deflate", "x-gzip", "br", "gzip, gzip", "identity", ""))
        body = plain
    if how % 2:
        body = mutated(rng, body)
    return Bytes(request("POST", INFER, headers | {"content-encoding": coding}, body))


def _heads(rng: random.Random, headers: dict[str, str]) -> Bytes:
    """Return a request with some path, method and headers."""
    parts = (
        "v2",
        "models",
        "digits",
        "infer",
        "versions",
        "1.0",
        "stats",
        "predictions",
        "..",
        "%2e",
    )
    path = "/" + "/".join(rng.choice(parts) for _ in range(rng.randrange(7)))
    path += rng.choice(("", "", "?a=b", "%", "%00", "//", "\xff", "/" * 200))
    method = rng.choice(("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"))
    names = (*IDS, "content-type", "x-request-timeout-ms", "accept-encoding", "accept", "expect")
    for _ in range(rng.randrange(4)):
        headers[rng.choice(names)] = rng.choice((*TEXTS, "1", "-1", "1e9", "nan", "100-continue"))
    if rng.random() < 0.1:
        headers["authorization"] = rng.choice(("", "Bearer", "Bearer tk_x_y", "Basic eDp5", "\xff"))
    return Bytes(request(method, path, headers), only_head=method == "HEAD")


def _foreign(rng: random.Random, headers: dict[str, str]) -> Bytes:
    """Return a body for TorchServe's own interface."""
    kinds = ("image/png", "application/json", "application/octet-stream", "text/plain", "x/y", "")
    bodies: tuple[Change, ...] = (
        lambda rng: mutated(rng, rng.choice(pictures())),
        lambda rng: rng.randbytes(rng.choice((0, 1, 63, 64, 128, 640))),
        lambda rng: mutated(rng, json.dumps({"instances": [[[0] * 8] * 8]}).encode()),
        lambda rng: json.dumps({"instances": _value(rng)}).encode("utf-8", "surrogatepass"),
        lambda rng: json.dumps(_nested(rng)).encode(),
    )
    path = rng.choice(("/predictions/digits", "/predictions/digits/1.0", "/explanations/digits"))
    body = rng.choice(bodies)(rng)
    return Bytes(request("POST", path, headers | {"content-type": rng.choice(kinds)}, body))


def _raw(rng: random.Random, headers: dict[str, str]) -> Bytes:
    """Return what may be no HTTP at all, or lies about its length, or comes in bad chunks."""
    body = json.dumps(_document(rng)).encode("utf-8", "surrogatepass")
    how = rng.randrange(4)
    if how == 0:
        length = rng.choice((*LENGTHS, len(body) - 1, len(body) + 1))
        return Bytes(request("POST", INFER, headers | {"content-length": str(length)}, body), True)
    if how == 1:
        size = rng.choice((f"{len(body):x}", "0", "-1", "g", "f" * 20, f"{len(body) + 1:x}"))
        chunks = f"{size}\r\n".encode() + body + rng.choice((b"\r\n0\r\n\r\n", b"\r\n", b""))
        told = headers | {"transfer-encoding": rng.choice(("chunked", "gzip, chunked", "x"))}
        head = request("POST", INFER, told).replace(b"content-length: 0\r\n", b"")
        return Bytes(head + chunks, alone=True)
    if how == 2:
        return Bytes(rng.randbytes(rng.randrange(300)), alone=True)
    return Bytes(mutated(rng, request("POST", INFER, headers, body)), alone=True)
