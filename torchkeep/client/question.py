"""What a client asks, whatever the protocol: inputs as bytes, and the ids that go with them.

An input travels as an encoded image, as an `.npy` file, or as JSON with several of them in base64.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, TypedDict

import numpy as np
import orjson
from numpy.typing import NDArray

from torchkeep.errors import DataError, SettingsError
from torchkeep.ids import valid_id
from torchkeep.schema import Operation

Input: TypeAlias = (
    bytes
    | Path
    | NDArray[np.uint8]
    | NDArray[np.float32]
    | list[bytes]
    | list[Path]
    | tuple[bytes | Path, ...]
)
"""Encoded image or .npy; a file of one; C H W or N C H W pixels; several encoded images."""

MAGIC: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"\x93NUMPY"), "application/x-npy"),
)
IS_AN_INPUT: Final = "bytes, a pathlib.Path, a uint8 or float32 array, or a list of bytes or Paths"


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of a question; `items` is how many items they hold, None if only they know."""

    content: bytes
    content_type: str
    items: int | None


class Tags(TypedDict, total=False):
    """What may go with a question, and is logged with its answer.

    `request_id` finds the answer in the log (a fresh one is sent if none is given);
    `correlation_id` joins requests across services, `session_id` those of one session; `segments`
    are attributes such as {"region": "eu"}, logged as far as the server allows them.
    """

    request_id: str | None
    correlation_id: str | None
    session_id: str | None
    segments: Mapping[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request to a model; an empty `version` asks for the default one."""

    operation: Operation
    model: str
    version: str = ""
    body: Body
    request_id: str
    correlation_id: str | None = None
    session_id: str | None = None
    segments: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not self.model or not f"{self.model}{self.version}".isprintable():
            named = f"{self.model!r}, version {self.version!r}"
            raise SettingsError(f"the model is {named}", remedy="Give its name as it is served.")
        for name in ("request_id", "correlation_id", "session_id"):
            value = getattr(self, name)
            if value is not None and not valid_id(value):
                raise SettingsError(
                    f"{name} is {value!r}", remedy="Give 1 to 128 of A-Z a-z 0-9 . _ : -"
                )
        for pair in (self.segments or {}).items():
            if not all(isinstance(part, str) for part in pair):
                raise SettingsError(f"segments hold {pair!r}", remedy="Give texts.")

    def tags(self) -> dict[str, str]:
        """The ids that are given, and the segments as JSON in ASCII, by their names on the wire."""
        tags = {
            "request_id": self.request_id,
            "correlation_id": self.correlation_id,
            "session_id": self.session_id,
            "segments": json.dumps(dict(self.segments)) if self.segments else None,
        }
        return {name: value for name, value in tags.items() if value is not None}


def encode(value: Input) -> Body:
    """Turn an input into the bytes of a question, unchanged if they are bytes already.

    Raises `DataError` if a file cannot be read or the input is of no kind that is understood. What
    the bytes hold is for the server to judge.
    """
    if isinstance(value, np.ndarray):
        return _encode_array(value)
    if isinstance(value, (bytes, Path)):
        content = _read(value)
        return Body(content, content_type_of(content), None)
    if not isinstance(value, (list, tuple)):
        raise DataError("input", f"is {type(value).__name__}", IS_AN_INPUT)
    instances = [{"b64": base64.b64encode(_read(item)).decode("ascii")} for item in value]
    content = orjson.dumps({"instances": instances})
    return Body(content, "application/json", len(instances))


def content_type_of(content: bytes) -> str:
    """Return the media type that the first bytes tell, octet-stream (raw pixels) if none."""
    for magic, content_type in MAGIC:
        if magic.match(content):
            return content_type
    return "application/octet-stream"


def _encode_array(array: NDArray[Any]) -> Body:
    if array.dtype not in (np.uint8, np.float32) or array.ndim not in (2, 3, 4):
        raise DataError(
            "input",
            f"is an array of {array.dtype}, shape {array.shape}",
            "uint8 (0 to 255) or float32 (0 to 1), channels height width, or a batch of them",
        )
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    items = len(array) if array.ndim == 4 else None
    return Body(file.getvalue(), "application/x-npy", items)


def _read(value: bytes | Path) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, Path):
        raise DataError("input", f"holds {type(value).__name__}", IS_AN_INPUT)
    try:
        return value.read_bytes()
    except OSError as error:
        raise DataError(
            value, f"cannot be read: {error.strerror}", "an image or an .npy file"
        ) from error
