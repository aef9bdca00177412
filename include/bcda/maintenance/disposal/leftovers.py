"""What is kept beside the data: reports, the page's figures, and what attempts that died left behind."""

import glob
import logging
from pathlib import Path

from bcda.errors import StorageError
from bcda.maintenance.compaction import compact_lake
from bcda.storage.files import reason_of, remove_dead, sync_folder
from bcda.storage.places import Places

log = logging.getLogger(__name__)


def shown_files(places: Places) -> list[Path]:
    """Return reports and the page's figures: aggregates of what was there before."""
    overview = places.published.with_suffix(".overview.json")
    reports = sorted(path for path in places.reports.glob("*") if path.is_file())
    return [*reports, *([overview] if overview.exists() else [])]


def remove_files(paths: list[Path]) -> int:
    """Remove files, and return how many there were.

    Raises:
        StorageError: one cannot be removed.
    """
    try:
        for path in paths:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in paths}:
            if folder.exists():
                sync_folder(folder)
    except OSError as error:
        raise StorageError(f"Cannot remove {error.filename}: {reason_of(error)}. Check the owner.") from error
    return len(paths)


def finish_compactions(places: Places) -> None:
    """Finish compactions that were killed, so that accounts name the files that are there, and remove what they left.

    Raises:
        StorageError, ManifestError: see `compact_lake`.
    """
    begun = [note.parent.name for note in places.raw.glob("*/compaction.json")]
    if begun:
        compact_lake(places, begun)
    for hidden in places.lake.glob("*/*/*/.*.compact"):
        hidden.unlink(missing_ok=True)


def remove_leftovers(places: Places) -> int:
    """Remove temporary files and folders of attempts that died, and return how many; those of live ones stay.

    Raises:
        StorageError: one cannot be removed.
    """
    folders = [places.lake, *places.lake.glob("*/*/*/"), *places.raw.glob("*/"), places.raw, places.reports]
    removed = sum(remove_dead(folder) for folder in {*folders, places.warehouse.parent, places.published.parent})
    # Whoever repairs holds the working database, and this is called by who holds it.
    repaired = list(places.warehouse.parent.glob(f"{glob.escape(f'.{places.warehouse.name}.repaired')}*"))
    return removed + remove_files([path for path in repaired if path.is_file()])
