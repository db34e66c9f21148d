"""The caller's attributes of a request, such as a region, as a JSON object of short texts.

Which of them are logged is a setting of the request log; here only their form is checked.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from gateway.refusal import Code, Refusal
from torchkeep.envelope.origin import MAX_SEGMENTS

MAX_BYTES: Final = 16_384

_SHORT = re.compile(r"[^\x00-\x1f\x7f]{0,256}")


def parse_segments(text: str | bytes | None) -> dict[str, str]:
    """Return the attributes, none if nothing was sent. Raises `Refusal`."""
    if not text:
        return {}
    try:
        told = orjson.loads(text) if len(text) <= MAX_BYTES else None
    except orjson.JSONDecodeError:
        told = None
    if not isinstance(told, dict) or not all(map(_is_short, told.items())):
        raise Refusal(
            Code.INVALID, 'x-segments is no JSON object of short texts, such as {"plan": "pro"}'
        )
    if len(told) > MAX_SEGMENTS:
        raise Refusal(
            Code.INVALID, f"x-segments has {len(told)} entries; at most {MAX_SEGMENTS} are taken"
        )
    return told


def _is_short(pair: tuple[Any, Any]) -> bool:
    return all(isinstance(text, str) and _SHORT.fullmatch(text) for text in pair)
