"""Everything that is here into the object store: for a deployment that gets one, and after a change of the key."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from bcda import warehouse
from bcda.errors import InvalidRequestError
from bcda.runs import names
from bcda.runs.folders import folders_of
from bcda.runs.landed import read_accounts
from bcda.runs.receipts import Receipt
from bcda.runs.shared_folder import SharedRunFolder, SharedRunFolders
from bcda.storage.guarded import guarded
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
    folders = folders_of(places)
    if not isinstance(folders, SharedRunFolders):
        raise InvalidRequestError("BCDA_OBJECT_STORE is not set, so there is nowhere to upload to.")
    claim_place(places)
    merged = warehouse.merged_runs(places)
    raw_files = lake_files = 0
    run_ids = folders.noted(names.RUN)
    for run_id in run_ids:
        folder = SharedRunFolder(places, run_id)
        there = folder.there()
        raw_files += sum(_upload_file(folder, receipt, there) for receipt in folder.receipts())
        for landed in read_accounts(folder.path):
            if all((places.lake / file.path).exists() for file in landed.lake_files):
                lake_files += len(folder.share_batch(landed).lake_files)
        if folder.has_manifest():
            folder.share(names.MANIFEST)
        folder.share(names.RUN)
        if run_id in merged:
            folder.note_merged(merged[run_id])
        log.info("run %s is in the object store", run_id)
    return Uploaded(len(run_ids), raw_files, lake_files)


def _upload_file(folder: SharedRunFolder, receipt: Receipt, there: Mapping[str, int]) -> bool:
    proof = names.receipt(receipt.name)
    if not (folder.path / receipt.name).exists():
        # Purged: the receipt is what stays of it, here as there.
        folder.share(proof)
        return False
    if there.get(receipt.name) == receipt.wire_bytes and proof in there:
        return False
    folder.share_file(receipt)
    return True
