"""What the tables are: definitions, mapping declarations, views and merges as SQL and TOML files, and their loader."""

from dataclasses import dataclass
from importlib.resources import files

SCHEMA_VERSION = 1
"""Raised when a table changes; a warehouse of another version is rebuilt from the lake."""


@dataclass(frozen=True, slots=True)
class CoreTable:
    """A table with the newest version of each resource.

    Attributes:
        name: of the table, its files and its lake folder.
        resource_type: FHIR type whose rows it holds.
        key: column with the resource's id.
    """

    name: str
    resource_type: str
    key: str


_CORE = (
    CoreTable("patient", "Patient", "patient_id"),
    CoreTable("patient_identifier", "Patient", "patient_id"),
    CoreTable("coverage", "Coverage", "coverage_id"),
    CoreTable("claim", "ExplanationOfBenefit", "claim_id"),
    CoreTable("claim_line", "ExplanationOfBenefit", "claim_id"),
    CoreTable("claim_diagnosis", "ExplanationOfBenefit", "claim_id"),
)


def core_tables() -> tuple[CoreTable, ...]:
    """Return the core tables, each after the one it hangs on."""
    return _CORE


def sql(name: str) -> str:
    """Return the text of one SQL file.

    Args:
        name: path below this package without suffix, such as `claim` or `merge/stage`.
    """
    return (files(__name__) / f"{name}.sql").read_text(encoding="utf-8")


def schema_sql() -> tuple[str, ...]:
    """Return the statements that make an empty warehouse: schemas, tables, views."""
    tables = ["resource_version", *(table.name for table in _CORE)]
    return (*(sql(name) for name in tables), sql("ops/ledger"), sql("views/claim_current"))


def data_path(name: str) -> str:
    """Return the path of a data file that DuckDB reads."""
    return str(files(__name__) / name)
