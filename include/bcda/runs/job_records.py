"""What is known of a run's job beyond what BCDA says: that its export has begun, or that this side canceled it.

Each fact is one small file in the run's folder that is written once, so that tasks and the triggerer never overwrite each
other: `job-{id}-begun.json` and `job-{id}-cancelled.json`. With an object store they are there only.
"""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import PurePath

from bcda.api.export_request import format_instant, parse_instant
from bcda.errors import ManifestError, StorageError
from bcda.storage.documents import read_json, read_text
from bcda.storage.files import read_bytes, reason_of, write_durably
from bcda.storage.object_store import SMALL_AT_ONCE, in_parallel, store_of
from bcda.storage.places import Places

LOOK_BACK_RUNS = 100
"""How many of the newest runs of an object store are asked for jobs that they canceled: each costs a request."""


class Fact(StrEnum):
    """What can be recorded of a job."""

    BEGUN = "begun"
    CANCELLED = "cancelled"


def note(places: Places, run_id: str, job_id: str, fact: Fact, at: datetime) -> None:
    """Record a fact; without an object store only where the run's folder is.

    Args:
        places: of the source.
        run_id: of the run that the job is for.
        job_id: BCDA's number, as text.
        fact: what to record; one that is recorded already is replaced.
        at: when, UTC, by BCDA's clock where that is known.

    Raises:
        StorageError, StoreUnavailableError: the folder or the object store cannot be written.
    """
    content, store = json.dumps({"job_id": job_id, "at": format_instant(at)}).encode(), store_of(places)
    if store is not None:
        store.write(f"raw/{run_id}/{_name(job_id, fact)}", content)
    elif (folder := places.run_folder(run_id)).exists():
        write_durably(folder / _name(job_id, fact), content)


def forget(places: Places, run_id: str, job_id: str, fact: Fact) -> None:
    """Remove the record of a fact, if there is one.

    Raises:
        StorageError, StoreUnavailableError: the folder or the object store cannot be written.
    """
    store, path = store_of(places), places.run_folder(run_id) / _name(job_id, fact)
    if store is not None:
        store.delete([f"raw/{run_id}/{path.name}"])
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"Cannot remove {path}: {reason_of(error)}. Check the owner.") from error


def read(places: Places, run_id: str, job_id: str, fact: Fact) -> datetime | None:
    """Return when a fact was recorded; None when it was not.

    Raises:
        ManifestError: the record cannot be read.
        StorageError, StoreUnavailableError: the object store refuses, or does not answer.
    """
    store, path = store_of(places), places.run_folder(run_id) / _name(job_id, fact)
    content = store.read(f"raw/{run_id}/{path.name}") if store else read_bytes(path) if path.exists() else None
    try:
        return None if content is None else parse_instant(read_text(read_json(content), "at"))
    except ValueError:
        raise ManifestError(f"The record {path.name} of run {run_id} cannot be read. Delete it.") from None


def cancelled(places: Places) -> dict[str, datetime]:
    """Return when each job was canceled from here, by job id; with an object store, of the newest `LOOK_BACK_RUNS` runs.

    Args:
        places: of the source.

    Raises:
        ManifestError: a record cannot be read.
        StorageError, StoreUnavailableError: the object store refuses, or does not answer.
    """
    found = list(_cancelled_names(places))
    times = in_parallel(lambda one: read(places, one[0], one[1], Fact.CANCELLED), found, at_once=SMALL_AT_ONCE)
    return {job_id: at for (_, job_id), at in zip(found, times, strict=True) if at is not None}


def _cancelled_names(places: Places) -> Iterator[tuple[str, str]]:
    """Yield run and job of each record of a cancellation; run ids begin with the time of their plan."""
    store = store_of(places)
    if store is None:
        paths = [(path.parent.name, path.name) for path in places.raw.glob("*/job-*-cancelled.json")]
    else:
        runs = sorted((PurePath(name).name for name in store.children("raw")), reverse=True)[:LOOK_BACK_RUNS]
        listed = in_parallel(lambda run: store.sizes(f"raw/{run}"), runs, at_once=SMALL_AT_ONCE)
        paths = [(run, PurePath(name).name) for run, names in zip(runs, listed, strict=True) for name in names]
    for run_id, name in paths:
        match = re.fullmatch(r"job-([0-9]{1,18})-cancelled\.json", name)
        if match:
            yield run_id, match.group(1)


def _name(job_id: str, fact: Fact) -> str:
    return f"job-{int(job_id)}-{fact}.json"
