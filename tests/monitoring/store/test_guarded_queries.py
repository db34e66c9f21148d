"""A query of a colleague reads the log, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from monitoring.store import LogStore
from monitoring.storing.select import errors_told, select
from tests.monitoring.records import a_record
from tests.monitoring.store.logged import log_of
from torchkeep.errors import UserError


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("it's a store")
    store = LogStore(place / "store", log_of(place / "log", [a_record("r1")]))
    store.compact()
    (place / "secret.csv").write_text("key\nhunter2\n")
    return place


@pytest.fixture(scope="module")
def connection(place: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with LogStore(place / "store", place / "log").connect() as connection:
        yield connection


def test_the_views_are_read(connection: duckdb.DuckDBPyConnection) -> None:
    assert select(connection, "SELECT request_id FROM inference").fetchall() == [("r1",)]
    described = select(connection, "DESCRIBE access").fetchall()
    assert ("total_ms", "DOUBLE") in [row[:2] for row in described]
    assert select(connection, "WITH a AS (FROM inference) FROM a UNION ALL FROM a").fetchall()
    assert select(connection, "SELECT unnest(prediction) FROM inference, range(2)").fetchall()
    assert select(connection, "SELECT ?", [7]).fetchall() == [(7,)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('{place}/secret.csv')",
        "SELECT * FROM '{place}/secret.csv'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/proc/self/environ')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_parquet('{place}/store/*/*/*/../../../../secret.csv')",
        "SELECT * FROM read_csv('https://example.org/x.csv')",
        "SELECT * FROM duckdb_settings() WHERE name = set_config('memory_limit')",
        "SELECT * FROM place",
    ],
)
def test_no_other_file_is_read(
    connection: duckdb.DuckDBPyConnection, place: Path, query: str
) -> None:
    with pytest.raises(UserError, match=r"Error|the table function \w+ is not run") as told:
        select(connection, query.format(place=place.as_posix().replace("'", "''")))
    assert "hunter2" not in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "query",
    [
        "COPY inference TO '{place}/out.csv'",
        "CREATE TABLE x (a INTEGER)",
        "DROP VIEW inference",
        "INSERT INTO live_inference SELECT * FROM live_inference",
        "SET memory_limit = '1TB'",
        "ATTACH '{place}/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY (SELECT 1) TO '{place}/out.csv'",
        "EXPLAIN ANALYZE COPY inference TO '{place}/out.csv'",
        "EXPLAIN ANALYZE DELETE FROM live_inference",
        "WITH a AS (DELETE FROM live_inference RETURNING *) FROM a",
        "",
        "-- nothing",
    ],
)
def test_only_one_query_that_reads_is_run(
    connection: duckdb.DuckDBPyConnection, place: Path, query: str
) -> None:
    with pytest.raises(UserError):
        select(connection, query.format(place=place.as_posix().replace("'", "''")))
    assert not (place / "out.csv").exists()
    assert select(connection, "SELECT count(*) FROM inference").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "query",
    [
        "EXPLAIN ANALYZE {copy}",
        "WITH a AS ({copy}) FROM a",
        "SELECT (WITH a AS ({copy}) SELECT count(*) FROM a)",
        "DESCRIBE WITH a AS ({copy}) FROM a",
        "FROM query('WITH a AS ({quoted}) FROM a')",
    ],
)
def test_files_of_the_store_are_not_written(
    connection: duckdb.DuckDBPyConnection, place: Path, query: str
) -> None:
    """The connection may open the parts of the store, so DuckDB itself would write them."""
    (part,) = (place / "store").rglob("*.parquet")
    content = part.read_bytes()
    target = part.as_posix().replace("'", "''")
    copy = f"COPY (SELECT 1 AS a) TO '{target}' (USE_TMP_FILE false)"
    with pytest.raises(UserError, match="read"):
        select(connection, query.format(copy=copy, quoted=copy.replace("'", "''")))
    assert part.read_bytes() == content


def test_the_connection_itself_is_locked(
    connection: duckdb.DuckDBPyConnection, place: Path
) -> None:
    for statement in (
        "SET enable_external_access = true",
        "SET allowed_paths = ['/etc/passwd']",
        "RESET lock_configuration",
        "COPY (SELECT 1 AS a) TO '/tmp/torchkeep-never.csv'",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(statement)


def test_other_tables_can_be_joined(connection: duckdb.DuckDBPyConnection) -> None:
    connection.register("labels", pa.table({"request_id": ["r1", "r2"], "label": ["7", "1"]}))
    query = "SELECT label FROM inference JOIN labels USING (request_id)"
    assert select(connection, query).fetchall() == [("7",)]


def test_a_wrong_query_is_told_in_one_line(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(UserError, match=r"^Binder Error: .*latency.* The views are"):
        select(connection, "SELECT latency\nFROM access")
    with pytest.raises(UserError, match=r"^Parser Error"):
        select(connection, "SELEKT 1")
    late = select(
        connection,
        "SELECT CASE WHEN range > 3000000 THEN error('late') ELSE range END FROM range(4000000)",
    )
    with pytest.raises(UserError, match=r"^Invalid Input Error: late"), errors_told():
        late.fetchall()
    with pytest.raises(UserError, match=r"^Conversion Error"):
        select(connection, "SELECT request_id::INTEGER FROM inference").fetchall()
