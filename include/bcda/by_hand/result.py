"""What an export by hand brought: files, lines, bytes, and what is missing. Nothing in it is about one person."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bcda.api.export_request import format_instant
from bcda.api.manifest import FileKind


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file of an export, proved complete.

    Attributes:
        path: where it is; gzip, one resource per line.
        kind: `output`, or `error` for what BCDA could not retrieve.
        resource_type: FHIR type of its lines.
        lines: number of lines, which is that of resources.
        bytes: size of the NDJSON, uncompressed.
        wire_bytes: size of the file.
        sha256: of the file, hexadecimal.
    """

    path: Path
    kind: FileKind
    resource_type: str
    lines: int
    bytes: int
    wire_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ExportResult:
    """A complete export in a folder.

    Attributes:
        folder: the folder.
        job_id: BCDA's number of the job.
        run_id: ours; it is in every row of the Parquet files.
        request_url: what BCDA was asked.
        transaction_time: the export holds changes up to this timestamp, UTC.
        files: every file of the job.
        gaps: by resource type, how many people BCDA could not retrieve. Their data is missing although the job is complete;
            empty when BCDA reported nothing.
        tables: by table, the pattern of its Parquet files, for DuckDB's `read_parquet`; empty without landing.
        database: DuckDB database with the tables, views and CCLF views; None without landing.
        lines_quarantined: lines that are no FHIR resource of their type and so in no table; they are in the files.
    """

    folder: Path
    job_id: str
    run_id: str
    request_url: str
    transaction_time: datetime
    files: tuple[ExportedFile, ...]
    gaps: Mapping[str, int]
    tables: Mapping[str, str]
    database: Path | None = None
    lines_quarantined: int = 0

    @property
    def lines(self) -> Mapping[str, int]:
        """Return the number of resources by type."""
        return self._sums("lines")

    @property
    def bytes(self) -> Mapping[str, int]:
        """Return the bytes of NDJSON by type, uncompressed."""
        return self._sums("bytes")

    def _sums(self, name: str) -> Mapping[str, int]:
        sums: Counter[str] = Counter()
        for file in self.files:
            if file.kind is FileKind.OUTPUT:
                sums[file.resource_type] += getattr(file, name)
        return dict(sums)

    def to_json(self) -> dict[str, object]:
        """Return a JSON object; paths are text."""
        return {
            "folder": str(self.folder),
            "job_id": self.job_id,
            "run_id": self.run_id,
            "request_url": self.request_url,
            "transaction_time": format_instant(self.transaction_time),
            "lines": self.lines,
            "bytes": self.bytes,
            "gaps": dict(self.gaps),
            "lines_quarantined": self.lines_quarantined,
            "files": [
                {
                    "path": str(file.path),
                    "kind": file.kind.value,
                    "resource_type": file.resource_type,
                    "lines": file.lines,
                    "bytes": file.bytes,
                    "wire_bytes": file.wire_bytes,
                    "sha256": file.sha256,
                }
                for file in self.files
            ],
            "tables": dict(self.tables),
            "database": str(self.database) if self.database else None,
        }

    def __str__(self) -> str:
        """Return the export in a few lines, for people."""
        lines = [
            f"Job {self.job_id} is complete in {self.folder}, with changes up to {format_instant(self.transaction_time)}."
        ]
        for name, count in self.lines.items():
            files = sum(file.resource_type == name and file.kind is FileKind.OUTPUT for file in self.files)
            lines.append(
                f"{name}: {_count(count, 'resource')} in {_count(files, 'file')}, {self.bytes[name]:,} bytes of NDJSON"
            )
        if not self.lines:
            lines.append("BCDA had nothing to export.")
        lines += [f"Missing: {name} of {_count(count, 'person')}" for name, count in self.gaps.items()]
        if self.lines_quarantined:
            lines.append(f"{_count(self.lines_quarantined, 'line')} could not be read as FHIR and are in no table.")
        if self.database:
            lines.append(f"Database: {self.database}")
        return "\n".join(lines)


def _count(number: int, thing: str) -> str:
    plural = "people" if thing == "person" else f"{thing}s"
    return f"{number:,} {thing if number == 1 else plural}"
