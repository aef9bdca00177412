"""Rows of a large INSERT are found although one without rows into the same table came before it in the transaction."""

import duckdb
import pytest

from bcda.warehouse.empty_inserts import Statements

ROWS = 130_000
NOTHING = "INSERT INTO t SELECT a FROM s WHERE a < 0"
MANY = "-- Many.\nINSERT INTO t SELECT a FROM s"


@pytest.fixture
def connection(tmp_path):
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute("SET threads = 2")
        connection.execute(f"CREATE TABLE s AS SELECT n AS a FROM range({ROWS}) AS r(n)")
        connection.execute("CREATE TABLE t (a BIGINT)")
        connection.execute("INSERT INTO t VALUES (-1)")
        yield connection


def found(connection):
    return connection.execute("SELECT count(*) FROM t WHERE a >= 0").fetchall()[0][0]


def test_duckdb_still_has_the_fault(connection):
    """When this fails with a newer DuckDB, the guard can go."""
    connection.execute("BEGIN")
    connection.execute(NOTHING)
    connection.execute(MANY)
    connection.execute("COMMIT")
    assert (found(connection), connection.execute("SELECT count(*) FROM t").fetchall()[0][0]) == (0, ROWS + 1)


def test_the_guard_lets_every_row_be_found(connection):
    connection.execute("BEGIN")
    statements = Statements(connection)
    assert statements.run(NOTHING) == [(0,)]
    assert statements.run(MANY) == [(ROWS,)]
    assert found(connection) == ROWS
    connection.execute("COMMIT")
    assert found(connection) == ROWS
    assert connection.execute("SELECT current_setting('threads')").fetchall() == [(2,)]


def test_an_insert_after_one_with_rows_keeps_its_threads(connection):
    statements = Statements(connection)
    connection.execute("BEGIN")
    statements.run("INSERT INTO t VALUES (-2)")
    statements.run(MANY)
    connection.execute("COMMIT")
    assert found(connection) == ROWS
