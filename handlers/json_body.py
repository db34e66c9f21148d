"""JSON bodies: `{"instances": [...]}`, an instance being `{"b64": …}` or a nested list."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
import orjson

from handlers.formats import Buffer
from handlers.pixels import Expected, Image, check_floats, sides, to_float32
from torchkeep.errors import ItemError
from torchkeep.schema import ItemStatus

KEYS = ("instances", "dtype", "request_id", "correlation_id", "session_id", "segments")
DType = Literal["uint8", "float32"]


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """A parsed body; `about` holds what it says of itself beside its instances."""

    instances: Sequence[Any]
    dtype: DType | None
    about: dict[str, Any]


def parse_json(data: Buffer, expected: Expected) -> JsonDocument:
    """Parse and check the outside of a JSON body, not its instances. Raises `ItemError`."""
    limit = expected.limits.max_json_bytes
    if len(data) > limit:
        raise ItemError(
            ItemStatus.TOO_LARGE,
            f"the JSON has {len(data)} bytes; at most {limit} are taken (send npy or raw bytes)",
        )
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _bad(f"the JSON cannot be parsed: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("instances"), list):
        raise _bad('the JSON is no object with a list "instances"')
    unknown = sorted(document.keys() - set(KEYS))
    if unknown:
        raise _bad(f"the JSON has an unknown key {unknown[0][:40]!r}; known: {', '.join(KEYS)}")
    dtype = document.get("dtype")
    if dtype not in (None, "uint8", "float32"):
        raise _bad('the JSON has an unknown "dtype"; expected "uint8" or "float32"')
    expected.check_items(len(document["instances"]))
    about = {key: document[key] for key in KEYS[2:] if key in document}
    return JsonDocument(document["instances"], dtype, about)


def decode_base64(instance: dict[str, Any]) -> bytes:
    """Return the bytes of `{"b64": …}`. Raises `ItemError`."""
    text = instance.get("b64")
    if len(instance) != 1 or not isinstance(text, str):
        raise _bad('an instance that is an object must be {"b64": "…"}')
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise _bad("the instance is not valid base64") from error


def decode_list(instance: Any, dtype: DType | None, expected: Expected) -> Image:
    """Return the image in a nested list C H W, or H W for one channel.

    Without a dtype, whole numbers alone are uint8 in 0..255, else float32 in 0..1.
    Raises `ItemError` that says what the list holds and what was expected.
    """
    if not isinstance(instance, list):
        raise _bad('an instance must be a nested list or {"b64": "…"}')
    numbers = _flatten(instance, expected.shape)
    kinds = set(map(type, numbers))
    if not kinds <= {int, float}:
        raise _bad("an instance holds something that is no number")
    if float in kinds and dtype == "uint8":
        raise _bad("an instance holds a fraction; expected whole numbers for uint8")
    if kinds == {int} and dtype != "float32":
        low, high = min(numbers), max(numbers)
        if low < 0 or high > 255:
            raise _bad(f"pixels lie in {low} to {high}; expected 0 to 255 for whole numbers")
        return np.array(numbers, dtype=np.uint8).reshape(expected.shape)
    image = to_float32(np.array(numbers, dtype=np.float64)).reshape(expected.shape)
    fault = check_floats(image[np.newaxis])[0]
    if fault:
        raise fault
    return image


def _flatten(instance: list[Any], shape: tuple[int, int, int]) -> list[Any]:
    """Return C·H·W leaves of a nested list, in C order."""
    channels, height, width = shape
    found = _leading_shape(instance)
    planes = [instance] if channels == 1 and len(found) == 2 else instance
    rows = list(chain.from_iterable(p for p in planes if _is_list(p, height)))
    leaves = list(chain.from_iterable(r for r in rows if _is_list(r, width)))
    if len(planes) == channels and len(leaves) == channels * height * width:
        return leaves
    if found == shape or (channels == 1 and found == shape[1:]):
        raise _bad(f"an instance is ragged; expected {sides(shape)} throughout")
    raise _bad(f"an instance has shape {sides(found)}; expected {sides(shape)}")


def _is_list(value: Any, length: int) -> bool:
    return isinstance(value, list) and len(value) == length


def _leading_shape(value: Any) -> tuple[int, ...]:
    """Return the lengths along the first elements, four levels deep at most."""
    lengths: list[int] = []
    while isinstance(value, list) and len(lengths) < 4:
        lengths.append(len(value))
        value = value[0] if value else None
    return tuple(lengths)


def _bad(message: str) -> ItemError:
    return ItemError(ItemStatus.BAD_INPUT, message)
