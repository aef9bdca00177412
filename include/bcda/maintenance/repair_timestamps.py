"""Repairing a home that believed a date in the future: its runs are merged again, without such dates."""

import logging
from dataclasses import dataclass

from bcda import warehouse
from bcda.maintenance.anew import exchange_warehouse
from bcda.storage.places import Places
from bcda.storage.warehouse_place import check_place

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RepairedTimestamps:
    """What a repair found.

    Attributes:
        runs: loaded runs of which the ledger held a date in the future.
        resources: resources that said that they were updated in the future.
    """

    runs: int
    resources: int


def repair_timestamps(places: Places) -> RepairedTimestamps | None:
    """Merge every loaded run again, from the lake, into a database that takes the place of the working one.

    A run whose `transactionTime` lay in the future then covers nothing, so that the next run asks again from where the run
    before it ended. A resource that was dated in the future gives way to the next one that comes. The lock on the working
    database is held meanwhile; killed, the repair leaves it as it was, and can be run again.

    Args:
        places: of the source.

    Returns:
        What was wrong; None when nothing was, and no changes were made.

    Raises:
        ManifestError: the account of a run is missing; no changes were made.
        WarehouseLockedError: a load held the working database for too long.
        StorageError: no space for the new database, or the working database is at another place.
    """
    check_place(places)
    if not places.warehouse.exists():
        return None
    with warehouse.open_warehouse(places.warehouse, key=places.key) as connection:
        found = RepairedTimestamps(len(warehouse.future_runs(connection)), warehouse.future_resources(connection))
        if not found.runs and not found.resources:
            return None
        exchange_warehouse(connection, places)
    log.info("repaired the dates of %d runs and %d resources", found.runs, found.resources)
    return found
