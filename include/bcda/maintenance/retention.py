"""How long raw bytes stay: they are evidence and can be replayed, but they are also the fullest copy of people's records."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bcda.api.manifest import Manifest
from bcda.errors import ManifestError, StorageError
from bcda.privacy.server_text import KEPT_PATTERN
from bcda.runs import shared_runs
from bcda.runs.run import read_run
from bcda.storage.files import read_bytes, reason_of, remove_dead
from bcda.storage.guarded import guarded
from bcda.storage.object_store import store_of
from bcda.storage.places import Places

log = logging.getLogger(__name__)

KEPT = timedelta(days=30)
"""How long raw files stay by default."""

AT_WORK = timedelta(days=2)
"""How long a run may need its raw files before it is merged: a day until the job is complete, a day in which its files last."""

_DATA = ("*.ndjson.gz", "*.part", KEPT_PATTERN)
_NOTES = "*.part.json"


@dataclass(frozen=True, slots=True)
class PurgedRaw:
    """What was removed.

    Attributes:
        runs: runs that lost raw files.
        files: files removed.
        bytes: their size.
    """

    runs: int
    files: int
    bytes: int


@guarded("remove raw files")
def purge_raw(places: Places, *, now: datetime, kept: timedelta = KEPT) -> PurgedRaw:
    """Remove the raw files of runs that BCDA was asked for longer ago; plans, manifests, receipts and accounts stay.

    Runs that never loaded lose theirs too, after two days at the earliest: BCDA drops the files after a day, so nothing can
    complete such a run. What killed tasks left in the lake goes too. With an object store theirs go there, and this place's
    copies with them.

    Args:
        places: of the source.
        now: present instant.
        kept: how long raw files stay.

    Raises:
        StorageError: a file cannot be removed.
        StoreUnavailableError: the object store does not answer.
    """
    remove_dead(places.lake)
    if places.store is not None:
        shared = _purge_store(places, now, kept)
        _purge_folders(places, now, kept)
        return shared
    return _purge_folders(places, now, kept)


def _purge_store(places: Places, now: datetime, kept: timedelta) -> PurgedRaw:
    store = store_of(places)
    runs = files = size = 0
    for name in store.children("raw") if store is not None else []:
        run_id = name.removeprefix("raw/")
        shared_runs.bring_run(places, run_id)
        if store is None or not _is_over(places, run_id, now, kept):
            continue
        data = {name: held for name, held in store.sizes(name).items() if name.endswith(".ndjson.gz")}
        store.delete(data)
        runs, files, size = runs + bool(data), files + len(data), size + sum(data.values())
    log.info("removed %d raw files of %d runs from the object store, %d bytes; receipts stay", files, runs, size)
    return PurgedRaw(runs, files, size)


def _is_over(places: Places, run_id: str, now: datetime, kept: timedelta) -> bool:
    try:
        age = now - asked_at(places.run_folder(run_id))
    except ManifestError:
        log.warning(
            "%s holds no readable run.json or manifest.json; nothing was removed from it", places.run_folder(run_id)
        )
        return False
    return age >= kept and (age >= AT_WORK or shared_runs.is_merged(places, run_id))


def asked_at(folder: Path) -> datetime:
    """Return when a run was planned, or asked of BCDA: it can have waited for weeks in between, as each January.

    Raises:
        ManifestError: plan or manifest cannot be read.
    """
    run, manifest = read_run(folder), folder / shared_runs.MANIFEST
    known = [run.planned_at]
    if run.asked_at is not None:
        known.append(run.asked_at)
    if manifest.exists():
        # Of an adopted job BCDA need not have said when it began.
        known.append(Manifest.from_bytes(read_bytes(manifest)).transaction_time)
    return max(known)


def _purge_folders(places: Places, now: datetime, kept: timedelta) -> PurgedRaw:
    runs = files = size = 0
    for folder in sorted(places.raw.glob("*/")) if places.raw.exists() else []:
        if not _is_over(places, folder.name, now, kept):
            continue
        data = [path for pattern in _DATA for path in folder.glob(pattern)]
        try:
            for path in data:
                size += path.stat().st_size
                path.unlink()
            for note in folder.glob(_NOTES):
                note.unlink(missing_ok=True)
            remove_dead(folder)
        except OSError as error:
            raise StorageError(
                f"Cannot remove raw files from {folder}: {reason_of(error)}. Check the owner."
            ) from error
        runs, files = runs + bool(data), files + len(data)
    log.info("removed %d raw files of %d runs, %d bytes; receipts stay", files, runs, size)
    return PurgedRaw(runs, files, size)
