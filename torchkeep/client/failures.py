"""Every way in which a request can fail as a whole, made into one exception for both protocols.

`ServerError` says that there was nobody to answer, so the same request may be sent again later;
`RequestError` says that the server refused this request. Its `code` is the name of a gRPC status
code over REST too, or `MALFORMED_ANSWER`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import orjson

from torchkeep.errors import RequestError, ServerError, UserError
from torchkeep.schema import HTTP_STATUS, ItemStatus

MALFORMED: Final = "MALFORMED_ANSWER"
DEADLINE: Final = "DEADLINE_EXCEEDED"

HTTP_CODES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: DEADLINE,
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    415: "INVALID_ARGUMENT",
    422: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: DEADLINE,
    507: "RESOURCE_EXHAUSTED",  # TorchServe's word for an answer over max_response_size
}
TORCHSERVE_CODES: Final = {
    "InvalidKeyException": "PERMISSION_DENIED",  # 400 over REST
    "ModelNotFoundException": "NOT_FOUND",  # INTERNAL over gRPC, like the next two
    "ModelVersionNotFoundException": "NOT_FOUND",
    "BadRequestException": "INVALID_ARGUMENT",
}
"""TorchServe's exceptions whose status differs between its two protocols."""
CRASHED: Final = "InternalServerException"
"""What a handler that raised ends in; TorchServe calls that unavailable."""
NO_WORKER: Final = "has no worker to serve inference request"
"""What TorchServe says when its queue is full or no worker is up: 503, but INTERNAL over gRPC."""

UNAVAILABLE: Final = "the server is unavailable"
IS_IT_RUNNING: Final = "Is it running? `torchkeep up` starts one, `torchkeep status` shows it."


def unreachable(address: object, reason: object) -> ServerError:
    """Nobody answers at the address."""
    text = str(reason).rstrip(".")
    return ServerError(f"no answer from {address}: {text}", remedy=IS_IT_RUNNING)


def late(timeout: float, request_id: str | None) -> RequestError:
    """The deadline passed before the answer was there; it may still be served and logged."""
    return RequestError(f"no answer within {timeout:g} s", code=DEADLINE, request_id=request_id)


def malformed(fault: object, request_id: str | None) -> RequestError:
    """What came back is not an answer that the schema knows."""
    return RequestError(
        f"the server's answer cannot be read: {fault}", code=MALFORMED, request_id=request_id
    )


def oversized(limit: int, request_id: str | None) -> RequestError:
    """What comes back is longer than any answer may be."""
    return RequestError(
        f"the answer exceeds {limit} bytes", code="RESOURCE_EXHAUSTED", request_id=request_id
    )


def refused(status: ItemStatus, message: str, request_id: str | None) -> RequestError:
    """The model refused the whole request, in an answer of our schema."""
    return RequestError(message, code=_code_of_http(HTTP_STATUS[status]), request_id=request_id)


def of_http(
    status: int, body: bytes, request_id: str | None, retry_after_s: float | None = None
) -> UserError:
    """The failure of a REST request whose body is not an answer, but TorchServe's or a proxy's."""
    kind, message = _torchserve_error(body)
    message = message or f"HTTP status {_named(status)}"
    return _failure(_code_of_http(status), kind, message, request_id, retry_after_s)


def of_rpc(
    code: str,
    details: str,
    address: object,
    request_id: str | None,
    retry_after_s: float | None = None,
) -> UserError:
    """The failure of a gRPC call; code and details may be the server's or those of the connection.

    TorchServe ends its details with a line that names its exception. Only a server says when to
    come back.
    """
    message, *rest = details.strip().splitlines() or [code]
    kind = rest[-1].removesuffix(".()").rsplit(".", 1)[-1] if rest else ""
    if code == "UNAVAILABLE" and not kind and retry_after_s is None:
        return unreachable(address, message)
    if code == "CANCELLED":  # not by us: we never cancel
        code = "RESOURCE_EXHAUSTED"
        message = f"the server broke off the request, which may be too large for it ({message})"
    return _failure(code, kind, message, request_id, retry_after_s)


def is_throttle(error: UserError) -> bool:
    """Whether the server answered that it is too busy, so that the same request may pass later."""
    if isinstance(error, RequestError):
        return error.code == "RESOURCE_EXHAUSTED"
    return isinstance(error, ServerError) and error.message.startswith(UNAVAILABLE)


def _failure(
    code: str, kind: str, message: str, request_id: str | None, retry_after_s: float | None
) -> UserError:
    """Make the failure that a status and the name of TorchServe's exception amount to."""
    code = TORCHSERVE_CODES.get(kind, code)
    if code == "UNAVAILABLE" and kind == CRASHED:
        code = "INTERNAL"
    if code == "UNAVAILABLE" or NO_WORKER in message:
        return ServerError(
            f"{UNAVAILABLE}: {message}", remedy=IS_IT_RUNNING, retry_after_s=retry_after_s
        )
    if code in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
        message = f"the server refused the token, pass a current one ({message})"
    return RequestError(message, code=code, request_id=request_id, retry_after_s=retry_after_s)


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _code_of_http(status: int) -> str:
    return HTTP_CODES.get(status, "INTERNAL" if 500 <= status < 600 else "UNKNOWN")


def _torchserve_error(body: bytes) -> tuple[str, str]:
    """Return type and message of TorchServe's `{"code", "type", "message"}`, empty if it is not."""
    try:
        error = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", ""
    if not isinstance(error, dict):
        return "", ""
    kind, message = error.get("type"), error.get("message")
    return kind if isinstance(kind, str) else "", message if isinstance(message, str) else ""
