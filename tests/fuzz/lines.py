"""Lines of data files, most of them damaged, through the real landing and merge.

A case mixes good lines with damaged ones in the files of one run. The good ones have to come out exactly as they do
alone; a damaged one is quarantined with a reason, or lies in `resource` as it was sent and in the tables with values that
are right or missing.
"""

import atexit
import json
import logging
import random
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from contract import FindingError, check_error, holds, names_canary
from mutations import CANARY, damaged, mutated, to_text
from rawfiles import NOON, land

from bcda import model
from bcda.budgets import QUARANTINE_TEXT_BYTES
from bcda.errors import BcdaError
from bcda.landing.drift import MOST_PATHS, SAMPLE_BYTES
from bcda.landing.lines import SLICE_BYTES, LineReader
from bcda.runs.landed import LandedBatch
from bcda.settings import ApiVersion
from bcda.storage.file_format import BYTE_ORDER_MARK
from bcda.storage.places import Places
from bcda.warehouse import merge_run
from bcda.warehouse.database import open_warehouse
from bcda_simulator.world import World

TYPES = {
    ApiVersion.V1: ("Patient", "Coverage", "ExplanationOfBenefit"),
    ApiVersion.V2: ("Patient", "Coverage", "ExplanationOfBenefit", "Claim", "ClaimResponse"),
    ApiVersion.V3: ("Patient", "Coverage", "ExplanationOfBenefit"),
}
OUTCOMES = "OperationOutcome!"
REASONS = {
    "not JSON",
    "empty line",
    "cut",
    "not UTF-8",
    "no resource type",
    "wrong resource type",
    "no id",
    "cannot be parsed",
    "longer than a line may be",
    "more elements than a line may have",
    "a text too long for so many items",
}
LINEAGE = {"raw_file", "raw_line", "run_id"}
DERIVED_DATES = {"month_start"}
"""Columns whose dates are worked out instead of copied."""

_PLAIN_PATH = re.compile(r"[\w\-]+(\[\])*(\.[\w\-]+(\[\])*)*")

Rows = Counter[tuple[str, tuple[tuple[str, str], ...]]]


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        version: of the API.
        bad: damaged lines by resource type, `OperationOutcome!` for the error file.
        order: seed of the order in which good and damaged lines stand, and of the files they stand in.
        slice_bytes: buffer of the reader; the longest good line has to fit.
    """

    version: ApiVersion
    bad: dict[str, list[bytes]]
    order: int = 0
    slice_bytes: int = SLICE_BYTES


Place = tuple[int, int]
"""Number of a file from 1, as its name begins, and of a line in it."""


@dataclass
class _Mixed:
    """Files of a case, each with its resource type, and what stands on which line."""

    files: list[tuple[str, bytes]] = field(default_factory=list)
    good: dict[Place, int] = field(default_factory=dict)
    bad: dict[Place, bytes] = field(default_factory=dict)

    def kind_at(self, place: Place) -> str:
        """Return the resource type of a file."""
        return self.files[place[0] - 1][0]


def _place(row: dict[str, Any]) -> Place:
    return int(row["raw_file"][:5]), row["raw_line"]


@cache
def pool(version: ApiVersion, resource_type: str, first_person: int) -> tuple[bytes, ...]:
    """Return valid lines of one type of some people, the shortest first."""
    if resource_type == OUTCOMES:
        texts = (f"Error retrieving {kind} for beneficiary MBI {CANARY} in ACO 1" for kind in ("Patient", "Coverage"))
        issue = {"severity": "error", "code": "not-found", "details": {"text": ""}}
        outcomes = [{"resourceType": "OperationOutcome", "issue": [{**issue, "diagnostics": text}]} for text in texts]
        return tuple(json.dumps(outcome, separators=(",", ":")).encode() for outcome in outcomes)
    world = World(people=200, seed=3, history_weeks=6)
    people = [str(first_person + n) for n in range(3)]
    lines = world.lines(version.value, resource_type, people, after=None, up_to=NOON)
    return tuple(sorted((line.rstrip(b"\n") for line in lines), key=len))


def good_lines(version: ApiVersion, resource_type: str) -> tuple[bytes, ...]:
    """Return the lines that have to land whatever stands beside them."""
    return pool(version, resource_type, 0)[:6]


def random_case(draw: random.Random) -> Case:
    """Return a run with some damaged lines of some types."""
    version = draw.choice(list(ApiVersion))
    kinds = [kind for kind in (*TYPES[version], OUTCOMES) if draw.random() < 0.7] or ["Patient"]
    bad = {kind: _bad_lines(version, kind, draw) for kind in kinds}
    return Case(version, bad, draw.getrandbits(32), draw.choice((SLICE_BYTES, SLICE_BYTES, SLICE_BYTES, 250_000)))


def _bad_lines(version: ApiVersion, kind: str, draw: random.Random) -> list[bytes]:
    valid = pool(version, kind, 100)
    lines = []
    for _ in range(draw.choice((1, 5, 20, 80))):
        line = draw.choice(valid)
        if draw.random() < 0.8:
            line = to_text(mutated(json.loads(line), draw), draw)
        if draw.random() < 0.25:
            line = damaged(line, draw)
        lines.append(line.replace(b"\n", b" "))
    return lines


def _mix(case: Case) -> _Mixed:
    mixed, draw = _Mixed(), random.Random(case.order)
    for kind in (*TYPES[case.version], OUTCOMES):
        good = list(enumerate(good_lines(case.version, kind)))
        entries: list[tuple[int | None, bytes]] = [*good, *((None, line) for line in case.bad.get(kind, ()))]
        draw.shuffle(entries)
        count = draw.choice((1, 1, 2, 3))
        for part in (entries[start::count] for start in range(count)):
            _add_file(mixed, kind, part, ends_open=draw.random() < 0.2)
    return mixed


def _add_file(mixed: _Mixed, kind: str, entries: list[tuple[int | None, bytes]], *, ends_open: bool) -> None:
    file_number = len(mixed.files) + 1
    for number, (index, line) in enumerate(entries, start=1):
        if index is None:
            mixed.bad[file_number, number] = line
        else:
            mixed.good[file_number, number] = index
    text = b"".join(line + b"\n" for _, line in entries)
    # An empty line without newline is no line.
    mixed.files.append((kind, text[:-1] if ends_open and entries and entries[-1][1] else text))


def run(case: Case) -> int:
    """Land and merge one case and check all that has to hold.

    Returns:
        How many damaged lines landed.

    Raises:
        FindingError: something does not hold.
    """
    home = Path(tempfile.mkdtemp(prefix="bcda-fuzz-"))
    try:
        with _LogWatch(case.version) as log:
            landed = _run(case, Places.below(home))
        holds(not log.leaks, f"no log line names a person: {log.leaks[:1]}")
        return landed
    finally:
        shutil.rmtree(home)


def _run(case: Case, places: Places) -> int:
    mixed = _mix(case)
    places.warehouse.parent.mkdir(parents=True)
    shutil.copy(_empty_warehouse(), places.warehouse)
    try:
        with patch("bcda.landing.batch.LineReader", lambda: LineReader(case.slice_bytes)):
            export, manifest, batch = land(places, mixed.files, version=case.version)
        merge_run(places, export, manifest, [batch], now=NOON)
    except BcdaError as error:
        check_error(error)
        raise FindingError(f"one bad line stops a run: {type(error).__name__}") from error
    except Exception as error:
        raise FindingError(f"{type(error).__name__} came out") from error
    _check_counts(batch, mixed)
    return _check_lake(case, mixed, batch, places) if batch.lake_files else 0


def _check_counts(batch: LandedBatch, mixed: _Mixed) -> None:
    for file, (kind, content) in zip(sorted(batch.files, key=lambda f: f.name), mixed.files, strict=True):
        lines = content.count(b"\n") + (content[-1:] not in {b"\n", b""})
        holds(file.lines_read == lines, f"every line of {kind} is read")
        holds(file.lines_read == file.rows_landed + file.lines_quarantined, f"every line of {kind} is accounted for")


def _check_lake(case: Case, mixed: _Mixed, batch: LandedBatch, places: Places) -> int:
    found = _by_place(batch, places)
    good: Rows = Counter()
    for place, index in mixed.good.items():
        good.update(_plain_row(table, mixed.kind_at(place), index, row) for table, row in found.get(place, ()))
    expected = baseline(case.version)
    holds(good == expected.lake, f"good lines land as they do alone: {_difference(good, expected.lake)}")
    holds(_merged_rows(places, case.version) == expected.warehouse, "good resources are merged as they are alone")
    landed = {}
    for place, line in mixed.bad.items():
        rows, kind = found.get(place, []), mixed.kind_at(place)
        aside = [row for table, row in rows if table == "quarantine"]
        if aside:
            holds(len(rows) == 1, "a quarantined line is nowhere else")
            holds(aside[0]["reason"] in REASONS, "a reason is one that is known")
            kept = line[:QUARANTINE_TEXT_BYTES] if line.strip() else b""
            holds(aside[0]["line"] == kept, "the beginning of it is kept as it was sent, and of blanks nothing")
            holds(
                not _is_whole(case.version, kind, line) or len(line) >= case.slice_bytes,
                f"a whole resource is not quarantined: {aside[0]['reason']}",
            )
        elif kind != OUTCOMES:
            landed[place] = line
            _check_values(case.version, kind, line, rows)
    _check_drift(case.version, mixed, landed, _drift_of(batch, places, mixed))
    return len(landed)


def _by_place(batch: LandedBatch, places: Places) -> dict[Place, list[tuple[str, dict[str, Any]]]]:
    """Return every row of every table by the line that it came from."""
    found: dict[Place, list[tuple[str, dict[str, Any]]]] = {}
    for file in batch.lake_files:
        for row in _rows_of(places.lake / file.path) if file.table != "drift" else ():
            found.setdefault(_place(row), []).append((file.table, row))
    return found


def _drift_of(batch: LandedBatch, places: Places, mixed: _Mixed) -> dict[str, set[str]]:
    """Return the paths that were recorded as never seen before, by resource type."""
    found: dict[str, set[str]] = {}
    for file in batch.lake_files:
        for row in _rows_of(places.lake / file.path) if file.table == "drift" else ():
            found.setdefault(mixed.kind_at(_place(row)), set()).add(row["path"])
    return found


def _rows_of(path: Path) -> list[dict[str, Any]]:
    table: pa.Table = pq.read_table(path, partitioning=None)
    try:
        return table.to_pylist()
    except (ValueError, OverflowError) as error:
        raise FindingError(f"values of {path.parts[-4]} can be read by others than DuckDB") from error


def _plain_row(table: str, kind: str, index: int, row: dict[str, Any]) -> tuple[str, tuple[tuple[str, str], ...]]:
    return f"{table} {kind} {index}", tuple((name, repr(value)) for name, value in row.items() if name not in LINEAGE)


def _difference(found: Rows, expected: Rows) -> str:
    names = sorted({name for name, _ in (found - expected) + (expected - found)})
    return ", ".join(names[:5])


@dataclass(frozen=True)
class Baseline:
    """What the good lines of a version become when they are alone."""

    lake: Rows
    warehouse: dict[str, Counter[str]]


@cache
def baseline(version: ApiVersion) -> Baseline:
    """Land and merge the good lines of a version alone."""
    home = Path(tempfile.mkdtemp(prefix="bcda-fuzz-"))
    try:
        places, mixed = Places.below(home), _mix(Case(version, {}))
        export, manifest, batch = land(places, mixed.files, version=version)
        merge_run(places, export, manifest, [batch], now=NOON)
        lake: Rows = Counter()
        for place, rows in _by_place(batch, places).items():
            lake.update(_plain_row(table, mixed.kind_at(place), mixed.good[place], row) for table, row in rows)
        return Baseline(lake, _merged_rows(places, version))
    finally:
        shutil.rmtree(home)


@cache
def _good_ids(version: ApiVersion) -> tuple[str, ...]:
    return tuple(
        json.loads(line)["id"] for kind in TYPES[version] for line in good_lines(version, kind) if b'"id"' in line
    )


def _merged_rows(places: Places, version: ApiVersion) -> dict[str, Counter[str]]:
    """Return the rows of the good resources in every core table."""
    found = {}
    with open_warehouse(places.warehouse, read_only=True) as connection:
        for table in model.core_tables():
            # Other people may be found to be the same person; that is what a person's key says.
            rows = connection.execute(
                f"SELECT to_json(t) FROM (SELECT * EXCLUDE (person_key) FROM {table.relation}) AS t WHERE {table.key} IN (SELECT unnest($ids))"
                if "person_key" in _columns(connection, table.relation)
                else f"SELECT to_json(t) FROM {table.relation} AS t WHERE {table.key} IN (SELECT unnest($ids))",
                {"ids": list(_good_ids(version))},
            ).fetchall()
            found[table.relation] = Counter(row[0] for row in rows)
    return found


def _columns(connection: duckdb.DuckDBPyConnection, relation: str) -> set[str]:
    return {row[0] for row in connection.execute(f"DESCRIBE {relation}").fetchall()}


@cache
def _empty_warehouse() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="bcda-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "empty.duckdb"
    with open_warehouse(path):
        pass
    return path


def _no_number(text: str) -> None:
    raise ValueError(text)


def _value_of(line: bytes) -> Any:
    """Return the JSON value of a line, numbers as they are written.

    Of two members of one name the last counts, at any depth.
    DuckDB reads more than JSON: a comma before a closing bracket, and `nan` in any case. None for such lines.
    """
    try:
        return json.loads(line.decode("utf-8"), parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError, InvalidOperation):
        return None


def _is_whole(version: ApiVersion, kind: str, line: bytes) -> bool:
    """Tell whether Python reads a line as a resource of its type with an id that FHIR allows."""
    value = _value_of(line)
    if not isinstance(value, dict) or value.get("resourceType") != kind.rstrip("!") or b"\\ud" in line.lower():
        return False
    resource_id = value.get("id")
    if resource_id is None:
        return version is ApiVersion.V3 or kind == OUTCOMES
    return isinstance(resource_id, str) and re.fullmatch(r"[A-Za-z0-9.\-]{1,64}", resource_id) is not None


def _check_values(version: ApiVersion, kind: str, line: bytes, rows: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Check what can be told of any damaged resource's rows from its text alone."""
    kept = [row for table, row in rows if table == "resource"]
    holds(len(kept) == 1, "what is not quarantined has landed")
    resource = kept[0]
    # At the beginning of a file it is left out; elsewhere no line that begins with one can be read.
    holds(resource["body"].encode() == line.removeprefix(BYTE_ORDER_MARK), "a resource keeps its text")
    value = _value_of(line)
    text = json.dumps(value, ensure_ascii=False, default=str) if value is not None else line.decode()
    for table, row in rows:
        for name, cell in row.items():
            if isinstance(cell, date) and name not in DERIVED_DATES:
                _check_moment(f"{table}.{name}", cell, text)
    if not isinstance(value, dict):
        return
    if value.get("id") is not None:
        holds(resource["resource_id"] == value["id"], "a resource lands under its own id, which is text")
    else:
        holds(version is ApiVersion.V3 and resource["resource_id"].startswith("no-id-"), "an id is made on v3 alone")
    if kind == "ExplanationOfBenefit":
        _check_amounts(value, [row["amount"] for table, row in rows if table == "claim_line_amount"])


def _check_moment(name: str, cell: date, text: str) -> None:
    if isinstance(cell, datetime):
        # A day earlier or later by the offset that was sent; the year is what a wrong reading would get wrong.
        holds(any(str(year) in text for year in (cell.year - 1, cell.year, cell.year + 1)), f"{name} was sent")
    else:
        holds(cell.isoformat() in text, f"{name} was sent: {cell}")


def _check_amounts(claim: dict[str, Any], landed: list[Decimal | None]) -> None:
    """Compare the amounts of the lines with the numbers in the JSON."""
    sent = Counter(_cents(amount) for amount in _amounts(claim))
    found = Counter(amount for amount in landed if amount is not None)
    holds(not found - sent, f"an amount that landed was sent: {[*(found - sent)][:3]}")
    numbers = Counter(_cents(a) for a in _amounts(claim) if isinstance(a, Decimal) and _cents(a) is not None)
    holds(not numbers - found, f"an amount that was sent has landed: {[*(numbers - found)][:3]}")


def _amounts(claim: dict[str, Any]) -> Iterator[Any]:
    items = claim.get("item")
    for item in items if isinstance(items, list) else []:
        adjudications = item.get("adjudication") if isinstance(item, dict) else None
        for adjudication in adjudications if isinstance(adjudications, list) else []:
            amount = adjudication.get("amount") if isinstance(adjudication, dict) else None
            if isinstance(amount, dict):
                yield amount.get("value")


def _cents(value: Any) -> Decimal | None:
    """Return a number as DECIMAL(18, 2), rounded as money is, after the double precision of the wire; None for others."""
    if isinstance(value, bool) or not isinstance(value, Decimal | str):
        return None
    try:
        number = (
            Decimal(repr(float(value)))
            if isinstance(value, Decimal) and value != value.to_integral()
            else Decimal(value)
        )
        cents = number.quantize(Decimal("0.01"), ROUND_HALF_UP)
    except (InvalidOperation, ValueError, OverflowError):
        return None
    return cents if abs(cents) < Decimal(10) ** 16 else None


def _check_drift(version: ApiVersion, mixed: _Mixed, landed: dict[Place, bytes], recorded: dict[str, set[str]]) -> None:
    """Every element of a landed line that was never seen before is recorded."""
    for place, line in landed.items():
        kind, content = mixed.files[place[0] - 1]
        known, paths = model.known_paths(version, kind), recorded.get(kind, set())
        # A file is looked through up to a point, a slice up to fifty unknown elements, and of two members of one name
        # the last is looked at.
        if not known or len(content) > SAMPLE_BYTES or len(paths) >= MOST_PATHS or _has_a_name_twice(line):
            continue
        value = _value_of(line)
        for path in set(_paths(value, "")) - known if isinstance(value, dict) else ():
            if _PLAIN_PATH.fullmatch(path) and path.count(".") + path.count("[]") < 20:
                holds(path in paths, f"an element never seen before is recorded: {path[:80]}")


def _has_a_name_twice(line: bytes) -> bool:
    found = []
    try:
        json.loads(line, object_pairs_hook=lambda pairs: found.append(len(dict(pairs)) < len(pairs)))
    except (ValueError, RecursionError):
        return True
    return any(found)


def _paths(value: Any, path: str) -> Iterator[str]:
    waiting = [(value, path)]
    while waiting:
        part, at = waiting.pop()
        if isinstance(part, dict):
            named = {key if re.fullmatch(r"[\w\-]+", key) else f'"{key}"': inner for key, inner in part.items()}
            waiting += [(inner, f"{at}.{key}" if at else key) for key, inner in named.items()]
        elif isinstance(part, list):
            waiting += [(inner, f"{at}[]") for inner in part]
        elif part is not None:
            yield at


class _LogWatch(logging.Handler):
    """Looks for people in everything that is logged."""

    def __init__(self, version: ApiVersion) -> None:
        super().__init__(logging.DEBUG)
        self._names = _names(version)
        self.leaks: list[str] = []

    def __enter__(self) -> "_LogWatch":
        self._root = logging.getLogger()
        self._level = self._root.level
        self._root.setLevel(logging.DEBUG)
        self._root.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._root.removeHandler(self)
        self._root.setLevel(self._level)

    def emit(self, record: logging.LogRecord) -> None:
        text = logging.Formatter().format(record)
        if names_canary(text) or any(name in text for name in self._names):
            self.leaks.append(text[:200])


@cache
def _names(version: ApiVersion) -> frozenset[str]:
    """Return family names and MBIs of the people whose lines are damaged."""
    names = set()
    for line in pool(version, "Patient", 100):
        patient = json.loads(line)
        names |= {entry["family"] for entry in patient.get("name", []) if "family" in entry}
        names |= {entry["value"] for entry in patient.get("identifier", []) if "value" in entry}
    return frozenset(name for name in names if len(name) > 4)
