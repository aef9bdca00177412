"""Where a source's runs have their folders: on the common disk of all workers, or here and in an object store."""

from bcda.runs.folder import RunFolder, RunFolders
from bcda.runs.shared_folder import SharedRunFolders
from bcda.storage.places import Places


def folders_of(places: Places) -> RunFolders:
    """Return the folders of all runs of a source."""
    return RunFolders(places) if places.store is None else SharedRunFolders(places)


def run_folder(places: Places, run_id: str) -> RunFolder:
    """Return the folder of one run.

    Raises:
        InvalidRequestError: it is no run id.
    """
    return folders_of(places).of(run_id)
