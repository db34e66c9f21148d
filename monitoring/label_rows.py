"""One row of a file of labels: its fields as they should be, or the name of what is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from monitoring.clock import CLOCK_TOLERANCE_NS

MAX_TEXT = 1000
"""Characters of an id or a label."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE = re.compile(r"[0-9]{1,9}")
_MAX_ITEM = 10**9
_MAX_NS = 2**63 - 1


class LabelFault(StrEnum):
    """Why a row was left out."""

    NOT_A_ROW = "not a row"  # cannot be parsed, or has too many or too few columns
    BAD_REQUEST_ID = "bad request_id"
    BAD_ITEM = "bad item"
    BAD_CLIENT = "bad client"
    BAD_LABEL = "bad label"
    BAD_TIME = "bad labelled_at"
    FUTURE = "labelled in the future"


class LabelRow(NamedTuple):
    """A row that fits, in the order of the table's columns."""

    request_id: str
    item: int
    client: str | None
    label: str
    labelled_at_ns: int


class RowError(Exception):
    """A row that does not fit."""

    def __init__(self, fault: LabelFault, value: object) -> None:
        self.fault = fault
        super().__init__(f"{fault}: {str(value)[:80]!r}" if value != "" else str(fault))


def label_row(values: Mapping[str, Any], now_ns: int) -> LabelRow:
    """Return the row that these values make; raises `RowError` if they make none."""
    return LabelRow(
        _text(values.get("request_id"), LabelFault.BAD_REQUEST_ID),
        _item(values.get("item")),
        _client(values.get("client")),
        _label(values.get("label")),
        _time(values.get("labelled_at"), now_ns),
    )


def _text(value: Any, fault: LabelFault) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
        raise RowError(fault, value)
    try:
        value.encode()
    except UnicodeEncodeError as error:  # a byte that was no UTF-8
        raise RowError(fault, ascii(value)) from error
    return value


def _item(value: Any) -> int:
    if _absent(value):
        return 0
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    if (whole := _whole(value)) is not None and 0 <= whole < _MAX_ITEM:
        return whole
    raise RowError(LabelFault.BAD_ITEM, value)


def _client(value: Any) -> str | None:
    return None if _absent(value) else _text(value, LabelFault.BAD_CLIENT)


def _label(value: Any) -> str:
    """The label; a class that is a number may be written as one."""
    whole = _whole(value)
    return _text(value if whole is None else str(whole), LabelFault.BAD_LABEL)


def _time(value: Any, now_ns: int) -> int:
    if _absent(value):
        return now_ns
    time_ns = _nanoseconds(_moment(value))
    if not 0 <= time_ns <= _MAX_NS:
        raise RowError(LabelFault.BAD_TIME, value)
    if time_ns > now_ns + CLOCK_TOLERANCE_NS:
        raise RowError(LabelFault.FUTURE, value)
    return time_ns


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise RowError(LabelFault.BAD_TIME, value) from error
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise RowError(LabelFault.BAD_TIME, value)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _nanoseconds(moment: datetime) -> int:
    return int((moment - _EPOCH) // timedelta(microseconds=1)) * 1000


def _absent(value: Any) -> bool:
    return value is None or value == ""


def _whole(value: Any) -> int | None:
    """The value as a whole number, if it is one; pandas makes floats of them beside a gap."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None
