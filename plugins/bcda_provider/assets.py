"""One asset per core table, so that other DAGs can run when new claims are in."""

from airflow.sdk import Asset

from bcda import model

TABLE_ASSETS: tuple[Asset, ...] = tuple(
    Asset(name=f"bcda_{name}", uri=f"bcda://{name}") for name, _ in model.lake_tables()
)
"""`bcda://{table}` for each core table; updated by every merge."""
