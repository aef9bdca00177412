"""Raw files with receipts, made from lines, and the run they belong to."""

import gzip
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from bcda.export_request import ExportRequest, Scope
from bcda.landed import LandedBatch
from bcda.landing import land_files
from bcda.manifest import FileKind, Manifest, OutputFile
from bcda.places import Places, private_folder
from bcda.receipts import Receipt
from bcda.runs import ExportRun, write_run
from bcda.settings import ApiVersion
from bcda.warehouse import MergeSummary, merge_run

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)


def land(
    places: Places,
    files: Sequence[tuple[str, bytes]],
    *,
    run_id: str = "r1",
    version: ApiVersion = ApiVersion.V2,
    transaction_time: datetime = NOON,
    since: datetime | None = None,
) -> tuple[ExportRun, Manifest, LandedBatch]:
    """Write files as raw files of a run and land them; a type with the suffix `!` is an error file."""
    types = tuple(dict.fromkeys(kind for kind, _ in files if not kind.endswith("!"))) or ("Patient",)
    run = ExportRun(run_id, ExportRequest(version, Scope.PATIENT, types, since), transaction_time)
    folder = private_folder(places.run_folder(run_id))
    write_run(folder, run)
    receipts, listed = [], []
    for number, (kind, content) in enumerate(files, start=1):
        file_kind = FileKind.ERROR if kind.endswith("!") else FileKind.OUTPUT
        name = f"{number:05d}-{kind.rstrip('!')}.ndjson.gz"
        wire = gzip.compress(content)
        (folder / name).write_bytes(wire)
        lines = content.count(b"\n") + (0 if content.endswith(b"\n") or not content else 1)
        receipts.append(
            Receipt(name, file_kind, kind.rstrip("!"), f"http://x/{name}", len(wire), "0" * 64, len(content), lines)
        )
        listed.append(OutputFile(name, file_kind, kind.rstrip("!"), f"http://x/{name}"))
    manifest = Manifest("1", transaction_time, "http://x", None, tuple(listed))
    return run, manifest, land_files(run, manifest, receipts, batch=0, places=places)


def load(places: Places, files: Sequence[tuple[str, bytes]], **options: object) -> MergeSummary:
    """Land files and merge them."""
    run, manifest, landed = land(places, files, **options)
    return merge_run(places, run, manifest, [landed], now=NOON)


def counts(summary: MergeSummary, resource_type: str) -> Mapping[str, int]:
    """Return the counts of one type that are not zero."""
    entry = next(entry for entry in summary.counts if entry.resource_type == resource_type)
    names = ("new", "changed", "unchanged", "older", "duplicates", "quarantined")
    return {name: getattr(entry, name) for name in names if getattr(entry, name)}
