"""Why a request is not answered, as one list of codes for both protocols.

Sources: RFC 9110 and RFC 6585 (HTTP), gRPC's statuscodes.md.
"""

from __future__ import annotations

from enum import Enum
from typing import Self

import grpc

from torchkeep.errors import TorchkeepError
from torchkeep.schema import ItemStatus


class Code(Enum):
    """What became of a request; the value is (HTTP status, gRPC status)."""

    OK = (200, grpc.StatusCode.OK)
    INVALID = (400, grpc.StatusCode.INVALID_ARGUMENT)
    UNAUTHENTICATED = (401, grpc.StatusCode.UNAUTHENTICATED)
    FORBIDDEN = (403, grpc.StatusCode.PERMISSION_DENIED)
    NOT_FOUND = (404, grpc.StatusCode.NOT_FOUND)
    METHOD = (405, grpc.StatusCode.UNIMPLEMENTED)
    SLOW = (408, grpc.StatusCode.CANCELLED)  # the request did not arrive in time
    TOO_LARGE = (413, grpc.StatusCode.OUT_OF_RANGE)
    MEDIA_TYPE = (415, grpc.StatusCode.INVALID_ARGUMENT)
    REJECTED = (422, grpc.StatusCode.FAILED_PRECONDITION)
    BUSY = (429, grpc.StatusCode.RESOURCE_EXHAUSTED)
    CANCELLED = (499, grpc.StatusCode.CANCELLED)  # nginx's number: the caller went away
    INTERNAL = (500, grpc.StatusCode.INTERNAL)
    UNIMPLEMENTED = (501, grpc.StatusCode.UNIMPLEMENTED)
    UNAVAILABLE = (503, grpc.StatusCode.UNAVAILABLE)
    EXPIRED = (504, grpc.StatusCode.DEADLINE_EXCEEDED)

    @property
    def http(self) -> int:
        """The HTTP status."""
        return self.value[0]

    @property
    def grpc(self) -> grpc.StatusCode:
        """The gRPC status."""
        return self.value[1]


OF_ITEM = {
    ItemStatus.OK: Code.OK,
    ItemStatus.REJECTED: Code.REJECTED,
    ItemStatus.BAD_INPUT: Code.INVALID,
    ItemStatus.UNSUPPORTED: Code.MEDIA_TYPE,
    ItemStatus.TOO_LARGE: Code.TOO_LARGE,
    ItemStatus.EXPIRED: Code.EXPIRED,
    ItemStatus.ERROR: Code.INTERNAL,
}
"""The code of a request with a single item; with several it is OK (DESIGN: per item)."""


class Refusal(TorchkeepError):  # noqa: N818 - a refusal is an answer, not a fault
    """A request that gets no prediction: a code and one line for the caller, with the remedy."""

    def __init__(self, code: Code, message: str, *, retry_after_s: float | None = None) -> None:
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        super().__init__(message)

    def bare(self) -> Self:
        """Return this refusal without the frames through which it came.

        They hold the body of the request, and one that holds the refusal too closes a ring that
        lives until the next full garbage collection: memory that no limit counts.
        """
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self
