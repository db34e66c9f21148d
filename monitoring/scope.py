"""Which records count: not those of our own command, or those of one correlation id alone.

Torchkeep's own command sends requests too: the first one after a start, what `torchkeep up` shows,
those of `torchkeep screen-report`, simulations, replays. They are real to the server and no traffic
of users. They are told by the prefix of their request or correlation id *and* by who sent them: ids
are the caller's to choose, and nobody else shall hide behind one. A record counts as ours only if
it came with this machine's own key, or straight to the server, which only this machine reaches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

START = "torchkeep-start-"
SCREEN_REPORT = "screen-report-"
SIMULATION = "torchkeep-simulate-"
REPLAY = "torchkeep-replay-"
DEMONSTRATION = "torchkeep-demonstration-"
OWN_PREFIXES = (START, SCREEN_REPORT, SIMULATION, REPLAY, DEMONSTRATION)

VIEWS = ("inference", "access")
_SCHEMA = "in_scope"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What counts; `own_clients` are the pseudonyms under which this machine itself is logged.

    With a `correlation_id`, its records alone count, our own or not.
    """

    correlation_id: str | None = None
    own_clients: tuple[str, ...] = ()

    @property
    def condition(self) -> str:
        """The condition on a record, in SQL."""
        if self.correlation_id is not None:
            return f"correlation_id = {_text(self.correlation_id)}"
        named = " OR ".join(
            f"starts_with({column}, {_text(prefix)})"
            for prefix in OWN_PREFIXES
            for column in ("request_id", "coalesce(correlation_id, '')")
        )
        ours = "client IS NULL"
        if self.own_clients:
            ours += f" OR client IN ({_texts(self.own_clients)})"
        return f"NOT (({named}) AND ({ours}))"


def narrow(connection: duckdb.DuckDBPyConnection, scope: Scope) -> int:
    """Have the views `inference` and `access` of a connection show only what counts.

    Returns how many items are left out by it. May be called again, with another scope.
    """
    everything = {view: _place(connection, view) for view in VIEWS}
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}")
    for view, place in everything.items():
        rows = f"FROM {place} WHERE {scope.condition}"
        connection.execute(f"CREATE OR REPLACE VIEW {_SCHEMA}.{view} AS {rows}")
    connection.execute(f"SET search_path = '{_SCHEMA},main'")
    outside = f"FROM {everything['inference']} WHERE NOT ({scope.condition})"
    ((count,),) = connection.execute(f"SELECT count(*) {outside}").fetchall()
    return int(count)


def _place(connection: duckdb.DuckDBPyConnection, view: str) -> str:
    """Return the qualified name of a view of the store, whatever the search path says."""
    rows = connection.execute(
        "SELECT database_name, schema_name FROM duckdb_views() "
        "WHERE view_name = ? AND schema_name <> ?",
        [view, _SCHEMA],
    ).fetchall()
    if not rows:
        raise LookupError(f"the connection has no view {view!r}")
    database, schema = rows[0]
    return f'"{database}"."{schema}".{view}'


def _texts(values: Sequence[str] | Iterable[str]) -> str:
    return ", ".join(_text(value) for value in values)


def _text(value: str) -> str:
    """Quote a text for SQL."""
    return "'" + value.replace("'", "''") + "'"
