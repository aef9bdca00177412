"""Runs that are not loaded: what they hold goes whole, unless one of them is at work."""

from dataclasses import dataclass
from datetime import datetime

from bcda.errors import InvalidRequestError, ManifestError
from bcda.maintenance.retention import AT_WORK, asked_at
from bcda.runs.folders import folders_of, run_folder
from bcda.storage.places import Places


@dataclass(frozen=True, slots=True)
class Unloaded:
    """Runs that are not loaded and hold data.

    Attributes:
        young: that may be at work.
        old: that nothing can complete any more.
    """

    young: tuple[str, ...]
    old: tuple[str, ...]


def unloaded_runs(places: Places, loaded: frozenset[str], *, now: datetime) -> Unloaded:
    """Return the runs that are not loaded and have raw files, receipts or accounts, here or in the object store.

    Args:
        places: of the source.
        loaded: runs of the ledger.
        now: present instant.

    Raises:
        StorageError, StoreUnavailableError: the store refuses, or does not answer.
    """
    waiting = sorted(folders_of(places).holding() - loaded)
    young = [run_id for run_id in waiting if _is_young(places, run_id, now)]
    return Unloaded(tuple(young), tuple(run_id for run_id in waiting if run_id not in young))


def check_at_work(runs: Unloaded, *, ends_runs: bool) -> None:
    """Refuse while a run may be at work.

    Args:
        runs: that are not loaded.
        ends_runs: someone has said that they shall end.

    Raises:
        InvalidRequestError: one may be at work.
    """
    if runs.young and not ends_runs:
        raise InvalidRequestError(
            f"Run {runs.young[0]} has files that are not loaded and may be at work. Let it end, or stop its tasks and say "
            "--end-unfinished-runs: its files go then, and the next run asks for the same again. No changes were made."
        )


def forget(places: Places, runs: Unloaded) -> int:
    """Remove what runs hold that are not loaded, and return how many runs they are.

    Raises:
        StorageError, StoreUnavailableError: a file or an object cannot be removed.
    """
    for run_id in (*runs.young, *runs.old):
        run_folder(places, run_id).forget_job()
    return len(runs.young) + len(runs.old)


def _is_young(places: Places, run_id: str, now: datetime) -> bool:
    try:
        return now - asked_at(run_folder(places, run_id)) < AT_WORK
    except ManifestError:
        return False
