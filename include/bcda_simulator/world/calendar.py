"""When things happen in the synthetic world: weekly loads, monthly attribution lists."""

from datetime import UTC, date, datetime, timedelta

EPOCH = datetime(2024, 1, 6, 2, 11, 9, 481000, tzinfo=UTC)
"""The first load, a Saturday; weeks count from here."""


def load_at(week: int) -> datetime:
    """Return the instant of a week's data load."""
    return EPOCH + timedelta(weeks=week)


def week_of(instant: datetime) -> int:
    """Return the week whose load is the newest at an instant; negative before the world begins."""
    return (instant - EPOCH) // timedelta(weeks=1)


def list_dates(year: int, month: int, kind: str) -> datetime | None:
    """Return the date of a month's attribution list, or None for a month without one.

    The first list of a year comes in mid February; runout lists end in July (docs/bcda.md#calendar).
    """
    if kind == "runout":
        return datetime(year, month, 10, 11, 2, 3, tzinfo=UTC) if month <= 7 else None  # noqa: PLR2004
    if month == 1:
        return None
    return datetime(year, month, 12 if month == 2 else 5, 15, 31, 27, tzinfo=UTC)  # noqa: PLR2004


def months(start: datetime, end: datetime) -> list[tuple[int, int]]:
    """Return (year, month) of every month from one instant to another."""
    first, last = start.year * 12 + start.month - 1, end.year * 12 + end.month - 1
    return [(n // 12, n % 12 + 1) for n in range(first, last + 1)]


def service_date(week: int, day: int) -> date:
    """Return a day of the week before a load."""
    return (load_at(week) - timedelta(days=7 - day)).date()
