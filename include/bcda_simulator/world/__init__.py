"""A synthetic world of people and claims that moves on week by week, made from a seed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from bcda_simulator.source import AttributionList, ListKind
from bcda_simulator.world import calendar, eob_v1, eob_v2, eob_v3, lives, other_versions
from bcda_simulator.world.claims import Claim, claims_of
from bcda_simulator.world.fhir import Json, line
from bcda_simulator.world.people import Person, coverage_weeks, coverages_v2, is_on_list, patient_v2
from bcda_simulator.world.people import person as make_person

__all__ = ["Totals", "World"]


@dataclass(slots=True)
class Totals:
    """What a complete export holds, counted from the world itself and not from its JSON.

    Attributes:
        claims: newest version of each claim, by eob-type.
        active: those of them that are active, by eob-type.
        lines: lines of all claims.
        diagnoses: diagnoses of all claims.
        paid: paid amount of active claims by eob-type; drug events have none.
        drug_cost: gross cost of active drug events that were not deleted.
    """

    claims: Counter[str] = field(default_factory=Counter)
    active: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    diagnoses: int = 0
    paid: dict[str, Decimal] = field(default_factory=dict)
    drug_cost: Decimal = Decimal(0)


class World:
    """A `Source` of generated data. Everything follows from seed and person number; nothing is kept.

    Args:
        people: how many there are.
        seed: another seed is another world.
        cms_ids: organizations that share the people.
        history_weeks: how far back claims go from the instant that is asked about.
        opted_out: person → instant at which they opted out; they are left out for 60 days from then.
        eventful: people have the lives of `lives`, and no claims while they are not in fee-for-service Medicare.
    """

    def __init__(
        self,
        *,
        people: int = 200,
        seed: int = 1,
        cms_ids: Sequence[str] = ("A9999",),
        history_weeks: int = 104,
        opted_out: Mapping[str, datetime] | None = None,
        eventful: bool = False,
    ) -> None:
        self._people = people
        self._seed = seed
        self._cms_ids = tuple(cms_ids)
        self._history_weeks = history_weeks
        self._opted_out = dict(opted_out or {})
        self._eventful = eventful

    def attribution_lists(self, cms_id: str, kind: ListKind, as_of: datetime) -> Sequence[AttributionList]:
        """Return the monthly lists of an organization dated at or before `as_of`, oldest first."""
        if cms_id not in self._cms_ids:
            return []
        share, place = len(self._cms_ids), self._cms_ids.index(cms_id)
        lists = []
        for year, month in calendar.months(calendar.EPOCH, as_of):
            dated_at = calendar.list_dates(year, month, kind)
            if dated_at is None or dated_at > as_of:
                continue
            list_year = year if kind == "all" else year - 1
            listed_month = (list_year, month) if kind == "all" else (list_year, 12)
            people = tuple(
                str(n) for n in range(self._people) if n % share == place and self._is_listed(n, *listed_month)
            )
            lists.append(AttributionList(kind, dated_at, list_year, people))
        return lists

    def last_load_at(self, as_of: datetime) -> datetime:
        """Return the Saturday load before an instant."""
        return calendar.load_at(calendar.week_of(as_of))

    def opted_out(self, as_of: datetime) -> frozenset[str]:
        """Return the people who opted out during the last 60 days."""
        return frozenset(
            person for person, at in self._opted_out.items() if timedelta(0) <= as_of - at <= timedelta(days=60)
        )

    def mbi(self, person: str, as_of: datetime) -> str:
        """Return the person's MBI at an instant."""
        return self._person(int(person)).mbi(calendar.week_of(as_of))

    def lines(
        self,
        api_version: str,
        resource_type: str,
        people: Sequence[str],
        *,
        after: datetime | None,
        up_to: datetime,
        service_cap: date | None = None,
    ) -> Iterator[bytes]:
        """Yield the newest version of every resource that changed in the interval, as `Source.lines` says."""
        last = calendar.week_of(up_to)
        first = calendar.week_of(after) + 1 if after else 0
        for key in people:
            if self._eventful and not self.months(key, up_to.date()):
                # Not in Medicare yet.
                continue
            for resource in self._resources(api_version, resource_type, int(key), first, last, up_to, service_cap):
                yield line(resource)

    def expected(self, as_of: datetime, *, people: Sequence[str], version: str = "v2") -> Totals:
        """Return what a full export at an instant holds for some people, and what of it counts.

        Claims of v3 can be unfinished ones too, which count in no sum.
        """
        totals, last = Totals(), calendar.week_of(as_of)
        for key in people:
            unfinished = self._unfinished(int(key), last, None) if version == "v3" else []
            for claim in unfinished:
                totals.claims[claim.kind] += 1
                totals.lines += len(claim.lines)
                totals.diagnoses += len(claim.diagnoses)
            for claim in self._claims(int(key), 0, last, None):
                totals.claims[claim.kind] += 1
                totals.lines += len(claim.lines)
                totals.diagnoses += len(claim.diagnoses)
                if claim.status == "active":
                    totals.active[claim.kind] += 1
                    if claim.kind != "PDE":
                        totals.paid[claim.kind] = totals.paid.get(claim.kind, Decimal(0)) + claim.paid
                    elif claim.adjustment_code != "D":
                        totals.drug_cost += claim.charge
        return totals

    def months(self, person: str, up_to: date) -> set[tuple[str, date, str | None]]:
        """Return part of Medicare, first day and contract of every month of a person of an eventful world."""
        return lives.months_of(int(person), up_to)

    def _person(self, number: int) -> Person:
        someone = make_person(self._seed, number)
        if not self._eventful:
            return someone
        death, change = lives.events_of(number)
        return replace(someone, death_week=death, mbi_change_week=change, move_week=None)

    def _is_listed(self, number: int, year: int, month: int) -> bool:
        return lives.is_on_list(number, year, month) if self._eventful else is_on_list(self._seed, number, year, month)

    def _is_paid(self, claim: Claim, number: int) -> bool:
        return not self._eventful or lives.is_fee_for_service(number, claim.service_from)

    def _resources(
        self, version: str, kind: str, number: int, first: int, last: int, delivered_at: datetime, cap: date | None
    ) -> Iterator[Json]:
        someone, is_v2 = self._person(number), version == "v2"
        if kind == "Patient" and first <= max(someone.change_weeks(last)):
            yield patient_v2(someone, last) if is_v2 else other_versions.patient(version, someone, last)
        if kind == "Coverage":
            yield from self._coverages(version, someone, first, last)
        if version == "v3" and first == 0 and not self._eventful:
            yield from other_versions.stubs_v3(kind, someone) if kind in {"Patient", "Coverage"} else ()
        if kind == "ExplanationOfBenefit" and version == "v3":
            yield from self._eobs_v3(someone, first, last, cap)
        elif kind == "ExplanationOfBenefit":
            eob = eob_v2.eob if is_v2 else eob_v1.eob
            for claim in self._claims(number, first, last, cap):
                yield eob(claim, someone.patient_id, delivered_at)
        if kind in {"Claim", "ClaimResponse"}:
            # They vanish 60 days after their last change.
            for week in range(max(first, last - 8), last + 1):
                if (number + week) % 5 == 0:
                    yield other_versions.partially_adjudicated(kind, someone, week, 0)

    def _coverages(self, version: str, someone: Person, first: int, last: int) -> Iterator[Json]:
        if self._eventful:
            yield from lives.coverages(version, someone, first, last)
        elif first <= (week := max(coverage_weeks(last))):
            yield from (
                coverages_v2(someone, calendar.load_at(week).year)
                if version == "v2"
                else [other_versions.coverage(version, someone, part, week) for part in "abcd"]
            )

    def _eobs_v3(self, someone: Person, first: int, last: int, cap: date | None) -> Iterator[Json]:
        """Yield claims as v3 has them: half of the replaced ones are not sent again, the next one names them."""
        patient_id = other_versions.patient_id_v3(someone)
        for claim in self._claims(someone.number, first, last, cap):
            if claim.status == "active" or claim.group % 2 == 0:
                yield eob_v3.eob(claim, patient_id)
            elif claim.loaded_week >= first:
                yield eob_v3.eob(replace(claim, status="active", updated_week=claim.loaded_week), patient_id)
        for claim in self._unfinished(someone.number, last, cap):
            if claim.loaded_week - 1 >= first:
                yield eob_v3.eob(claim, patient_id, shared=True)

    def _unfinished(self, number: int, last: int, cap: date | None) -> list[Claim]:
        """Return claims that a shared system has in a week and that are finished in the next one."""
        return [
            claim
            for claim in claims_of(self._seed, number, first_week=last + 1, last_week=last + 1)
            if claim.loaded_week == last + 1
            and claim.updated_week == last + 1
            and eob_v3.comes_from_shared_system(claim)
            and (cap is None or claim.service_from <= cap)
            and self._is_paid(claim, number)
        ]

    def _claims(self, number: int, first: int, last: int, cap: date | None) -> list[Claim]:
        """Return the newest version of each claim, if it came in the weeks asked for."""
        newest: dict[int, Claim] = {}
        begin = max(first, 0, last - self._history_weeks)
        for claim in claims_of(self._seed, number, first_week=begin, last_week=last):
            if (cap is not None and claim.service_from > cap) or not self._is_paid(claim, number):
                continue
            known = newest.get(claim.number)
            if known is None or claim.updated_week >= known.updated_week:
                newest[claim.number] = claim
        return list(newest.values())
