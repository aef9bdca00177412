"""Names below `raw/{run_id}/`, on disk and in the object store; no other module knows one.

run.json, manifest.json                 what is asked, what BCDA answered
waiting.json, job-{id}-{fact}.json      what the run waits for, what is known of its job
{name}.ndjson.gz, .receipt.json         a raw file, then its receipt
landed-NNN.json                         the account of a landed batch
merged.json, disposed.json              the run is in the working database; data of it was disposed of
compaction.json, remap.json, disposal.json   what is to be done to its lake files, until it is done
server-text-*.txt                       texts of the server that no message shows
"""

import re
from pathlib import Path

from bcda.privacy.server_text import KEPT_PATTERN

RUN = "run.json"
MANIFEST = "manifest.json"
WAITING = "waiting.json"
MERGED = "merged.json"
DISPOSED = "disposed.json"
COMPACTION = "compaction.json"
REMAP = "remap.json"
DISPOSAL = "disposal.json"

RAW_FILES = "*.ndjson.gz"
RECEIPTS = "*.receipt.json"
ACCOUNTS = "landed-*.json"
JOB_FACTS = "job-*.json"
FETCHED = (RECEIPTS, RAW_FILES, "*.part", "*.part.json")
"""What fetching leaves, in the order in which it goes: a file without its receipt counts for nothing."""

RAW_DATA = (RAW_FILES, "*.part", KEPT_PATTERN)
"""What holds data of people, as it came."""

PART_NOTES = "*.part.json"

_RECEIPT = ".receipt.json"
_LANDED = "landed-"
_RECORD = ".json"


def receipt(name: str) -> str:
    """Return the name of the receipt of a raw file."""
    return f"{name}{_RECEIPT}"


def receipted(name: str) -> str | None:
    """Return the name of the raw file that a receipt is of; None for the name of anything else."""
    return name.removesuffix(_RECEIPT) if name.endswith(_RECEIPT) else None


def account(batch: int) -> str:
    """Return the name of the account of a batch."""
    return f"{_LANDED}{batch:03d}{_RECORD}"


def batch_of(name: str) -> int | None:
    """Return the number of the batch that an account is of; None for the name of anything else."""
    number = name.removeprefix(_LANDED).removesuffix(_RECORD)
    return int(number) if name == f"{_LANDED}{number}{_RECORD}" and number.isdecimal() else None


def batches_in(folder: Path) -> list[int]:
    """Return the numbers of the batches whose accounts are in a folder, in order."""
    return sorted(number for path in folder.glob(ACCOUNTS) if (number := batch_of(path.name)) is not None)


def job_fact(job_id: str, fact: str) -> str:
    """Return the name of the record of a fact about a job."""
    return f"job-{int(job_id)}-{fact}{_RECORD}"


def job_of_fact(name: str, fact: str) -> str | None:
    """Return the number of the job that a record of a fact is of; None for the name of anything else."""
    match = re.fullmatch(rf"job-([0-9]{{1,18}})-{fact}{re.escape(_RECORD)}", name)
    return match[1] if match else None


def is_record(name: str) -> bool:
    """Tell whether a file is a record of ours, without data of people, rather than a raw file, a text, or a leftover."""
    return name.endswith(_RECORD) and not name.startswith(".")


def is_data(name: str) -> bool:
    """Tell whether a file says that a run has begun to bring data: raw files, receipts, accounts, and leftovers of attempts."""
    return name.startswith((_LANDED, ".")) or ".ndjson" in name or not name.endswith(_RECORD)
