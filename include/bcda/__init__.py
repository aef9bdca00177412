"""BCDA exports to Parquet and DuckDB: client, landing engine, warehouse and ledger. Knows nothing of Airflow."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bcda.by_hand import Bcda, ExportResult, run_export
    from bcda.errors import BcdaError
    from bcda.settings import ConnectionSettings

_HOMES = {
    "Bcda": "bcda.by_hand",
    "BcdaError": "bcda.errors",
    "ConnectionSettings": "bcda.settings",
    "ExportResult": "bcda.by_hand",
    "run_export": "bcda.by_hand",
}

__all__ = ["Bcda", "BcdaError", "ConnectionSettings", "ExportResult", "run_export"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: every process of Airflow imports modules below, and needs no DuckDB."""
    from importlib import import_module  # noqa: PLC0415

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
