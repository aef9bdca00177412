"""The claims of one person: what happened when, independent of any FHIR version."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from bcda_simulator.world import calendar

MIX = {"CARRIER": 46, "PDE": 31, "OUTPATIENT": 13, "DME": 3, "HHA": 2, "INPATIENT": 2, "SNF": 1, "HOSPICE": 2}
"""Claims by type, in percent."""

INSTITUTIONAL = frozenset({"OUTPATIENT", "HHA", "INPATIENT", "SNF", "HOSPICE"})
CLAIMS_PER_WEEK = 0.5
LATEST_CHANGE_WEEKS = 48
"""Weeks after its service within which a claim is loaded and adjusted, if ever."""

_LINES = {
    "CARRIER": (1, 5),
    "PDE": (1, 1),
    "OUTPATIENT": (2, 9),
    "DME": (1, 3),
    "HHA": (2, 7),
    "INPATIENT": (5, 14),
    "SNF": (3, 8),
    "HOSPICE": (2, 6),
}
_DAYS = {"INPATIENT": (2, 9), "SNF": (5, 28), "HOSPICE": (7, 30), "HHA": (10, 30)}
_VISIT_CENTERS = ("420", "430", "440", "550", "560", "570")
_ICD10 = (
    "E119",
    "I10",
    "I2510",
    "J449",
    "M179",
    "N183",
    "F329",
    "E785",
    "K219",
    "Z7901",
    "R0789",
    "S72001A",
    "W1830XA",
)
_ICD9 = ("25000", "4019", "41401", "496", "71536")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a claim; amounts in dollars."""

    number: int
    charge: Decimal
    allowed: Decimal
    paid: Decimal
    units: int
    code: str
    is_total: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """One version of one claim.

    Attributes:
        number: claim number; also the end of its id.
        group: shared by a claim and its adjustments.
        kind: eob-type word.
        status: active or cancelled.
        updated_week: load that brought this version.
        loaded_week: load that brought the claim first.
        rolls: makes every free choice of its rendering repeatable.
    """

    number: int
    group: int
    kind: str
    status: str
    updated_week: int
    loaded_week: int
    service_from: date
    service_thru: date
    lines: tuple[Line, ...]
    diagnoses: tuple[tuple[str, str], ...]
    is_denied: bool
    is_icd9: bool
    rolls: int
    adjustment_code: str | None = None
    has_period: bool = True

    @property
    def paid(self) -> Decimal:
        """Sum over the lines that are no totals."""
        return sum((line.paid for line in self.lines if not line.is_total), Decimal(0))

    @property
    def days(self) -> int:
        """Midnights of a stay, all of them covered."""
        return (self.service_thru - self.service_from).days

    @property
    def pass_through_per_diem(self) -> Decimal:
        """What Medicare pays a hospital for each covered day beside the claim; nothing for two hospitals in three."""
        return Decimal(self.group % 90) + Decimal("10.25") if self.group % 3 == 0 else Decimal(0)

    def visit_center(self, line: Line) -> str:
        """Return the revenue center of a line of home health care, one of the six disciplines."""
        return _VISIT_CENTERS[(self.group + line.number) % len(_VISIT_CENTERS)]

    @property
    def charge(self) -> Decimal:
        """Sum of the charges of the lines that are no totals."""
        return sum((line.charge for line in self.lines if not line.is_total), Decimal(0))


def claims_of(seed: int, person: int, *, first_week: int, last_week: int) -> Iterator[Claim]:
    """Yield every version of every claim of a person that was loaded in a range of weeks, both included."""
    for week in range(first_week - LATEST_CHANGE_WEEKS, last_week + 1):
        if week < 0:
            continue
        roll = random.Random(f"{seed}/{person}/{week}")  # noqa: S311 - synthetic data, not secrets
        count = int(CLAIMS_PER_WEEK) + (roll.random() < CLAIMS_PER_WEEK % 1)
        for place in range(count):
            for claim in _versions(roll, person, week, place):
                if first_week <= claim.updated_week <= last_week:
                    yield claim


def _versions(roll: random.Random, person: int, week: int, place: int) -> list[Claim]:
    kind = roll.choices(list(MIX), list(MIX.values()))[0]
    loaded = week + (roll.randint(8, 26) if roll.random() < 0.04 else roll.randint(0, 2))  # noqa: PLR2004
    # Synthetic claim numbers of CMS are negative; one in fifty has a positive twin of the same digits.
    number = -(10_000_000_000 + (person * 1000 + week) * 10 + place * 2)
    if roll.random() < 0.02:  # noqa: PLR2004
        number = -number
    original = _claim(roll, kind, number, week, loaded)
    fate = roll.random()
    if fate >= 0.09:  # noqa: PLR2004
        return [original]
    if fate >= 0.05:  # noqa: PLR2004
        # Loaded again as it was: only lastUpdated moves.
        return [original, replace(original, updated_week=loaded + roll.randint(2, 20))]
    adjusted = loaded + roll.randint(2, 12)
    successor = _claim(roll, kind, number - 1 if number < 0 else number + 1, week, adjusted, group=original.group)
    return [original, replace(original, status="cancelled", updated_week=adjusted), successor]


def _claim(roll: random.Random, kind: str, number: int, week: int, loaded: int, group: int | None = None) -> Claim:
    start = calendar.service_date(week, roll.randint(0, 5))
    length = roll.randint(*_DAYS[kind]) if kind in _DAYS else 0
    is_icd9 = roll.random() < 0.01  # noqa: PLR2004
    is_denied = kind != "PDE" and roll.random() < 0.03  # noqa: PLR2004
    return Claim(
        number=number,
        group=group if group is not None else abs(number) // 2,
        kind=kind,
        status="active",
        updated_week=loaded,
        loaded_week=loaded,
        # Long stays end before the load, so that no service lies in the future.
        service_from=start - timedelta(days=length),
        service_thru=start,
        lines=_without_some(kind, number, _lines(roll, kind, is_denied=is_denied)),
        diagnoses=_diagnoses(roll, kind, number, is_icd9=is_icd9) if kind != "PDE" else (),
        is_denied=is_denied,
        is_icd9=is_icd9,
        rolls=roll.randrange(2**32),
        adjustment_code=roll.choices([None, "A", "D", "R"], [94, 3, 2, 1])[0] if kind == "PDE" else None,
        has_period=kind != "PDE" or roll.random() >= 0.03,  # noqa: PLR2004
    )


def _lines(roll: random.Random, kind: str, *, is_denied: bool) -> tuple[Line, ...]:
    first = roll.choice((1, 1, 1, 1, 3)) if kind in INSTITUTIONAL else 1
    lines = []
    for place in range(roll.randint(*_LINES[kind])):
        charge = Decimal(roll.randint(1000, 90000)) / 100
        allowed = (charge * roll.randint(40, 90) / 100).quantize(Decimal("0.01"))
        paid = Decimal(0) if is_denied else (allowed * 4 / 5).quantize(Decimal("0.01"))
        lines.append(Line(first + place, charge, allowed, paid, roll.randint(1, 12), f"{roll.randint(70010, 99499)}"))
    if kind in INSTITUTIONAL:
        sums = [sum((getattr(line, name) for line in lines), Decimal(0)) for name in ("charge", "allowed", "paid")]
        lines.append(Line(first + len(lines), sums[0], sums[1], sums[2], 0, "", is_total=True))
    return tuple(lines)


def _without_some(kind: str, number: int, lines: tuple[Line, ...]) -> tuple[Line, ...]:
    """Return the lines of a claim; a few claims have none, only a header."""
    return () if kind == "CARRIER" and abs(number) % 97 == 0 else lines


def _diagnoses(roll: random.Random, kind: str, number: int, *, is_icd9: bool) -> tuple[tuple[str, str], ...]:
    codes = _ICD9 if is_icd9 else _ICD10
    kinds = ["principal"] + ["other"] * roll.randint(0, 6)
    if kind == "INPATIENT":
        kinds.insert(1, "admitting")
    if kind == "SNF":
        kinds.insert(0, "other")
    if kind in INSTITUTIONAL and not is_icd9 and roll.random() < 0.2:  # noqa: PLR2004
        kinds.append("externalcauseofinjury")
    pairs = [(roll.choice(codes), name) for name in kinds]
    if kind == "INPATIENT" and number % 3 == 0:
        # Principal and admitting diagnosis are often the same.
        pairs[1] = (pairs[0][0], "admitting")
    return tuple(pairs)
