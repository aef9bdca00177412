"""The views of a database: made with it, and renewed when this release defines them otherwise."""

import hashlib
from datetime import timedelta

import duckdb

from bcda import model
from bcda.api.export_request import RESOURCE_TYPES
from bcda.model import cclf_views
from bcda.runs import coverage
from bcda.storage.sql_text import literal

_SETTING = "views"


def renew_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the views and their comments, unless the database has those of this release.

    Views hold no data, so a database of an earlier release needs no rebuild for them.

    Args:
        connection: to a database with the tables of the model, inside a transaction.
    """
    statements = view_statements()
    release = hashlib.sha256("\n".join(statements).encode()).hexdigest()
    found = connection.execute("SELECT value FROM ops.setting WHERE name = $name", {"name": _SETTING}).fetchall()
    if found == [(release,)]:
        return
    for statement in statements:
        connection.execute(statement)
    for view in model.VIEWS:
        _comment_columns(connection, view)
    connection.execute("DELETE FROM ops.setting WHERE name = $name", {"name": _SETTING})
    connection.execute("INSERT INTO ops.setting VALUES ($name, $release)", {"name": _SETTING, "release": release})


def view_statements() -> tuple[str, ...]:
    """Return the statements that make the views, with the constants of `runs/coverage.py` as literals.

    A published database is read without this project, so that its views can call nothing of it.
    """
    return (*map(_with_rules, model.view_sql()), *cclf_views.view_sql())


def _with_rules(statement: str) -> str:
    floors = (
        f"WHEN {literal(version)} THEN TIMESTAMP '{floor:%Y-%m-%d %H:%M:%S}'"
        for version, floor in coverage.FLOORS.items()
    )
    overlaps = (
        f"WHEN {literal(f'{version} {name}')} THEN INTERVAL {coverage.overlap(version, name) // timedelta(seconds=1)} SECOND"
        for version, names in RESOURCE_TYPES.items()
        for name in names
    )
    rules = {"gap_tries": str(coverage.GAP_TRIES), "floors": " ".join(floors), "overlaps": " ".join(overlaps)}
    for name, text in rules.items():
        statement = statement.replace(f"{{{name}}}", text)
    return statement


def _comment_columns(connection: duckdb.DuckDBPyConnection, view: str) -> None:
    relation = model.view_relation(view)
    for row in connection.execute(f"DESCRIBE {relation}").fetchall():
        text = literal(model.column_comment(view, row[0]))
        connection.execute(f"COMMENT ON COLUMN {relation}.{row[0]} IS {text}")
