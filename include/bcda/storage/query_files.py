"""Queries that a package keeps as files, and their rows by column."""

from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

import duckdb

Row = dict[str, Any]
"""One row by column; instants are aware, UTC."""


def rows_of(
    connection: duckdb.DuckDBPyConnection, package: str, name: str, parameters: dict[str, Any] | None = None
) -> list[Row]:
    """Return the rows of one query.

    Args:
        connection: to a database of ours.
        package: whose folder `queries` has the file, such as `bcda.reporting.overview`.
        name: of the file, without suffix; ours, never from outside.
        parameters: of the query, by name.

    Raises:
        duckdb.Error: the database has not what the query asks for, or cannot be read.
    """
    answer = connection.execute(_text(package, name), parameters)
    columns = [column[0] for column in answer.description or ()]
    return [dict(zip(columns, map(_aware, row), strict=True)) for row in answer.fetchall()]


@cache
def _text(package: str, name: str) -> str:
    return resources.files(package).joinpath("queries", f"{name}.sql").read_text(encoding="utf-8")


def _aware(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
