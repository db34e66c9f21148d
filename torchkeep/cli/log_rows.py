"""Records of the request log as lines of a table: items, or requests, or items and requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from monitoring.log_reader import Kind
from torchkeep.printable import printable

if TYPE_CHECKING:
    from monitoring.log_reader import Record

_NANOSECONDS = 1_000_000_000
_STYLES = {"suspicious": "yellow", "failed": "yellow"}
_ITEMS = "{:<24} {:<32} {:>5} {:<10} {:<12} {:>6} {:<10} {:>8} {:>9}  {}"
_ITEM_HEADINGS = (
    "time (UTC)",
    "request id",
    "item",
    "status",
    "prediction",
    "prob",
    "screening",
    "p-value",
    "ms",
    "model",
)
_REQUESTS = "{:<24} {:<32} {:>5} {:<19} {:>4} {:<10} {:>9} {:>9} {:>9}  {:<36} {}"
_REQUEST_HEADINGS = (
    "time (UTC)",
    "request id",
    "items",
    "code",
    "http",
    "screening",
    "queue ms",
    "call ms",
    "ms",
    "route",
    "model",
)


def print_headings(kind: Kind) -> None:
    """Print what stands above the rows of records of that kind."""
    requests = kind is Kind.ACCESS
    line = _REQUESTS.format(*_REQUEST_HEADINGS) if requests else _ITEMS.format(*_ITEM_HEADINGS)
    Console().print(Text(line, style="bold"), soft_wrap=True)


def print_rows(records: Iterable[Record], kind: Kind) -> None:
    """Print a line for each record; where both kinds are mixed, in the columns of items."""
    console = Console()
    for record in records:
        is_request = record.get("kind") == "access"
        verdict = _verdict(record)
        if kind is Kind.ACCESS:
            line = _REQUESTS.format(*_request(record))
        elif is_request:
            line = _ITEMS.format(*_request_among_items(record))
        else:
            line = _ITEMS.format(*_item(record))
        console.print(Text(line, style=_STYLES.get(verdict, "")), soft_wrap=True)


def _item(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns of an item; "-" stands for what it does not have."""
    return (
        _time(record.get("timestamp_ns")),
        _text(record.get("request_id")),
        _text(record.get("item")),
        _text(record.get("status")),
        _text(_first(record.get("prediction"))),
        _number(_first(record.get("probability")), 3),
        _verdict(record),
        _number(_inside(record, "screening", "p_value"), 5),
        _number(_inside(record, "runtime_ms", "total"), 2),
        _model(record),
    )


def _request(record: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        _time(record.get("timestamp_ns")),
        _text(record.get("request_id")),
        _text(record.get("items")),
        _text(record.get("code")),
        _text(record.get("http_status")),
        _verdict(record),
        _number(record.get("queue_ms"), 2),
        _number(record.get("backend_ms"), 2),
        _number(record.get("total_ms"), 2),
        _text(record.get("route")),
        _model(record),
    )


def _request_among_items(record: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        _time(record.get("timestamp_ns")),
        _text(record.get("request_id")),
        "-",
        _text(record.get("code")),
        "(request)",
        "-",
        _verdict(record),
        "-",
        _number(record.get("total_ms"), 2),
        _model(record),
    )


def _verdict(record: Mapping[str, Any]) -> str:
    if record.get("kind") == "access":
        return _text(record.get("verdict") or None)
    return _text(_inside(record, "screening", "verdict"))


def _model(record: Mapping[str, Any]) -> str:
    return f"{_text(record.get('model'))} {_text(record.get('model_version'))}".strip()


def _time(timestamp_ns: object) -> str:
    if not isinstance(timestamp_ns, int):
        return "-"
    try:
        moment = datetime.fromtimestamp(timestamp_ns / _NANOSECONDS, UTC)
    except (OverflowError, ValueError, OSError):
        return "-"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"


def _inside(record: Mapping[str, Any], outer: str, inner: str) -> object:
    value = record.get(outer)
    return value.get(inner) if isinstance(value, dict) else None


def _first(values: object) -> object:
    return values[0] if isinstance(values, list) and values else None


def _number(value: object, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"


def _text(value: object) -> str:
    return "-" if value is None else printable(str(value))
