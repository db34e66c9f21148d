"""How long a gRPC server asks to be left alone: `google.rpc.RetryInfo`, or a key of metadata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from torchkeep.client.retry_after import HEADER, of_header

STATUS: Final = "grpc-status-details-bin"
"""A serialized `google.rpc.Status`."""
RETRY_INFO: Final = "google.rpc.RetryInfo"
_DETAILS, _RETRY_DELAY, _MESSAGE = 3, 1, 2  # numbers of two fields; the wire type of a message


def of_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> float | None:
    """Read the trailing metadata of a call: its `RetryInfo`, else a key like the REST header.

    What cannot be read counts as nothing said.
    """
    told = dict(metadata)
    status, header = told.get(STATUS), told.get(HEADER)
    seconds = _retry_info(status) if isinstance(status, bytes) else None
    if seconds is None and isinstance(header, str):
        seconds = of_header(header)
    return seconds


def _retry_info(status: bytes) -> float | None:
    """Return the delay of the first `RetryInfo` among a status's details, at least 0."""
    try:
        for detail in _messages(status, _DETAILS):
            packed = Any.FromString(detail)
            if packed.type_url.rpartition("/")[2] == RETRY_INFO:
                for delay in _messages(packed.value, _RETRY_DELAY):
                    told = Duration.FromString(delay)
                    return max(0.0, told.seconds + told.nanos / 1e9)
    except DecodeError:
        return None
    return None


def _messages(encoded: bytes, number: int) -> Iterator[bytes]:
    """Yield the fields of that number, still encoded.

    An empty message knows no field, so it keeps all of them: no stubs of `google.rpc` are needed.
    """
    fields = UnknownFieldSet(Empty.FromString(encoded))
    for field in (fields[at] for at in range(len(fields))):
        if field.field_number == number and field.wire_type == _MESSAGE:
            yield field.data
