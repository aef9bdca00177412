"""The views of a database: made with it, and renewed when this release defines them otherwise."""

import hashlib

import duckdb

from bcda import model
from bcda.model import cclf_views
from bcda.storage.sql_text import literal

_SETTING = "views"


def renew_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the views and their comments, unless the database has those of this release.

    Views hold no data, so a database of an earlier release needs no rebuild for them.

    Args:
        connection: to a database with the tables of the model, inside a transaction.
    """
    statements = (*model.view_sql(), *cclf_views.view_sql())
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


def _comment_columns(connection: duckdb.DuckDBPyConnection, view: str) -> None:
    relation = model.view_relation(view)
    for row in connection.execute(f"DESCRIBE {relation}").fetchall():
        text = literal(model.column_comment(view, row[0]))
        connection.execute(f"COMMENT ON COLUMN {relation}.{row[0]} IS {text}")
