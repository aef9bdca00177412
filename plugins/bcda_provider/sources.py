"""Sources: the BCDA connections whose data this Airflow keeps, one set of DAGs each."""

import os
import re

from bcda.api.export_request import DEFAULT_RESOURCE_TYPES, RESOURCE_TYPES
from bcda.settings import ApiVersion
from bcda.storage.places import DEFAULT_SOURCE

DAGS = (
    "bcda_weekly_export",
    "bcda_attribution_check",
    "bcda_attribution_export",
    "bcda_runout_export",
    "bcda_maintenance",
)
"""DAGs of this project, without the source's suffix."""

_CONNECTION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def sources() -> tuple[str, ...]:
    """Return the connection ids from `BCDA_SOURCES`, separated by commas; `bcda_default` alone by default.

    Raises:
        ValueError: an id is malformed or named twice; Airflow shows it as an import error of the DAG files.
    """
    listed = os.environ.get("BCDA_SOURCES") or DEFAULT_SOURCE
    named = [name.strip() for name in listed.split(",") if name.strip()]
    wrong = [name for name in named if not _CONNECTION_ID.fullmatch(name)]
    if wrong or len(set(named)) < len(named) or not named:
        raise ValueError(
            "BCDA_SOURCES must list connection ids, each once, separated by commas, such as bcda_default,bcda_second."
        )
    return tuple(named)


def default_types() -> tuple[str, ...]:
    """Return the resource types that scheduled runs ask for, from `BCDA_RESOURCE_TYPES`.

    Patient, Coverage and ExplanationOfBenefit by default; Claim and ClaimResponse need an entitlement.

    Raises:
        ValueError: a type is not one that BCDA exports.
    """
    named = os.environ.get("BCDA_RESOURCE_TYPES")
    types = tuple(name.strip() for name in named.split(",")) if named else DEFAULT_RESOURCE_TYPES
    known = RESOURCE_TYPES[ApiVersion.V2]
    if unknown := [name for name in types if name not in known]:
        raise ValueError(f"BCDA_RESOURCE_TYPES names {', '.join(unknown)}; BCDA exports {', '.join(known)}.")
    return types


def dag_id(name: str, source: str) -> str:
    """Return the id of a source's DAG: the plain name for the default source, with the source behind it for others."""
    return name if source == DEFAULT_SOURCE else f"{name}__{source}"


def is_of_project(dag: str, source: str = "") -> bool:
    """Tell whether a DAG is one of this project's; anybody may use the operators in another one.

    Args:
        dag: its id.
        source: connection id; empty for any.
    """
    return dag in {dag_id(name, source) for name in DAGS} if source else dag.partition("__")[0] in DAGS
