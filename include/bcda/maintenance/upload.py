"""Everything that is here into the object store: for a deployment that gets one, and after a change of the key."""

import logging
from dataclasses import dataclass

from bcda import warehouse
from bcda.errors import InvalidRequestError
from bcda.runs import shared_runs
from bcda.runs.landed import read_landed
from bcda.runs.receipts import parse_receipt, receipt_path
from bcda.storage.guarded import guarded
from bcda.storage.object_store import store_of
from bcda.storage.places import Places
from bcda.storage.warehouse_place import claim_place

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What was handed over.

    Attributes:
        runs: runs that are in the store now.
        raw_files: of them, uploaded now; what had an equal receipt there was not.
        lake_files: of them, uploaded now.
    """

    runs: int
    raw_files: int
    lake_files: int


@guarded("upload")
def upload(places: Places) -> Uploaded:
    """Hand every run that is here over to the object store, and make this the place of the working database.

    Killed half way it goes on when it is called again. Loads must not run meanwhile.

    Args:
        places: of the source.

    Raises:
        InvalidRequestError: there is no object store.
        StorageError, StoreUnavailableError: it refuses, or does not answer.
    """
    store = store_of(places)
    if store is None:
        raise InvalidRequestError("BCDA_OBJECT_STORE is not set, so there is nowhere to upload to.")
    claim_place(places)
    merged = warehouse.merged_runs(places)
    raw_files = lake_files = 0
    folders = sorted(path.parent for path in places.raw.glob("*/run.json"))
    for folder in folders:
        run_id, there = folder.name, store.sizes(f"raw/{folder.name}")
        raw_files += sum(_upload_file(places, run_id, path.name, there) for path in folder.glob("*.receipt.json"))
        for path in folder.glob("landed-*.json"):
            landed = read_landed(folder, int(path.stem.removeprefix("landed-")))
            if landed is not None and all((places.lake / file.path).exists() for file in landed.lake_files):
                lake_files += len(shared_runs.share_batch(places, landed).lake_files)
        for name in ("manifest.json", "run.json"):
            if (folder / name).exists():
                shared_runs.share_record(places, run_id, name)
        if run_id in merged:
            shared_runs.note_merged(places, run_id, merged[run_id])
        log.info("run %s is in the object store", run_id)
    return Uploaded(len(folders), raw_files, lake_files)


def _upload_file(places: Places, run_id: str, receipt_name: str, there: dict[str, int]) -> bool:
    folder = places.run_folder(run_id)
    receipt = parse_receipt(folder / receipt_name)
    if not (folder / receipt.name).exists():
        # Purged: the receipt is what stays of it, here as there.
        shared_runs.share_record(places, run_id, receipt_name)
        return False
    known = receipt_path(folder, receipt.name).name
    if there.get(f"raw/{run_id}/{receipt.name}") == receipt.wire_bytes and f"raw/{run_id}/{known}" in there:
        return False
    shared_runs.share_file(places, run_id, receipt)
    return True
