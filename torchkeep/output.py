"""What a verb prints: JSON for programs, or text for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]


def print_json(value: Mapping[str, Any]) -> None:
    """Write one JSON object and a newline to stdout, uncoloured and unwrapped."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    sys.stdout.write(orjson.dumps(value, default=str, option=option).decode())
    sys.stdout.flush()
