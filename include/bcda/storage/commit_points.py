"""Instants at which a stage has just made something lasting, or is just about to: where being killed matters most.

They are announced as events of Python's own audit hooks (PEP 578), which cost nothing while nobody listens. The tests
that kill processes listen; the library itself never does.
"""

import sys
from enum import StrEnum

EVENT = "bcda.commit_point"


class CommitPoint(StrEnum):
    """Every announced instant, in the order of an export."""

    RUN_WRITTEN = "plan: run.json is written"
    ABOUT_TO_ASK = "kick_off: about to ask BCDA for a job"
    JOB_ACCEPTED = "kick_off: BCDA has a job, nobody knows it yet"
    MANIFEST_SAVED = "wait: manifest.json is written"
    FILE_COMPLETE = "fetch: all bytes of a file are here, unproved"
    FILE_NAMED = "fetch: a proved file has its name, no receipt yet"
    FILE_RECEIPTED = "fetch: a file has its receipt"
    LAKE_WRITTEN = "land: all rows are in temporary files"
    LAKE_FILE_NAMED = "land: one Parquet file has its name"
    BATCH_ACCOUNTED = "land: the account of the batch is written"
    MERGE_BEGUN = "merge: the transaction has begun"
    MERGE_LEDGERED = "merge: the ledger is written, the rows are not"
    MERGE_READY = "merge: all is written, nothing is committed"
    MERGE_COMMITTED = "merge: committed"
    CHECKED = "publish: the checks have passed"
    SNAPSHOT_COPIED = "publish: the snapshot is copied under a temporary name"
    LOG_SHUT_OUT = "publish: no log can be beside the published file, which is still the old one"
    PUBLISHED = "publish: the snapshot has its name"


class StorePoint(StrEnum):
    """The same for deployments with an object store; without one they are never reached."""

    DATA_UPLOADED = "store: data is uploaded, the record that makes it count is not"
    RECORD_UPLOADED = "store: a record is uploaded"
    DATA_BROUGHT = "store: data is brought and proved, its record is not here yet"


class RestartPoint(StrEnum):
    """The same for a job that stays Pending and is replaced by another; other runs never reach them."""

    JOB_GIVEN_UP = "restart: the job is recorded as given up, it is not canceled yet"
    JOB_CANCELLED = "restart: the job is canceled, no other is asked for yet"
    JOB_REPLACED = "restart: BCDA has the other job, nobody knows it yet"


class RemapPoint(StrEnum):
    """The same for `python -m bcda remap`."""

    DERIVED = "remap: the new lake files of a run are there under hidden names"
    NOTED = "remap: the note says what is to be exchanged, nothing is exchanged yet"
    OLD_REMOVED = "remap: old files in whose place none comes are removed"
    FILE_EXCHANGED = "remap: one new file is in its place"
    ACCOUNTED = "remap: one account names the new files, the note is still there"
    LAKE_DONE = "remap: the lake is new, the working database is not"
    DATABASE_MADE = "remap: the new working database is whole, the old one is in its place"
    DATABASE_EXCHANGED = "remap: the new working database is in its place, nothing is published yet"


def reached(point: CommitPoint | StorePoint | RestartPoint | RemapPoint) -> None:
    """Announce that a commit point is reached."""
    sys.audit(EVENT, point.value)
