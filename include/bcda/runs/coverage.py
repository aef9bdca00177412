"""Arithmetic of what is covered: which changes the warehouse holds, and so what to ask for next.

An interval is half-open, (since, until]: BCDA's `_since` is exclusive and `transactionTime` inclusive
(docs/bcda.md#time-windows). `since` None means from the beginning. Everything here is about one API version, one population
(the people on the current lists, or those of the runout list) and one resource type; nothing does I/O.
The constants stand here only; `warehouse/views.py` writes them into the views `ops.data_status` and `ops.open_gap`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from bcda.settings import ApiVersion

FLOORS: Mapping[ApiVersion, datetime] = {
    ApiVersion.V1: datetime(2020, 2, 12, tzinfo=UTC),
    ApiVersion.V2: datetime(2020, 2, 12, tzinfo=UTC),
    ApiVersion.V3: datetime(2026, 3, 26, tzinfo=UTC),
}
"""Before these instants `lastUpdated` says nothing: all that was loaded earlier carries one old date, or a later one."""

OVERLAP = timedelta(days=4)
"""Asked for again where `transactionTime` is no load time, so that data loaded late is not missed (docs/bcda.md#time-windows)."""

GAP_TRIES = 3
"""After so many runs that failed for the same person and type runs no longer request a gap automatically; it stays listed.

A gap from the beginning costs a full pull of its type, so it is asked for once only. `ops.open_gap` applies both rules.
"""

_OVERLAPPING_TYPES = frozenset({"Claim", "ClaimResponse"})


@dataclass(frozen=True, slots=True)
class Interval:
    """Changes after `since` (None: from the beginning) up to and including `until`."""

    since: datetime | None
    until: datetime


@dataclass(frozen=True, slots=True)
class Covered:
    """What one loaded run covers for one type.

    Attributes:
        since: start of its interval; None for the beginning.
        until: its transactionTime.
        known_until: BCDA had nothing newer up to this instant, by its own clock; `until` when that is not known.
        list_at: date of the attribution list whose people it is about; None when not known.
        brings_history: people who are new on the list came with everything, not only with changes.
    """

    since: datetime | None
    until: datetime
    known_until: datetime | None = None
    list_at: datetime | None = None
    brings_history: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """An interval in which someone is missing whom BCDA could not retrieve.

    Attributes:
        since: start of the interval; None for the beginning.
        until: its end.
        is_tried_again: runs request it automatically; not after `GAP_TRIES` runs, or one full pull.
        opened_by: our export run that met it.
    """

    since: datetime | None
    until: datetime
    is_tried_again: bool = True
    opened_by: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class TypeLedger:
    """What the ledger says about one resource type.

    Attributes:
        covered: what each loaded run covers, gaps apart.
        gaps: what is open.
    """

    covered: tuple[Covered, ...] = ()
    gaps: tuple[Gap, ...] = ()


def from_floor(since: datetime | None, api_version: ApiVersion) -> datetime | None:
    """Return None for a `since` before the version's floor, where asking from it means asking for everything."""
    return None if since is None or since < FLOORS[api_version] else since


def overlap(api_version: ApiVersion, resource_type: str) -> timedelta:
    """Return how far the next `_since` goes back behind what is covered: nothing where windows chain exactly."""
    is_exact = api_version is not ApiVersion.V3 and resource_type not in _OVERLAPPING_TYPES
    return timedelta(0) if is_exact else OVERLAP


def covered_until(covered: Iterable[Covered]) -> datetime | None:
    """Return up to when everything from the beginning on is covered without a hole, or None if nothing is."""
    reached: datetime | None = None
    for entry in _by_start(covered):
        if entry.since is None or (reached is not None and entry.since <= reached):
            reached = entry.until if reached is None else max(reached, entry.until)
    return reached


def next_since(ledger: Mapping[str, TypeLedger], api_version: ApiVersion) -> datetime | None:
    """Return the `_since` of the next export.

    It is where the least covered of the wanted types ends, less its overlap. Gaps have an export of their own, for their types
    only: see `oldest`.

    Args:
        ledger: for each wanted resource type what is covered; a type never loaded has an empty entry.
        api_version: decides overlap and floor.

    Returns:
        An instant, or None when some type has to be asked for from the beginning.
    """
    starts = [_start(entry, overlap(api_version, name)) for name, entry in ledger.items()]
    known = [start for start in starts if start is not None]
    return from_floor(min(known), api_version) if known and len(known) == len(starts) else None


def oldest(gaps: Sequence[Gap], api_version: ApiVersion) -> datetime | None:
    """Return the `_since` from which one export brings all of some gaps; None for the beginning."""
    starts = [gap.since for gap in gaps]
    known = [start for start in starts if start is not None]
    return from_floor(min(known), api_version) if known and len(known) == len(starts) else None


def is_covered(wanted: Interval, entry: TypeLedger) -> bool:
    """Tell whether loaded runs leave no part of the wanted interval open and no gap lies in it."""
    reached = wanted.since
    for run in _by_start(entry.covered):
        starts_in_time = run.since is None or (reached is not None and run.since <= reached)
        end = max(run.until, run.known_until or run.until)
        # What BCDA had nothing newer than is the end of a chain, not a link: a later run starts at a transactionTime.
        if starts_in_time and end >= wanted.until:
            return not any(_meets(wanted, gap) for gap in entry.gaps)
        if starts_in_time and (reached is None or run.until > reached):
            reached = run.until
    return False


def loaded_list(covered: Iterable[Covered]) -> datetime | None:
    """Return the date of the newest attribution list all of whose people are loaded with their history, or None.

    A run from the beginning loads its list. A Group run with `_since` brings the history of those who are not on the
    newest list dated at or before `_since`, so it loads its list only if `_since` is the date of a loaded one
    (docs/bcda.md#attribution-lists).
    """
    loaded: set[datetime] = {c.list_at for c in covered if c.since is None and c.list_at is not None}
    waiting = sorted(
        ((c.list_at, c.since) for c in covered if c.brings_history and c.list_at is not None and c.since is not None),
    )
    for list_at, since in waiting:
        if since in loaded:
            loaded.add(list_at)
    return max(loaded, default=None)


def _start(entry: TypeLedger, back: timedelta) -> datetime | None:
    reached = covered_until(entry.covered)
    return None if reached is None else reached - back


def _by_start(covered: Iterable[Covered]) -> Sequence[Covered]:
    return sorted(covered, key=lambda c: (c.since is not None, c.since or c.until, c.until))


def _meets(wanted: Interval, gap: Gap) -> bool:
    return (gap.since is None or gap.since < wanted.until) and (wanted.since is None or gap.until > wanted.since)
