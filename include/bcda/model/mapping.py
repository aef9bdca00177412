"""From FHIR to columns: reads the declarations (`*.toml`, `shapes/*.json`) and turns each into one query.

A shape names the elements of a resource that some table needs; DuckDB parses each line into it once. A declaration
says which versions and which resource type a table is filled from, whether it has a row per resource, per element
(`each`) or per element of an element (`inner`), and one expression a column, over `r` (the resource), `e` (the element),
`n` (its place from 1) and `ordinal` (its own number, see `numbers_of`), `x` and `k` (the inner element and its place).
Named expressions (`let`) must not have the name of an element of the resource. What several versions share stands in the
file's own `[let]` and `[columns]`.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from bcda.settings import ApiVersion
from bcda.storage.sql_text import literal

LINEAGE = ("raw_file", "raw_line")
"""Columns that tie each row of a lake table to the line it came from."""

NO_ID = "no-id-"
"""Beginning of the ids that are made here for resources without one."""

_GENERIC_SHAPE = "any"

_NUMBER = "ordinal"


@dataclass(frozen=True, slots=True)
class Declaration:
    """How one table is filled from one resource type.

    Attributes:
        table: name of the table in the lake.
        versions: API versions it is for; empty for all.
        resource_type: FHIR type it comes from.
        only: resources to look at, over `r` alone, before anything else is worked out; None for all.
        each: list expression for a row per element, or None for a row per resource.
        number: what an element calls its own number, which is `ordinal` in the columns.
        inner: list expression over the element for a row per element of it, or None.
        where: rows to keep, or None for all.
        group_by: what a row is, when several elements make one; the columns are aggregates then. None for no grouping.
        let: named expressions that `columns` may use, in order.
        columns: expression per column.
    """

    table: str
    versions: frozenset[str]
    resource_type: str
    only: str | None
    each: str | None
    number: str
    inner: str | None
    where: str | None
    group_by: str | None
    let: Mapping[str, str]
    columns: Mapping[str, str]

    def query(self, source: str, types: Mapping[str, str]) -> str:
        """Return the SELECT that fills the table.

        Args:
            source: relation with the columns raw_file, raw_line and one for each element of the shape.
            types: SQL type of every column of the table, in order; a column without expression is NULL.
        """
        element = f", unnest({self.each}) AS e, generate_subscripts({self.each}, 1) AS n" if self.each else ""
        if _NUMBER in self.columns.values():
            own = f"list_transform({self.each}, lambda y, i: coalesce(try_cast(y.{self.number} AS INTEGER), i))"
            element += f", unnest(numbers_of({own})) AS {_NUMBER}"
        only = f" WHERE {self.only}" if self.only else ""
        named = "".join(f",\n    {expression} AS {name}" for name, expression in self.let.items())
        inner = (
            f",\ninside AS (SELECT r.*, unnest({self.inner}) AS x, generate_subscripts({self.inner}, 1) AS k FROM named AS r)"
            if self.inner
            else ""
        )
        columns = "".join(
            f",\n  CAST({self.columns.get(name, 'NULL')} AS {sql_type}) AS {name}" for name, sql_type in types.items()
        )
        # An element that is `null` in the JSON is no row; those of the resource's own lists are left out before.
        kept = [*(["x IS NOT NULL"] if self.inner else []), *([f"({self.where})"] if self.where else [])]
        where = f"\nWHERE {' AND '.join(kept)}" if kept else ""
        group_by = f"\nGROUP BY raw_file, raw_line, {self.group_by}" if self.group_by else ""
        return (
            f"WITH element AS (SELECT r.*{element} FROM {source} AS r{only}),\n"
            f"named AS (SELECT r.*{named} FROM element AS r){inner}\n"
            f"SELECT raw_file, raw_line{columns}\nFROM {'inside' if self.inner else 'named'} AS r{where}{group_by}"
        )


@cache
def declarations(api_version: ApiVersion, resource_type: str) -> tuple[Declaration, ...]:
    """Return the declarations of all tables that one resource type of one version feeds, by table name."""
    return tuple(
        declaration
        for declaration in _all_declarations()
        if declaration.resource_type == resource_type
        and (not declaration.versions or api_version.value in declaration.versions)
    )


@cache
def _all_declarations() -> tuple[Declaration, ...]:
    folder = files("bcda.model") / "declarations"
    return tuple(
        declaration
        for path in sorted(folder.iterdir(), key=lambda p: p.name)
        if path.name.endswith(".toml")
        for declaration in _read(path.name.removesuffix(".toml"), tomllib.loads(path.read_text(encoding="utf-8")))
    )


def _read(table: str, document: Mapping[str, Any]) -> Sequence[Declaration]:
    return [
        Declaration(
            table=table,
            versions=frozenset(source.get("versions", ())),
            resource_type=source["resource_type"],
            only=source.get("only", document.get("only")),
            each=source.get("each", document.get("each")),
            number=source.get("number", "sequence"),
            inner=source.get("inner", document.get("inner")),
            where=source.get("where", document.get("where")),
            group_by=source.get("group_by"),
            # A version's own names come first, so that the shared ones can be said in terms of them.
            let=source.get("let", {})
            | {k: v for k, v in document.get("let", {}).items() if k not in source.get("let", {})},
            columns={**document.get("columns", {}), **source.get("columns", {})},
        )
        for source in document["from"]
    ]


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


@cache
def list_names(api_version: ApiVersion, resource_type: str) -> tuple[str, ...]:
    """Return the names of the lists that a resource of one type has itself, as far as they are parsed."""
    whole: dict[str, Any] = json.loads(shape(api_version, resource_type))
    return tuple(name for name, inner in whole.items() if isinstance(inner, list))


@cache
def no_id_key(api_version: ApiVersion, resource_type: str) -> str | None:
    """Return the SQL over `r` of what stands for a missing id, or None where a resource must have one."""
    document = tomllib.loads((files("bcda.model") / "no_id_keys.toml").read_text(encoding="utf-8"))
    texts = document.get(api_version.value, {}).get(resource_type)
    if texts is None:
        return None
    return f"'{NO_ID}' || left(sha256(concat_ws('|', {literal(resource_type)}, {texts})), 40)"


def macros() -> str:
    """Return the SQL of the macros that declarations use."""
    return (files("bcda.model") / "declarations" / "macros.sql").read_text(encoding="utf-8")
