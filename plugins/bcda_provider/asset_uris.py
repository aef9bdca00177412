"""The form of `bcda://{table}`; a module of its own, since Airflow loads it while assets are being made."""

from urllib.parse import SplitResult


def sanitize(uri: SplitResult) -> SplitResult:
    """Return an asset URI without the slash that Airflow puts behind a bare table name.

    Raises:
        ValueError: the URI names no table.
    """
    if not uri.netloc:
        raise ValueError("A bcda asset is written bcda://{table}.")
    return uri._replace(path=uri.path.rstrip("/"))
