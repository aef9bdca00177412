"""What an earlier job of a run left behind: when `kick_off` is cleared in the middle of a run, another job brings other files.

Raw files are numbered and lake files are named for run and batch, so the other job's have the same names. What it does not
replace, since it has fewer files, fewer batches or another day, would be read as its own: people would be counted twice.
"""

import shutil
from pathlib import Path, PurePath

from bcda.errors import StorageError
from bcda.storage.files import reason_of, sync_folder
from bcda.storage.object_store import ObjectStore, store_of
from bcda.storage.places import Places

_FETCHED = ("*.receipt.json", "*.ndjson.gz", "*.part", "*.part.json")
"""Names in a run's folder, in the order in which they go: a file without its receipt counts for nothing."""


def forget_landed(places: Places, run_id: str) -> None:
    """Remove this place's accounts of a run's batches, then its lake files; may be called again after it was killed.

    What is still on its way goes too, also under the hands of an attempt that is alive: it could name its files later.

    Args:
        places: of the source.
        run_id: of a run that is not merged.

    Raises:
        StorageError: a file cannot be removed.
    """
    # The accounts first: whoever reads one relies on its lake files.
    _remove(places.run_folder(run_id), "landed-*.json")
    for pattern in (f"*/*/*/{run_id}-*.parquet", f"*/*/*/.{run_id}-*", f".spill-{run_id}-*", f".landing-{run_id}-*"):
        _remove(places.lake, pattern)


def forget_job(places: Places, run_id: str) -> None:
    """Remove all that was fetched and landed of a run, here and in the object store; plan and manifest stay.

    Killed half way it leaves less of it, and may be called again: nothing that stays counts without what is gone.

    Args:
        places: of the source.
        run_id: of a run that is not merged.

    Raises:
        StorageError: a file cannot be removed, or the object store refuses.
        StoreUnavailableError: the object store does not answer.
    """
    store = store_of(places)
    if store is not None:
        _forget_objects(store, run_id)
    forget_landed(places, run_id)
    for pattern in _FETCHED:
        _remove(places.run_folder(run_id), pattern)


def _remove(folder: Path, pattern: str) -> None:
    """Remove files and folders, so that they do not come back when the machine stops.

    Raises:
        StorageError: one cannot be removed.
    """
    found = list(folder.glob(pattern))
    try:
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for parent in {path.parent for path in found}:
            sync_folder(parent)
    except OSError as error:
        raise StorageError(
            f"Cannot remove from {folder} what an earlier job of the run left: {reason_of(error)}. Check the owner, then run the "
            "task again."
        ) from error


def _forget_objects(store: ObjectStore, run_id: str) -> None:
    names = store.sizes(f"raw/{run_id}")
    store.delete(name for name in names if PurePath(name).match("landed-*.json"))
    # Half a batch is in no account, so the lake is looked through.
    store.delete(name for name in store.sizes("lake") if PurePath(name).name.startswith(f"{run_id}-"))
    for pattern in _FETCHED:
        store.delete(name for name in names if PurePath(name).match(pattern))
