"""Arithmetic of what is covered: which interval of changes the warehouse holds, and so what to ask for next.

An interval is half-open, (since, until]: BCDA's `_since` is exclusive and `transactionTime` inclusive (wire
contract §8). `since` None means from the beginning.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bcda.settings import ApiVersion

V3_OVERLAP = timedelta(days=4)
"""v3's transactionTime is a clock reading, not a load time, so data loaded late can be older (wire contract §8)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Changes after `since` (None: from the beginning) up to and including `until`."""

    since: datetime | None
    until: datetime


def covered_until(intervals: Iterable[Interval]) -> datetime | None:
    """Return up to when everything from the beginning on is covered without a hole, or None if nothing is."""
    reached: datetime | None = None
    for interval in sorted(intervals, key=lambda i: (i.since is not None, i.since or i.until)):
        if interval.since is None or (reached is not None and interval.since <= reached):
            reached = interval.until if reached is None else max(reached, interval.until)
    return reached


def next_since(intervals_by_type: dict[str, Sequence[Interval]], api_version: ApiVersion) -> datetime | None:
    """Return the `_since` of the next export: where the least covered of the wanted types ends.

    Args:
        intervals_by_type: for each wanted resource type the loaded intervals; a type never loaded has none.
        api_version: v3 goes back by `V3_OVERLAP`.

    Returns:
        An instant, or None when some type has to be asked for from the beginning.
    """
    ends = [covered_until(intervals) for intervals in intervals_by_type.values()]
    known = [end for end in ends if end is not None]
    if not known or len(known) < len(ends):
        return None
    since = min(known)
    return since - V3_OVERLAP if api_version is ApiVersion.V3 else since


def is_covered(wanted: Interval, intervals: Iterable[Interval]) -> bool:
    """Tell whether loaded intervals leave no part of the wanted one open."""
    reached = wanted.since
    for interval in sorted(intervals, key=lambda i: (i.since is not None, i.since or i.until)):
        starts_in_time = interval.since is None or (reached is not None and interval.since <= reached)
        if starts_in_time and (reached is None or interval.until > reached):
            reached = interval.until
    return reached is not None and reached >= wanted.until
