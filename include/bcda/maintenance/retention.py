"""How long raw bytes stay: they are evidence and can be replayed, but they are also the fullest copy of people's records."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from bcda.errors import ManifestError, StorageError
from bcda.places import Places
from bcda.runs import read_run

log = logging.getLogger(__name__)

KEPT = timedelta(days=30)
"""How long raw files stay by default."""

_DATA = ("*.ndjson.gz", "*.part")


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


def purge_raw(places: Places, *, now: datetime, kept: timedelta = KEPT) -> PurgedRaw:
    """Remove the raw files of runs that were planned longer ago; plans, manifests, receipts and accounts stay.

    Runs that never loaded lose theirs too: BCDA drops the files after a day, so nothing can complete such a run.

    Args:
        places: of the source.
        now: present instant.
        kept: how long raw files stay.

    Raises:
        StorageError: a file cannot be removed.
    """
    runs = files = size = 0
    for folder in sorted(places.raw.glob("*/")) if places.raw.exists() else []:
        try:
            if now - read_run(folder).planned_at < kept:
                continue
        except ManifestError:
            log.warning("%s holds no readable run.json; nothing was removed from it", folder)
            continue
        data = [path for pattern in _DATA for path in folder.glob(pattern)]
        try:
            for path in data:
                size += path.stat().st_size
                path.unlink()
        except OSError as error:
            raise StorageError(f"Cannot remove raw files from {folder}: {error.strerror}. Check the owner.") from error
        runs, files = runs + bool(data), files + len(data)
    log.info("removed %d raw files of %d runs, %d bytes; receipts stay", files, runs, size)
    return PurgedRaw(runs, files, size)
