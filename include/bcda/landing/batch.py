"""Landing a batch: raw files in, Parquet and an account of every line out."""

import json
import logging
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bcda.api.manifest import FileKind, Manifest
from bcda.api.server_clock import latest_possible
from bcda.budgets import (
    GATHER_BYTES,
    LANDING_ENGINE_BYTES,
    ORDINARY_LINE_BYTES,
    QUARANTINE_LISTED,
    QUARANTINE_TEXT_BYTES,
)
from bcda.errors import CountMismatchError, EngineMemoryError, LandingError
from bcda.landing.content_hash import content_hash
from bcda.landing.drift import samples_of
from bcda.landing.engine import Engine, ParsedKeys, slice_table
from bcda.landing.lake_files import LakeWriter, partition_of
from bcda.landing.lines import LineReader, Slice
from bcda.landing.portions import Portion, Window, conspicuous, portions, too_many, too_much_together, weights
from bcda.landing.whose import NOBODY, Whose, whose
from bcda.model.mapping import NO_ID
from bcda.model.mapping_version import MAPPING_VERSION
from bcda.progress import Done, Progress
from bcda.runs.landed import LandedBatch, LandedFile, read_landed, write_landed
from bcda.runs.receipts import Receipt, check_bytes
from bcda.runs.run import ExportRun
from bcda.settings import ApiVersion
from bcda.storage import duckdb_files, parquet_files
from bcda.storage.commit_points import CommitPoint, reached
from bcda.storage.encryption import lake_key_name
from bcda.storage.files import own_folder, private_folder, remove_dead, told
from bcda.storage.places import Places

log = logging.getLogger(__name__)

_EMPTY = "empty line"

_FHIR_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")


@dataclass(slots=True)
class _Account:
    """Running account of one file."""

    lines_read: int = 0
    rows_landed: int = 0
    lines_quarantined: int = 0
    aside: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Aside:
    """A quarantined line: where it stands, why, its length, how it begins, and whom it names."""

    file_name: str
    number: int
    reason: str
    size: int
    text: bytes
    person: Whose = NOBODY


def land_files(
    run: ExportRun,
    manifest: Manifest,
    receipts: Sequence[Receipt],
    *,
    batch: int,
    places: Places,
    memory_bytes: int = LANDING_ENGINE_BYTES,
) -> LandedBatch:
    """Turn the raw files of one batch into Parquet.

    Killed half way it leaves temporary names only; run again it rewrites the same files. What another attempt has landed
    meanwhile, from the same raw files, stays.

    Args:
        run: the export run; names the lake files.
        manifest: gives the `transactionTime`, whose date is the lake partition.
        receipts: of the batch's raw files, in any order.
        batch: number of the batch.
        places: where raw files and lake are.
        memory_bytes: limit of the parsing engine.

    Returns:
        The account, which has been written to the folder of the run too. Per file: lines read, resources
        landed, lines quarantined. Per table: the lake file and its rows.

    Raises:
        CountMismatchError: for some file lines read differ from landed plus quarantined, or from its receipt.
        ManifestError: a raw file is missing or does not have the bytes of its receipt; nothing was read.
        StorageError: the lake cannot be written.
        EncryptionError: the key is not that of the lake, or this machine cannot encrypt.

    Source: docs/bcda.md#data-files, docs/table-model.md#from-elements-to-rows, docs/guarantees.md#data.
    """
    folder = places.run_folder(run.run_id)
    private_folder(places.lake)
    remove_dead(places.lake)
    for receipt in receipts:
        check_bytes(folder, receipt)
    try:
        return _land_once(run, manifest, receipts, batch, places, memory_bytes, is_careful=False)
    except EngineMemoryError:
        log.info("batch %d takes more memory than ordinary claims do; it is landed again, fewer lines at a time", batch)
    return _land_once(run, manifest, receipts, batch, places, memory_bytes, is_careful=True)


def _land_once(
    run: ExportRun,
    manifest: Manifest,
    receipts: Sequence[Receipt],
    batch: int,
    places: Places,
    memory_bytes: int,
    *,
    is_careful: bool,
) -> LandedBatch:
    """Land a batch; see `land_files`. One that is careful looks at every line before it is parsed.

    Raises:
        EngineMemoryError: what was parsed or gathered at a time takes more than the engine has.
    """
    folder, memory = places.run_folder(run.run_id), f"{memory_bytes >> 20}MiB"
    with (
        own_folder(places.lake, f"landing-{run.run_id}-{batch:03d}") as workspace,
        told(f"land the raw files in {folder}"),
        # One thread: a slice is too small to share, and batches run side by side already.
        duckdb_files.connected(
            spill=workspace, memory=memory, key=places.key, threads=1, keeps_order=True
        ) as connection,
    ):
        parquet_files.check_key(connection, places.lake, lake_key_name(places.key))
        writer = LakeWriter(
            places.lake,
            workspace=workspace,
            partition=partition_of(run.request.api_version, manifest.transaction_time.date()),
            name=f"{run.run_id}-{batch:03d}.parquet",
            connection=connection,
            key=places.key,
        )
        try:
            progress = Progress(log, f"landing batch {batch}", "lines", sum(receipt.lines for receipt in receipts))
            engine, latest = Engine(run.request.api_version, connection), _latest(manifest)
            landing = _Landing(run, folder, engine, writer, progress, latest, is_careful=is_careful)
            files = tuple(
                file
                for _, alike in groupby(sorted(receipts, key=lambda r: (*_likeness(r), r.name)), key=_likeness)
                for file in landing.land(list(alike))
            )
            landing.flush()
            reached(CommitPoint.LAKE_WRITTEN)
            other = _landed_meanwhile(places, folder, batch, files)
            if other is not None:
                log.info("batch %d was landed by another attempt meanwhile", batch)
                return other
            lake_files = writer.commit()
        finally:
            writer.discard()
    landed = LandedBatch(run.run_id, batch, files, lake_files, MAPPING_VERSION)
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


def _landed_meanwhile(places: Places, folder: Path, batch: int, files: Sequence[LandedFile]) -> LandedBatch | None:
    """Return the account that another attempt has written of the same files, if its lake files are there.

    It can have been loaded and compacted by then, and these files would be there beside the compacted ones.
    """
    other = read_landed(folder, batch)
    if other is None or sorted(f.wire_sha256 for f in other.files) != sorted(f.wire_sha256 for f in files):
        return None
    return other if all((places.lake / file.path).exists() for file in other.lake_files) else None


def _likeness(receipt: Receipt) -> tuple[str, FileKind]:
    """Return what two files must have in common to be landed together."""
    return receipt.resource_type, receipt.kind


class _Landing:
    """The files of one batch on their way through the engine."""

    def __init__(
        self,
        run: ExportRun,
        folder: Path,
        engine: Engine,
        writer: LakeWriter,
        progress: Progress,
        latest: datetime | None,
        *,
        is_careful: bool,
    ) -> None:
        self._is_careful = is_careful
        self._progress = progress
        self._latest = latest
        self._run_id = run.run_id
        # In v3 it is the day on which CMS finished the claim, elsewhere the instant of the delivery.
        self._is_created_content = run.request.api_version is ApiVersion.V3
        self._folder = folder
        self._engine = engine
        self._writer = writer
        self._reader = LineReader()
        self._gathered_bytes = 0
        self._window = Window()
        self._gathered_type = ""
        self._kind = FileKind.OUTPUT
        self._accounts: dict[str, _Account] = {}

    def land(self, receipts: Sequence[Receipt]) -> Iterator[LandedFile]:
        """Land raw files of one type and kind and account for each; their rows may still be in the engine after that."""
        if receipts[0].resource_type != self._gathered_type:
            self.flush()
        self._gathered_type, self._kind = _likeness(receipts[0])
        self._accounts = {receipt.name: _Account() for receipt in receipts}
        for lines in self._reader.slices(self._folder / receipt.name for receipt in receipts):
            self._land_slice(lines)
            self._progress.add(Done(bytes=lines.offsets[-1], lines=sum(part.rows for part in lines.parts)))
        for receipt in receipts:
            account = self._accounts[receipt.name]
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
            yield landed

    def flush(self) -> None:
        """Fill the tables from all that was gathered."""
        for table, rows in self._engine.tables(self._gathered_type):
            self._writer.write(table, rows)
        self._gathered_bytes = 0
        self._window.clear()

    def _land_slice(self, lines: Slice) -> None:
        for part in lines.parts:
            self._accounts[part.file_name].lines_read += part.rows
        for name, number, size, first in lines.oversized:
            self._accounts[name].lines_read += 1
            self._quarantine([_Aside(name, number, "longer than a line may be", size, first)])
        for name, number, count in lines.blank:
            self._accounts[name].lines_read += count
            listed = range(min(count, QUARANTINE_LISTED))
            self._quarantine([_Aside(name, number + more, _EMPTY, 0, b"") for more in listed])
            self._count_aside(name, _EMPTY, max(0, count - QUARANTINE_LISTED))
        if not len(lines):
            return
        rows = slice_table(lines)
        unreadable = _not_utf8(rows, lines)
        if unreadable:
            rows = self._set_aside(rows, lines, unreadable)
        weighed: dict[int, int] = {}
        looked_at = conspicuous(_numbers(rows), lines, is_careful=self._is_careful)
        if looked_at:
            weighed = weights(looked_at, lines)
            rows = self._set_aside(rows, lines, too_many(weighed))
            lengths = self._engine.list_lengths(_of(rows, weighed), resource_type=self._gathered_type)
            rows = self._set_aside(rows, lines, too_much_together(lengths, lines))
        for portion in portions(rows, weighed):
            if not self._window.has_room(portion):
                self.flush()
            self._window.add(portion)
            self._land_portion(portion, lines)

    def _land_portion(self, portion: Portion, lines: Slice) -> None:
        rows = portion.rows
        if not rows.num_rows:
            return
        numbers = _numbers(rows)
        self._gathered_bytes += lines.span(numbers[-1])[1] - lines.span(numbers[0])[0]
        keys = self._engine.parse(rows, resource_type=self._gathered_type)
        if keys is None:
            # Only a portion with a bad line pays for finding it.
            rows = self._set_aside(rows, lines, _why_not_json(self._engine.invalid_rows(rows), lines))
            rows, keys = self._parse_what_can_be(rows, lines)
        unkeyed = _unusable_keys(_numbers(rows), keys, lines, self._gathered_type, self._kind)
        unkeyed |= _from_the_future(_numbers(rows), keys, self._latest)
        if unkeyed:
            self._engine.drop_rows(list(unkeyed))
            kept = [number not in unkeyed for number in _numbers(rows)]
            rows = self._set_aside(rows, lines, unkeyed)
            keys = _keep(keys, kept)
        for file_name, landed in Counter(rows["raw_file"].to_pylist()).items():
            self._accounts[str(file_name)].rows_landed += landed
        if self._kind is FileKind.OUTPUT:
            self._writer.write("resource", self._resource_rows(rows, keys, lines))
            samples = samples_of(rows, lines)
            self._writer.write("drift", self._engine.unknown_elements(rows, samples, resource_type=self._gathered_type))
        if self._gathered_bytes >= GATHER_BYTES:
            self.flush()

    def _parse_what_can_be(self, rows: pa.Table, lines: Slice) -> tuple[pa.Table, ParsedKeys]:
        """Parse lines that are all JSON objects; a line that the engine refuses anyway is quarantined."""
        keys = self._engine.parse(rows, resource_type=self._gathered_type)
        if keys is None:
            rows = self._set_aside(rows, lines, dict.fromkeys(self._refused(rows), "cannot be parsed"))
            keys = self._engine.parse(rows, resource_type=self._gathered_type)
        if keys is None:
            raise LandingError(
                f"Lines of {self._gathered_type} that parse alone do not parse together.", table="resource"
            )
        return rows, keys

    def _refused(self, rows: pa.Table) -> list[int]:
        """Return the rows that the engine does not parse, found by halving; nothing is kept in the engine."""
        if self._engine.parse(rows, resource_type=self._gathered_type) is not None:
            self._engine.drop_rows(_numbers(rows))
            return []
        if rows.num_rows == 1:
            return _numbers(rows)
        half = rows.num_rows // 2
        return self._refused(rows.slice(0, half)) + self._refused(rows.slice(half))

    def _set_aside(self, rows: pa.Table, lines: Slice, reasons: dict[int, str]) -> pa.Table:
        """Quarantine lines of a slice, given by row number, and return the others."""
        if not reasons:
            return rows
        entries = []
        for number, reason in sorted(reasons.items()):
            start, stop = lines.span(number)
            text = bytes(memoryview(lines.buffer)[start : min(stop, start + QUARANTINE_TEXT_BYTES)])
            file_name, line_number = lines.origin(number)
            person = self._whose(lines, number, file_name, reason)
            entries.append(_Aside(file_name, line_number, reason, stop - start, text, person))
        self._quarantine(entries)
        return rows.filter(pa.array([number not in reasons for number in _numbers(rows)], pa.bool_()))

    def _whose(self, lines: Slice, number: int, file_name: str, reason: str) -> Whose:
        """Return whom a quarantined line of data names, if it is listed and can be read."""
        if self._kind is not FileKind.OUTPUT or self._accounts[file_name].aside[reason] >= QUARANTINE_LISTED:
            return NOBODY
        return whose(lines.line(number), self._gathered_type)

    def _count_aside(self, file_name: str, reason: str, lines: int) -> int:
        """Count lines of a file as quarantined; return how many of the reason were before."""
        account = self._accounts[file_name]
        before = account.aside[reason]
        account.lines_quarantined += lines
        account.aside[reason] += lines
        return before

    def _quarantine(self, found: Sequence[_Aside]) -> None:
        """Count lines as quarantined, and list the first of each file and reason."""
        listed = [line for line in found if self._count_aside(line.file_name, line.reason, 1) < QUARANTINE_LISTED]
        columns = {
            "run_id": pa.array([self._run_id] * len(listed), pa.string()),
            "raw_file": pa.array([line.file_name for line in listed], pa.string()),
            "raw_line": pa.array([line.number for line in listed], pa.int64()),
            "reason": pa.array([line.reason for line in listed], pa.string()),
            "line_bytes": pa.array([line.size for line in listed], pa.int64()),
            "line": pa.array([line.text for line in listed], pa.binary()),
            "patient_id": pa.array([line.person.patient_id for line in listed], pa.string()),
            "mbi": pa.array([line.person.mbi for line in listed], pa.string()),
        }
        self._writer.write("quarantine", pa.table(columns))

    def _resource_rows(self, rows: pa.Table, keys: ParsedKeys, lines: Slice) -> pa.Table:
        count = rows.num_rows
        hashes = [
            content_hash(
                lines.buffer,
                *lines.span(number),
                last_updated=updated,
                created=None if self._is_created_content else created,
            )
            for number, updated, created in zip(_numbers(rows), keys.last_updated, keys.created, strict=True)
        ]
        return pa.table(
            {
                "run_id": pa.array([self._run_id] * count, pa.string()),
                "resource_type": pa.array([self._gathered_type] * count, pa.string()),
                "resource_id": pa.array(keys.resource_id, pa.string()),
                "meta_last_updated": keys.last_updated_at,
                "content_hash": pa.array(hashes, pa.string()),
                "body": rows["body"],
                "raw_file": rows["raw_file"],
                "raw_line": rows["raw_line"],
            }
        )


def _numbers(rows: pa.Table) -> list[int]:
    numbers: list[int] = rows["row_number"].to_pylist()  # type: ignore[assignment]  # never null
    return numbers


def _of(rows: pa.Table, numbers: Container[int]) -> pa.Table:
    """Return some rows, by number."""
    return rows.filter(pa.array([number in numbers for number in _numbers(rows)], pa.bool_()))


def _not_utf8(rows: pa.Table, lines: Slice) -> dict[int, str]:
    """Return the lines of a slice that are not UTF-8."""
    try:
        rows["body"].validate(full=True)
    except pa.ArrowInvalid:
        return {number: "not UTF-8" for number in _numbers(rows) if not _decodes(lines.line(number))}
    return {}


def _decodes(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _why_not_json(numbers: Iterable[int], lines: Slice) -> dict[int, str]:
    reasons = {}
    for number in numbers:
        if not lines.line(number).strip():
            reasons[number] = _EMPTY
        elif number in lines.unterminated:
            reasons[number] = "cut"
        else:
            reasons[number] = "not JSON"
    return reasons


def _unusable_keys(
    numbers: Sequence[int], keys: ParsedKeys, lines: Slice, wanted_type: str, kind: FileKind
) -> dict[int, str]:
    reasons = {}
    needs_id = kind is FileKind.OUTPUT
    for number, resource_type, resource_id in zip(numbers, keys.resource_type, keys.resource_id, strict=True):
        if resource_type is None:
            reasons[number] = "no resource type"
        elif resource_type != wanted_type:
            reasons[number] = "wrong resource type"
        elif needs_id and not (resource_id and _is_id(resource_id, lines, number)):
            reasons[number] = "no id"
    return reasons


def _from_the_future(numbers: Sequence[int], keys: ParsedKeys, latest: datetime | None) -> dict[int, str]:
    """Return the lines whose `meta.lastUpdated` BCDA's clock has not reached: no later content could replace theirs."""
    if latest is None:
        return {}
    newest: Any = pc.max(keys.last_updated_at).as_py()
    if newest is None or newest <= latest:
        return {}
    dates: Any = zip(numbers, keys.last_updated_at.to_pylist(), strict=True)
    return {number: "meta.lastUpdated in the future" for number, at in dates if at is not None and at > latest}


def _latest(manifest: Manifest) -> datetime | None:
    """Return the latest `meta.lastUpdated` that can be true, without a zone; None when it is not known what time it was at BCDA."""
    if manifest.answered_at is None:
        return None
    return latest_possible(manifest.answered_at).astimezone(UTC).replace(tzinfo=None)


def _is_id(resource_id: str, lines: Slice, number: int) -> bool:
    """Tell whether an id is one of FHIR; the engine gives numbers and `true` as text too, which are none."""
    if not _FHIR_ID.fullmatch(resource_id):
        return False
    if resource_id.startswith(NO_ID):
        return True
    as_text, as_value = f'"id":"{resource_id}"'.encode(), f'"id":{resource_id}'.encode()
    # Something inside can have the same id as text while the resource's own is a number.
    if lines.buffer.find(as_text, *lines.span(number)) >= 0 > lines.buffer.find(as_value, *lines.span(number)):
        return True
    line = lines.line(number)
    if len(line) > ORDINARY_LINE_BYTES:
        # Python does not parse it within bounds.
        return re.search(rb'"id"\s*:\s*"%s"' % re.escape(resource_id.encode()), line) is not None
    # Written otherwise than BCDA writes.
    try:
        return bool(json.loads(line).get("id") == resource_id)
    except (ValueError, RecursionError):
        return False


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
