"""Compare CMS's source records with the tables and CCLF views that are made from the resources behind them.

`source_records/*.csv` name, for each column of a record, the column of ours that holds its value. Expected values come from
the record alone. The columns of the CCLF views follow from the crosswalk: its `target` names the same column of ours, or its
FHIR path names the same CCW variable.
"""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
from rawfiles import NOON

from bcda.model import cclf_views

FOLDER = Path(__file__).parent / "source_records"
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEPT", "OCT", "NOV", "DEC")
LINE_TABLES = {"claim_line", "claim_line_amount", "cclf2", "cclf5", "cclf6", "cclfb"}
PERSON = "person"
CLAIM_VIEWS = {"cclf1", "cclf2", "cclf3", "cclf4", "cclf5", "cclf6", "cclf7", "cclfa", "cclfb"}

# FIPS 5-2 codes of the states in the records.
FIPS = {"AZ": "04", "FL": "12", "IA": "19", "IL": "17", "KY": "21", "MO": "29", "UT": "49"}


def money(text: str) -> Decimal:
    return Decimal(text).quantize(Decimal("0.01"))


def day(text: str) -> date:
    """A date as RIF files (27-OCT-1999, 19631003) or IDR tables (2022-10-18) write it."""
    form = "%Y-%m-%d" if text[4:5] == "-" else "%Y%m%d" if text.isdigit() else "%d-%b-%Y"
    return datetime.strptime(text, form).replace(tzinfo=UTC).date()


def age(text: str) -> int:
    """Full years on the day of the test's run."""
    born = day(text)
    return NOON.year - born.year - ((NOON.month, NOON.day) < (born.month, born.day))


def plain_number(text: str) -> str:
    """A number as text, the way JSON writes it: 0 and not 0.00."""
    return format(Decimal(text).normalize(), "f")


VALUES: Mapping[str, Callable[[str], Any]] = {
    "text": str,
    "integer": lambda text: int(Decimal(text)),
    "money": money,
    "quantity": lambda text: Decimal(text).quantize(Decimal("0.0001")),
    "date": day,
    "iso_date": lambda text: day(text).isoformat(),
    "dx": lambda text: text.replace(".", "").upper(),
    "icd": lambda text: {"9": "9", "0": "10"}[text],
    "two_digits": lambda text: text.zfill(2),
    "three_digits": lambda text: text.zfill(3),
    "four_digits": lambda text: text.zfill(4),
    "age": age,
    "plain_number": plain_number,
    # META_SRC_SK of IDR: drug events, the National Claims History, a shared system.
    "idr_source": lambda text: {"1": "DDPS", "7": "NCH", "1003": "SHARED"}[text],
    "idr_end": lambda text: None if text == "9999-12-31" else day(text),
    "idr_final": lambda text: {"Y": "FINAL", "N": "NOT_FINAL"}[text],
    # SSA code of Arizona.
    "ssa_to_fips": lambda text: {"03": "04"}[text],
    "fips": lambda text: FIPS[text],
    "zip5": lambda text: text[:5],
    "zip4": lambda text: text[5:9] or None,
    # CMPND_CD: BFD sends code of the FHIR ActCode system for it.
    "compound": lambda text: {"1": "RXDINV", "2": "RXCINV"}[text],
    # DMERC_LINE_MTUS_CD: BFD sends its meaning as the unit of DMERC_LINE_MTUS_CNT.
    "mtus_unit": lambda text: {"3": "Number of services"}[text],
    # FINAL_ACTION: F final, N canceled.
    "final_action": lambda text: {"F": "active", "N": "cancelled"}[text],
    "final_adjustment": lambda text: {"F": "0"}[text],
    # The group is the first two characters, the reason the rest.
    "ansi_group": lambda text: text[:2],
    "ansi_reason": lambda text: text[2:],
    # CCLF7: 01 original, 02 adjusted, 03 deleted, 04 resubmitted; 0 original, 1 canceled, 2 adjusted.
    "pde_type": lambda text: {"A": "02", "D": "03", "R": "04"}[text],
    "pde_adjustment": lambda text: {"A": "2", "D": "1"}.get(text, "0"),
}
CCLF_VALUES = {"icd": "text"}


@dataclass(frozen=True)
class Record:
    """One row of a source file.

    Attributes:
        kind: name that the declarations use, such as `carrier`.
        key: values that find its rows, by column name: `claim_id`, `claim_number`, `line_number`.
        cells: text of each column.
    """

    kind: str
    key: Mapping[str, Any]
    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        """The text of a cell; a tilde is how IDR writes that there is no value."""
        text = (self.cells.get(column) or "").strip()
        return "" if text == "~" else text


@dataclass(frozen=True)
class Pair:
    """One column of a kind of record and the column that holds its value, `table.column` or `table.column[filter]`."""

    kind: str
    record_column: str
    column: str
    value: str
    versions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What one comparison gave."""

    version: str
    record: Record
    pair: Pair
    expected: Any
    found: tuple[Any, ...]

    @property
    def is_equal(self) -> bool:
        return self.found == (self.expected,) or (self.expected is None and not self.found)

    @property
    def as_exception(self) -> tuple[str, str, str, str]:
        return self.pair.kind, self.pair.record_column, self.pair.column, self.shown

    def __str__(self) -> str:
        return f"{self.version} {', '.join(self.as_exception[:3])}: the record says {self.expected}, we {self.shown!r}"

    @property
    def shown(self) -> str:
        return "; ".join("" if value is None else str(value) for value in self.found)


def rows_of(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def declared(name: str) -> tuple[tuple[Pair, ...], frozenset[tuple[str, str]]]:
    """The pairs of a declaration, and the columns that it says cannot be compared, by kind of record."""
    pairs, reasons = [], set()
    for row in rows_of(name):
        versions = tuple(filter(None, row["versions"].split("|")))
        for kind in row["records"].split("|"):
            for record_column, column in repeated(row["record_column"], row["column"]):
                if column:
                    named = column.replace("~", record_column.lower())
                    pairs.append(Pair(kind, record_column, named, row["value"], versions))
                else:
                    assert row["not_compared"], row
                    reasons.add((kind, record_column))
    return tuple(pairs), frozenset(reasons)


def repeated(record_column: str, column: str) -> Iterator[tuple[str, str]]:
    """Write out `{n:25}` (1 to 25) and the twelve months of `{month}` and `{m}`."""
    if number := re.search(r"\{n:(\d+)\}", record_column):
        for n in range(1, int(number[1]) + 1):
            yield record_column.replace(number[0], str(n)), column.replace("{n}", str(n))
    elif "{month}" in record_column or "{m}" in record_column:
        for m, month in enumerate(MONTHS, start=1):
            filled = record_column.replace("{month}", month).replace("{m}", str(m))
            yield filled, column.replace("{month_start}", f"{{{m}}}")
    else:
        yield record_column, column


def with_cclf(pairs: tuple[Pair, ...], version: str, claim_types: Mapping[str, str]) -> list[Pair]:
    """Add the columns of the CCLF views that the crosswalk fills from the same column of ours or the same variable."""
    written = {(pair.kind, pair.column.partition("[")[0]) for pair in pairs}
    found = [pair for pair in pairs if not pair.versions or version in pair.versions]
    for pair in list(found):
        table = pair.column.partition("[")[0]
        if table.startswith("cclf") or table.partition(".")[0] not in TARGETS:
            continue
        for view, column in cclf_columns(version):
            if (pair.kind, f"{view}.{column.name}") in written or not is_about(
                column.crosswalk[version], view, claim_types.get(pair.kind)
            ):
                continue
            if is_source(column.crosswalk[version], pair):
                value = CCLF_VALUES.get(pair.value, pair.value)
                found.append(Pair(pair.kind, pair.record_column, f"{view}.{column.name}", value))
    return list(dict.fromkeys(found))


TARGETS = {"claim", "claim_line", "claim_amount", "claim_drug", "patient", "coverage"}


def is_source(row: Mapping[str, str], pair: Pair) -> bool:
    """Whether the crosswalk takes a CCLF column from the column of a pair."""
    if row["target"] == "claim_amount":
        names = re.findall(r"'https://bluebutton\.cms\.gov/resources/variables/(\w+)'", row["fhir_path"])
        names += re.findall(r"code='(\w+)'", row["fhir_path"])
        return "category_code=" in pair.column and pair.column.partition("category_code=")[2].rstrip("]") in names
    return row["target"] == pair.column


def is_about(row: Mapping[str, str], view: str, claim_type: str | None) -> bool:
    """Whether a column of a view has values of a kind of record, by the type of its claims; other kinds have none."""
    if claim_type == PERSON:
        return view == "cclf8"
    # HOSPICE and HHA records have no procedures, whatever types the crosswalk names.
    if view == "cclf3" and claim_type not in {"INPATIENT", "OUTPATIENT", "SNF"}:
        return False
    return view in CLAIM_VIEWS and (claim_type in row["claim_types"].split("|") or not row["claim_types"])


@cache
def cclf_columns(version: str) -> tuple[tuple[str, cclf_views.CclfColumn], ...]:
    return tuple(
        (view, column)
        for view, columns in cclf_views.layout().items()
        for column in columns
        if column.is_available(version)
    )


class Tables:
    """Rows of the tables and views of a working database, read once."""

    def __init__(self, warehouse: Path) -> None:
        self._connection = duckdb.connect(str(warehouse), read_only=True)
        self._rows: dict[str, dict[Any, list[dict[str, Any]]]] = {}

    def values(self, column: str, record: Record) -> tuple[Any, ...] | None:
        """The different values of a column in the rows of a record; None if a filter's own cell is blank."""
        name, _, text = column.partition("[")
        table, _, field = name.partition(".")
        conditions = {}
        for part in filter(None, text.rstrip("]").split(";")):
            key, _, wanted = part.partition("=")
            if wanted.startswith("$"):
                wanted = str(record.key["line_number"]) if wanted == "$line" else record.text(wanted[1:])
                if not wanted:
                    return None
            elif wanted.startswith("{"):
                wanted = f"{record.text('RFRNC_YR')}-{int(wanted[1:-1]):02}-01"
            conditions[key] = wanted.lower().split("|")
        rows = self._of(table).get(self._key(table, record), [])
        chosen = [row for row in rows if all(str(row[key]).lower() in wanted for key, wanted in conditions.items())]
        return tuple(dict.fromkeys(row[field] for row in chosen))

    def _key(self, table: str, record: Record) -> Any:
        if table in CLAIM_VIEWS:
            claim = record.key["claim_number"]
        elif table.startswith("claim"):
            claim = record.key["claim_id"]
        else:
            return record.key["patient_id"] if table not in {"cclf8", "cclf9"} else None
        return (claim, record.key["line_number"]) if table in LINE_TABLES else claim

    def _of(self, table: str) -> dict[Any, list[dict[str, Any]]]:
        if table not in self._rows:
            schema = "cclf" if table.startswith("cclf") else "main"
            result = self._connection.execute(f"FROM {schema}.{table}")
            names = [column[0] for column in result.description]
            found = defaultdict(list)
            for values in result.fetchall():
                # A blank is what the views have where the record has nothing.
                cells = (None if value == "" and schema == "cclf" else value for value in values)
                row = dict(zip(names, cells, strict=True))
                found[self._row_key(table, row)].append(row)
            self._rows[table] = found
        return self._rows[table]

    def _row_key(self, table: str, row: Mapping[str, Any]) -> Any:
        if table in {"cclf8", "cclf9"}:
            return None
        if table in CLAIM_VIEWS:
            claim, line = row["CUR_CLM_UNIQ_ID"], row.get("CLM_LINE_NUM")
        elif table.startswith("claim"):
            claim, line = row["claim_id"], row.get("line_number")
        else:
            return row["patient_id"]
        return (claim, line) if table in LINE_TABLES else claim


def compare(version: str, records: list[Record], pairs: list[Pair], tables: Tables) -> Iterator[Result]:
    """Compare every cell of every record; the value of a blank cell is NULL."""
    by_kind = defaultdict(list)
    for pair in pairs:
        by_kind[pair.kind].append(pair)
    for record in records:
        for pair in by_kind[record.kind]:
            text = record.text(pair.record_column)
            if pair.record_column not in record.cells:
                continue
            column = pair.column.replace("=$]", f"=${pair.record_column}]").replace("=$;", f"=${pair.record_column};")
            found = tables.values(column, record)
            if found is not None:
                expected = VALUES[pair.value](text) if text else None
                yield Result(version, record, pair, expected, found)


def exceptions(name: str, version: str) -> Counter[tuple[str, str, str, str]]:
    """The differences that are expected: kind of record, its column, our column and what that holds, and how many times."""
    return Counter(
        {
            (row["record"], row["record_column"], row["column"], row["found"]): int(row["times"])
            for row in rows_of(name)
            if version in row["versions"].split("|") and row["reason"]
        }
    )


def report(version: str, results: list[Result]) -> str:
    """A line for each kind of record: columns and values compared, blank cells, differences with a reason."""
    lines = []
    for kind in dict.fromkeys(result.record.kind for result in results):
        own = [result for result in results if result.record.kind == kind]
        filled = [result for result in own if result.expected is not None]
        views = [result for result in filled if result.pair.column.startswith("cclf")]
        lines.append(
            f"{version} {kind}: {len({result.pair.record_column for result in filled})} columns, "
            f"{len(filled) - len(views)} values in tables, {len(views)} in CCLF views, "
            f"{len(own) - len(filled)} blank cells, {sum(not result.is_equal for result in own)} exceptions"
        )
    return "\n".join(lines)
