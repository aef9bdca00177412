"""Raw files with receipts, made from lines, and the run they belong to."""

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from bcda.api.export_request import ExportRequest, Scope
from bcda.api.manifest import FileKind, Manifest, OutputFile
from bcda.landing import land_files
from bcda.runs.landed import LandedBatch
from bcda.runs.receipts import Receipt
from bcda.runs.run import ExportRun, write_run
from bcda.settings import ApiVersion
from bcda.storage.files import private_folder
from bcda.storage.places import Places
from bcda.warehouse import MergeSummary, merge_run

DELETED = "Bundle"
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
    """Write files as raw files of a run and land them.

    A Bundle is a file of what the server deleted. A type with the suffix `!` is an error file, and the type behind it that of the part's data file, if BCDA lists it.
    """
    types = tuple(dict.fromkeys(kind for kind, _ in files if "!" not in kind and kind != DELETED)) or ("Patient",)
    run = ExportRun(run_id, ExportRequest(version, Scope.PATIENT, types, since), transaction_time)
    folder = private_folder(places.run_folder(run_id))
    write_run(folder, run)
    receipts, listed = [], []
    numbers = {kind: number for number, (kind, _) in enumerate(files, start=1)}
    for number, (named, content) in enumerate(files, start=1):
        kind, is_error, part = named.partition("!")
        file_kind = FileKind.ERROR if is_error else FileKind.DELETED if kind == DELETED else FileKind.OUTPUT
        name = f"{number:05d}-{kind}.ndjson.gz"
        url = f"http://x/{numbers.get(part, number)}{'-error' if is_error else ''}.ndjson"
        wire = gzip.compress(content)
        (folder / name).write_bytes(wire)
        lines = content.count(b"\n") + (0 if content.endswith(b"\n") or not content else 1)
        receipts.append(
            Receipt(name, file_kind, kind, url, len(wire), hashlib.sha256(wire).hexdigest(), len(content), lines)
        )
        listed.append(OutputFile(name, file_kind, kind, url))
    manifest = Manifest("1", transaction_time, "http://x", None, tuple(listed))
    return run, manifest, land_files(run, manifest, receipts, batch=0, places=places)


def load(places: Places, files: Sequence[tuple[str, bytes]], **options: object) -> MergeSummary:
    """Land files and merge them."""
    run, manifest, landed = land(places, files, **options)
    return merge_run(places, run, manifest, [landed], now=max(NOON, manifest.transaction_time))


def counts(summary: MergeSummary, resource_type: str) -> Mapping[str, int]:
    """Return the counts of one type that are not zero."""
    entry = next(entry for entry in summary.counts if entry.resource_type == resource_type)
    names = ("new", "changed", "unchanged", "older", "duplicates", "quarantined")
    return {name: getattr(entry, name) for name in names if getattr(entry, name)}
