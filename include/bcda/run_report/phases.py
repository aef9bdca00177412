"""How long each phase of a run took, from what it left: its plan, BCDA's answer, and when its receipts were written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bcda.places import Places


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase.

    Attributes:
        name: what happened in it, for people.
        took: from the end of the phase before.
    """

    name: str
    took: timedelta


def phases_of(places: Places, run: Mapping[str, Any]) -> tuple[Phase, ...]:
    """Return the phases of a loaded run whose ends are known, in order.

    The end of a phase is the time of the last file that it wrote. Compacting the lake writes the accounts of landing anew,
    so a later report of an old run puts landing and fetching together; how long loading took is known of the newest run.

    Args:
        places: of the source.
        run: row of `ops.export_run`, instants aware, with `is_newest`.
    """
    folder = places.run_folder(run["run_id"])
    begun_at, merged_at = run["started_at"], run["finished_at"]
    ends = [
        ("Preparation at BCDA, waiting included", _latest([folder / "manifest.json"])),
        ("Fetching and proving files", _latest(folder.glob("*.receipt.json"))),
        ("Landing as Parquet", _latest(folder.glob("landed-*.json"))),
        ("Waiting to be merged", merged_at),
        ("Merging, checking and publishing", _latest([places.published]) if run["is_newest"] else None),
    ]
    found, before = [], begun_at
    for name, end in ends:
        within = end is not None and (end <= merged_at or name.startswith("Merging"))
        if end is None or not within:
            continue
        found.append(Phase(name, max(end - before, timedelta())))
        before = max(end, before)
    return tuple(found)


def _latest(paths: Iterable[Path]) -> datetime | None:
    times = [path.stat().st_mtime for path in paths if path.exists()]
    return datetime.fromtimestamp(max(times), UTC) if times else None
