"""What a run asks for and the sentence with which it says why."""

from datetime import UTC, datetime, timedelta

import pytest

from bcda.api.export_request import Scope
from bcda.api.type_filter import SystemType, TypeFilter
from bcda.errors import AttributionMissingError, InvalidRequestError, MissingList
from bcda.runs.coverage import Covered, Gap, Interval, TypeLedger
from bcda.runs.plan import Decision, GapWish, ListDates, NotNeeded, Wish, decide
from bcda.settings import ApiVersion

EOB = "ExplanationOfBenefit"
LIST, NEXT = datetime(2026, 9, 5, tzinfo=UTC), datetime(2026, 10, 5, tzinfo=UTC)
FROM, TO = datetime(2026, 9, 12, tzinfo=UTC), datetime(2026, 10, 10, tzinfo=UTC)
LOADED = {EOB: TypeLedger((Covered(None, FROM, FROM, LIST), Covered(FROM, TO, TO, NEXT)))}
NOTHING = {EOB: TypeLedger()}


def wish(scope=Scope.PATIENT, **more):
    return Wish(more.pop("version", ApiVersion.V2), scope, (EOB,), **more)


def week(start, days=7):
    return Interval(start, start + timedelta(days=days))


def with_gaps(*gaps):
    return {EOB: TypeLedger(LOADED[EOB].covered, gaps)}


GAP = with_gaps(Gap(FROM, TO, opened_by="r2"))
FIRST_LOAD = with_gaps(Gap(None, FROM, opened_by="r1"), Gap(FROM, TO, opened_by="r2"))
GIVEN_UP = with_gaps(Gap(FROM, TO, is_tried_again=False))
EARLY = datetime(2019, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "ledger", "since", "said"),
    [
        (wish(), NOTHING, None, "never loaded from the beginning"),
        (wish(), LOADED, TO, "where the covered interval ends"),
        (wish(version=ApiVersion.V3), LOADED, TO - timedelta(days=4), "data can come late"),
        (wish(), GAP, TO, "where the covered interval ends"),
        (wish(gaps=GapWish()), GAP, FROM, f"Changes of {EOB} after 2026-09-12T00:00:00Z, requested again"),
        (
            wish(gaps=GapWish()),
            FIRST_LOAD,
            None,
            f"Everything of {EOB}, requested again because some people's data has been missing since the beginning",
        ),
        (wish(gaps=GapWish(given_up_too=True)), GIVEN_UP, FROM, "could not retrieve"),
        (wish(full=True), LOADED, None, "`full` is set"),
        (wish(since=FROM), LOADED, FROM, "`since` is set"),
        (wish(since=EARLY), LOADED, None, "dates all that is older than 2020-02-12 alike"),
        (wish(since=FROM, version=ApiVersion.V3), LOADED, FROM, "`since` is set"),
        (wish(since=datetime(2026, 3, 1, tzinfo=UTC), version=ApiVersion.V3), LOADED, None, "2026-03-26 alike"),
        (wish(interval=week(TO)), LOADED, TO, "BCDA has no upper bound"),
        (wish(interval=week(FROM), force=True), LOADED, FROM, "`force` is set"),
        (wish(interval=week(FROM)), GAP, FROM, "the start of the backfill's interval"),
        (wish(interval=week(EARLY)), {EOB: TypeLedger((Covered(FROM, TO),))}, None, "Changes after the beginning"),
        (wish(Scope.GROUP_ALL), LOADED, LIST, "who is new on the attribution list of 2026-10-05"),
        (wish(Scope.GROUP_ALL, full=True, is_roster=True), LOADED, None, "who joined and who left"),
        (wish(Scope.GROUP_RUNOUT), NOTHING, None, "Claims end with services of 2025"),
        (wish(Scope.GROUP_RUNOUT), {EOB: TypeLedger((Covered(None, TO, TO, NEXT),))}, TO, "the one of the pull before"),
        (
            wish(version=ApiVersion.V3, type_filter=TypeFilter(systems=(SystemType.NCH,))),
            LOADED,
            TO - timedelta(days=4),
            "does not count as covered",
        ),
    ],
)
def test_a_decision_says_what_and_why(asked, ledger, since, said):
    decision = decide(asked, ledger, ListDates(NEXT, TO))
    assert isinstance(decision, Decision)
    assert decision.since == since
    assert said in decision.reason


@pytest.mark.parametrize(
    ("asked", "ledger", "newest", "said"),
    [
        (wish(interval=week(FROM)), LOADED, NEXT, "2026-09-12T00:00:00Z to 2026-09-19T00:00:00Z is covered for"),
        (wish(interval=week(EARLY)), LOADED, NEXT, "is covered for"),
        (wish(gaps=GapWish()), LOADED, NEXT, "no gap"),
        (wish(gaps=GapWish()), GIVEN_UP, NEXT, "no gap"),
        (wish(gaps=GapWish(not_of="r2")), GAP, NEXT, "no gap"),
        (
            wish(version=ApiVersion.V3, gaps=GapWish(), type_filter=TypeFilter(systems=(SystemType.NCH,))),
            GAP,
            NEXT,
            "no gap",
        ),
        (wish(Scope.GROUP_ALL), LOADED, LIST, "list of 2026-09-05 is loaded"),
        (wish(Scope.GROUP_ALL, full=True, is_roster=True), LOADED, LIST, "are here already"),
        (wish(Scope.GROUP_ALL), NOTHING, NEXT, "Nothing is loaded yet"),
        (wish(Scope.GROUP_ALL, full=True, is_roster=True), NOTHING, NEXT, "Nothing is loaded yet"),
    ],
)
def test_what_is_not_needed_says_why(asked, ledger, newest, said):
    answer = decide(asked, ledger, ListDates(newest, TO))
    assert isinstance(answer, NotNeeded)
    assert said in answer.reason


def test_full_and_since_exclude_each_other():
    with pytest.raises(InvalidRequestError, match="either `full` or `since`, not both"):
        decide(wish(full=True, since=FROM), LOADED, ListDates())


@pytest.mark.parametrize("newest", [None, NEXT - timedelta(days=181)])
def test_runout_that_is_gone_is_refused_before_the_request(newest):
    with pytest.raises(AttributionMissingError) as caught:
        decide(wish(Scope.GROUP_RUNOUT), NOTHING, ListDates(newest, NEXT))
    assert caught.value.case is MissingList.RUNOUT_GONE


def test_gaps_are_asked_for_of_their_own_types_from_the_oldest_on():
    runs, between = LOADED[EOB].covered, FROM + timedelta(days=3)
    ledger = {
        "Patient": TypeLedger(runs),
        "Coverage": TypeLedger(runs, (Gap(between, TO), Gap(FROM, TO, is_tried_again=False))),
        EOB: TypeLedger(runs, (Gap(TO, TO), Gap(between, TO))),
    }
    asked = decide(wish(gaps=GapWish()), ledger, ListDates())
    assert (asked.resource_types, asked.since) == (("Coverage", EOB), between)
    # A gap of the first load costs a full pull, of its type alone.
    first = {**ledger, "Patient": TypeLedger(runs, (Gap(None, FROM),))}
    asked = decide(wish(gaps=GapWish()), first, ListDates())
    assert (asked.resource_types, asked.since) == (("Patient",), None)
    assert "The gaps in Coverage, ExplanationOfBenefit come with the next run." in asked.reason


def test_a_list_is_loaded_again_only_for_the_types_that_lack_it():
    behind = TypeLedger(LOADED[EOB].covered)
    loaded = TypeLedger((*behind.covered, Covered(LIST, TO, TO, NEXT, brings_history=True)))
    asked = decide(wish(Scope.GROUP_ALL), {EOB: behind, "Coverage": loaded}, ListDates(NEXT, TO))
    assert (asked.resource_types, asked.since) == ((EOB,), LIST)
    asked = decide(wish(Scope.GROUP_ALL, force=True), {EOB: behind, "Coverage": loaded}, ListDates(NEXT, TO))
    assert asked.resource_types == ()
