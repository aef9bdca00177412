"""The CCLF-shaped views: one for each file of CMS's Claim and Claim Line Feed, made from the crosswalk and the recipe.

The crosswalk files (`cclf/crosswalk_v*.csv`) say which columns a layout has, in order, with type and meaning, and where
each version of BCDA has its value; the recipe says from which column of ours a view takes it. A change of the layout is a
change of data.

Source: docs/cclf.md#the-crosswalk, docs/table-model.md#cclf-views.
"""

import csv
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from bcda.settings import ApiVersion
from bcda.storage.sql_text import literal

VERSIONS = tuple(version.value for version in ApiVersion)
SCHEMA = "cclf"

UNAVAILABLE = frozenset({"absent", "retired"})
"""Values of `availability` for which no value exists in a version."""

_FILE_NAME = "Not of CCLF: the view, and the run whose snapshot this is; in cclf8 and cclf9 the newest run with the list of the month"

PEOPLE = frozenset({"cclf8", "cclf9"})
"""Files with a row for each person, or for each former identifier of a person."""

_LOADED_IN_MONTH = (
    "c.run_id IN (SELECT run_id FROM ops.export_run WHERE api_version = c.api_version "
    "AND transaction_time >= $first AND transaction_time < $next)"
)
_ON_LIST_OF_MONTH = "e.month_start = $first"


@dataclass(frozen=True, slots=True)
class CclfColumn:
    """One element of a CCLF layout.

    Attributes:
        name: field label.
        sql_type: DuckDB type.
        description: what it holds.
        crosswalk: row of the crosswalk by version, with `availability`, `target`, `fhir_path` and `note`.

    Its place in a fixed-width record is in the crosswalk too, and the same for every version.
    """

    name: str
    sql_type: str
    description: str
    crosswalk: Mapping[str, Mapping[str, str]]

    @property
    def empty(self) -> str:
        """What stands where there is no value: blanks in text, as the layout has it, without its padding; NULL in numbers and dates."""
        return "blank" if self.sql_type == "VARCHAR" else "NULL"

    def selected(self, expression: str | None) -> str:
        """Return the item of a SELECT list that makes the column.

        Args:
            expression: of the recipe; None where there is none.
        """
        value = f"CAST({expression or 'NULL'} AS {self.sql_type})"
        if self.empty == "blank":
            value = f"coalesce({value}, '')"
        return f"{value} AS {self.name}"

    @property
    def width(self) -> int:
        """Characters of its field in a fixed-width record."""
        return int(self.crosswalk["v2"]["length"])

    def is_available(self, version: str) -> bool:
        """Whether a version of BCDA supplies it."""
        return self.crosswalk[version]["availability"] not in UNAVAILABLE

    def comment(self) -> str:
        """What it holds and, by version, where it comes from or why it is empty."""
        sources: dict[str, list[str]] = {}
        for version in VERSIONS:
            row = self.crosswalk[version]
            if self.is_available(version):
                text = f"{row['availability']}, from {row['target'] or 'a constant'}"
            else:
                text = f"{self.empty}, {row['availability']}: {row['note'] or 'CMS no longer fills it'}"
            sources.setdefault(text, []).append(version)
        return f"{self.description}. " + "; ".join(
            f"{', '.join(versions)} {text}" for text, versions in sources.items()
        )


@cache
def layout() -> dict[str, tuple[CclfColumn, ...]]:
    """Return the columns of every CCLF file in layout order, by view name such as `cclf1`."""
    by_version = {version: list(_rows(version)) for version in VERSIONS}
    found: dict[str, list[CclfColumn]] = {}
    for rows in zip(*by_version.values(), strict=True):
        first = rows[0]
        found.setdefault(first["cclf_file"].lower(), []).append(
            CclfColumn(first["column"], first["type"], first["description"], dict(zip(VERSIONS, rows, strict=True)))
        )
    return {name: tuple(columns) for name, columns in found.items()}


def view_sql() -> Iterator[str]:
    """Yield the statements that make or renew the schema, every view and every comment."""
    yield f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"
    for name, columns in layout().items():
        yield _view(name, columns)
        yield f"COMMENT ON VIEW {SCHEMA}.{name} IS {literal(_about(columns))}"
        for column in columns:
            yield f"COMMENT ON COLUMN {SCHEMA}.{name}.{column.name} IS {literal(column.comment())}"
        yield f"COMMENT ON COLUMN {SCHEMA}.{name}.file_name IS {literal(_FILE_NAME)}"
        yield f"COMMENT ON COLUMN {SCHEMA}.{name}.file_date IS 'Not of CCLF: transactionTime of that run, as date'"


def _view(name: str, columns: tuple[CclfColumn, ...]) -> str:
    return f"CREATE OR REPLACE VIEW {SCHEMA}.{name} AS\n{_select(name, columns)}"


def month_sql(name: str) -> str:
    """Return the query for the rows of a view that belong into the file of one month, in an order that does not change.

    Its parameters are `first`, the day on which the month begins, and for files of claims `next`, that of the month after it.
    """
    condition = _ON_LIST_OF_MONTH if name in PEOPLE else _LOADED_IN_MONTH
    columns = layout()[name]
    names = ", ".join(column.name for column in columns)
    return f"SELECT {names} FROM ({_select(name, columns, condition)}) ORDER BY ALL"  # noqa: S608 - our own data


def _select(name: str, columns: tuple[CclfColumn, ...], *more: str) -> str:
    recipe = _recipe()[name]
    expressions = {**_recipe()["shared"], **recipe["columns"]}
    selected = ",\n  ".join(column.selected(expressions.get(column.name)) for column in columns)
    file_name = recipe.get("file_name", f"'{name}-' || as_of.run_id")
    file_date = recipe.get("file_date", "as_of.file_date")
    conditions = ([recipe["where"]] if "where" in recipe else []) + list(more)
    where = f"\nWHERE {' AND '.join(conditions)}" if conditions else ""
    return (
        f"SELECT\n  {selected},\n"
        f"  {file_name} AS file_name,\n  {file_date} AS file_date\n"
        f"FROM {recipe['from'].strip()}\n{_pivots(recipe)}CROSS JOIN main.shown_as_of AS as_of{where}"
    )


def _pivots(recipe: Mapping[str, Any]) -> str:
    joins = ""
    if amounts := recipe.get("amounts"):
        columns = ", ".join(
            f"min_by(amount, amount_number) FILTER (WHERE category_code IN {_names(names)}) AS {column}"
            for column, names in amounts.items()
        )
        joins += (
            f"LEFT JOIN (SELECT api_version, claim_id, {columns} FROM main.claim_amount "  # noqa: S608 - our own data
            f"WHERE category_code IN {_names(_all(amounts))} GROUP BY api_version, claim_id) AS m "
            "ON m.api_version = c.api_version AND m.claim_id = c.claim_id\n"
        )
    if codes := recipe.get("codes"):
        joins += (
            f"LEFT JOIN (SELECT api_version, claim_id, {_lists(codes)} FROM main.claim_supporting_info "  # noqa: S608
            f"WHERE category_code IN {_names(_all(codes))} GROUP BY api_version, claim_id) AS i "
            "ON i.api_version = c.api_version AND i.claim_id = c.claim_id\n"
        )
    if codes := recipe.get("line_codes"):
        joins += (
            f"LEFT JOIN (SELECT p.api_version, p.claim_id, p.line_number, {_lists(codes)} "  # noqa: S608
            "FROM main.claim_line_supporting_info AS p JOIN main.claim_supporting_info AS f ON f.api_version = p.api_version "
            "AND f.claim_id = p.claim_id AND f.sequence = p.supporting_info_sequence "
            f"WHERE category_code IN {_names(_all(codes))} GROUP BY p.api_version, p.claim_id, p.line_number) AS i "
            "ON i.api_version = c.api_version AND i.claim_id = c.claim_id AND i.line_number = l.line_number\n"
        )
    return joins


def _lists(codes: Mapping[str, list[str]]) -> str:
    return ", ".join(
        f"list(code ORDER BY sequence) FILTER (WHERE category_code IN {_names(names)}) AS {column}"
        for column, names in codes.items()
    )


def _all(named: Mapping[str, list[str]]) -> list[str]:
    return [name for names in named.values() for name in names]


def _names(names: list[str]) -> str:
    return "(" + ", ".join(literal(name) for name in names) + ")"


def _about(columns: tuple[CclfColumn, ...]) -> str:
    row = columns[0].crosswalk["v2"]
    supplied = ", ".join(f"{v} {sum(c.is_available(v) for c in columns)}" for v in VERSIONS)
    return (
        f"{row['cclf_file']} of layout version 42: one row per {row['grain'] or 'claim'}, current claims of the shown "
        f"version. {len(columns)} columns of the layout; supplied: {supplied}; then file_name and file_date."
    )


def _rows(version: str) -> Iterator[dict[str, str]]:
    text = (files("bcda.model") / "cclf" / f"crosswalk_{version}.csv").read_text(encoding="utf-8")
    yield from csv.DictReader(text.splitlines(keepends=True))


@cache
def _recipe() -> dict[str, Any]:
    return tomllib.loads((files("bcda.model") / "cclf" / "recipe.toml").read_text(encoding="utf-8"))
