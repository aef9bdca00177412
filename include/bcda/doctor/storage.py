"""Our own places: may they be written, is there room, and does anybody hold the warehouse."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bcda.doctor.check import Check, Status
from bcda.errors import (
    EncryptionError,
    InvalidRequestError,
    ManifestError,
    StorageError,
    StoreUnavailableError,
    WarehouseLockedError,
)
from bcda.storage import duckdb_files, parquet_files
from bcda.storage.encryption import lake_key_name
from bcda.storage.files import reason_of
from bcda.storage.folder_modes import opening_of
from bcda.storage.object_store import store_of
from bcda.storage.places import Places
from bcda.storage.warehouse_place import check_place
from bcda.warehouse import (
    check_readers,
    future_in_words,
    future_resources,
    future_runs,
    older_in_words,
    older_runs,
    open_warehouse,
    repair_step,
    runs_by_mapping,
)

SPARE_BYTES = 1 << 30
"""What should be left after a run: DuckDB spills beside the database when a merge outgrows its memory."""


def check_storage(places: Places) -> list[Check]:
    """Look at a source's places as the user who runs this; whatever is tried leaves nothing behind.

    Args:
        places: of the source; they need not exist yet.
    """
    encryption = [_encryption(places)] if places.key is not None else []
    store = [_object_store(places)] if places.store is not None else []
    readers = [_readers(places)] if places.publication.readers_group is not None else []
    return [_folders(places), _disk(places), *readers, *store, *encryption, *_warehouse(places)]


def _folders(places: Places) -> Check:
    problems = [problem for name, folder in _named(places) if (problem := _unwritable(name, folder))]
    if _is_there(places.warehouse) and not _may(places.warehouse, os.W_OK):
        problems.append(f"the file {places.warehouse} may not be written")
    if not problems:
        if (opened := _openings(places)) is not None:
            return opened
        home = os.path.commonpath([folder for _, folder in _named(places)])
        return Check("folders", Status.OK, f"Raw, lake, warehouse and published, below {home}, can be written.")
    listed = "; ".join(problems)
    text = f"{listed[0].upper()}{listed[1:]}. Give the user that runs Airflow's tasks the right to write, or mount it writable."
    return Check("folders", Status.FAILED, text)


def _openings(places: Places) -> Check | None:
    """Return what is to be said of folders that other accounts can write; None if there is nothing to say."""
    try:
        openings = [found for _, folder in _named(places) if (found := opening_of(_existing(folder))) is not None]
    except (InvalidRequestError, StorageError) as error:
        return Check("folders", Status.FAILED, str(error))
    if not openings:
        return None
    refused = [opening for opening in openings if opening.is_refused]
    text = " ".join(dict.fromkeys(opening.text for opening in refused or openings))
    return Check("folders", Status.FAILED if refused else Status.WARNING, text)


def _unwritable(name: str, folder: Path) -> str:
    """Return why nothing can be written, or nothing. Trying is the only proof: mounts, quotas and root have rules of their own."""
    existing = _existing(folder)
    try:
        # Linux makes a file without a name, so that not even a kill leaves one behind.
        with tempfile.TemporaryFile(dir=existing):
            return ""
    except OSError as error:
        return f"{name} cannot be written below {existing} ({reason_of(error)})"


def _disk(places: Places) -> Check:
    run, copy = _largest_run(places.raw), _size(places.warehouse)
    tight, full, free = [], [], []
    for names, folder in _file_systems(places).items():
        left = shutil.disk_usage(folder).free
        # The lake takes about half of what raw takes; the working database is copied whole by a snapshot and by a vacuum.
        needed = run * len({"raw", "lake"} & set(names)) + (copy if {"warehouse", "published"} & set(names) else 0)
        if places.publication.copies and "published" in names:
            # A dated copy is written before the oldest one goes.
            needed += copy
        said = f"{_bytes(left)} free for {', '.join(names)}"
        free.append(said)
        if left < needed:
            full.append(f"{said}, {_bytes(needed)} needed")
        elif left < needed + SPARE_BYTES:
            tight.append(f"{said}, {_bytes(needed)} needed and {_bytes(SPARE_BYTES)} to spare")
    why = "A run like the largest one and a copy of the working database need that much."
    next_step = "Free some space, or move places with BCDA_HOME, BCDA_RAW, BCDA_LAKE, BCDA_WAREHOUSE or BCDA_PUBLISHED."
    if full:
        return Check("disk", Status.FAILED, f"Only {'; '.join(full)}. {why} {next_step}")
    if tight:
        return Check("disk", Status.WARNING, f"Only {'; '.join(tight)}. {next_step}")
    return Check("disk", Status.OK, f"{'; '.join(free)}.")


def _readers(places: Places) -> Check:
    try:
        check_readers(places)
    except (InvalidRequestError, StorageError) as error:
        return Check("readers", Status.FAILED, str(error))
    text = f"The published database can be given to the group {places.publication.readers_group}."
    return Check("readers", Status.OK, text)


def _object_store(places: Places) -> Check:
    """Put, list, read and delete an object, which is all that the stages do; and see whose working database counts."""
    name, content = f"doctor/{secrets.token_hex(8)}", b"written by the doctor, may be deleted"
    try:
        store = store_of(places)
        if store is None:
            return Check("object store", Status.SKIPPED, "There is none.")
        store.write(name, content)
        try:
            is_whole = store.sizes("doctor").get(name) == len(content) and store.read(name) == content
        finally:
            store.delete([name])
        if not is_whole or store.read(name) is not None:
            text = f"What is written to {places.store} cannot be read back, or stays when deleted. Use a store that does as S3 does."
            return Check("object store", Status.FAILED, text)
    except (InvalidRequestError, StorageError, StoreUnavailableError) as error:
        return Check("object store", Status.FAILED, str(error))
    try:
        check_place(places)
    except StorageError as error:
        return Check("object store", Status.WARNING, f"{places.store} can be used. {error}")
    return Check("object store", Status.OK, f"{places.store} can be written, listed, read and deleted from.")


def _encryption(places: Places) -> Check:
    try:
        parquet_files.check_library(places.key)
        with duckdb_files.connected(spill=places.lake, memory="64MB", key=places.key) as connection:
            parquet_files.check_key(connection, places.lake, lake_key_name(places.key))
    except (EncryptionError, InvalidRequestError, ManifestError) as error:
        return Check("encryption", Status.FAILED, str(error))
    return Check(
        "encryption", Status.OK, "There is a key, DuckDB can encrypt with it, and what is in the lake opens with it."
    )


def _warehouse(places: Places) -> list[Check]:
    path = places.warehouse
    if not _is_there(path):
        return [Check("warehouse", Status.SKIPPED, "There is no working database yet; the first load makes it.")]
    try:
        with open_warehouse(path, key=places.key, read_only=True, wait_seconds=0) as connection:
            wrong = future_in_words(future_runs(connection), future_resources(connection))
            older = older_in_words(older_runs(runs_by_mapping(connection)), places.source_id)
    except WarehouseLockedError as error:
        text = (
            f"The working database {path} is held by {error.holder}, and loads wait for it. A load holds it for minutes; when it "
            "takes longer, see what that process is and stop it. Analysts open the published database, never this one."
        )
        return [Check("warehouse", Status.WARNING, text)]
    except (StorageError, EncryptionError) as error:
        return [Check("warehouse", Status.FAILED, str(error))]
    text = f"Nobody holds the working database of {_bytes(_size(path))}, and it can be read."
    dates = [Check("timestamps", Status.FAILED, f"{wrong} {repair_step(places)}")] if wrong else []
    mapping = [Check("mapping", Status.WARNING, older)] if older else []
    return [Check("warehouse", Status.OK, text), *dates, *mapping]


def _named(places: Places) -> Iterator[tuple[str, Path]]:
    yield from (("raw", places.raw), ("lake", places.lake))
    yield from (("warehouse", places.warehouse.parent), ("published", places.published.parent))


def _file_systems(places: Places) -> dict[tuple[str, ...], Path]:
    """Return the places by file system, with a folder that is there."""
    names: dict[int, list[str]] = {}
    folders: dict[int, Path] = {}
    for name, folder in _named(places):
        existing = _existing(folder)
        device = existing.stat().st_dev
        names.setdefault(device, []).append(name)
        folders.setdefault(device, existing)
    return {tuple(names[device]): folder for device, folder in folders.items()}


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(candidate for candidate in (folder, *folder.parents) if _is_there(candidate))


def _is_there(path: Path) -> bool:
    """Tell whether this user can see it; in a folder that may not be looked into, Path.exists() raises instead."""
    return os.path.exists(path)  # noqa: PTH110


def _largest_run(raw: Path) -> int:
    """Return the bytes of the largest run that is kept."""
    if not _may(raw, os.R_OK | os.X_OK):
        return 0
    return max((sum(_size(file) for file in run.glob("*.ndjson.gz")) for run in raw.iterdir()), default=0)


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _size(file: Path) -> int:
    return file.stat().st_size if _is_there(file) else 0


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"  # noqa: PLR2004
