"""What a run did to the claims that count: sentences, tables and bars, with cells of few people withheld."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from bcda.privacy.shown_names import WITHOUT_PAYMENT, claim_type
from bcda.privacy.suppression import FEW, FEWEST_PEOPLE, WITHHELD, Cell, Total, withheld
from bcda.reporting.run_report.facts import RunFacts
from bcda.reporting.run_report.wording import count, dollars, month
from bcda.storage.query_files import Row

_KINDS = {
    "new": ("came new", "new claims"),
    "changed": ("were replaced by newer contents", "changed"),
    "ended": ("no longer count", "canceled or replaced"),
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
        sentences: the changes in full, and how many records of Medicare Advantage are left out.
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
    apart = _advantage(facts.changes)
    if not kinds:
        asked = "ExplanationOfBenefit" in facts.run["resource_types"]
        if asked and facts.run["is_disposed"]:
            return ClaimChanges(
                (), ("What this run changed is no longer known, since data was disposed of later.",), (), ()
            )
        said = ("No claim changed.", *apart) if asked else ()
        return ClaimChanges(("no new claims",) if asked else (), said, (), ())
    changes = _by_shown_type(facts.changes)
    counts, money = _hidden_counts(kinds, changes), _hidden_money(kinds, changes, facts.months)
    months, bars = _months(facts.months, money)
    return ClaimChanges(
        tuple(_in_short(row) for row in kinds if _KINDS[row["change"]][1]),
        (*_sentences(kinds, changes, counts, money), *apart),
        (_by_type(changes, counts), months),
        bars,
    )


def _advantage(changes: Sequence[Row]) -> tuple[str, ...]:
    """Return what came of Medicare Advantage, in words: no other number has it."""
    return tuple(
        f"{f'Records of {FEW}' if row['people'] < FEWEST_PEOPLE else count(row['claims'], 'record')} of Medicare Advantage came or "
        "changed too. All numbers of claims and payments here leave them out."
        for row in changes
        if row["grouped_by"] == "Medicare Advantage"
    )


def _by_shown_type(changes: Sequence[Row]) -> list[Row]:
    """Return the changes with claim types as they may be shown; those that become one are one row.

    People of several types can be the same, so that of the one row are at least as many as of the largest.
    """
    rows = [row for row in changes if row["grouped_by"] != "claim type"]
    together: dict[tuple[str, str], Row] = {}
    for row in changes:
        if row["grouped_by"] == "claim type":
            name = claim_type(row["claim_type"])
            one = together.setdefault((row["change"], name), {**row, "claim_type": name, "claims": 0, "people": 0})
            one["claims"] += row["claims"]
            one["people"] = max(one["people"], row["people"])
    return [*rows, *together.values()]


def _hidden_counts(kinds: Sequence[Row], changes: Sequence[Row]) -> frozenset[Cell]:
    """Return which numbers of claims are withheld: of kinds `(kind,)`, types `(kind, "type", type)`, reasons `(kind, "reason", reason)`.

    There are none by month of service: with the types that the page has in a month, they would tell those of few people.
    """
    people_of: dict[Cell, int] = {(row["change"],): row["people"] for row in kinds}
    totals = []
    for kind in list(people_of):
        name = kind[0]
        types = {(name, "type", row["claim_type"]): row["people"] for row in _of(changes, "claim type", name)}
        reasons = {(name, "reason", row["superseded_reason"]): row["people"] for row in _of(changes, "reason", name)}
        people_of |= types | reasons
        totals += [Total(kind, tuple(types)), Total(kind, tuple(reasons))]
    return withheld(people_of, totals)


def _of(changes: Sequence[Row], grouped_by: str, change: str) -> list[Row]:
    return [row for row in changes if row["grouped_by"] == grouped_by and row["change"] == change]


def _hidden_money(kinds: Sequence[Row], changes: Sequence[Row], months: Sequence[Row]) -> frozenset[Cell]:
    """Return which amounts are withheld: of kinds `(kind,)`, of months `("month", month)`, and of the run `("run",)`.

    Drug events have no payment, so an amount is about the people of the other types: of as many as of the largest of them.
    """
    paying = {
        (row["change"],): max(
            (
                of_type["people"]
                for of_type in _of(changes, "claim type", row["change"])
                if of_type["claim_type"] != WITHOUT_PAYMENT
            ),
            default=0,
        )
        for row in kinds
        if _KINDS[row["change"]][1]
    }
    by_month = {("month", row["service_month"]): row["people"] for row in _oldest_first(months)}
    people_of: dict[Cell, int] = {
        **paying,
        **by_month,
        ("run",): max([*paying.values(), *by_month.values()], default=0),
    }
    return withheld(people_of, [Total(("run",), tuple(paying)), Total(("run",), tuple(by_month))])


def _oldest_first(months: Sequence[Row]) -> list[Row]:
    """Return the months in the order in which the page has them too, so that both withhold the same of equal ones."""
    return sorted(months, key=lambda row: (row["service_month"] is None, row["service_month"]))


def _in_short(row: Row) -> str:
    words = _KINDS[row["change"]][1]
    return f"{words} of {FEW}" if row["people"] < FEWEST_PEOPLE else f"{row['claims']:,} {words}"


def _sentences(
    kinds: Sequence[Row], changes: Sequence[Row], counts: frozenset[Cell], money: frozenset[Cell]
) -> tuple[str, ...]:
    told = []
    paying = [row for row in kinds if _KINDS[row["change"]][1]]
    for row in kinds:
        change = row["change"]
        who = f"Claims of {FEW}" if (change,) in counts else count(row["claims"], "claim")
        amount = f", {dollars(row['moved'])}" if row in paying and (change,) not in money else ""
        told.append(f"{who} {_KINDS[change][0]}{amount}.{_reasons(_of(changes, 'reason', change), counts)}")
    if paying and ("run",) not in money:
        total = sum((row["moved"] for row in paying), start=Decimal())
        told.append(f"In all {dollars(total)} of Medicare payments moved. Drug events have no such payment.")
    return tuple(told)


def _reasons(rows: Sequence[Row], counts: frozenset[Cell]) -> str:
    listed = []
    for row in rows:
        if row["superseded_reason"]:
            is_hidden = (row["change"], "reason", row["superseded_reason"]) in counts
            number = WITHHELD if is_hidden else f"{row['claims']:,}"
            listed.append(f"{row['superseded_reason']} ({number})")
    return f" Why: {', '.join(listed)}." if listed else ""


def _by_type(changes: Sequence[Row], counts: frozenset[Cell]) -> Given:
    shown = [kind for kind, (_, short) in _KINDS.items() if short]
    cells: dict[tuple[str, str], str] = {}
    types = sorted({row["claim_type"] for row in changes if row["grouped_by"] == "claim type"})
    for kind in shown:
        for row in _of(changes, "claim type", kind):
            is_hidden = (kind, "type", row["claim_type"]) in counts
            cells[row["claim_type"], kind] = WITHHELD if is_hidden else f"{row['claims']:,}"
    columns = ("Type of claim", *(_KINDS[kind][1].capitalize() for kind in shown))
    listed = tuple((name, *(cells.get((name, kind), "0") for kind in shown)) for name in types)
    note = "What is withheld is a number about fewer than 11 people, or would give one away."
    return "Claims that changed, by type of claim", columns, listed, note if WITHHELD in str(listed) else ""


def _months(rows: Sequence[Row], money: frozenset[Cell]) -> tuple[Given, tuple[tuple[str, float], ...]]:
    told = [row for row in rows if ("month", row["service_month"]) not in money]
    named, older = told[:_MONTHS], told[_MONTHS:]
    listed = [_money(row, month(row["service_month"])) for row in named]
    if older:
        listed.append(_money(_together(older), f"before {month(named[-1]['service_month'])}"))
    if hidden := len(rows) - len(told):
        listed.append((count(hidden, "other month"), "few people, withheld", "", ""))
    bars = tuple(
        (month(row["service_month"]), float(row["moved"]))
        for row in reversed(named)
        if row["service_month"] is not None
    )
    columns = ("Month of service", "Paid before", "Paid now", "Moved")
    note = (
        "Medicare payments of claims that count, without drug events, by the month of their last day of service. Moved = now less "
        "before."
    )
    return ("Dollars moved, by month of service", columns, tuple(listed), note), bars


def _money(row: Row, name: str) -> tuple[str, ...]:
    return (
        name,
        f"${row['paid_before']:,.2f}",
        f"${row['paid_now']:,.2f}",
        dollars(row["moved"]),
    )


def _together(rows: Sequence[Row]) -> Row:
    return {name: sum(row[name] for row in rows) for name in ("paid_before", "paid_now", "moved")}
