"""Which records count."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from monitoring.scope import OWN_PREFIXES, SCREEN_REPORT, SIMULATION, START, Scope, narrow
from tests.house.source_files import ROOT
from tests.monitoring.health.made_up import log_of, records, seen


@pytest.fixture
def connection(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    from monitoring.store import LogStore

    few = seen(2, seed=0)
    log_of(
        tmp_path / "log",
        records(few, "users"),
        records(few, f"{SIMULATION}x", client="ours", correlation_id="one"),
        records(few, f"{SCREEN_REPORT}x", client="stranger"),
        records(few, f"{START}x", client=None),
        records(few, "shown", client="ours", correlation_id=f"{SIMULATION}y"),
        records(few, "it's", client="c2", correlation_id="o'clock"),
    )
    return LogStore(tmp_path / "store", tmp_path / "log").connect()


def names(connection: duckdb.DuckDBPyConnection, view: str) -> set[str]:
    rows = connection.execute(f"SELECT request_id FROM {view}").fetchall()  # noqa: S608
    return {row[0].rpartition("-")[0] for row in rows}


def test_our_own_traffic_is_left_out_and_nobody_else_hides(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    assert narrow(connection, Scope(own_clients=("ours",))) == 6
    for view in ("inference", "access"):
        assert names(connection, view) == {"users", f"{SCREEN_REPORT}x", "it's"}


def test_without_knowing_our_key_direct_calls_alone_are_ours(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    assert narrow(connection, Scope()) == 2
    assert f"{SIMULATION}x" in names(connection, "inference")


def test_one_correlation_id_alone_our_own_or_not(connection: duckdb.DuckDBPyConnection) -> None:
    narrow(connection, Scope(own_clients=("ours",)))
    narrow(connection, Scope(correlation_id="one", own_clients=("ours",)))
    assert names(connection, "inference") == {f"{SIMULATION}x"}
    narrow(connection, Scope(correlation_id="o'clock"))
    assert names(connection, "inference") == {"it's"}


def test_the_prefixes_are_those_that_are_sent() -> None:
    from release.first_answer import PROBE_ID

    source = (ROOT / "torchkeep/cli/screening_measurement.py").read_text(encoding="utf-8")
    assert PROBE_ID == START
    assert f'f"{SCREEN_REPORT}' in source
    assert len(set(OWN_PREFIXES)) == len(OWN_PREFIXES)
