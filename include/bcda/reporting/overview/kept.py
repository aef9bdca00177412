"""The aggregates of a published database, kept beside it and in memory, so that a look at the page need not read every claim."""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from bcda.errors import TransientError, WarehouseError
from bcda.reporting.overview.snapshot import Overview, identity_of, read_published
from bcda.storage.documents import read_json
from bcda.storage.files import read_bytes, remove_dead, write_durably
from bcda.storage.guarded import guarded
from bcda.storage.places import Places

_FORMAT = 3
"""Raised when an `Overview` changes; what another release kept is not read."""

_READERS: dict[str, Callable[[str], Any]] = {
    "instant": datetime.fromisoformat,
    "date": date.fromisoformat,
    "decimal": Decimal,
}


_in_memory: dict[Path, tuple[list[int], Overview]] = {}
"""One snapshot a source."""

_reading: dict[Path, threading.Lock] = {}
"""Who reads a source's database; one thread at a time, since each read takes up to a gigabyte."""

LONGEST_WAIT_SECONDS = 10.0
"""How long a look waits for another that reads the first snapshot: each that waits holds a thread of the API server."""


def overview_path(places: Places) -> Path:
    """Return where the aggregates of a source lie: beside the published database, under its name."""
    return places.published.with_suffix(".overview.json")


def read_overview(places: Places) -> Overview | None:
    """Return the aggregates of the published database, or None before the first load.

    What belongs to one snapshot never changes, so it is read once: from the file beside it, or else from the database. While one
    thread reads it, others get the aggregates of the snapshot before, or wait where there are none.

    Args:
        places: of the source.

    Raises:
        TransientError: another thread has been reading the first snapshot for `LONGEST_WAIT_SECONDS`.
        WarehouseError: database or file cannot be read as ours.
        EncryptionError: the database needs a key, another key or none.
    """
    return _look(places, wait_seconds=LONGEST_WAIT_SECONDS)


def _look(places: Places, wait_seconds: float) -> Overview | None:
    identity = identity_of(places)
    if identity is None:
        return None
    kept = _in_memory.get(places.published)
    if kept is not None and kept[0] == identity:
        return kept[1]
    lock = _reading.setdefault(places.published, threading.Lock())
    # Who wants the newest, and no others, waits without end.
    if not lock.acquire(timeout=wait_seconds if kept is None or wait_seconds < 0 else 0):
        if kept is not None:
            return kept[1]
        raise TransientError(
            f"The figures of {places.published} are being read for the first time since Airflow started. Load the page again "
            "in a minute."
        )
    try:
        kept = _in_memory.get(places.published)
        if kept is None or kept[0] != identity:
            kept = _in_memory[places.published] = (identity, _from_file(places, identity) or read_published(places))
        return kept[1]
    finally:
        lock.release()


@guarded("keep the figures of the page")
def keep_overview(places: Places) -> None:
    """Write the aggregates of the published database beside it (0600); nothing before the first load.

    Raises:
        StorageError: the file cannot be written.
        WarehouseError, EncryptionError: see `read_overview`.
    """
    overview = _look(places, wait_seconds=-1)
    if overview is not None:
        document = {
            "format": _FORMAT,
            "published": _in_memory[places.published][0],
            "overview": asdict(overview),
        }
        remove_dead(places.published.parent)
        write_durably(overview_path(places), json.dumps(document, default=_written).encode())


def _from_file(places: Places, identity: list[int]) -> Overview | None:
    """Return what was kept of one published database; None when nothing was.

    Raises:
        WarehouseError: the file is damaged.
    """
    path = overview_path(places)
    if not path.exists():
        return None
    try:
        document = read_json(read_bytes(path))
        if (document["format"], document["published"]) != (_FORMAT, identity):
            return None
        return Overview(**_read(document["overview"]))
    except (ValueError, KeyError, TypeError) as error:
        raise WarehouseError(
            f"{path} is damaged ({type(error).__name__}). Delete it: the next load rewrites it."
        ) from None


def _written(value: Any) -> Any:
    match value:
        case datetime():
            return {"instant": value.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case Decimal():
            return {"decimal": str(value)}
    raise TypeError(f"a {type(value).__name__} in an overview")


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and (name := next(iter(value))) in _READERS:
        return _READERS[name](value[name])
    return {name: _read(entry) for name, entry in value.items()}
