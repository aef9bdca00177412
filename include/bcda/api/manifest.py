"""The manifest of a finished job: which files belong to the export.

Kept in `raw/{run_id}/manifest.json` exactly as far as needed to fetch, prove and account for every file.
"""

import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bcda.api.export_request import format_instant, parse_instant
from bcda.errors import ManifestError
from bcda.storage.documents import read_fields, read_json, read_text

_NAME = re.compile(r"[0-9]{5,}-[A-Za-z]{1,64}\.ndjson\.gz")
_ERRORS, _DATA = "-error.ndjson", ".ndjson"
"""How the addresses of a part's error file and of its data file end (docs/bcda.md#manifest)."""


class FileKind(StrEnum):
    """Which list of the manifest a file stands in."""

    OUTPUT = "output"
    ERROR = "error"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file of the manifest.

    Attributes:
        name: our own name, `{number:05d}-{resource_type}.ndjson.gz`; unique in the run, says nothing of a person.
        kind: output, error or deleted.
        resource_type: FHIR type of its lines (OperationOutcome for error files).
        url: where it is; its origin has been checked against the configured one.
    """

    name: str
    kind: FileKind
    resource_type: str
    url: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The answer of a completed job (docs/bcda.md#manifest).

    Attributes:
        job_id: BCDA's number of the job, as text.
        transaction_time: the export holds changes up to this instant, UTC.
        request_url: the kick-off URL as the server saw it.
        expires_in_seconds: time left until the files may vanish when the manifest was read, by the server's own
            clock (`Expires` minus `Date`); None when the server did not say.
        files: every file once, in manifest order: output, then deleted, then error.
        answered_at: BCDA's clock when it sent the manifest, UTC; None in manifests that version 1.0 stored.
        unknown_fields: names in it that this release does not know, each once.
    """

    job_id: str
    transaction_time: datetime
    request_url: str
    expires_in_seconds: float | None
    files: tuple[OutputFile, ...]
    answered_at: datetime | None = None
    unknown_fields: tuple[str, ...] = ()

    def types_of_errors(self) -> dict[str, str]:
        """Return of each error file, by our name, the resource type that its errors are about.

        BCDA gives an error file the name of its part's data file: `{uuid}.ndjson` and `{uuid}-error.ndjson`. Our names are
        numbers, so the addresses tell. An error file without a data file of that name is left out.

        Source: docs/bcda.md#manifest.
        """
        data = {file.url: file.resource_type for file in self.files if file.kind is FileKind.OUTPUT}
        errors = [file for file in self.files if file.kind is FileKind.ERROR and file.url.endswith(_ERRORS)]
        paired = {file.name: data.get(f"{file.url.removesuffix(_ERRORS)}{_DATA}") for file in errors}
        return {name: resource_type for name, resource_type in paired.items() if resource_type is not None}

    def to_bytes(self) -> bytes:
        """Return JSON that `from_bytes` reads back."""
        document = {
            "job_id": self.job_id,
            "transaction_time": format_instant(self.transaction_time),
            "request_url": self.request_url,
            "expires_in_seconds": self.expires_in_seconds,
            "files": [
                {"name": f.name, "kind": f.kind.value, "resource_type": f.resource_type, "url": f.url}
                for f in self.files
            ],
            "answered_at": format_instant(self.answered_at) if self.answered_at else None,
            "unknown_fields": list(self.unknown_fields),
        }
        return json.dumps(document, indent=1).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Manifest":
        """Read what `to_bytes` wrote.

        Raises:
            ManifestError: the content is not of that shape.
        """
        try:
            document = read_json(content)
            files = tuple(read_fields(OutputFile, file) for file in document["files"])
            # Earlier releases did not write these two.
            answered_at, unknown = document.get("answered_at"), document.get("unknown_fields", [])
            if not isinstance(unknown, list) or not all(isinstance(name, str) for name in unknown):
                raise ValueError("unknown_fields is no list of names")  # noqa: TRY301
            if not all(_NAME.fullmatch(file.name) for file in files):
                raise ValueError("a name that is not ours")  # noqa: TRY301
            return cls(
                job_id=read_text(document, "job_id"),
                transaction_time=parse_instant(read_text(document, "transaction_time")),
                request_url=read_text(document, "request_url"),
                expires_in_seconds=_seconds(document["expires_in_seconds"]),
                files=files,
                answered_at=parse_instant(read_text(document, "answered_at")) if answered_at is not None else None,
                unknown_fields=tuple(unknown),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestError(
                f"The stored manifest cannot be read ({type(error).__name__}); start a new run."
            ) from error


def is_of_same_job(stored: bytes, other: bytes) -> bool:
    """Tell whether two stored manifests are of one job of BCDA; one that cannot be read is of no job."""
    try:
        return Manifest.from_bytes(stored).job_id == Manifest.from_bytes(other).job_id
    except ManifestError:
        return False


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("expires_in_seconds is no number")
    return float(value)
