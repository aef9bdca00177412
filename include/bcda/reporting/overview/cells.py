"""Which cells of the page are withheld, by the rule that report, headline and notes have too (`suppression`)."""

from collections.abc import Sequence
from datetime import date, datetime

from bcda.privacy.suppression import Cell, Total, is_few, withheld
from bcda.storage.query_files import Row

MONTHS = 24
"""Months that the page shows."""


def shown_payments(rows: Sequence[Row], until: datetime) -> list[Row]:
    """Return payments by month and claim type, of the newest months; `people` and `paid` are None where they are withheld.

    A run report has the payments of each month over all types, and their sum over all months, so both count as published.

    Args:
        rows: of queries/paid.sql.
        until: up to when everything is here.
    """
    of_type = [row for row in rows if row["claim_type"] is not None]
    of_month: dict[Cell, int] = {("month", row["month"]): row["people"] for row in rows if row["claim_type"] is None}
    people_of: dict[Cell, int] = {(row["month"], row["claim_type"]): row["people"] for row in of_type}
    totals = [
        Total(month, tuple((row["month"], row["claim_type"]) for row in of_type if ("month", row["month"]) == month))
        for month in of_month
    ]
    totals.append(Total("run", tuple(of_month)))
    people_of |= of_month
    people_of["run"] = max(of_month.values(), default=0)
    hidden = withheld(people_of, totals)
    first = _months_before(until.date(), MONTHS - 1)
    return [
        {**row, "people": None, "paid": None} if (row["month"], row["claim_type"]) in hidden else row
        for row in of_type
        if row["month"] >= first
    ]


def shown_roster(rows: Sequence[Row]) -> list[Row]:
    """Return the newest months of people on the lists; numbers that are withheld are None.

    Who joined, left and stayed follow from each other and from the people of this month and of the one before, so all of a month
    are withheld when one of them, or one of the months, covers few people.

    Args:
        rows: of queries/roster.sql, newest first.
    """
    shown = []
    for number, row in enumerate(rows):
        before = rows[number + 1]["people"] if number + 1 < len(rows) else 0
        is_hidden = row["has_few"] or is_few(row["people"]) or is_few(before)
        shown.append(
            {
                "month": row["month"],
                "people": None if is_few(row["people"]) else row["people"],
                "has_list_before": row["has_list_before"],
                "joined": None if is_hidden else row["joined"],
                "left": None if is_hidden else row["left"],
            }
        )
    return shown[:MONTHS]


def _months_before(day: date, count: int) -> date:
    years, index = divmod(day.year * 12 + day.month - 1 - count, 12)
    return date(years, index + 1, 1)
