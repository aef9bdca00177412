"""What the tables are: definitions, mapping declarations, views and merges as SQL and TOML files, and their loader."""

import glob
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from bcda.storage.sql_text import literal

SCHEMA_VERSION = 4
"""Raised when a release cannot use a present database, such as when a column goes away or a view names a new one.

`python -m bcda remap` rebuilds a database of an older version. A column or table that is only added needs `MAPPING_VERSION` instead.
"""

MERGE_COLUMNS = frozenset(
    {
        "api_version",
        "person_key",
        "is_current",
        "superseded_reason",
        "meta_last_updated",
        "run_id",
        "last_seen_run_id",
        "last_seen",
        "content_hash",
        "first_run_id",
        "last_run_id",
        "first_seen",
        "as_of",
    }
)
"""Columns that the merge sets; the lake's tables do not have them."""


@dataclass(frozen=True, slots=True)
class CoreTable:
    """A table with the newest version of each resource.

    Attributes:
        name: of its files, its declaration and its lake folder.
        resource_type: FHIR type whose rows it holds.
        key: column with the resource's id.
        row_key: columns that, after api_version, name a row.
    """

    name: str
    resource_type: str
    key: str
    row_key: tuple[str, ...]

    @property
    def relation(self) -> str:
        """Its name in the warehouse."""
        return relation(self.name)

    @property
    def is_main(self) -> bool:
        """Whether it has one row per resource."""
        return self.row_key == (self.key,)


_EOB, _CLAIM, _RESPONSE = "ExplanationOfBenefit", "Claim", "ClaimResponse"

_CORE = (
    CoreTable("patient", "Patient", "patient_id", ("patient_id",)),
    CoreTable("coverage", "Coverage", "coverage_id", ("coverage_id",)),
    CoreTable("coverage_month", "Coverage", "coverage_id", ("coverage_id", "month_start")),
    CoreTable("claim", _EOB, "claim_id", ("claim_id",)),
    CoreTable("claim_line", _EOB, "claim_id", ("claim_id", "line_number")),
    CoreTable("claim_diagnosis", _EOB, "claim_id", ("claim_id", "sequence")),
    CoreTable("claim_procedure", _EOB, "claim_id", ("claim_id", "sequence")),
    CoreTable("claim_care_team", _EOB, "claim_id", ("claim_id", "sequence")),
    CoreTable("claim_line_care_team", _EOB, "claim_id", ("claim_id", "line_number", "care_team_sequence")),
    CoreTable("claim_line_diagnosis", _EOB, "claim_id", ("claim_id", "line_number", "diagnosis_sequence")),
    CoreTable("claim_line_supporting_info", _EOB, "claim_id", ("claim_id", "line_number", "supporting_info_sequence")),
    CoreTable("claim_amount", _EOB, "claim_id", ("claim_id", "amount_number")),
    CoreTable("claim_line_amount", _EOB, "claim_id", ("claim_id", "line_number", "amount_number")),
    CoreTable("claim_supporting_info", _EOB, "claim_id", ("claim_id", "sequence")),
    CoreTable("claim_extension", _EOB, "claim_id", ("claim_id", "line_number", "extension_number")),
    CoreTable("claim_identifier", _EOB, "claim_id", ("claim_id", "identifier_number")),
    CoreTable("claim_drug", _EOB, "claim_id", ("claim_id",)),
    CoreTable("partial_claim", _CLAIM, "claim_id", ("claim_id",)),
    CoreTable("partial_claim_line", _CLAIM, "claim_id", ("claim_id", "line_number")),
    CoreTable("partial_claim_diagnosis", _CLAIM, "claim_id", ("claim_id", "sequence")),
    CoreTable("partial_claim_procedure", _CLAIM, "claim_id", ("claim_id", "sequence")),
    CoreTable("partial_claim_response", _RESPONSE, "claim_id", ("claim_id",)),
    CoreTable("partial_claim_response_reason", _RESPONSE, "claim_id", ("claim_id", "line_number", "reason_number")),
)

TRIMMED_TEXT = """'{"resourceType":"Coverage","id":' || to_json(t.resource_id) || '}'"""
"""What a disposal leaves of the text of a Coverage that lost months, of a row `t` of the lake's `resource`, as SQL.

What the other months are stands in the lake's other tables alone: they are not to be made of this text.
"""

_OTHER = {
    "coverage_period": ("coverage_id", "period_start"),
    "patient_identifier": ("patient_id", "id_system", "id_value"),
    "resource_version": ("resource_type", "resource_id", "content_hash"),
    "roster": ("run_id", "patient_id"),
}
"""Tables that are filled in ways of their own, each with the columns that, after api_version, name a row."""

_ADDED = "ops/added"
"""Tables of the ledger that databases of an earlier release lack; see `added_tables`."""

_ADDED_DATA = ("coverage_period",)
"""Tables of the model that they lack."""

_LEDGER = ("ops/ledger", _ADDED)


def core_tables() -> tuple[CoreTable, ...]:
    """Return the tables whose rows are replaced with their resource, each after the one it hangs on."""
    return _CORE


def lake_tables() -> tuple[tuple[str, str], ...]:
    """Return the name and the relation of every table that the lake has rows of."""
    return (*((table.name, table.relation) for table in _CORE), ("patient_identifier", "patient_identifier"))


def all_tables() -> tuple[str, ...]:
    """Return the names of the definitions of all tables of the model."""
    return (*(table.name for table in _CORE), *_OTHER)


def row_keys() -> dict[str, tuple[str, ...]]:
    """Return the columns that, after api_version, name a row of each table of the model."""
    return {table.name: table.row_key for table in _CORE} | _OTHER


def relation(name: str) -> str:
    """Return a table's name in the warehouse: claims that are not finished have a schema of their own."""
    return name.replace("partial_", "partial.", 1)


@cache
def sql(name: str) -> str:
    """Return the text of one SQL file; a load needs each of them many times.

    Args:
        name: path below this package without suffix, such as `tables/claim` or `merge/stage`.
    """
    return (files(__name__) / f"{name}.sql").read_text(encoding="utf-8")


def statements(name: str) -> tuple[str, ...]:
    """Return the statements of one SQL file in order; they are parted by a semicolon at the end of a line."""
    return tuple(part.strip() for part in f"{sql(name)}\n".split(";\n") if part.strip())


def check_names() -> tuple[str, ...]:
    """Return the names of all checks."""
    return tuple(
        sorted(p.name.removesuffix(".sql") for p in (files(__name__) / "checks").iterdir() if p.name.endswith(".sql"))
    )


def table_sql(name: str) -> str:
    """Return the definition of one table of the model."""
    return sql(f"tables/{name}")


@cache
def columns(name: str) -> tuple[tuple[str, str, str], ...]:
    """Return name, SQL type and comment of each column of one table of the model."""
    return tuple(_TYPED_COLUMN.findall(table_sql(name)))


def schema_sql() -> tuple[str, ...]:
    """Return the statements that make an empty warehouse without its views: schemas, tables, and comments on them."""
    names = (*(f"tables/{name}" for name in all_tables()), *_LEDGER, "reference")
    return ("CREATE SCHEMA partial", *_commented(names))


def added_tables() -> dict[str, tuple[str, ...]]:
    """Return the tables that a database of an earlier release lacks, each with the statements that make it."""
    texts = (*statements(_ADDED), *map(table_sql, _ADDED_DATA))
    made = {found.group(2): text for text in texts if (found := _TABLE.search(text))}
    made = {name if "." in name else f"main.{name}": text for name, text in made.items()}
    return {name: (text, *comments(text)) for name, text in made.items()}


def view_sql() -> tuple[str, ...]:
    """Return the statements that make or renew the views, with their comments; CCLF-shaped views are in `cclf_views`.

    Every view names the schema of what it reads. DuckDB then finds it in the view's own database, under whatever name that
    is attached and whatever the current database is.
    """
    return _commented(f"views/{view}" for view in VIEWS)


def _commented(names: Iterable[str]) -> tuple[str, ...]:
    made = []
    for statement in (statement for name in names for statement in statements(name)):
        made += [statement, *comments(statement)]
    return tuple(made)


def lake_view(*, lake: str, key_name: str | None) -> tuple[str, ...]:
    """Return the statements for the view `resource` over the lake, comments included.

    Args:
        lake: path of the lake.
        key_name: name under which sessions know the key of the lake; None when it is not encrypted.
    """
    view, said = "resource", f"[!{_NO_LAKE}]"
    (statement,) = statements(f"views/{view}")
    lines = statement.splitlines()
    # The path goes into a literal only: in a comment line it could end the line.
    text = "\n".join(line for line in lines if not line.startswith("--"))
    columns = re.findall(r"^  [vl]\.(\w+),?$", text, re.MULTILINE)
    told = (f"COMMENT ON COLUMN {view}.{name} IS {literal(column_comment(view, name))}" for name in columns)
    about = " ".join(line[3:] for line in lines if line.startswith("-- ") and "Column" not in line)
    # DuckDB reads the path as a pattern; what is special in the lake's own name is meant as it stands.
    encryption = f", encryption_config = {{footer_key: {literal(key_name)}}}" if key_name else ""
    text = text.replace("{encryption}", encryption).replace("{lake}", literal(glob.escape(lake))[1:-1])
    text = text.replace("{else}", said)
    return (text, f"COMMENT ON VIEW {view} IS {literal(about.replace('{lake}', lake))}", *told)


_NO_LAKE = "the view resource reads the lake, which is not on this computer or not readable by this account"
"""What the view `resource` says where it finds no lake.

DuckDB's error quotes the pattern of the files and nothing else can be said at that moment. So the pattern asks for a
character that is not in this sentence: every name of a lake file has digits, and the sentence must have none.
"""


def view_relation(view: str) -> str:
    """Return the name of a view in the warehouse."""
    if view in _OPS_VIEWS:
        return f"ops.{view}"
    return view.replace("partial_", "partial.", 1) if view.startswith("partial_") else f"main.{view}"


@cache
def column_comment(view: str, column: str) -> str:
    """Return what a column of a view means: what the view's own file says, else the table the view takes it from.

    Raises:
        KeyError: neither says anything.
    """
    text = sql(f"views/{view}")
    own = re.search(rf"^-- Column {column}: (.+)$", text, re.MULTILINE)
    if own:
        return own.group(1)
    for table in re.findall(r"(?:FROM|JOIN) ([a-z_.]+)", text):
        definition = _definition_of(table)
        found = dict(_COLUMN.findall(definition))
        if column in found:
            return str(found[column])
        if inner := _view_of(table):
            return column_comment(inner, column)
    raise KeyError(f"{view}.{column}")


def _view_of(relation: str) -> str | None:
    return next((view for view in VIEWS if view_relation(view) == relation), None)


def _definition_of(relation: str) -> str:
    if view := _view_of(relation):
        return sql(f"views/{view}")
    name = relation.removeprefix("main.").replace("partial.", "partial_")
    return (
        table_sql(name)
        if name in all_tables()
        else next((s for file in _LEDGER for s in statements(file) if f"CREATE TABLE {relation} (" in s), "")
    )


VIEWS = (
    "shown_as_of",
    "claim_counted",
    "claim_current",
    "claim_across_versions",
    "claim_pending",
    "claim_in_cclf",
    "claim_line_current",
    "claim_pass_through",
    "coverage_by_part",
    "enrollment",
    "claim_crosswalk",
    "partial_claim_current",
    "roster_change",
    "version_comparison",
    "open_gap",
    "incomplete_person",
    "data_status",
)
"""Views in the order in which they are made."""


_OPS_VIEWS = frozenset({"open_gap", "incomplete_person", "data_status"})

_TABLE = re.compile(r"^CREATE (?:OR REPLACE )?(TABLE|VIEW) (\S+) (?:\(|AS)", re.MULTILINE)
_COLUMN = re.compile(r"^  (\w+) [^-]*?,? -- (.+)$", re.MULTILINE)
_TYPED_COLUMN = re.compile(r"^  (\w+) ([^-]*?)(?: NOT NULL)?,? -- (.+)$", re.MULTILINE)


@cache
def comments(definition: str) -> tuple[str, ...]:
    """Return the COMMENT statements for what a definition says about its table and columns.

    Args:
        definition: text of a table's file: comment lines, then one column a line, each followed by its comment.
    """
    found = _TABLE.search(definition)
    if found is None:
        return ()
    kind, relation = found.groups()
    about = " ".join(line[3:] for line in definition[: found.start()].splitlines() if line.startswith("-- "))
    statements = [f"COMMENT ON {kind} {relation} IS {literal(about)}"]
    statements += [
        f"COMMENT ON COLUMN {relation}.{name} IS {literal(text)}" for name, text in _COLUMN.findall(definition)
    ]
    return tuple(statements)


def ledger_comments(relation: str) -> tuple[str, ...]:
    """Return the COMMENT statements of one table of the ledger, such as `ops.gap`."""
    return comments(_definition_of(relation))


DRIFT_COLUMNS = {
    "claim_amount": ("category_code",),
    "claim_line_amount": ("category_code",),
    "claim_supporting_info": ("category_code", "code_system"),
    "claim_extension": ("name",),
    "claim_identifier": ("id_system",),
    "patient_extension": ("name",),
    "coverage_extension": ("name",),
}
"""Columns whose values are names that CMS chose: one that is not in `known/names.csv` is recorded in ops.drift."""


NAMED_EXTENSIONS = {"Patient": "patient_extension", "Coverage": "coverage_extension"}
"""Types whose extensions have columns instead of rows: their names are looked at as they land."""


@cache
def known_paths(api_version: str, resource_type: str) -> frozenset[str]:
    """Return the elements that resources of a type are known to have, such as `item[].amount.value`; none for other types."""
    path = files(__name__) / "known" / f"{api_version}.{resource_type}.txt"
    return frozenset(path.read_text(encoding="utf-8").split()) if path.is_file() else frozenset()


def data_path(name: str) -> str:
    """Return the path of a data file that DuckDB reads."""
    return str(files(__name__) / name)
