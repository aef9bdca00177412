"""People to whom much happens in three years: they enter Medicare, die, join plans and leave them, leave and return."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from bcda_simulator.world import calendar
from bcda_simulator.world.eob_v3 import CODES, STRUCTURES
from bcda_simulator.world.fhir import TERMINOLOGY, VARIABLES, Json, coding, concept, variable
from bcda_simulator.world.other_versions import patient_id_v3
from bcda_simulator.world.people import Person, updated_text

_ALWAYS = (2000, 1), (9999, 12)
_LISTED = {
    0: [((2000, 1), (2025, 8))],
    1: [((2024, 10), (9999, 12))],
    2: [((2000, 1), (2025, 8))],
    4: [((2000, 1), (2024, 4)), ((2024, 10), (9999, 12))],
    5: [((2000, 1), (2024, 10)), ((2025, 10), (9999, 12))],
}
"""Months of lists, by what happens to a person; others are on every list. The first one leaves and stays in Medicare."""


@dataclass(frozen=True, slots=True)
class Spell:
    """A time in one part of Medicare, in whole months.

    Attributes:
        part: A, B or C.
        first: first day.
        last: last day, or None for a time without end.
        contract: of the plan and its package, for Part C.
    """

    part: str
    first: date
    last: date | None
    contract: tuple[str, str] | None = None

    def is_in(self, month: date) -> bool:
        """Tell whether a month, by its first day, lies in it."""
        return self.first <= month and (self.last is None or month <= self.last)


def events_of(number: int) -> tuple[int | None, int | None]:
    """Return the weeks in which a person dies and gets another MBI, or None."""
    death = _week_of(date(2025, 5, 14)) if number % 6 == 2 else None  # noqa: PLR2004
    return death, _week_of(date(2025, 2, 12)) if number % 6 == 4 else None  # noqa: PLR2004


def spells_of(number: int) -> list[Spell]:
    """Return all times of a person in parts of Medicare, in order."""
    times: dict[int, list[tuple[date, date | None]]] = {
        1: [(date(2024, 9, 1), None)],
        2: [(date(2019, 3, 1), date(2025, 5, 31))],
        5: [(date(2020, 6, 1), date(2024, 8, 31)), (date(2025, 9, 1), None)],
    }
    kind = number % 6
    spells = [Spell(part, first, last) for first, last in times.get(kind, [(date(2019, 1, 1), None)]) for part in "AB"]
    if kind == 3:  # noqa: PLR2004
        spells += [
            Spell("C", date(2024, 4, 1), date(2024, 12, 31), ("H1000", "001")),
            Spell("C", date(2025, 7, 1), date(2025, 10, 31), ("H1000", "001")),
            Spell("C", date(2026, 3, 1), None, ("H2000", "002")),
        ]
    return spells


def is_on_list(number: int, year: int, month: int) -> bool:
    """Tell whether a month's list names a person."""
    return any(first <= (year, month) <= last for first, last in _LISTED.get(number % 6, [_ALWAYS]))


def is_fee_for_service(number: int, day: date) -> bool:
    """Tell whether Medicare pays claims of a day for a person: they have Part B and no plan."""
    parts = {spell.part for spell in spells_of(number) if spell.is_in(day.replace(day=1))}
    return "B" in parts and "C" not in parts


def months_of(number: int, up_to: date) -> set[tuple[str, date, str | None]]:
    """Return part, first day and contract of every month of a person up to that of a day."""
    return {
        (spell.part, month, spell.contract[0] if spell.contract else None)
        for spell in spells_of(number)
        for month in _months(spell.first, up_to)
        if spell.is_in(month)
    }


def coverages(version: str, someone: Person, first_week: int, week: int) -> list[Json]:
    """Return what is new about someone's coverage in the weeks from one to another, as a version says it."""
    made = _coverages_v3(someone, week) if version == "v3" else _coverages_v2(someone, week)
    new = [resource for updated, resource in made if updated >= first_week]
    # v1 names the part beside the id; the monthly extensions are those of v2.
    parts = [{"grouping": {"subGroup": "Medicare", "subPlan": f"Part {resource['id'][5].upper()}"}} for resource in new]
    return [resource | part for resource, part in zip(new, parts, strict=True)] if version == "v1" else new


def _coverages_v2(someone: Person, week: int) -> list[tuple[int, Json]]:
    """Return the parts with the months of the load's year so far; they are loaded again with each month."""
    day = calendar.load_at(week).date()
    updated = _week_of(day.replace(day=1))
    made = []
    for part in "ABC":
        spells = [spell for spell in spells_of(someone.number) if spell.part == part and spell.first <= day]
        extensions: list[Json] = [{"url": f"{VARIABLES}rfrnc_yr", "valueDate": str(day.year)}]
        for month in _months(date(day.year, 1, 1), day):
            inside = [spell for spell in spells if spell.is_in(month)]
            if inside and part == "C":
                contract = inside[-1].contract or ("", "")
                extensions.append(variable(f"ptc_cntrct_id_{month:%m}", contract[0]))
            elif inside:
                extensions.append(variable(f"buyin{month:%m}", "3"))
        resource = {
            "resourceType": "Coverage",
            "id": f"part-{part.lower()}-{someone.patient_id}",
            "meta": {"lastUpdated": updated_text(calendar.load_at(updated))},
            "status": "active",
            "beneficiary": {"reference": f"Patient/{someone.patient_id}"},
            "extension": extensions,
        }
        if spells:
            made.append((updated, resource))
    return made


def _coverages_v3(someone: Person, week: int) -> list[tuple[int, Json]]:
    """Return the newest period of each part and plan that has begun; an end is told when it is over."""
    day, newest = calendar.load_at(week).date(), {}
    for spell in spells_of(someone.number):
        if spell.first <= day:
            newest["-".join([spell.part, patient_id_v3(someone), *(spell.contract or ())])] = spell
    made = []
    for name, spell in newest.items():
        is_over = spell.last is not None and spell.last < day
        updated = _week_of(spell.last + timedelta(days=1) if is_over and spell.last else spell.first)
        contract = {"BENE-CNTRCT-NUM": spell.contract[0]} if spell.contract else {"BENE-BUYIN-CD": "3"}
        resource: Json = {
            "resourceType": "Coverage",
            "id": f"part-{name}",
            "meta": {"lastUpdated": updated_text(calendar.load_at(updated))},
            "status": "cancelled" if is_over else "active",
            "beneficiary": {"reference": f"Patient/{patient_id_v3(someone)}"},
            "class": [
                {"type": concept(coding(f"{TERMINOLOGY}coverage-class", "plan")), "value": f"Part {spell.part}"},
            ],
            "period": {"start": spell.first.isoformat()},
            "extension": [
                {"url": f"{STRUCTURES}{url}", "valueCoding": coding(f"{CODES}{url}", code)}
                for url, code in contract.items()
            ],
        }
        if is_over and spell.last:
            resource["period"]["end"] = spell.last.isoformat()
        made.append((updated, resource))
    return made


def _months(first: date, last: date) -> list[date]:
    begin = datetime(first.year, first.month, 1, tzinfo=calendar.EPOCH.tzinfo)
    end = datetime(last.year, last.month, 1, tzinfo=calendar.EPOCH.tzinfo)
    return [date(year, month, 1) for year, month in calendar.months(begin, end)]


def _week_of(day: date) -> int:
    """Return the first week whose load is on a day or after it, 0 for days before the world begins."""
    week = calendar.week_of(datetime(day.year, day.month, day.day, tzinfo=calendar.EPOCH.tzinfo))
    return max(0, week if calendar.load_at(week).date() >= day else week + 1)
