"""Exchanging lake files of a loaded run for others that were made beside them, in such a way that a kill does no harm.

The new files lie beside the old ones under hidden names. A note says what is to be exchanged; from then on the exchange
is finished, by whoever works on the run next, here or at another place with the same object store. A new file takes the
place of an old one of its name by one rename, so engines that read the lake in place see the rows of one of them.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bcda.errors import ManifestError
from bcda.runs import names
from bcda.runs.folders import folders_of, run_folder
from bcda.runs.landed import LakeFile, LandedBatch, read_accounts, read_lake_file, write_landed
from bcda.storage.commit_points import RemapPoint, reached
from bcda.storage.documents import read_json, read_number
from bcda.storage.files import read_bytes, sync_folder
from bcda.storage.places import Places


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is to be exchanged in one run.

    Attributes:
        mapping_version: of the rows from then on.
        made: new files, each with the number of the batch whose account has it from then on.
        removed: paths of old files in whose place no new one comes.
        tables: the tables that are exchanged; accounts keep their files of others.
    """

    mapping_version: int
    made: tuple[tuple[int, LakeFile], ...]
    removed: tuple[str, ...]
    tables: frozenset[str]


def hidden(path: Path) -> Path:
    """Return under which name a new file waits; engines that read the lake in place skip it."""
    return path.with_name(f".{path.name}.remap")


def exchange(places: Places, run_id: str, wanted: Exchange) -> None:
    """Write the note and do what it says; with an object store the new files go there before.

    Args:
        places: of the source.
        run_id: a loaded run, with its accounts here.
        wanted: what to exchange; the new files are there under their hidden names.

    Raises:
        OSError: the lake or the folder of the run cannot be written.
        StorageError, StoreUnavailableError: the store refuses them, or does not answer.
    """
    made = [(batch, _upload(places, file)) for batch, file in wanted.made]
    document = {
        "mapping_version": wanted.mapping_version,
        "made": [{"batch": batch, "file": asdict(file)} for batch, file in made],
        "removed": list(wanted.removed),
        "tables": sorted(wanted.tables),
    }
    run_folder(places, run_id).write_note(names.REMAP, json.dumps(document).encode())
    reached(RemapPoint.NOTED)
    finish_exchange(places, run_id)


def finish_exchange(places: Places, run_id: str) -> None:
    """Do what the note of a run says, if there is one; every step may have been done already.

    Args:
        places: of the source.
        run_id: a loaded run, with its accounts here.

    Raises:
        ManifestError: the note or an account cannot be read.
        OSError: the lake or the folder of the run cannot be written.
        StorageError, StoreUnavailableError: the store refuses, or does not answer.
    """
    folder = run_folder(places, run_id)
    folder.bring_note(names.REMAP)
    note = folder.path / names.REMAP
    if not note.exists():
        return
    wanted = _read_note(note)
    for path in wanted.removed:
        (places.lake / path).unlink(missing_ok=True)
    reached(RemapPoint.OLD_REMOVED)
    for _, file in wanted.made:
        target = places.lake / file.path
        if hidden(target).exists():
            hidden(target).replace(target)
            reached(RemapPoint.FILE_EXCHANGED)
    for parent in {(places.lake / path).parent for path in [*wanted.removed, *(file.path for _, file in wanted.made)]}:
        if parent.exists():
            sync_folder(parent)
    folders = folders_of(places)
    folders.remove_lake_files(wanted.removed)
    for _, file in wanted.made:
        folders.name_lake_file(hidden(Path(file.path)).as_posix(), file.path)
    accounts = read_accounts(folder.path)
    for account in accounts:
        write_landed(folder.path, _renewed(account, wanted))
        reached(RemapPoint.ACCOUNTED)
    for account in accounts:
        folder.share(names.account(account.batch))
    folders.remove_lake_files(hidden(Path(file.path)).as_posix() for _, file in wanted.made)
    folder.remove_note(names.REMAP)


def has_exchange(places: Places, run_id: str) -> bool:
    """Tell whether an exchange in a run was begun here and not finished."""
    return (places.run_folder(run_id) / names.REMAP).exists()


def forget_hidden(places: Places, run_id: str) -> None:
    """Remove new files that wait for an exchange which was never noted."""
    for path in places.lake.glob(f"*/*/*/.{run_id}-*.parquet.remap"):
        path.unlink(missing_ok=True)


def _renewed(account: LandedBatch, wanted: Exchange) -> LandedBatch:
    kept = [file for file in account.lake_files if file.table not in wanted.tables]
    made = [file for batch, file in wanted.made if batch == account.batch]
    files = tuple(sorted([*kept, *made], key=lambda file: file.table))
    return replace(account, lake_files=files, mapping_version=wanted.mapping_version)


def _read_note(path: Path) -> Exchange:
    try:
        document = read_json(read_bytes(path))
        made = [(read_number(entry, "batch") or 0, read_lake_file(entry["file"])) for entry in document["made"]]
        removed = [read_lake_file({"table": "", "path": path, "rows": 0}).path for path in document["removed"]]
        version = read_number(document, "mapping_version")
        return Exchange(version or 0, tuple(made), tuple(removed), frozenset(map(str, document["tables"])))
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} cannot be read; delete it and run `python -m bcda remap` again.") from error


def _upload(places: Places, file: LakeFile) -> LakeFile:
    path = Path(file.path)
    return folders_of(places).put_lake_file(file, source=hidden(places.lake / file.path), name=hidden(path).as_posix())
