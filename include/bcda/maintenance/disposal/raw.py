"""Raw files: all of them go, and plans, manifests, receipts and accounts stay, as after their time.

A raw file is proof of what BCDA sent only as it came, so it is not rewritten. What it holds of other people is in the lake, with
the text of every resource. Nothing but its removal shows that a person is not in a line that could not be read.
"""

import logging
from pathlib import Path

from bcda.errors import StorageError
from bcda.storage.files import reason_of, sync_folder
from bcda.storage.object_store import store_of
from bcda.storage.places import Places

log = logging.getLogger(__name__)

_RECORD = ".json"


def raw_data(places: Places) -> tuple[list[Path], list[str]]:
    """Return raw files, texts of the server and leftovers of attempts, in the runs' folders and in the object store.

    Args:
        places: of the source.

    Raises:
        StorageError, StoreUnavailableError: the store refuses, or does not answer.
    """
    here = [path for path in sorted(places.raw.glob("*/*")) if path.is_file() and not _is_record(path.name)]
    store = store_of(places)
    there = [] if store is None else [name for name in store.sizes("raw") if not _is_record(name.rpartition("/")[2])]
    return here, there


def remove_raw_data(places: Places) -> int:
    """Remove them, and return how many there were.

    Raises:
        StorageError, StoreUnavailableError: one cannot be removed.
    """
    here, there = raw_data(places)
    store = store_of(places)
    if store is not None:
        store.delete(there)
    try:
        for path in here:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in here}:
            sync_folder(folder)
    except OSError as error:
        raise StorageError(
            f"Cannot remove raw files from {places.raw}: {reason_of(error)}. Check the owner."
        ) from error
    log.info("removed %d raw files here and %d objects", len(here), len(there))
    return len(here) + len(there)


def _is_record(name: str) -> bool:
    return name.endswith(_RECORD) and not name.startswith(".")
