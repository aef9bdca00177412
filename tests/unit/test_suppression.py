"""What is withheld because it is about few people, and that no reader can work it out from everything else."""

import re
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solver import Solver

from bcda.privacy import suppression
from bcda.privacy.suppression import FEWEST_PEOPLE, WITHHELD, Total, withheld
from bcda.reporting.overview.cells import shown_payments, shown_roster
from bcda.reporting.run_report import document, wording
from bcda.reporting.run_report.claims import claim_changes
from bcda.warehouse.ledger import MergeSummary, TypeCount

UNTIL = datetime(2026, 6, 30, tzinfo=UTC)
MONTHS = [date(2026, number, 1) for number in range(1, 5)]
TYPES = ("CARRIER", "INPATIENT", "SNF", "PDE")
KINDS = ("new", "new, not counted")


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0"), (1, "fewer than 11 people"), (10, "fewer than 11 people"), (11, "11"), (1204, "1,204")],
)
def test_few_people_are_not_counted(number, said):
    assert suppression.people(number) == said


@pytest.mark.parametrize(
    ("parts", "total", "hidden"),
    [
        ([], 0, set()),
        ([11, 0, 40], 51, set()),
        # The total less the others would be the number, so the next smallest goes too; rows of nobody hide nothing.
        ([3, 0, 40, 12], 55, {0, 3}),
        # Two of few people together are of few people, too.
        ([3, 4, 40], 47, {0, 1, 2}),
        ([9, 9], 15, {0, 1}),
        ([3], 3, {0, "total"}),
        ([3, 0], 3, {0, "total"}),
    ],
)
def test_what_could_be_worked_out_from_the_total_is_withheld_too(parts, total, hidden):
    people_of = dict(enumerate(parts)) | {"total": total}
    assert withheld(people_of, [Total("total", tuple(range(len(parts))))]) == hidden


def test_a_cell_of_two_totals_is_withheld_in_both_directions():
    people_of = {(row, column): 20 + row + column for row in range(3) for column in range(3)} | {(0, 0): 3}
    totals = [Total(f"row {row}", tuple((row, column) for column in range(3))) for row in range(3)]
    totals += [Total(f"column {column}", tuple((row, column) for row in range(3))) for column in range(3)]
    people_of |= {total.total: 60 for total in totals}
    hidden = withheld(people_of, totals)
    solver = Solver()
    for total in totals:
        solver.add({cell: 1 for cell in total.parts if cell in hidden}, 7)
    assert (0, 0) in hidden
    assert not solver.is_solved((0, 0))


# People, month, type, kind, and dollars of claims: some types and months have few people, some have many.
CLAIM = st.tuples(
    st.integers(0, 30), st.sampled_from(MONTHS), st.sampled_from(TYPES), st.sampled_from(KINDS), st.integers(0, 500)
)
CROWD = st.tuples(st.sampled_from(MONTHS), st.sampled_from(TYPES), st.sampled_from(KINDS), st.integers(11, 30))


@st.composite
def claims(draw):
    found = draw(st.lists(CLAIM, max_size=12))
    for month, kind_of_claim, kind, crowd in draw(st.lists(CROWD, max_size=8)):
        found += [(person, month, kind_of_claim, kind, person * 7 + 1) for person in range(crowd)]
    return found


def rows_of(claims, keys):
    """Return rows of export_change, grouped as the warehouse does."""
    groups = defaultdict(list)
    for claim in claims:
        groups[keys(claim)].append(claim)
    return {
        key: {"claims": len(of), "people": len({c[0] for c in of}), "moved": Decimal(sum(paid(c) for c in of))}
        for key, of in groups.items()
    }


def paid(claim):
    return claim[4] if claim[2] != "PDE" and claim[3] == "new" else 0


def first_load(claims):
    """Return what report and page read after a first run that brought these claims."""
    change = {"superseded_reason": None, "claim_type": None}
    changes = [
        {"grouped_by": "change", **change, "change": kind, **row}
        for kind, row in rows_of(claims, lambda c: c[3]).items()
    ]
    changes += [
        {"grouped_by": "claim type", **change, "change": kind, "claim_type": of_type, **row}
        for (kind, of_type), row in sorted(rows_of(claims, lambda c: (c[3], c[2])).items())
    ]
    paying = [claim for claim in claims if claim[3] == "new" and claim[2] != "PDE"]
    months = [
        {"service_month": month, **row, "paid_before": Decimal(0), "paid_now": row["moved"]}
        for month, row in sorted(rows_of(paying, lambda c: c[1]).items(), reverse=True)
    ]
    cells = rows_of(paying, lambda c: (c[1], c[2])) | rows_of(paying, lambda c: (c[1], None))
    page = [
        {"month": month, "claim_type": of_type, "people": row["people"], "paid": float(row["moved"])}
        for (month, of_type), row in cells.items()
    ]
    page.sort(key=lambda row: (row["month"], row["claim_type"] or ""))
    return SimpleNamespace(
        run={"resource_types": ["ExplanationOfBenefit"], "is_disposed": False}, changes=changes, months=months
    ), page


def published(claims, facts, page):
    """Return a solver that knows the texts of the report, the headline, and the page's table, and how they belong together."""
    solver, told = Solver(), claim_changes(facts)
    micro = sorted({(c[3], c[1], c[2]) for c in claims})

    def define(name, of):
        for what in ("claims", "paid"):
            parts = {(what, cell): 1 for cell in micro if of(*cell) and (what == "claims" or pays(*cell))}
            solver.add({(what, name): -1, **parts})
        solver.at_least(("claims", name), 1)

    def pays(kind, _, of_type):
        return kind == "new" and of_type != "PDE"

    for cell in micro:
        solver.at_least(("claims", cell), 0)
    for kind in {cell[0] for cell in micro}:
        define((kind,), lambda k, m, t, kind=kind: k == kind)
        for of_type in TYPES:
            define((kind, of_type), lambda k, m, t, kind=kind, of_type=of_type: (k, t) == (kind, of_type))
    for month in MONTHS:
        define(month, lambda k, m, t, month=month: m == month and pays(k, m, t))
        for of_type in TYPES:
            name = (month, of_type)
            define(name, lambda k, m, t, name=name: (m, t) == name and pays(k, m, t))
    define("run", pays)
    learn(solver, told, page)
    return solver


def learn(solver, told, page):
    """Read the numbers out of the texts."""
    for sentence in told.sentences:
        learn_sentence(solver, sentence)
    for caption, _, rows, _ in told.tables:
        for row in rows:
            if "by type" in caption and row[1] != WITHHELD:
                solver.add({("claims", ("new", row[0])): 1}, number(row[1]))
            elif "month" in caption and row[2]:
                month = date.fromisoformat(f"{row[0]}-01")
                solver.add({("paid", month): 1}, number(row[2].removeprefix("$")))
    for cell in shown_payments(page, UNTIL):
        if cell["paid"] is not None:
            solver.add({("paid", (cell["month"], cell["claim_type"])): 1}, cell["paid"])


def learn_sentence(solver, sentence):
    kind = "new, not counted" if "do not count" in sentence else "new"
    if found := re.match(r"([\d,]+) claims? came", sentence):
        solver.add({("claims", (kind,)): 1}, number(found[1]))
    if found := re.search(r", [+-]?\$([\d,.]+)\.$", sentence):
        solver.add({("paid", (kind,)): 1}, number(found[1]))
    if found := re.match(r"In all [+-]?\$([\d,.]+) of", sentence):
        solver.add({("paid", "run"): 1}, number(found[1]))


def number(text):
    return Decimal(text.replace(",", ""))


def about_few(claims):
    """Return the names of all numbers that are about 1 to 10 people."""
    paying = [claim for claim in claims if paid(claim) or (claim[3] == "new" and claim[2] != "PDE")]
    few = [
        ("claims", (kind,)) for kind, row in rows_of(claims, lambda c: c[3]).items() if row["people"] < FEWEST_PEOPLE
    ]
    few += [
        ("claims", (kind, of_type))
        for (kind, of_type), row in rows_of(claims, lambda c: (c[3], c[2])).items()
        if row["people"] < FEWEST_PEOPLE
    ]
    for keys in (lambda c: c[1], lambda c: (c[1], c[2])):
        few += [("paid", name) for name, row in rows_of(paying, keys).items() if row["people"] < FEWEST_PEOPLE]
    return few


@given(claims())
@settings(max_examples=60, deadline=None)
def test_nobody_can_solve_for_a_withheld_number_of_claims_or_dollars(claims):
    facts, page = first_load(claims)
    solver = published(claims, facts, page)
    assert [name for name in about_few(claims) if solver.is_solved(name)] == []


def test_the_solver_finds_a_planted_leak():
    claims = [(person, MONTHS[0], "CARRIER", "new", 100) for person in range(40)]
    claims += [(person, MONTHS[0], "SNF", "new", 333) for person in range(4)]
    claims += [(person, MONTHS[0], "INPATIENT", "new", 50) for person in range(20)]
    facts, page = first_load(claims)
    solver = published(claims, facts, page)
    leak = ("paid", (MONTHS[0], "SNF"))
    assert not solver.is_solved(leak)
    # The page as it was: of one small cell in a month nothing else was withheld.
    solver.add({("paid", (MONTHS[0], "INPATIENT")): 1}, 1000)
    assert solver.is_solved(leak)


def test_the_solver_finds_what_only_intervals_tell():
    solver = Solver()
    solver.add({"few": 1, "many": 1}, 12)
    solver.at_least("few", 1)
    assert not solver.is_solved("few")
    solver.at_least("many", 11)
    assert solver.is_solved("few")


LISTS = st.lists(st.sets(st.integers(0, 60), max_size=60), min_size=2, max_size=5)


@given(LISTS)
@settings(max_examples=200, deadline=None)
def test_nobody_can_solve_for_few_who_joined_left_or_stayed(lists):
    solver, few, rows = Solver(), [], []
    for number_, people in enumerate(lists):
        before = lists[number_ - 1] if number_ else set()
        flow = {"joined": len(people - before), "left": len(before - people), "stayed": len(people & before)}
        named = {what: (number_, what) for what in ("listed", *flow)}
        row = {"month": date(2026, number_ + 1, 1), "people": len(people), "has_list_before": number_ > 0, **flow}
        rows.insert(0, row | {"has_few": number_ > 0 and suppression.flows(*flow.values())})
        counts = {"listed": len(people), **(flow if number_ else {})}
        few += [named[what] for what, count in counts.items() if suppression.is_few(count)]
        if number_:
            solver.add({named["listed"]: 1, named["joined"]: -1, named["stayed"]: -1})
            solver.add({(number_ - 1, "listed"): 1, named["left"]: -1, named["stayed"]: -1})
            facts = {**flow, "list_at": UNTIL, "previous_list_at": UNTIL}
            for count, what in re.findall(
                r"(\d[\d,]*) (joined|left|stayed)", document._roster(SimpleNamespace(roster=facts))[0]
            ):
                solver.add({named[what]: 1}, number(count))
    for row in shown_roster(rows):
        index = row["month"].month - 1
        for what, name in (("people", "listed"), ("joined", "joined"), ("left", "left")):
            if row[what] is not None and (what == "people" or index):
                solver.add({(index, name): 1}, row[what])
    assert [name for name in few if solver.is_solved(name)] == []


COUNTS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 14), st.integers(0, 3)), min_size=1, max_size=4)


@given(COUNTS)
@settings(max_examples=200, deadline=None)
def test_nobody_can_solve_for_few_lines(counts):
    names = ("Claim", "Coverage", "ExplanationOfBenefit", "Patient")[: len(counts)]
    received, aside = [], []
    for name, (landed, bad, worse) in zip(names, counts, strict=True):
        quarantined = bad + worse
        lines = landed + quarantined
        received.append(
            {
                "resource_type": name,
                "files": 1,
                "bytes": 9,
                "lines": lines,
                "landed": landed,
                "quarantined": quarantined,
            }
        )
        aside += [
            {"resource_type": name, "reason": why, "lines": many}
            for why, many in (("bad", bad), ("worse", worse))
            if many
        ]
    solver, few = Solver(), []
    facts = SimpleNamespace(received=received, quarantined=aside, roster=None, run=RUN)
    for row in received:
        name = row["resource_type"]
        solver.add({(name, "Lines"): 1, (name, "Landed"): -1, (name, "Quarantined"): -1})
        of_type = [why for why in aside if why["resource_type"] == name]
        solver.add({(name, "Quarantined"): 1, **{(name, why["reason"]): -1 for why in of_type}})
        known = {"Lines": row["lines"], "Landed": row["landed"], "Quarantined": row["quarantined"]}
        known |= {why["reason"]: why["lines"] for why in of_type}
        few += [(name, what) for what, many in known.items() if suppression.is_few(many)]
        for what in known:
            solver.at_least((name, what), 0)
    total = sum(row["lines"] for row in received)
    solver.add({"all": 1, **{(name, "Lines"): -1 for name in names}})
    if not suppression.is_few(total):
        # As headline, note, and page have it.
        solver.add({"all": 1}, total)
    learn_lines(solver, document._received(facts), document._quarantined(facts))
    for entry in summary(received).to_json()["counts"]:
        if entry["lines"] is not None:
            solver.add({(entry["resource_type"], "Lines"): 1}, entry["lines"])
    assert [name for name in few if solver.is_solved(name)] == []


RUN = {"output_files": 1, "api_version": "v2", "since_ts": None}


def learn_lines(solver, received, aside):
    for row in received.rows:
        for column, cell in zip(received.columns[3:], row[3:], strict=True):
            if cell != WITHHELD:
                solver.add({(row[0], column): 1}, number(cell))
    for name, reason, cell in aside.rows if aside else ():
        if cell != WITHHELD:
            solver.add({(name, reason): 1}, number(cell))


def summary(received):
    counts = tuple(
        TypeCount(row["resource_type"], 1, row["lines"], 3, 2, 1, 0, 0, row["quarantined"]) for row in received
    )
    return MergeSummary("run", "1", None, "2026-11-01T00:00:00Z", counts, 4)


def test_what_a_task_hands_on_has_no_numbers_of_few_people():
    received = [
        {"resource_type": name, "lines": lines, "quarantined": 0}
        for name, lines in (("Coverage", 40), ("ExplanationOfBenefit", 300), ("Patient", 4))
    ]
    document = summary(received).to_json()
    lines = [entry["lines"] for entry in document["counts"]]
    assert lines == [None, 300, None]
    assert document["gaps"] is True
    assert document["counts"][0].keys() == {"resource_type", "files", "lines"}


def test_numbers_read_as_people_write_them():
    assert [wording.bytes_(size) for size in (0, 999, 1000, 12_345_678)] == ["0 B", "999 B", "1.0 kB", "12.3 MB"]
    assert [wording.dollars(Decimal(x)) for x in ("0", "1234.5", "-0.25")] == ["$0.00", "+$1,234.50", "-$0.25"]
    durations = (timedelta(seconds=x) for x in (0.2, 59, 61, 7200))
    assert [wording.duration(took) for took in durations] == ["under 1 s", "59 s", "1 min 01 s", "2 h 00 min"]
    assert [wording.count(1, "file"), wording.count(2000, "file")] == ["1 file", "2,000 files"]
