"""The people of the synthetic world, their coverage, and the attribution lists they are on."""

import random
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

from bcda_simulator.world import calendar
from bcda_simulator.world.fhir import CODESYSTEM, TERMINOLOGY, VARIABLES, Json, coding, concept, variable

_LETTERS = "ACDEFGHJKMNPQRTUVWXY"
_FIRST = ("Ada", "Ben", "Cleo", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivo", "June")
_LAST = ("Testperson", "Samplewell", "Fictus", "Mockridge", "Synthea", "Placeholder")


@dataclass(frozen=True, slots=True)
class Person:
    """One person.

    Attributes:
        number: place in the world, from 0.
        changes: weeks in which the Patient resource changed, the first one being its first load.
    """

    number: int
    birth: date
    gender: str
    state: str
    death_week: int | None
    mbi_change_week: int | None
    move_week: int | None

    @property
    def patient_id(self) -> str:
        """Id of the Patient resource; synthetic ones are negative."""
        return f"-2000000{self.number:07d}"

    def mbi(self, week: int) -> str:
        """Return the current MBI in a week; the letter S and the zeros mark it as synthetic."""
        changed = self.mbi_change_week is not None and week >= self.mbi_change_week
        return _mbi(self.number, second=changed)

    def change_weeks(self, up_to: int) -> list[int]:
        """Return the weeks up to one in which the Patient resource changed, 0 being the first load."""
        weeks = {0} | {week for week in (self.death_week, self.mbi_change_week, self.move_week) if week is not None}
        return sorted(week for week in weeks if week <= up_to)


def person(seed: int, number: int) -> Person:
    """Return a person; the same for the same seed and number."""
    roll = random.Random(f"{seed}/person/{number}")  # noqa: S311 - synthetic data, not secrets
    return Person(
        number=number,
        birth=date(1925, 1, 1) + timedelta(days=roll.randint(0, 365 * 35)),
        gender=roll.choice(("male", "female")),
        state=f"{roll.randint(1, 53):02d}",
        death_week=roll.randint(30, 400) if roll.random() < 0.1 else None,  # noqa: PLR2004
        mbi_change_week=roll.randint(20, 300) if roll.random() < 0.08 else None,  # noqa: PLR2004
        move_week=roll.randint(20, 300) if roll.random() < 0.3 else None,  # noqa: PLR2004
    )


def is_on_list(seed: int, number: int, year: int, month: int) -> bool:
    """Tell whether a person is on a month's list: nine in ten always are, the others come and go."""
    return year * 12 + month in _listed(seed, number)


@lru_cache(maxsize=1 << 16)
def _listed(seed: int, number: int) -> range:
    """Return the months, counted from year 0, in which a person is on the list."""
    # Kept, since every request of a client asks for dozens of lists and each roll of the dice takes 10 microseconds.
    roll = random.Random(f"{seed}/list/{number}")  # noqa: S311 - synthetic data, not secrets
    kind, turn = roll.random(), roll.randint(2024 * 12, 2029 * 12)
    if kind < 0.05:  # noqa: PLR2004
        return range(turn, 9999 * 12)
    if kind < 0.1:  # noqa: PLR2004
        return range(turn)
    return range(9999 * 12)


def patient_v2(someone: Person, week: int) -> Json:
    """Return the Patient resource as of a week."""
    updated = max(someone.change_weeks(week))
    moved = someone.move_week is not None and week >= someone.move_week
    state = f"{(int(someone.state) % 53) + 1:02d}" if moved else someone.state
    resource: Json = {
        "resourceType": "Patient",
        "id": someone.patient_id,
        "meta": {
            "lastUpdated": updated_text(calendar.load_at(updated)),
            "profile": ["http://hl7.org/fhir/us/carin-bb/StructureDefinition/C4BB-Patient"],
        },
        "identifier": _identifiers(someone, week),
        "name": [
            {
                "family": f"{_LAST[someone.number % 6]}{someone.number}",
                "given": [f"{_FIRST[someone.number % 10]}{someone.number % 97}", "Q"],
                "use": "usual",
            }
        ],
        "birthDate": someone.birth.isoformat(),
        "gender": someone.gender,
        "address": [{"city": "ANYTOWN", "line": ["1 SYNTHETIC WAY"], "postalCode": "99999", "state": state}],
        "extension": [
            variable("race", "1", "White"),
            {
                "url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race",
                "extension": [
                    {"url": "ombCategory", "valueCoding": coding(f"{TERMINOLOGY}v3-NullFlavor", "UNK", "Unknown")},
                    {"url": "text", "valueString": "Unknown"},
                ],
            },
            {"url": f"{VARIABLES}rfrnc_yr", "valueDate": str(calendar.load_at(updated).year)},
            *(variable(f"dual_{month:02d}", "NA", "Non-Medicaid") for month in range(1, 13)),
        ],
    }
    if someone.death_week is not None and week >= someone.death_week:
        resource["deceasedDateTime"] = calendar.load_at(someone.death_week).date().isoformat()
    else:
        resource["deceasedBoolean"] = False
    return resource


def coverages_v2(someone: Person, year: int) -> list[Json]:
    """Return the four Coverage resources with the reference year they were loaded for."""
    return [_coverage(someone, part, year) for part in "abcd"]


def coverage_weeks(up_to: int) -> list[int]:
    """Return the weeks up to one in which coverage was loaded: the first, and the second of each year."""
    years = range(calendar.EPOCH.year + 1, calendar.load_at(up_to).year + 1)
    turns = [calendar.week_of(datetime(year, 1, 14, tzinfo=calendar.EPOCH.tzinfo)) for year in years]
    return [0, *(week for week in turns if week <= up_to)]


def updated_text(instant: datetime) -> str:
    """Return an instant as BFD writes it, with milliseconds and an offset."""
    return (instant - timedelta(hours=5)).isoformat(timespec="milliseconds").replace("+00:00", "-05:00")


def _mbi(number: int, *, second: bool) -> str:
    a, b, c = number % 20, number // 20 % 20, number // 400 % 20
    return f"1S00{_LETTERS[19 if second else c]}00{_LETTERS[b]}{_LETTERS[a]}{number // 8000 % 100:02d}"


def _identifiers(someone: Person, week: int) -> list[Json]:
    member = concept(coding(f"{TERMINOLOGY}v2-0203", "MB", "Member Number"))
    identifiers = [{"system": f"{VARIABLES}bene_id", "type": member, "value": someone.patient_id}]
    current = someone.mbi(week)
    held = dict.fromkeys([_mbi(someone.number, second=False), current])
    for mbi in held:
        word = "current" if mbi == current else "historic"
        currency = {
            "url": f"{CODESYSTEM}identifier-currency",
            "valueCoding": coding(f"{CODESYSTEM}identifier-currency", word, word.capitalize()),
        }
        kind = coding(f"{TERMINOLOGY}v2-0203", "MC", "Patient's Medicare number") | {"extension": [currency]}
        identifiers.append({"system": "http://hl7.org/fhir/sid/us-mbi", "type": concept(kind), "value": mbi})
    return identifiers


def _coverage(someone: Person, part: str, year: int) -> Json:
    week = 0 if year == calendar.EPOCH.year else calendar.week_of(datetime(year, 1, 14, tzinfo=calendar.EPOCH.tzinfo))
    extensions: list[Json] = [{"url": f"{VARIABLES}rfrnc_yr", "valueDate": str(year)}]
    if part in "abd":
        extensions.append(variable("ms_cd", "10", "Aged without end-stage renal disease"))
    if part in "ab":
        extensions.append(variable(f"{part}_trm_cd", "0", "Not Terminated"))
        extensions += [variable(f"buyin{month:02d}", "3", "Part A and Part B") for month in range(1, 13)]
    if part == "a":
        extensions += [variable("orec", "0", "Old age"), variable("crec", "0", "Old age"), variable("esrd_ind", "0")]
    if part == "d":
        # The real resource repeats contract and cost share for each month since 2011; its size is a trap.
        for then in range(2011, year + 1):
            for month in range(1, 13):
                for name, code in ((f"ptdcntrct{month:02d}", "S9999"), (f"cstshr{month:02d}", "09")):
                    url = f"{VARIABLES}{name}/{then}-{month}"
                    extensions.append({"url": url, "valueCoding": coding(VARIABLES + name, code)})
    plan = concept(coding(f"{TERMINOLOGY}coverage-class", "plan", "Plan"))
    group = concept(coding(f"{TERMINOLOGY}coverage-class", "group", "Group"))
    return {
        "resourceType": "Coverage",
        "id": f"part-{part}-{someone.patient_id}",
        "meta": {
            "lastUpdated": updated_text(calendar.load_at(week)),
            "profile": ["http://hl7.org/fhir/us/carin-bb/StructureDefinition/C4BB-Coverage"],
        },
        "status": "active",
        "beneficiary": {"reference": f"Patient/{someone.patient_id}"},
        "subscriberId": someone.mbi(week),
        "payor": [{"identifier": {"value": "Centers for Medicare and Medicaid Services"}}],
        "relationship": concept(coding(f"{TERMINOLOGY}subscriber-relationship", "self", "Self")),
        "type": concept(coding(f"{TERMINOLOGY}v3-ActCode", "SUBSIDIZ")),
        "class": [{"type": group, "value": "Medicare"}, {"type": plan, "value": f"Part {part.upper()}"}],
        "extension": extensions,
    }
