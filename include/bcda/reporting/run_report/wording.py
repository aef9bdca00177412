"""Numbers, dates and intervals as people read them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

SCOPES = {
    "patient": "everyone attributed",
    "group-all": "everyone attributed, with the history of who is new",
    "group-runout": "everyone attributed last year (runout)",
}
"""What each scope asks for."""


def count(number: int, one: str, several: str = "") -> str:
    """Return a number with its noun, such as `1 file` or `1,204 files`."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def dollars(amount: Decimal) -> str:
    """Return a change of money with its sign."""
    sign = "" if not amount else "+" if amount > 0 else "-"
    return f"{sign}${abs(amount):,.2f}"


def bytes_(number: int) -> str:
    """Return a size in the unit that keeps it short."""
    size = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:  # noqa: PLR2004 - decimal units, as disks and networks are sold
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def instant(at: datetime | None) -> str:
    """Return an instant to the minute; None is the beginning."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if at else "the beginning"


def day(at: datetime | None) -> str:
    """Return the day of an instant; None is the beginning."""
    return f"{at.astimezone(UTC):%Y-%m-%d}" if at else "the beginning"


def month(first: date | None) -> str:
    """Return a month of service."""
    return f"{first:%Y-%m}" if first else "no date of service"


def duration(took: timedelta) -> str:
    """Return a duration to the second, or to the minute when it is long."""
    seconds = round(took.total_seconds())
    if seconds < 1:
        return "under 1 s"
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
