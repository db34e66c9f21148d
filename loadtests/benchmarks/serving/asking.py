"""One request through a door, by a client that sees the whole answer, and checks it."""

from __future__ import annotations

import grpc
import httpx
import numpy as np

from loadtests.benchmarks.serving.doors import Door, Probabilities
from torchkeep.errors import ServerError

TIMEOUT_S = 30.0
FIRST_TIMEOUT_S = 3.0
"""While a server starts it may lose a request, and soon answers the next one."""
TOLERANCE = 1e-3
"""Between probabilities of the same network: answers in JSON are rounded."""


def ask(door: Door, timeout_s: float = TIMEOUT_S) -> tuple[Probabilities, int]:
    """Return the probabilities, and the bytes that a gRPC answer has on the wire (0 over REST).

    Raises `ServerError` if there is no good answer.
    """
    try:
        if door.protocol == "REST":
            return _ask_rest(door, timeout_s), 0
        message = _ask_grpc(door, timeout_s)
        return door.read(message, {}), 5 + len(message)
    except (httpx.HTTPError, grpc.RpcError, ValueError, KeyError) as error:
        raise ServerError(f"{door.url}: {_reason(error)}") from error


def answers(door: Door) -> bool:
    """Return whether there is an answer now."""
    try:
        ask(door, FIRST_TIMEOUT_S)
    except ServerError:
        return False
    return True


def check(door: Door, expected: Probabilities) -> int:
    """Return the bytes of a gRPC answer that is right. Raises `ServerError` if it is wrong."""
    found, size = ask(door)
    if found.shape != expected.shape or not np.allclose(found, expected, atol=TOLERANCE):
        raise ServerError(
            f"{door.url} answers {np.round(found, 4).tolist()}; the network itself gives "
            f"{np.round(expected, 4).tolist()}"
        )
    return size


def _ask_rest(door: Door, timeout_s: float) -> Probabilities:
    with httpx.Client(trust_env=False, timeout=timeout_s) as client:
        reply = client.post(door.url, content=door.message, headers=door.sent_headers)
    reply.raise_for_status()
    return door.read(reply.content, reply.headers)


def _ask_grpc(door: Door, timeout_s: float) -> bytes:
    address, _, method = door.url.removeprefix("http://").partition("/")
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(
            f"/{method}", request_serializer=_as_it_is, response_deserializer=_as_it_is
        )
        metadata = tuple(door.headers.items())
        answer: bytes = call(door.message, metadata=metadata, timeout=timeout_s)
    return answer


def _as_it_is(message: bytes) -> bytes:
    return message


def _reason(error: Exception) -> str:
    if isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__
