"""The request log as pandas DataFrames, for notebooks.

Records of the store and of the live log together, duplicates gone, one row each, structs taken
apart into columns such as `runtime_ms.total`. The places are those of the settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitoring.store import LogStore
from monitoring.storing.flat import flat_columns
from monitoring.storing.select import errors_told, select
from torchkeep.errors import UserError
from torchkeep.paths import Home

if TYPE_CHECKING:
    import pandas as pd

Moment = datetime | str
"""A time, or its text such as 2026-01-31 or 2026-01-31T12:00:00; UTC if no zone is said."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which records: of a model, a version, and from `since` until just before `until`."""

    model: str | None = None
    version: str | None = None
    since: Moment | None = None
    until: Moment | None = None

    @property
    def start_ns(self) -> int | None:
        """`since` in ns since 1970."""
        return None if self.since is None else to_ns(self.since)

    @property
    def end_ns(self) -> int | None:
        """`until` in ns since 1970."""
        return None if self.until is None else to_ns(self.until)

    def condition(self) -> tuple[str, list[Any]]:
        """The SQL condition, and its parameters."""
        limits = {
            "model = ?": self.model,
            "model_version = ?": self.version,
            "timestamp_ns >= ?": self.start_ns,
            "timestamp_ns < ?": self.end_ns,
        }
        given = {text: value for text, value in limits.items() if value is not None}
        return " AND ".join(given) or "true", list(given.values())


def items(
    home: Home | Path | None = None,
    *,
    model: str | None = None,
    version: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """One row for each item that came to a worker, oldest first; with `limit`, the last ones.

    Raises `UserError` for a time that is none, or a store that cannot be read.
    """
    span = Span(model=model, version=version, since=since, until=until)
    return _frame("inference", home, span, limit)


def requests(
    home: Home | Path | None = None,
    *,
    model: str | None = None,
    version: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """One row for each request that the gateway closed, oldest first; with `limit`, the last ones.

    Raises `UserError` for a time that is none, or a store that cannot be read.
    """
    span = Span(model=model, version=version, since=since, until=until)
    return _frame("access", home, span, limit)


def sql(query: str, home: Home | Path | None = None) -> pd.DataFrame:
    """The answer to one SELECT of the views `inference` and `access`, in DuckDB's SQL.

    Raises `UserError` for a query that DuckDB does not take, or that does more than read.
    """
    with LogStore.from_settings(_home(home)).connect() as connection, errors_told():
        return select(connection, query).df()


def to_ns(moment: Moment) -> int:
    """A time in ns since 1970. Raises `UserError` for a text that is no time."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError as error:
            raise UserError(
                f"{moment!r} is no time", remedy="Write 2026-01-31 or 2026-01-31T12:00:00+01:00."
            ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND * 1000


def _frame(kind: str, home: Home | Path | None, span: Span, limit: int | None) -> pd.DataFrame:
    condition, parameters = span.condition()
    columns = flat_columns(kind)
    query = f"SELECT {columns} FROM {kind} WHERE {condition} ORDER BY timestamp_ns"  # noqa: S608
    if limit is not None:
        last = f"SELECT * FROM ({query} DESC LIMIT {int(limit)})"  # noqa: S608
        query = f"{last} ORDER BY timestamp_ns"
    store = LogStore.from_settings(_home(home))
    with store.connect(start_ns=span.start_ns, end_ns=span.end_ns) as connection:
        return connection.execute(query, parameters).df()


def _home(home: Home | Path | None) -> Home:
    if home is None:
        return Home.default()
    return home if isinstance(home, Home) else Home(home.absolute())
