"""What is known of a run's job beyond what BCDA says: that its export has begun, or that this side canceled it.

Each fact is one small file in the run's folder that is written once, so that tasks and the triggerer never overwrite each
other: `job-{id}-begun.json` and `job-{id}-cancelled.json`. With an object store they are there only.
"""

import json
from datetime import datetime
from enum import StrEnum

from bcda.api.export_request import format_instant, parse_instant
from bcda.errors import ManifestError
from bcda.runs import names
from bcda.runs.folders import folders_of, run_folder
from bcda.storage.documents import read_json, read_text
from bcda.storage.object_store import SMALL_AT_ONCE, in_parallel
from bcda.storage.places import Places


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
    content = json.dumps({"job_id": job_id, "at": format_instant(at)}).encode()
    run_folder(places, run_id).record_job(names.job_fact(job_id, fact), content)


def forget(places: Places, run_id: str, job_id: str, fact: Fact) -> None:
    """Remove the record of a fact, if there is one.

    Raises:
        StorageError, StoreUnavailableError: the folder or the object store cannot be written.
    """
    run_folder(places, run_id).forget_job_record(names.job_fact(job_id, fact))


def read(places: Places, run_id: str, job_id: str, fact: Fact) -> datetime | None:
    """Return when a fact was recorded; None when it was not.

    Raises:
        ManifestError: the record cannot be read.
        StorageError, StoreUnavailableError: the object store refuses, or does not answer.
    """
    name = names.job_fact(job_id, fact)
    content = run_folder(places, run_id).job_record(name)
    try:
        return None if content is None else parse_instant(read_text(read_json(content), "at"))
    except ValueError:
        raise ManifestError(f"The record {name} of run {run_id} cannot be read. Delete it.") from None


def cancelled(places: Places) -> dict[str, datetime]:
    """Return when each job was canceled from here, by job id; with an object store, of the newest `shared_folder.LOOK_BACK_RUNS` runs.

    Args:
        places: of the source.

    Raises:
        ManifestError: a record cannot be read.
        StorageError, StoreUnavailableError: the object store refuses, or does not answer.
    """
    found = folders_of(places).job_records(Fact.CANCELLED)
    times = in_parallel(lambda one: read(places, one[0], one[1], Fact.CANCELLED), found, at_once=SMALL_AT_ONCE)
    return {job_id: at for (_, job_id), at in zip(found, times, strict=True) if at is not None}
