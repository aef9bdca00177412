"""Tables, views and columns, read from the comments of an empty published database."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb

from bcda.model import cclf_views
from bcda.storage.places import Places
from bcda.warehouse import open_warehouse, publish
from reference_pages.markdown import code, plain, table

_TITLES = {"main": "Claims, people, coverage", "partial": "Unfinished claims", "ops": "Ledger and quality"}

_TABLES = """# Tables

Every table and view of `bcda.duckdb` with every column. The texts are the comments in the database; `duckdb_tables()`, `duckdb_views()` and
`duckdb_columns()` return the same ones. The views of the Claim and Claim Line Feed have [a page of their own](cclf.md). What belongs
together is told in [the guide for analysts](../analysts.md).

"""

_CCLF = """# CCLF views

One view of the schema `cclf` for each file of CMS's Claim and Claim Line Feed, in the order of its layout. *direct* is the same value,
*derived* one that follows from others, *substitute* another value for the same purpose, *partial* one that is there for some claims
only; what a version does not supply is NULL, with the reason. Every view ends with `file_name` (the run whose snapshot it is) and
`file_date` (its transactionTime as a date). What differs in substance is told in [CCLF and BCDA](../cclf.md)."""

_RELATIONS = """
SELECT schema_name, table_name, comment, table_oid, 'table' AS kind FROM duckdb_tables() WHERE NOT internal
UNION ALL
SELECT schema_name, view_name, comment, view_oid, 'view' FROM duckdb_views() WHERE NOT internal
ORDER BY table_oid
"""

_COLUMNS = """
SELECT column_name, data_type, comment FROM duckdb_columns()
WHERE schema_name = $schema AND table_name = $name
ORDER BY column_index
"""


def empty_database(home: Path) -> Path:
    """Publish a warehouse that nothing was loaded into; return the file that an analyst would open."""
    places = Places.below(home)
    with open_warehouse(places.warehouse):
        pass
    return publish(places).path


def tables() -> str:
    """Return the page of all tables and views but those of CCLF."""
    with tempfile.TemporaryDirectory() as home:
        with duckdb.connect(str(empty_database(Path(home))), read_only=True) as connection:
            body = "\n\n".join(_schemas(connection))
        # The comment of the view over the lake names the lake's folder.
        body = body.replace(home, "BCDA_HOME")
    return f"{_TABLES}{body}\n"


def _schemas(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    relations = connection.execute(_RELATIONS).fetchall()
    for schema, title in _TITLES.items():
        yield f"## {title}"
        for _, name, comment, _, kind in (row for row in relations if row[0] == schema):
            columns = connection.execute(_COLUMNS, {"schema": schema, "name": name}).fetchall()
            shown = name if schema == "main" else f"{schema}.{name}"
            about = f"{'A view. ' if kind == 'view' else ''}{plain(comment or '')}"
            rows = [[code(column), code(kind_), plain(text or "")] for column, kind_, text in columns]
            yield f"### {shown}\n\n{about}\n\n{table(('column', 'type', 'what it holds'), rows)}"


def cclf() -> str:
    """Return the page of the CCLF-shaped views: every element, and where each version of BCDA has it."""
    layout = cclf_views.layout()
    counted = []
    for view, columns in layout.items():
        filled = [sum(column.is_available(version) for column in columns) for version in cclf_views.VERSIONS]
        counted.append([f"[{view}](#{view})", str(len(columns)), *map(str, filled)])
    parts = [
        _CCLF,
        table(("view", "elements", *(f"filled from {version}" for version in cclf_views.VERSIONS)), counted),
    ]
    for view, columns in layout.items():
        rows = [[code(c.name), code(c.sql_type), plain(c.description), plain(_sources(c))] for c in columns]
        parts.append(f"## {view}\n\n{table(('element', 'type', 'what it holds', 'where it comes from'), rows)}")
    return "\n\n".join(parts) + "\n"


def _sources(column: cclf_views.CclfColumn) -> str:
    """Return the part of the column's comment that tells its source by version."""
    return column.comment().removeprefix(f"{column.description}. ")
