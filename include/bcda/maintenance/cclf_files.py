"""Fixed-width files in CCLF's layout, for loaders that take CMS's monthly files."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from bcda.errors import InvalidRequestError, StorageError
from bcda.model import cclf_views
from bcda.model.cclf_views import CclfColumn
from bcda.storage import files
from bcda.storage.guarded import guarded
from bcda.storage.places import Places
from bcda.warehouse import open_warehouse

_ROWS_AT_ONCE = 5_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
_WHOLE = re.compile(r"-?[1-9][0-9]*")
_ACO = re.compile(r"[A-Z][0-9]{4}")
_CLAIM_NUMBER = "CUR_CLM_UNIQ_ID"
_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CONTENT = {
    "cclf1": "Part A headers",
    "cclf2": "Part A revenue lines",
    "cclf3": "Part A procedures",
    "cclf4": "Part A diagnoses",
    "cclf5": "Part B physicians",
    "cclf6": "Part B DME",
    "cclf7": "Part D",
    "cclf8": "Beneficiaries",
    "cclf9": "Former MBIs",
    "cclfa": "Part A codes",
    "cclfb": "Part B codes",
}
"""What a file has, in the 20 characters of CCLF0."""


@dataclass(frozen=True, slots=True)
class Month:
    """A month of the calendar, in UTC.

    Attributes:
        first: its first day.
        next: the first day of the month after it.
    """

    first: date
    next: date

    @classmethod
    def parse(cls, text: str) -> "Month":
        """Read `YYYY-MM`.

        Raises:
            InvalidRequestError: it is not a month.
        """
        try:
            first = date.fromisoformat(f"{text}-01" if _MONTH.fullmatch(text) else "")
            following = date(first.year + first.month // 12, first.month % 12 + 1, 1)
        except ValueError:
            raise InvalidRequestError(f"{text!r} is not a month. Write it as YYYY-MM, such as 2026-11.") from None
        return cls(first, following)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that was written.

    Attributes:
        path: where it is.
        records: how many it has.
    """

    path: Path
    records: int


@guarded("write CCLF files")
def write_cclf_files(
    places: Places,
    month: Month,
    folder: Path,
    *,
    now: datetime,
    aco_id: str | None = None,
    short_claim_numbers: bool = False,
) -> list[WrittenFile]:
    """Write CCLF1 to 9, A and B of a month from the published database, and CCLF0, the summary, last.

    Claims are those whose present content came with a run of that month. People are those of that month's
    attribution list.

    Args:
        places: of the source.
        month: of the runs' transactionTime, and of the list.
        folder: made with mode 0700; files of the same names in it are replaced, and parts that a killed process left removed.
        now: for CMS's names.
        aco_id: names the files as CMS does; without it their names say that they are derived.
        short_claim_numbers: write claim numbers that are too wide for their field as `short_number` does.

    Returns:
        The files, CCLF0 at the end.

    Raises:
        InvalidRequestError: nothing is published, no attribution list of that month is loaded, or the ACO id is malformed.
        StorageError: a value is wider than its field, or the disk refuses.
        WarehouseError: the published database is locked or damaged.
    """
    if aco_id is not None and not _ACO.fullmatch(aco_id):
        raise InvalidRequestError(f"{aco_id!r} is not an ACO id. Write a letter and four digits, such as A1234.")
    if not places.published.is_file():
        raise InvalidRequestError(f"{places.published} is not there. Load and publish an export first.")
    files.private_folder(folder)
    files.remove_dead(folder)  # what a killed process had begun to write
    paths = {name: folder / _file_name(name, month, now, aco_id) for name in ("cclf0", *cclf_views.layout())}
    with open_warehouse(places.published, key=places.key, read_only=True, wait_seconds=0) as connection:
        _check_list(connection, month)
        try:
            # A summary says that the others are whole: that of an earlier time goes first, the new one comes last.
            paths["cclf0"].unlink(missing_ok=True)
            files.sync_folder(folder)
            written = []
            for name in cclf_views.layout():
                parameters = {"first": month.first}
                if name not in cclf_views.PEOPLE:
                    parameters["next"] = month.next
                rows = connection.execute(cclf_views.month_sql(name), parameters)
                written.append(_write(paths[name], _records(name, rows, short_claim_numbers)))
            summary = [_summary(name, file.records) for name, file in zip(cclf_views.layout(), written, strict=True)]
            written.append(_write(paths["cclf0"], iter(summary)))
        except OSError as error:
            raise StorageError(
                f"Cannot write CCLF files into {folder}: {files.reason_of(error)}. Check owner and free space."
            ) from error
    return written


def _check_list(connection: duckdb.DuckDBPyConnection, month: Month) -> None:
    if not connection.execute("SELECT 1 FROM main.enrollment WHERE month_start = $1 LIMIT 1", [month.first]).fetchall():
        raise InvalidRequestError(
            f"No attribution list of {month.first:%Y-%m} is loaded, which CCLF8 and CCLF9 are made from. See month_start in the view "
            "enrollment for the months that have one. Nothing was written."
        )


def _file_name(name: str, month: Month, now: datetime, aco_id: str | None) -> str:
    number = name.removeprefix("cclf").upper()
    if aco_id is None:
        return f"derived-from-bcda-{month.first:%Y-%m}-CCLF{number}.txt"
    tenth = now.microsecond // 100_000
    return f"P.{aco_id}.ACO.ZC{number}Y{month.first:%y}.D{now:%y%m%d}.T{now:%H%M%S}{tenth}"


def _write(path: Path, records: Iterator[str]) -> WrittenFile:
    count = 0
    with files.own_file(path) as own:
        for record in records:
            own.file.write(f"{record}\n".encode())
            count += 1
        own.replace(path)
    return WrittenFile(path, count)


def _records(name: str, rows: duckdb.DuckDBPyConnection, short_claim_numbers: bool) -> Iterator[str]:
    columns = cclf_views.layout()[name]
    short = {index for index, column in enumerate(columns) if short_claim_numbers and column.name == _CLAIM_NUMBER}
    while batch := rows.fetchmany(_ROWS_AT_ONCE):
        for row in batch:
            values = [short_number(value, columns[n].width) if n in short else value for n, value in enumerate(row)]
            yield _record(name, columns, values)


def short_number(number: str, width: int) -> str:
    """Write a whole number that is wider than a field in base 36: N if it is negative or else P, and zeros in front.

    Two numbers never get the same text, and none gets that of a number that fits, which has no letter. `int(text[1:], 36)` is the
    number again. What is no such number, or is too wide even so, stays as it is.
    """
    if len(number) <= width or not _WHOLE.fullmatch(number):
        return number
    left, digits = abs(int(number)), ""
    while left:
        left, digit = divmod(left, 36)
        digits = _BASE36[digit] + digits
    if len(digits) >= width:
        return number
    return ("N" if number.startswith("-") else "P") + digits.rjust(width - 1, "0")


def _record(name: str, columns: Sequence[CclfColumn], row: Sequence[Any]) -> str:
    return "".join(_field(name, column, value) for column, value in zip(columns, row, strict=True))


def _field(view: str, column: CclfColumn, value: Any) -> str:
    """Text to the left, numbers to the right, dates as ISO 8601, and blanks where there is nothing."""
    if value is None:
        return " " * column.width
    # A line feed within an address would end the record.
    text = _CONTROL.sub(" ", str(value))
    if len(text) > column.width:
        shorter = " --short-claim-numbers writes such numbers in base 36." if column.name == _CLAIM_NUMBER else ""
        raise StorageError(
            f"A value of cclf.{view}.{column.name} has {len(text)} characters, and its field in the file has {column.width}. The file "
            f"was not written, nor any after it. Look for the rows with length() in the published database.{shorter}"
        )
    return text.rjust(column.width) if isinstance(value, int | Decimal) else text.ljust(column.width)


def _summary(name: str, records: int) -> str:
    width = sum(column.width for column in cclf_views.layout()[name])
    return f"{name.upper():13}|{_CONTENT[name]:20}|{records:20}|{width:13}"
