"""What a run did to the claims that count: sentences, tables and bars, with cells of few people withheld."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from bcda.query_files import Row
from bcda.run_report.facts import RunFacts
from bcda.run_report.wording import count, dollars, month
from bcda.suppression import FEW, FEWEST_PEOPLE, in_place_of, withheld

_KINDS = {
    "new": ("came new", "new claims"),
    "changed": ("were replaced by newer contents", "changed"),
    "ended": ("no longer count", "cancelled or replaced"),
    "counts again": ("count again", "counting again"),
    "new, not counted": ("came new and do not count", ""),
    "changed, not counted": ("changed and do not count, before or after", ""),
}
"""What became of claims, in full and in short; those without a short form move no money."""

_MONTHS = 36

Given = tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...], str]
"""Caption, columns, rows and note of a table."""


@dataclass(frozen=True, slots=True)
class ClaimChanges:
    """What a run did to the claims that count.

    Attributes:
        in_short: a few words for each kind of change, for the headline.
        sentences: the changes in full.
        tables: by kind and type of claim, and by month of service.
        bars: dollars moved by month of service, oldest first.
    """

    in_short: tuple[str, ...]
    sentences: tuple[str, ...]
    tables: tuple[Given, ...]
    bars: tuple[tuple[str, float], ...]


def claim_changes(facts: RunFacts) -> ClaimChanges:
    """Return what changed; says so when nothing did, and nothing when claims were not asked for."""
    kinds = [row for kind in _KINDS for row in facts.changes if row["grouped_by"] == "change" and row["change"] == kind]
    if not kinds:
        asked = "ExplanationOfBenefit" in facts.run["resource_types"]
        return ClaimChanges(("no new claims",) if asked else (), ("No claim changed.",) if asked else (), (), ())
    months, bars = _months(facts.months)
    return ClaimChanges(
        tuple(_in_short(row) for row in kinds if _KINDS[row["change"]][1]),
        _sentences(kinds, facts),
        (_by_type(facts), months),
        bars,
    )


def _in_short(row: Row) -> str:
    words = _KINDS[row["change"]][1]
    return f"{words} of {FEW}" if row["people"] < FEWEST_PEOPLE else f"{row['claims']:,} {words}"


def _sentences(kinds: Sequence[Row], facts: RunFacts) -> tuple[str, ...]:
    paying = [row for row in kinds if _KINDS[row["change"]][1]]
    hidden = withheld([row["people"] for row in paying])
    shown = [row["change"] for number, row in enumerate(paying) if number not in hidden]
    told = []
    for row in kinds:
        who = f"Claims of {FEW}" if row["people"] < FEWEST_PEOPLE else count(row["claims"], "claim")
        money = f", {dollars(row['moved'])}" if row["change"] in shown else ""
        told.append(f"{who} {_KINDS[row['change']][0]}{money}.{_reasons(facts, row)}")
    if len(hidden) != 1 and max((row["people"] for row in paying), default=0) >= FEWEST_PEOPLE:
        total = sum((row["moved"] for row in paying), start=Decimal())
        told.append(f"In all {dollars(total)} of Medicare payments moved. Drug events have no such payment.")
    return tuple(told)


def _reasons(facts: RunFacts, kind: Row) -> str:
    rows = [
        row
        for row in facts.changes
        if row["grouped_by"] == "reason" and row["change"] == kind["change"] and row["superseded_reason"]
    ]
    if not rows or kind["people"] < FEWEST_PEOPLE:
        return f" Why: {', '.join(row['superseded_reason'] for row in rows)}." if rows else ""
    hidden = withheld([row["people"] for row in rows])
    listed = [
        f"{row['superseded_reason']} ({in_place_of(row['people']) if number in hidden else format(row['claims'], ',')})"
        for number, row in enumerate(rows)
    ]
    return f" Why: {', '.join(listed)}."


def _by_type(facts: RunFacts) -> Given:
    shown = [kind for kind, (_, short) in _KINDS.items() if short]
    cells: dict[tuple[str, str], str] = {}
    types = sorted({row["claim_type"] for row in facts.changes if row["grouped_by"] == "claim type"})
    for kind in shown:
        rows = [row for row in facts.changes if row["grouped_by"] == "claim type" and row["change"] == kind]
        hidden = withheld([row["people"] for row in rows])
        for number, row in enumerate(rows):
            cell = in_place_of(row["people"]) if number in hidden else f"{row['claims']:,}"
            cells[row["claim_type"], kind] = cell
    columns = ("Type of claim", *(_KINDS[kind][1].capitalize() for kind in shown))
    listed = tuple((name, *(cells.get((name, kind), "0") for kind in shown)) for name in types)
    note = "What is withheld would give away a number about fewer than 11 people."
    return "Claims that changed, by type of claim", columns, listed, note if "withheld" in str(listed) else ""


def _months(rows: Sequence[Row]) -> tuple[Given, tuple[tuple[str, float], ...]]:
    hidden = withheld([row["people"] for row in rows])
    told = [row for number, row in enumerate(rows) if number not in hidden]
    named, older = told[:_MONTHS], told[_MONTHS:]
    listed = [_money(row, month(row["service_month"])) for row in named]
    if older:
        listed.append(_money(_together(older), f"before {month(named[-1]['service_month'])}"))
    if hidden:
        listed.append((count(len(hidden), "other month"), "few people, withheld", "", "", ""))
    bars = tuple(
        (month(row["service_month"]), float(row["moved"]))
        for row in reversed(named)
        if row["service_month"] is not None
    )
    columns = ("Month of service", "Claims", "Paid before", "Paid now", "Moved")
    note = "Medicare payments of claims that count, by the month of their last day of service. Moved = now less before."
    return ("Dollars moved, by month of service", columns, tuple(listed), note), bars


def _money(row: Row, name: str) -> tuple[str, ...]:
    return (
        name,
        f"{row['claims']:,}",
        f"${row['paid_before']:,.2f}",
        f"${row['paid_now']:,.2f}",
        dollars(row["moved"]),
    )


def _together(rows: Sequence[Row]) -> Row:
    return {name: sum(row[name] for row in rows) for name in ("claims", "paid_before", "paid_now", "moved")}
