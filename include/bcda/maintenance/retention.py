"""How long raw bytes stay: they are evidence and can be replayed, but they are also the fullest copy of people's records."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from bcda.errors import ManifestError
from bcda.runs.folder import RunFolder
from bcda.runs.folders import folders_of
from bcda.storage.files import remove_dead
from bcda.storage.guarded import guarded
from bcda.storage.places import Places

log = logging.getLogger(__name__)

KEPT = timedelta(days=30)
"""How long raw files stay by default."""

AT_WORK = timedelta(days=2)
"""How long a run may need its raw files before it is merged: a day until the job is complete, a day in which its files last."""


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
    folders = folders_of(places)
    runs = files = size = 0
    for run_id in folders.ids():
        folder = folders.of(run_id)
        folder.bring_run()
        if _is_over(folder, now, kept):
            removed, freed = folder.remove_raw()
            runs, files, size = runs + bool(removed), files + removed, size + freed
    log.info("removed %d raw files of %d runs, %d bytes; receipts stay", files, runs, size)
    return PurgedRaw(runs, files, size)


def _is_over(folder: RunFolder, now: datetime, kept: timedelta) -> bool:
    try:
        age = now - asked_at(folder)
    except ManifestError:
        log.warning("%s holds no readable run.json or manifest.json; nothing was removed from it", folder.path)
        return False
    return age >= kept and (age >= AT_WORK or folder.is_merged())


def asked_at(folder: RunFolder) -> datetime:
    """Return when a run was planned, or asked of BCDA: it can have waited for weeks in between, as each January.

    Raises:
        ManifestError: plan or manifest cannot be read.
    """
    run = folder.read_run()
    known = [run.planned_at]
    if run.asked_at is not None:
        known.append(run.asked_at)
    if folder.has_manifest():
        # Of an adopted job BCDA need not have said when it began.
        known.append(folder.read_manifest().transaction_time)
    return max(known)
