"""What landing leaves for the merge: which lake files hold a batch, and the account of every raw file."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bcda.api.manifest import FileKind
from bcda.errors import ManifestError
from bcda.runs import names
from bcda.storage.documents import read_fields, read_json, read_number, read_text
from bcda.storage.files import read_bytes, write_durably

_LAKE_PATH = re.compile(r"[a-z_]+/api_version=v[0-9]+/export_date=[0-9-]{10}/[0-9A-Za-z][0-9A-Za-z_.-]*\.parquet")
"""An account can come from a bucket, and must not name a place outside of the lake."""


@dataclass(frozen=True, slots=True)
class LandedFile:
    """The account of one raw file: `lines_read` = `rows_landed` + `lines_quarantined`, always.

    Attributes:
        name: our name of the raw file.
        kind: list of the manifest it stood in.
        resource_type: type that the manifest gave.
        wire_bytes: size as received.
        wire_sha256: SHA-256 of the bytes as received.
        content_bytes: size of the NDJSON.
        lines_read: lines of the NDJSON.
        rows_landed: lines that became a resource.
        lines_quarantined: lines quarantined with a reason.
    """

    name: str
    kind: FileKind
    resource_type: str
    wire_bytes: int
    wire_sha256: str
    content_bytes: int
    lines_read: int
    rows_landed: int
    lines_quarantined: int


@dataclass(frozen=True, slots=True)
class LakeFile:
    """One Parquet file of the batch.

    Attributes:
        table: name of the lake table.
        path: relative to the lake.
        rows: rows in it.
        bytes: size in the object store; 0 where there is none.
        sha256: of its content in the object store, hexadecimal; empty where there is none.
    """

    table: str
    path: str
    rows: int
    bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class LandedBatch:
    """One landed batch.

    Attributes:
        run_id: our export run.
        batch: number of the batch.
        files: every raw file of the batch.
        lake_files: one per table that got rows.
        mapping_version: `model.mapping_version.MAPPING_VERSION` of the code that made the rows; 0 of code that recorded none.
    """

    run_id: str
    batch: int
    files: tuple[LandedFile, ...]
    lake_files: tuple[LakeFile, ...]
    mapping_version: int = 0


def landed_path(run_folder: Path, batch: int) -> Path:
    """Return where the account of a batch lies."""
    return run_folder / names.account(batch)


def write_landed(run_folder: Path, landed: LandedBatch) -> None:
    """Write the account of a batch whose lake files are in place.

    Raises:
        StorageError: the folder cannot be written.
    """
    write_durably(landed_path(run_folder, landed.batch), json.dumps(asdict(landed), indent=1).encode())


def read_landed(run_folder: Path, batch: int) -> LandedBatch | None:
    """Return the account of a batch, or None when it has not landed.

    Raises:
        ManifestError: it is there but cannot be read.
    """
    path = landed_path(run_folder, batch)
    if not path.exists():
        return None
    try:
        document = read_json(read_bytes(path))
        if document["batch"] != batch:
            raise ValueError("the account of another batch")  # noqa: TRY301
        if any("/" in file["name"] for file in document["files"]):
            raise ValueError("a name that is not ours")  # noqa: TRY301
        return LandedBatch(
            run_id=read_text(document, "run_id"),
            batch=batch,
            files=tuple(read_fields(LandedFile, file) for file in document["files"]),
            lake_files=tuple(read_lake_file(file) for file in document["lake_files"]),
            mapping_version=read_number(document, "mapping_version") or 0,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"The account {path} cannot be read; delete it and run the land task again.") from error


def read_accounts(run_folder: Path) -> list[LandedBatch]:
    """Return the accounts of all batches of a run that are here, by number.

    Raises:
        ManifestError: one cannot be read.
    """
    return [
        landed for number in names.batches_in(run_folder) if (landed := read_landed(run_folder, number)) is not None
    ]


def read_lake_file(document: Any) -> LakeFile:
    """Return a lake file from the JSON object of an account.

    Raises:
        ValueError: other fields, or a path that is not ours.
    """
    # An account of an earlier release says nothing of size and content.
    file = read_fields(LakeFile, {"bytes": 0, "sha256": "", **document})
    if not _LAKE_PATH.fullmatch(file.path):
        raise ValueError("a path that is not ours")
    return file
