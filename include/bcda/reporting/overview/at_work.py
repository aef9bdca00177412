"""How far a run is that is not loaded yet, read from what its stages have committed to the raw folder."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from bcda.api.manifest import Manifest
from bcda.runs import names
from bcda.runs.folder import RunFolder
from bcda.runs.landed import read_landed
from bcda.runs.run import ExportRun, Wait, read_wait
from bcda.storage.places import Places


class RunPhase(StrEnum):
    """Stages of a run, in their order."""

    KICK_OFF = "kick-off"
    WAIT = "waiting for BCDA"
    FETCH = "fetching"
    LAND = "landing"
    MERGE = "merging"


@dataclass(frozen=True, slots=True)
class RunProgress:
    """A run that is at work, or ended before it was loaded.

    Attributes:
        run: what it asks for.
        phase: the stage that has not finished.
        wait: what it waits for, in the first two stages.
        files: files of its manifest; None before there is one.
        files_received: those with a receipt.
        bytes_received: their size as received.
        lines_landed: lines that have been landed or quarantined.
        bytes_per_second: of what was received so far; None before two files are here.
        seconds_left: of fetching, if the other files are like those received; None while that cannot be told.
        changed_at: when the newest of this was committed, UTC.
    """

    run: ExportRun
    phase: RunPhase
    wait: Wait | None = None
    files: int | None = None
    files_received: int = 0
    bytes_received: int = 0
    lines_landed: int = 0
    bytes_per_second: float | None = None
    seconds_left: float | None = None
    changed_at: datetime | None = None


def read_progress(places: Places, run_id: str) -> RunProgress | None:
    """Return how far a run is; None when its raw folder is not here: purged, or on another machine.

    Args:
        places: of the run's source.
        run_id: of the run.

    Raises:
        InvalidRequestError: it is no run id.
        ManifestError: a record of the run cannot be read.
    """
    folder = RunFolder(places, run_id)
    if not folder.has_run():
        return None
    run = folder.read_run()
    if not folder.has_manifest():
        wait = read_wait(folder.path)
        waits = RunPhase.WAIT if run.asked_at is not None else RunPhase.KICK_OFF
        return RunProgress(run, waits, wait, changed_at=folder.newest(names.WAITING if wait else names.RUN))
    return _of_files(run, folder.path, folder.read_manifest())


def _of_files(run: ExportRun, folder: Path, manifest: Manifest) -> RunProgress:
    sizes, times, accounts = {}, [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if (name := names.receipted(entry.name)) is not None:
                times.append(entry.stat().st_mtime)
                sizes[name] = _size(folder / name)
            elif (number := names.batch_of(entry.name)) is not None:
                accounts.append(number)
    landed = [batch for number in accounts if (batch := read_landed(folder, number)) is not None]
    began = (folder / names.MANIFEST).stat().st_mtime
    seconds = max(times, default=began) - began
    left = len(manifest.files) - len(sizes)
    is_landed = sum(len(batch.files) for batch in landed) == len(manifest.files)
    return RunProgress(
        run,
        RunPhase.FETCH if left else RunPhase.MERGE if is_landed else RunPhase.LAND,
        files=len(manifest.files),
        files_received=len(sizes),
        bytes_received=sum(sizes.values()),
        lines_landed=sum(file.lines_read for batch in landed for file in batch.files),
        bytes_per_second=sum(sizes.values()) / seconds if len(sizes) > 1 and seconds > 0 else None,
        seconds_left=seconds / len(sizes) * left if len(sizes) > 1 and left else None,
        changed_at=datetime.fromtimestamp(max([began, *times]), UTC),
    )


def _size(path: Path) -> int:
    # Retention removes raw files and leaves their receipts for a while.
    return path.stat().st_size if path.exists() else 0
