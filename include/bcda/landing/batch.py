"""Landing a batch: raw files in, Parquet and an account of every line out."""

import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from bcda.commit_points import CommitPoint, reached
from bcda.errors import CountMismatchError, LandingError
from bcda.landed import LandedBatch, LandedFile, write_landed
from bcda.landing.content_hash import content_hash
from bcda.landing.engine import Engine, ParsedKeys, slice_table
from bcda.landing.lake_files import LakeWriter
from bcda.landing.lines import LineReader, Slice
from bcda.manifest import FileKind, Manifest
from bcda.places import Places, private_folder
from bcda.receipts import Receipt
from bcda.runs import ExportRun
from bcda.settings import ApiVersion

log = logging.getLogger(__name__)

ENGINE_BYTES = 384 << 20
"""Memory of the parsing engine; buffers, Parquet and the interpreter come on top, below 600 MiB in all."""

GATHER_BYTES = 320 << 20
"""Text that is parsed before the tables are filled: enough to make planning fifteen queries cheap."""

_FHIR_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")


@dataclass(slots=True)
class _Account:
    """Running account of one file."""

    lines_read: int = 0
    rows_landed: int = 0
    lines_quarantined: int = 0


def land_files(
    run: ExportRun,
    manifest: Manifest,
    receipts: Sequence[Receipt],
    *,
    batch: int,
    places: Places,
    memory_bytes: int = ENGINE_BYTES,
) -> LandedBatch:
    """Turn the raw files of one batch into Parquet.

    Killed half way it leaves temporary names only; run again it writes the same files anew.

    Args:
        run: the export run; names the lake files.
        manifest: gives the `transactionTime`, whose date is the lake partition.
        receipts: of the batch's raw files, in any order.
        batch: number of the batch.
        places: where raw files and lake are.
        memory_bytes: limit of the parsing engine.

    Returns:
        The account, which has been written to `raw/{run_id}/landed-{batch}.json` too. Per file: lines read, resources
        landed, lines quarantined. Per table: the lake file and its rows.

    Raises:
        CountMismatchError: for some file lines read differ from landed plus quarantined, or from its receipt.
        IncompleteFileError: a raw file is damaged on disk.
        StorageError: the lake cannot be written.

    Source: wire contract §16; table model §3; design §3, P1.
    """
    folder = places.run_folder(run.run_id)
    private_folder(places.lake)
    writer = LakeWriter(
        places.lake,
        api_version=run.request.api_version,
        export_date=manifest.transaction_time.date(),
        run_id=run.run_id,
        batch=batch,
    )
    with _spill_folder(places.lake, f".spill-{run.run_id}-{batch:03d}") as spill:
        engine = Engine(run.request.api_version, spill=spill, memory_bytes=memory_bytes)
        try:
            landing = _Landing(run, folder, engine, writer)
            files = tuple(
                landing.land(receipt) for receipt in sorted(receipts, key=lambda r: (r.resource_type, r.name))
            )
            landing.flush()
            lake_files = writer.commit()
        finally:
            engine.close()
            writer.discard()
    landed = LandedBatch(run.run_id, batch, files, lake_files)
    write_landed(folder, landed)
    reached(CommitPoint.BATCH_ACCOUNTED)
    log.info(
        "landed batch %d: %d files, %d lines, %d quarantined",
        batch,
        len(files),
        sum(file.lines_read for file in files),
        sum(file.lines_quarantined for file in files),
    )
    return landed


@contextmanager
def _spill_folder(lake: Path, name: str) -> Iterator[Path]:
    """Give a folder for what does not fit into memory; what a killed try of the same batch left there goes first."""
    folder = lake / name
    if folder.exists():
        shutil.rmtree(folder)
    private_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class _Landing:
    """The files of one batch on their way through the engine."""

    def __init__(self, run: ExportRun, folder: Path, engine: Engine, writer: LakeWriter) -> None:
        self._run_id = run.run_id
        # In v3 it is the day on which CMS finished the claim, elsewhere the instant of the delivery.
        self._is_created_content = run.request.api_version is ApiVersion.V3
        self._folder = folder
        self._engine = engine
        self._writer = writer
        self._reader = LineReader()
        self._gathered_bytes = 0
        self._gathered_type = ""

    def land(self, receipt: Receipt) -> LandedFile:
        """Land one raw file; its rows may still be gathered in the engine when this returns."""
        if receipt.resource_type != self._gathered_type:
            self.flush()
            self._gathered_type = receipt.resource_type
        account = _Account()
        for lines in self._reader.slices(self._folder / receipt.name):
            self._land_slice(lines, receipt, account)
        landed = LandedFile(
            name=receipt.name,
            kind=receipt.kind,
            resource_type=receipt.resource_type,
            wire_bytes=receipt.wire_bytes,
            wire_sha256=receipt.wire_sha256,
            content_bytes=receipt.content_bytes,
            lines_read=account.lines_read,
            rows_landed=account.rows_landed,
            lines_quarantined=account.lines_quarantined,
        )
        _check_counts(landed, receipt)
        return landed

    def flush(self) -> None:
        """Fill the tables from all that was gathered."""
        for table, rows in self._engine.tables(self._gathered_type):
            self._writer.write(table, rows)
        self._gathered_bytes = 0

    def _land_slice(self, lines: Slice, receipt: Receipt, account: _Account) -> None:
        account.lines_read += len(lines) + len(lines.oversized)
        for number, size in lines.oversized:
            self._quarantine(receipt, [(number, "longer than the reader's buffer", size, b"")], account)
        if not len(lines):
            return
        rows = slice_table(lines)
        unreadable = _not_utf8(rows, lines)
        if unreadable:
            rows = self._set_aside(rows, lines, unreadable, receipt, account)
        keys = self._engine.parse(rows, raw_file=receipt.name, resource_type=receipt.resource_type)
        if keys is None:
            # Only a slice with a bad line pays for finding it.
            reasons = _why_not_json(self._engine.invalid_lines(rows), lines)
            rows = self._set_aside(rows, lines, reasons, receipt, account)
            rows, keys = self._parse_what_can_be(rows, lines, receipt, account)
        unkeyed = _unusable_keys(_numbers(rows), keys, receipt)
        self._gathered_bytes += lines.offsets[-1]
        if unkeyed:
            self._engine.drop_lines(receipt.name, list(unkeyed))
            kept = [number not in unkeyed for number in _numbers(rows)]
            rows = self._set_aside(rows, lines, unkeyed, receipt, account)
            keys = _keep(keys, kept)
        account.rows_landed += rows.num_rows
        if receipt.kind is FileKind.OUTPUT:
            self._writer.write("resource", self._resource_rows(rows, keys, lines, receipt))
            unknown = self._engine.unknown_elements(rows, raw_file=receipt.name, resource_type=receipt.resource_type)
            self._writer.write("drift", unknown)
        if self._gathered_bytes >= GATHER_BYTES:
            self.flush()

    def _parse_what_can_be(
        self, rows: pa.Table, lines: Slice, receipt: Receipt, account: _Account
    ) -> tuple[pa.Table, ParsedKeys]:
        """Parse lines that are all JSON objects; a line that the engine refuses all the same is set aside."""
        kind = receipt.resource_type
        keys = self._engine.parse(rows, raw_file=receipt.name, resource_type=kind)
        if keys is None:
            refused = {}
            for index, number in enumerate(_numbers(rows)):
                if self._engine.parse(rows.slice(index, 1), raw_file=receipt.name, resource_type=kind) is None:
                    refused[number] = "cannot be parsed"
                else:
                    self._engine.drop_lines(receipt.name, [number])
            rows = self._set_aside(rows, lines, refused, receipt, account)
            keys = self._engine.parse(rows, raw_file=receipt.name, resource_type=kind)
        if keys is None:
            raise LandingError(f"{receipt.name}: lines that parse alone do not parse together.", table="resource")
        return rows, keys

    def _set_aside(
        self, rows: pa.Table, lines: Slice, reasons: dict[int, str], receipt: Receipt, account: _Account
    ) -> pa.Table:
        """Quarantine lines of a slice and return the others."""
        first = lines.first_line
        entries = [
            (
                number,
                reason,
                lines.offsets[number - first + 1] - lines.offsets[number - first],
                lines.line(number - first),
            )
            for number, reason in sorted(reasons.items())
        ]
        self._quarantine(receipt, entries, account)
        return rows.filter(pa.array([number not in reasons for number in _numbers(rows)], pa.bool_()))

    def _quarantine(self, receipt: Receipt, entries: Sequence[tuple[int, str, int, bytes]], account: _Account) -> None:
        account.lines_quarantined += len(entries)
        columns = {
            "run_id": pa.array([self._run_id] * len(entries), pa.string()),
            "raw_file": pa.array([receipt.name] * len(entries), pa.string()),
            "raw_line": pa.array([entry[0] for entry in entries], pa.int64()),
            "reason": pa.array([entry[1] for entry in entries], pa.string()),
            "line_bytes": pa.array([entry[2] for entry in entries], pa.int64()),
            "line": pa.array([entry[3] for entry in entries], pa.binary()),
        }
        self._writer.write("quarantine", pa.table(columns))

    def _resource_rows(self, rows: pa.Table, keys: ParsedKeys, lines: Slice, receipt: Receipt) -> pa.Table:
        count = rows.num_rows
        offsets, first = lines.offsets, lines.first_line
        hashes = [
            content_hash(
                lines.buffer,
                offsets[number - first],
                offsets[number - first + 1],
                last_updated=updated,
                created=None if self._is_created_content else created,
            )
            for number, updated, created in zip(_numbers(rows), keys.last_updated, keys.created, strict=True)
        ]
        return pa.table(
            {
                "run_id": pa.array([self._run_id] * count, pa.string()),
                "resource_type": pa.array([receipt.resource_type] * count, pa.string()),
                "resource_id": pa.array(keys.resource_id, pa.string()),
                "meta_last_updated": keys.last_updated_at,
                "content_hash": pa.array(hashes, pa.string()),
                "body": rows["body"],
                "raw_file": pa.array([receipt.name] * count, pa.string()),
                "raw_line": rows["raw_line"],
            }
        )


def _numbers(rows: pa.Table) -> list[int]:
    numbers: list[int] = rows["raw_line"].to_pylist()  # type: ignore[assignment]  # never null
    return numbers


def _not_utf8(rows: pa.Table, lines: Slice) -> dict[int, str]:
    """Return the lines of a slice that are not UTF-8."""
    try:
        rows["body"].validate(full=True)
    except pa.ArrowInvalid:
        return {lines.first_line + index: "not UTF-8" for index in range(len(lines)) if not _decodes(lines.line(index))}
    return {}


def _decodes(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _why_not_json(numbers: Iterable[int], lines: Slice) -> dict[int, str]:
    last = lines.first_line + len(lines) - 1
    reasons = {}
    for number in numbers:
        if not lines.line(number - lines.first_line).strip():
            reasons[number] = "empty line"
        elif number == last and lines.is_unterminated:
            reasons[number] = "cut"
        else:
            reasons[number] = "not JSON"
    return reasons


def _unusable_keys(numbers: Sequence[int], keys: ParsedKeys, receipt: Receipt) -> dict[int, str]:
    reasons = {}
    needs_id = receipt.kind is FileKind.OUTPUT
    for number, resource_type, resource_id in zip(numbers, keys.resource_type, keys.resource_id, strict=True):
        if resource_type is None:
            reasons[number] = "no resource type"
        elif resource_type != receipt.resource_type:
            reasons[number] = "wrong resource type"
        elif needs_id and not (resource_id and _FHIR_ID.fullmatch(resource_id)):
            reasons[number] = "no id"
    return reasons


def _keep(keys: ParsedKeys, kept: Sequence[bool]) -> ParsedKeys:
    mask = pa.array(kept, pa.bool_())
    return ParsedKeys(
        [value for value, keep in zip(keys.resource_type, kept, strict=True) if keep],
        [value for value, keep in zip(keys.resource_id, kept, strict=True) if keep],
        [value for value, keep in zip(keys.last_updated, kept, strict=True) if keep],
        keys.last_updated_at.filter(mask),
        [value for value, keep in zip(keys.created, kept, strict=True) if keep],
    )


def _check_counts(landed: LandedFile, receipt: Receipt) -> None:
    if landed.lines_read == receipt.lines == landed.rows_landed + landed.lines_quarantined:
        return
    raise CountMismatchError(
        f"{receipt.name}: the receipt says {receipt.lines} lines, {landed.lines_read} were read, "
        f"{landed.rows_landed} landed and {landed.lines_quarantined} quarantined. Nothing was put into place; "
        "delete the raw file with its receipt and run the fetch task again.",
        lines_read=landed.lines_read,
        rows_landed=landed.rows_landed,
        lines_quarantined=landed.lines_quarantined,
    )
