"""One asset per core table and source, so that other DAGs can run when new claims are in."""

from airflow.sdk import Asset

from bcda import model
from bcda.storage.places import DEFAULT_SOURCE


def table_assets(source: str) -> tuple[Asset, ...]:
    """Return `bcda://{table}` for each core table, with the source behind it for any but the default one.

    Updated by every merge.
    """
    return tuple(_asset(name, source) for name, _ in model.lake_tables())


def list_asset(source: str) -> Asset:
    """Return the asset that is updated when BCDA has an attribution list that is not loaded."""
    return _asset("attribution_list", source)


def _asset(name: str, source: str) -> Asset:
    if source == DEFAULT_SOURCE:
        return Asset(name=f"bcda_{name}", uri=f"bcda://{name}")
    return Asset(name=f"bcda_{name}__{source}", uri=f"bcda://{name}/{source}")
