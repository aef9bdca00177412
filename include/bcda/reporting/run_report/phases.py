"""How long each phase of a run took, from what it left: its plan, BCDA's answer, and when its receipts were written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bcda.storage.places import Places


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

    The end of a phase is the time of the last file that it wrote. Compacting the lake writes the accounts of landing anew, so
    a later report of an old run leaves that phase out; how long loading took is known of the newest run. Files that came
    through an object store have the time at which they came, so there all phases before the merge are one.

    Args:
        places: of the source.
        run: row of `ops.export_run`, instants aware, with `is_newest`.
    """
    begun_at, merged_at = run["started_at"], run["finished_at"]
    published_at = _latest([places.published]) if run["is_newest"] else None
    ends = [
        *(_ends_on_disk(places.run_folder(run["run_id"])) if places.store is None else ()),
        ("Waiting to be merged" if places.store is None else "Preparation, fetching and landing", merged_at),
        ("Merging, checking and publishing", published_at),
    ]
    found, before = [], begun_at
    for name, end in ends:
        within = end is not None and (end <= merged_at or name.startswith("Merging"))
        if end is None or not within:
            continue
        found.append(Phase(name, max(end - before, timedelta())))
        before = max(end, before)
    return tuple(found)


def _ends_on_disk(folder: Path) -> list[tuple[str, datetime | None]]:
    return [
        ("Preparation at BCDA, waiting included", _latest([folder / "manifest.json"])),
        ("Fetching and proving files", _latest(folder.glob("*.receipt.json"))),
        ("Landing as Parquet", _latest(folder.glob("landed-*.json"))),
    ]


def _latest(paths: Iterable[Path]) -> datetime | None:
    times = [path.stat().st_mtime for path in paths if path.exists()]
    return datetime.fromtimestamp(max(times), UTC) if times else None
