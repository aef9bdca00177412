"""Raw files: all of them go, and plans, manifests, receipts and accounts stay, as after their time.

A raw file is proof of what BCDA sent only as it came, so it is not rewritten. What it holds of other people is in the lake, with
the text of every resource. Nothing but its removal shows that a person is not in a line that could not be read.
"""

import logging

from bcda.runs.folders import folders_of
from bcda.storage.places import Places

log = logging.getLogger(__name__)


def count_raw_data(places: Places) -> tuple[int, int]:
    """Return how many raw files, texts of the server and leftovers of attempts are here, and in the object store.

    Args:
        places: of the source.

    Raises:
        StorageError, StoreUnavailableError: the store refuses, or does not answer.
    """
    return folders_of(places).count_data()


def remove_raw_data(places: Places) -> int:
    """Remove them, and return how many there were.

    Raises:
        StorageError, StoreUnavailableError: one cannot be removed.
    """
    folders = folders_of(places)
    here, there = folders.count_data()
    folders.remove_data()
    log.info("removed %d raw files here and %d objects", here, there)
    return here + there
