"""What a run asks for and the sentence with which it says why."""

from datetime import UTC, datetime, timedelta

import pytest

from bcda.coverage import Covered, Gap, Interval, TypeLedger
from bcda.errors import AttributionMissingError, InvalidRequestError, MissingList
from bcda.export_request import Scope
from bcda.planning import Decision, ListDates, NotNeeded, Wish, decide
from bcda.settings import ApiVersion
from bcda.type_filter import SystemType, TypeFilter

EOB = "ExplanationOfBenefit"
LIST, NEXT = datetime(2026, 9, 5, tzinfo=UTC), datetime(2026, 10, 5, tzinfo=UTC)
FROM, TO = datetime(2026, 9, 12, tzinfo=UTC), datetime(2026, 10, 10, tzinfo=UTC)
LOADED = {EOB: TypeLedger((Covered(None, FROM, FROM, LIST), Covered(FROM, TO, TO, NEXT)))}
NOTHING = {EOB: TypeLedger()}


def wish(scope=Scope.PATIENT, **more):
    return Wish(more.pop("version", ApiVersion.V2), scope, (EOB,), **more)


def week(start, days=7):
    return Interval(start, start + timedelta(days=days))


GAP = {EOB: TypeLedger(LOADED[EOB].covered, (Gap(FROM, TO),))}
EARLY = datetime(2019, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "ledger", "since", "said"),
    [
        (wish(), NOTHING, None, "never loaded from the beginning"),
        (wish(), LOADED, TO, "where the covered interval ends"),
        (wish(version=ApiVersion.V3), LOADED, TO - timedelta(days=4), "data can come late"),
        (wish(), GAP, FROM, "some people's ExplanationOfBenefit are missing"),
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
    with pytest.raises(InvalidRequestError, match="exclude each other"):
        decide(wish(full=True, since=FROM), LOADED, ListDates())


@pytest.mark.parametrize("newest", [None, NEXT - timedelta(days=181)])
def test_runout_that_is_gone_is_refused_before_the_request(newest):
    with pytest.raises(AttributionMissingError) as caught:
        decide(wish(Scope.GROUP_RUNOUT), NOTHING, ListDates(newest, NEXT))
    assert caught.value.case is MissingList.RUNOUT_GONE
