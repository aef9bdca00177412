"""Receipts: the proof, beside each raw file, that it was received whole.

A file without a receipt does not exist for the stages that follow.
"""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from bcda.api.manifest import FileKind
from bcda.errors import ManifestError, StorageError
from bcda.runs import names
from bcda.storage.documents import read_fields, read_json
from bcda.storage.files import read_bytes, reason_of, write_durably

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is known of one raw file.

    Attributes:
        name: name of the raw file in the run's folder, such as `00001-Patient.ndjson.gz`; always gzip.
        kind: list of the manifest it stood in.
        resource_type: FHIR type of its lines.
        url: where it was fetched from; ties the receipt to the manifest entry.
        wire_bytes: size of the raw file, in bytes as received.
        wire_sha256: SHA-256 of those bytes, hexadecimal.
        content_bytes: size of the NDJSON, uncompressed.
        lines: lines of the NDJSON; a last line without newline counts.
    """

    name: str
    kind: FileKind
    resource_type: str
    url: str
    wire_bytes: int
    wire_sha256: str
    content_bytes: int
    lines: int


def receipt_path(folder: Path, name: str) -> Path:
    """Return where the receipt of a raw file lies."""
    return folder / names.receipt(name)


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Write the receipt of a raw file that is in place already.

    Raises:
        StorageError: the folder cannot be written.
    """
    write_durably(receipt_path(folder, receipt.name), json.dumps(asdict(receipt), indent=1).encode())


def read_receipt(folder: Path, name: str) -> Receipt | None:
    """Return the receipt of a raw file, or None when it was never completed.

    Raises:
        ManifestError: a receipt is there but cannot be read, or the raw file beside it is missing or has another size.
    """
    path = receipt_path(folder, name)
    if not path.exists():
        return None
    receipt = parse_receipt(path)
    raw = folder / name
    if not raw.exists() or raw.stat().st_size != receipt.wire_bytes:
        raise _differs(raw)
    return receipt


def proved_receipt(folder: Path, name: str, url: str) -> Receipt | None:
    """Return the receipt of a raw file that is what its receipt says, to the last byte; None for one to fetch again.

    Args:
        folder: raw folder of the run.
        name: of the raw file.
        url: where it is to come from; the receipt of another address does not count.

    Raises:
        StorageError: receipt or file cannot be read.
    """
    path = receipt_path(folder, name)
    if not path.exists():
        return None
    try:
        receipt = parse_receipt(path)
        if receipt.url != url:
            return None
        check_bytes(folder, receipt)
    except ManifestError as error:
        log.warning("%s is fetched again. %s", name, error)
        return None
    return receipt


def check_bytes(folder: Path, receipt: Receipt) -> None:
    """Compare a raw file with its receipt.

    Raises:
        ManifestError: it is missing, or its bytes are others.
        StorageError: it cannot be read.
    """
    path = folder / receipt.name
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        found = ""
    except OSError as error:
        raise StorageError(f"Cannot read {path}: {reason_of(error)}. Check the owner and the disk.") from error
    if found != receipt.wire_sha256:
        raise _differs(path)


def _differs(path: Path) -> ManifestError:
    return ManifestError(
        f"The raw file {path} does not match its receipt. Nothing of it was read, and the same task would find it so again: clear "
        "the task `fetch` of its batch with all that is downstream, which fetches the file again."
    )


def parse_receipt(path: Path, content: bytes | None = None) -> Receipt:
    """Return what a receipt says, without a look at its raw file.

    Args:
        path: of the receipt.
        content: what it holds; read from the file when None.

    Raises:
        ManifestError: it cannot be read.
    """
    try:
        return read_fields(Receipt, read_json(read_bytes(path) if content is None else content))
    except ValueError as error:
        raise ManifestError(
            f"The receipt {path} cannot be read. Clear the fetch task of its batch, which writes it again."
        ) from error
