"""What landing leaves for the merge: which lake files hold a batch, and the account of every raw file."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bcda.documents import read_fields, read_json, read_text
from bcda.errors import ManifestError
from bcda.manifest import FileKind
from bcda.places import write_durably


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
        lines_quarantined: lines set aside with a reason.
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
    """

    table: str
    path: str
    rows: int


@dataclass(frozen=True, slots=True)
class LandedBatch:
    """One landed batch.

    Attributes:
        run_id: our export run.
        batch: number of the batch.
        files: every raw file of the batch.
        lake_files: one per table that got rows.
    """

    run_id: str
    batch: int
    files: tuple[LandedFile, ...]
    lake_files: tuple[LakeFile, ...]


def landed_path(run_folder: Path, batch: int) -> Path:
    """Return where the account of a batch lies."""
    return run_folder / f"landed-{batch:03d}.json"


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
        document = read_json(path.read_bytes())
        if document["batch"] != batch:
            raise ValueError("the account of another batch")  # noqa: TRY301
        return LandedBatch(
            run_id=read_text(document, "run_id"),
            batch=batch,
            files=tuple(read_fields(LandedFile, file) for file in document["files"]),
            lake_files=tuple(read_fields(LakeFile, file) for file in document["lake_files"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"The account {path} cannot be read; delete it and run the land task again.") from error
