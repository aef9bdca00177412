"""How long each phase of a run took, from what it left: its plan, BCDA's answer, and when its receipts were written."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bcda.runs import names
from bcda.runs.folder import RunFolder
from bcda.runs.folders import run_folder
from bcda.storage.places import Places


@dataclass(frozen=True, slots=True)
class PhaseTime:
    """One phase.

    Attributes:
        name: what happened in it, for people.
        took: from the end of the phase before.
    """

    name: str
    took: timedelta


def phases_of(places: Places, run: Mapping[str, Any]) -> tuple[PhaseTime, ...]:
    """Return the phases of a loaded run whose ends are known, in order.

    The end of a phase is the time of the last file that it wrote. Compacting the lake rewrites the accounts of landing, so
    a later report of an old run leaves that phase out; how long loading took is known of the newest run. Files that came
    through an object store have the time at which they came, so there all phases before the merge are one.

    Args:
        places: of the source.
        run: row of `ops.export_run`, instants aware, with `is_newest`.
    """
    begun_at, merged_at = run["started_at"], run["finished_at"]
    published_at = _published_at(places) if run["is_newest"] else None
    folder = run_folder(places, run["run_id"])
    ends = [
        *(() if folder.is_shared else _ends_on_disk(folder)),
        ("Preparation, fetching and landing" if folder.is_shared else "Waiting to be merged", merged_at),
        ("Merging, checking and publishing", published_at),
    ]
    found, before = [], begun_at
    for name, end in ends:
        within = end is not None and (end <= merged_at or name.startswith("Merging"))
        if end is None or not within:
            continue
        found.append(PhaseTime(name, max(end - before, timedelta())))
        before = max(end, before)
    return tuple(found)


def _ends_on_disk(folder: RunFolder) -> list[tuple[str, datetime | None]]:
    return [
        ("Preparation at BCDA, waiting included", folder.newest(names.MANIFEST)),
        ("Fetching and proving files", folder.newest(names.RECEIPTS)),
        ("Landing as Parquet", folder.newest(names.ACCOUNTS)),
    ]


def _published_at(places: Places) -> datetime | None:
    return datetime.fromtimestamp(places.published.stat().st_mtime, UTC) if places.published.exists() else None
