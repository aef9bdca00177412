"""What a run asks for and why, decided from what is covered. Pure: the ledger and the list dates are handed in."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bcda.api.export_request import Scope, format_instant
from bcda.api.type_filter import TypeFilter
from bcda.errors import AttributionMissingError, InvalidRequestError, MissingList
from bcda.runs import coverage
from bcda.runs.coverage import Interval, TypeLedger
from bcda.settings import ApiVersion

RUNOUT_KEPT = timedelta(days=180)
"""How long BCDA keeps runout data after its last list (docs/bcda.md#kick-off-refusals)."""


@dataclass(frozen=True, slots=True)
class GapWish:
    """Which gaps a run is to ask for again.

    Attributes:
        given_up_too: include gaps that runs no longer request automatically.
        not_of: our export run whose gaps are left for the next time, since it has just met them; empty for none.
    """

    given_up_too: bool = False
    not_of: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a run is asked to do.

    Attributes:
        api_version: version of the API.
        scope: endpoint.
        resource_types: FHIR type names.
        since: explicit start of the interval, overrides coverage; None to follow it.
        full: ask for everything from the beginning.
        force: run even when nothing is missing.
        interval: data interval of a backfill; None for scheduled and manual runs.
        type_filter: which claims of v3; None for no filter.
        is_roster: take the people of the newest list in full, and nothing else.
        gaps: ask again for what BCDA could not deliver, for its types only, and for nothing else; None for an export that
            follows what is covered.
        accept_empty: load a full export even if it holds no people or no claims.
        accept_smaller_list: load a full export even if it holds fewer than half of the people of the last one.
    """

    api_version: ApiVersion
    scope: Scope
    resource_types: tuple[str, ...]
    since: datetime | None = None
    full: bool = False
    force: bool = False
    interval: Interval | None = None
    type_filter: TypeFilter | None = None
    is_roster: bool = False
    gaps: GapWish | None = None
    accept_empty: bool = False
    accept_smaller_list: bool = False

    @property
    def is_narrow(self) -> bool:
        """Whether a filter leaves claims out, so that ExplanationOfBenefit is not covered."""
        return self.type_filter is not None and self.type_filter.is_narrow


@dataclass(frozen=True, slots=True)
class ListDates:
    """Dates of BCDA's newest attribution lists.

    Attributes:
        newest: of the list that the scope is made from; None when BCDA names none.
        as_of: BCDA's clock when it said so; None when it was not asked.
    """

    newest: datetime | None = None
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class NotNeeded:
    """The run has nothing to ask for.

    Attributes:
        reason: why, for the person who looks at the skipped task.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to ask for.

    Attributes:
        since: start of the interval; None for everything.
        reason: why, and what follows from it, in sentences.
        may_ask_for_all: `since` follows the attribution lists and may be dropped if BCDA has no list from before it.
        resource_types: those of the wanted types to ask for; empty for all of them.
        follows_coverage: `since` follows from what earlier exports covered.
    """

    since: datetime | None
    reason: str
    may_ask_for_all: bool = False
    resource_types: tuple[str, ...] = ()
    follows_coverage: bool = False


_FIRST_RUN = (
    "Nothing is loaded yet: the first run of bcda_weekly_export brings everyone with their whole history. Set `full` to use "
    "Group/all for it."
)

_FILTERED = "ExplanationOfBenefit"
"""The type that a filter leaves something of out."""

Ledger = Mapping[str, TypeLedger]


def decide(wish: Wish, ledger: Ledger, lists: ListDates) -> Decision | NotNeeded:
    """Decide what a run asks for.

    Args:
        wish: what it is asked to do.
        ledger: for each wanted type what is covered and missing for the people of the scope.
        lists: dates of the newest attribution lists; only Group exports look at them.

    Raises:
        InvalidRequestError: the wish contradicts itself.
        AttributionMissingError: runout data is gone.

    Source: docs/architecture.md#coverage-by-interval-instead-of-one-watermark, docs/concepts.md#population-and-scope,
        docs/bcda.md#attribution-lists, docs/bcda.md#time-windows.
    """
    if wish.full and wish.since is not None:
        raise InvalidRequestError("Set either `full` or `since`, not both.")
    if wish.scope.is_runout:
        _check_runout(lists)
    if wish.gaps is not None:
        decided: Decision | NotNeeded = _again(wish, wish.gaps, ledger)
    elif wish.full:
        decided = _everything(wish, ledger, lists)
    elif wish.since is not None:
        decided = _from(wish.since, wish.api_version)
    elif wish.interval is not None:
        decided = _backfill(wish, wish.interval, ledger)
    elif wish.scope is Scope.GROUP_ALL:
        decided = _new_list(wish, ledger, lists)
    elif wish.scope is Scope.GROUP_RUNOUT:
        decided = _runout(wish, ledger, lists)
    else:
        decided = _what_came_after(wish.api_version, ledger)
    if isinstance(decided, Decision) and wish.is_narrow and wish.gaps is None:
        reason = f"{decided.reason} The filter leaves claims out, so {_FILTERED} does not count as covered."
        return replace(decided, reason=reason)
    return decided


def _again(wish: Wish, asked: GapWish, ledger: Ledger) -> Decision | NotNeeded:
    """Decide about the gaps: one export, for the types that have some, from the oldest on.

    Gaps from the beginning come first and alone, since they cost a full pull; at most one is made for them.
    """
    starts = {}
    for name, entry in ledger.items():
        gaps = [gap for gap in entry.gaps if gap.is_tried_again or asked.given_up_too]
        earlier = [gap for gap in gaps if not asked.not_of or gap.opened_by != asked.not_of]
        # What a filter leaves out would stay missing.
        if earlier and not (wish.is_narrow and name == _FILTERED):
            starts[name] = coverage.oldest(earlier, wish.api_version)
    from_beginning = tuple(name for name, start in starts.items() if start is None)
    known = [start for start in starts.values() if start is not None]
    if from_beginning:
        types, since, missing_from = from_beginning, None, "the beginning"
        what = f"Everything of {', '.join(types)}"
    elif known:
        types, since, missing_from = tuple(starts), min(known), "then"
        what = f"Changes of {', '.join(types)} after {_show(since)}"
    else:
        return NotNeeded("There is no gap that is to be asked for again.")
    later = ", ".join(name for name in starts if name not in types)
    rest = f" The gaps in {later} come with the next run." if later else ""
    return Decision(
        since,
        f"{what}, requested again because some people's data has been missing since {missing_from}: BCDA could not retrieve "
        f"it, or left it out while they were not on the list.{rest}",
        resource_types=types,
        follows_coverage=True,
    )


def _everything(wish: Wish, ledger: Ledger, lists: ListDates) -> Decision | NotNeeded:
    if not wish.is_roster:
        return Decision(None, "Everything, because `full` is set; what came before stays and is compared.")
    if not wish.force and not any(entry.covered for entry in ledger.values()):
        return NotNeeded(_FIRST_RUN)
    loaded = _loaded_list(ledger)
    if not wish.force and lists.newest is not None and loaded is not None and loaded >= lists.newest:
        return NotNeeded(f"The people of the attribution list of {_day(lists.newest)} are here already.")
    return Decision(None, f"Everyone on {_the_list(lists.newest)}, to see who joined and who left.")


def _from(since: datetime, api_version: ApiVersion) -> Decision:
    start = coverage.from_floor(since, api_version)
    if start is None:
        return Decision(
            None,
            f"Everything, because `since` is set to {_show(since)}, and {api_version} dates all that is older than "
            f"{_day(coverage.FLOORS[api_version])} alike.",
        )
    return Decision(
        start,
        f"Changes after {_show(start)}, because `since` is set. What lies before it and is not covered stays open, so the "
        "watermark moves only if everything up to there is covered.",
    )


def _backfill(wish: Wish, interval: Interval, ledger: Ledger) -> Decision | NotNeeded:
    wanted = Interval(coverage.from_floor(interval.since, wish.api_version), interval.until)
    types = ", ".join(wish.resource_types)
    if not wish.force and all(coverage.is_covered(wanted, entry) for entry in ledger.values()):
        return NotNeeded(
            f"{_show(interval.since)} to {_show(interval.until)} is covered for {types}. Set `force` to fetch it again."
        )
    forced = " It is covered; `force` is set." if wish.force else ""
    return Decision(
        wanted.since,
        f"Changes after {_show(wanted.since)}, the start of the backfill's interval, up to now, because BCDA has no upper "
        f"bound; later intervals are covered by it too.{forced}",
    )


def _new_list(wish: Wish, ledger: Ledger, lists: ListDates) -> Decision | NotNeeded:
    loaded = _loaded_list(ledger)
    if not wish.force and not any(entry.covered for entry in ledger.values()):
        return NotNeeded(_FIRST_RUN)
    behind = () if wish.force else _behind(ledger, lists.newest)
    if loaded is None:
        return Decision(
            None,
            f"Everything, because no attribution list was loaded completely for {_missing_list(ledger)}.",
            resource_types=behind,
        )
    if not wish.force and lists.newest is not None and loaded >= lists.newest:
        return NotNeeded(
            f"The attribution list of {_day(lists.newest)} is loaded, with the history of everyone on it. Set `force` to "
            "load it again."
        )
    return Decision(
        loaded,
        f"Everything of who is new on {_the_list(lists.newest)}, and changes of the others, after {_show(loaded)}: that is the "
        "date of the list loaded last, and BCDA calls new who is not on it.",
        may_ask_for_all=True,
        resource_types=behind,
    )


def _runout(wish: Wish, ledger: Ledger, lists: ListDates) -> Decision:
    seen = max((c.list_at for entry in ledger.values() for c in entry.covered if c.list_at), default=None)
    cap = f"Claims end with services of {lists.newest.year - 1}." if lists.newest else ""
    if seen is None or seen != lists.newest:
        # BCDA brings no history of people who are new on a renewed runout list, so a new list is taken in full.
        return Decision(
            None, f"Everything of {_the_list(lists.newest, 'runout list')}, which is new here. {cap}".strip()
        )
    after = _what_came_after(wish.api_version, ledger)
    return Decision(
        after.since,
        f"{after.reason} The runout list is the one of the pull before. {cap}".strip(),
        follows_coverage=True,
    )


def _what_came_after(api_version: ApiVersion, ledger: Ledger) -> Decision:
    since = coverage.next_since(ledger, api_version)
    never = [name for name, entry in ledger.items() if coverage.covered_until(entry.covered) is None]
    if never:
        return Decision(None, f"Everything, because {', '.join(never)} was never loaded from the beginning.")
    ends = {name: end for name, entry in ledger.items() if (end := coverage.covered_until(entry.covered)) is not None}
    least = min(ends.values())
    if since is None:
        return Decision(
            None,
            f"Everything: what is covered ends at {_show(least)}, and {api_version} dates all that is older than "
            f"{_day(coverage.FLOORS[api_version])} alike.",
        )
    behind = [name for name, end in ends.items() if end == least]
    of = f" of {', '.join(behind)}" if len(behind) < len(ends) else ""
    back = "" if since == least else f", less {coverage.OVERLAP.days} days, because data can come late"
    ahead = "; the other types are covered further, but one export has one start" if of else ""
    reason = f"Changes after {_show(since)}, where the covered interval{of} ends{back}{ahead}."
    return Decision(since, reason, follows_coverage=True)


def _check_runout(lists: ListDates) -> None:
    if lists.as_of is None:
        return
    if lists.newest is None:
        raise AttributionMissingError(
            "BCDA names no runout list of this organization; runout data comes from January or February to July.",
            case=MissingList.RUNOUT_GONE,
        )
    if lists.as_of - lists.newest > RUNOUT_KEPT:
        raise AttributionMissingError(
            f"Runout data is gone: its last list is of {_day(lists.newest)}, and BCDA keeps it for {RUNOUT_KEPT.days} days. "
            "The next comes at the beginning of next year.",
            case=MissingList.RUNOUT_GONE,
        )


def _loaded_list(ledger: Ledger) -> datetime | None:
    """Return the newest list that is loaded for every type, or None."""
    dates = [coverage.loaded_list(entry.covered) for entry in ledger.values()]
    known = [date for date in dates if date is not None]
    return min(known) if known and len(known) == len(dates) else None


def _behind(ledger: Ledger, newest: datetime | None) -> tuple[str, ...]:
    """Return the types for which the newest list is not loaded; those that have it need not be asked for again."""
    loaded = {name: coverage.loaded_list(entry.covered) for name, entry in ledger.items()}
    return tuple(name for name, date in loaded.items() if newest is None or date is None or date < newest)


def _missing_list(ledger: Ledger) -> str:
    return ", ".join(name for name, entry in ledger.items() if coverage.loaded_list(entry.covered) is None)


def _the_list(date: datetime | None, name: str = "attribution list") -> str:
    return f"the {name} of {_day(date)}" if date else f"the newest {name}"


def _day(instant: datetime) -> str:
    return instant.date().isoformat()


def _show(instant: datetime | None) -> str:
    return format_instant(instant) if instant is not None else "the beginning"
