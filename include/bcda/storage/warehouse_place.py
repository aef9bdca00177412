"""One working database a source: with an object store, no second one may grow where another worker happens to run.

The ledger is in the working database, and a worker that does not have it would plan everything again. So the first merge
puts a mark into the store and beside the database; who has not the same mark is told to run elsewhere.
"""

import secrets
from pathlib import Path

from bcda.errors import StorageError
from bcda.storage.files import private_folder, read_bytes, write_durably
from bcda.storage.object_store import store_of
from bcda.storage.places import Places

_MARK = "warehouse.mark"


def check_place(places: Places) -> None:
    """Make sure that no other place has the working database of the source.

    Raises:
        StorageError: another has, or the store refuses.
        StoreUnavailableError: the store does not answer.
    """
    store = store_of(places)
    if store is None:
        return
    held = store.read(_MARK)
    if held is not None and held != _here(places):
        raise StorageError(
            f"The working database of {places.source_id} is not here: {places.store}/{_MARK} says that another place merges. "
            "Run plan, merge, publish and maintenance where it is (docs/object-storage.md). If it moved or is lost: bring it "
            f"or rebuild it at {places.warehouse}, delete that object, and run the task again."
        )


def claim_place(places: Places) -> None:
    """Make this the place of the source's working database, unless another is.

    Raises:
        StorageError: another is, or the store refuses.
        StoreUnavailableError: the store does not answer.
    """
    store = store_of(places)
    if store is None:
        return
    if store.read(_MARK) is None:
        mark = _here(places)
        if mark is None:
            mark = secrets.token_hex(16).encode()
            private_folder(places.warehouse.parent)
            write_durably(_path(places), mark)
        store.write(_MARK, mark)
    # Read again: of two that claim together one was last.
    check_place(places)


def _path(places: Places) -> Path:
    return places.warehouse.parent / _MARK


def _here(places: Places) -> bytes | None:
    return read_bytes(_path(places)) if _path(places).exists() else None
