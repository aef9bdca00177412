"""From FHIR to columns: reads the declarations (`*.toml`, `shapes/*.json`) and turns each into one query.

A shape names the elements of a resource that some table needs; DuckDB parses each line into it once. A declaration
says, per API version, which resource type a table comes from, whether it has a row per resource or per element
(`each`), and one expression a column, over `r` (the resource), `e` (the element) and `n` (its place from 1). Named
expressions (`let`) must not have the name of an element of the resource.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from bcda.settings import ApiVersion

LINEAGE = ("raw_file", "raw_line")
"""Columns that tie each row of a lake table to the line it came from."""

_GENERIC_SHAPE = "any"


@dataclass(frozen=True, slots=True)
class Declaration:
    """How one table is filled from one resource type of one version.

    Attributes:
        table: name of the table in the lake.
        resource_type: FHIR type it comes from.
        each: list expression for a row per element, or None for a row per resource.
        where: rows to keep, or None for all.
        let: named expressions that `columns` may use, in order.
        columns: expression per column.
    """

    table: str
    resource_type: str
    each: str | None
    where: str | None
    let: Mapping[str, str]
    columns: Mapping[str, str]

    def query(self, source: str, types: Mapping[str, str]) -> str:
        """Return the SELECT that fills the table.

        Args:
            source: relation with the columns raw_file, raw_line and one for each element of the shape.
            types: SQL type per column; a column not named keeps the type of its expression.
        """
        element = f", unnest({self.each}) AS e, generate_subscripts({self.each}, 1) AS n" if self.each else ""
        named = "".join(f",\n    {expression} AS {name}" for name, expression in self.let.items())
        columns = "".join(
            f",\n  CAST({expression} AS {types[name]}) AS {name}" if name in types else f",\n  {expression} AS {name}"
            for name, expression in self.columns.items()
        )
        where = f"\nWHERE {self.where}" if self.where else ""
        return (
            f"WITH element AS (SELECT r.*{element} FROM {source} AS r),\n"
            f"named AS (SELECT r.*{named} FROM element AS r)\n"
            f"SELECT raw_file, raw_line{columns}\nFROM named AS r{where}"
        )


@cache
def declarations(api_version: ApiVersion, resource_type: str) -> tuple[Declaration, ...]:
    """Return the declarations of all tables that one resource type of one version feeds, by table name."""
    found = []
    for path in sorted(files("bcda.model").iterdir(), key=lambda p: p.name):
        if not path.name.endswith(".toml"):
            continue
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        version = document.get(api_version.value, document.get("all"))
        if version and version["resource_type"] == resource_type:
            found.append(
                Declaration(
                    table=path.name.removesuffix(".toml"),
                    resource_type=resource_type,
                    each=version.get("each"),
                    where=version.get("where"),
                    let=version.get("let", {}),
                    columns=version["columns"],
                )
            )
    return tuple(found)


@cache
def shape(api_version: ApiVersion, resource_type: str) -> str:
    """Return the structure that lines of one type are parsed into, as `json_transform` takes it.

    A type without typed tables is parsed for its keys alone.
    """
    folder = files("bcda.model") / "shapes"
    for name in (f"{api_version}.{resource_type}.json", f"{resource_type}.json", f"{_GENERIC_SHAPE}.json"):
        path = folder / name
        if path.is_file():
            return json.dumps(json.loads(path.read_text(encoding="utf-8")), separators=(",", ":"))
    raise FileNotFoundError(f"shapes/{_GENERIC_SHAPE}.json is missing from the installed package")


def macros() -> str:
    """Return the SQL of the macros that declarations use."""
    return (files("bcda.model") / "mapping.sql").read_text(encoding="utf-8")
