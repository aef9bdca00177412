"""A guard against a fault of DuckDB 2.0.0: rows that are there and that no filter finds.

In a transaction, on a table that has rows, an INSERT without rows followed by one of more than a row group (122,880 rows) that
several threads work on leaves the column statistics as they were. Filters skip the new row groups by them, also after the commit,
until the database is opened again. With one thread the second INSERT does it right.
"""

import re
from typing import Any

import duckdb

_TARGET = re.compile(r"^INSERT INTO ([a-z_.]+)", re.MULTILINE)


class Statements:
    """Runs the statements of one transaction; a second INSERT into a table that got no rows by one before it runs on one thread."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._without_rows: set[str] = set()

    def run(self, statement: str, values: dict[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows; of an INSERT that is how many it wrote.

        Args:
            statement: one statement of a file of the model.
            values: of its parameters.
        """
        found = _TARGET.search(statement)
        target = found[1] if found else ""
        if target not in self._without_rows:
            rows = self._connection.execute(statement, values or None).fetchall()
            if target and rows == [(0,)]:
                self._without_rows.add(target)
            return rows
        threads = self._connection.execute("SELECT current_setting('threads')").fetchall()[0][0]
        self._connection.execute("SET threads = 1")
        try:
            return self._connection.execute(statement, values or None).fetchall()
        finally:
            self._connection.execute(f"SET threads = {int(threads)}")
