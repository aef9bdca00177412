"""Three years of people who enter Medicare, die, get another MBI, join and leave plans, and return: tables against the world."""

import random
import shutil
from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import pytest
from rawfiles import NOON, land
from worlds import TYPES, at, export

from bcda.settings import ApiVersion
from bcda.storage.places import Places
from bcda.warehouse import merge_run
from bcda_simulator.world import World, calendar

pytestmark = pytest.mark.complete

PEOPLE = 6
WORLD = World(people=PEOPLE, seed=31, history_weeks=200, eventful=True)
MONTHS = ((2024, 6), (2024, 10), (2024, 12), (2025, 6), (2025, 12), (2026, 11))
"""Months in whose last week an export is loaded. Someone enters, leaves or returns, or something ends, between any two."""

BEGIN = date(2024, 1, 1)
"""v1 and v2 send the months of the year of a load, so it cannot know those before the first load's year."""

TABLES = (
    "patient",
    "patient_identifier",
    "coverage",
    "coverage_month",
    "coverage_period",
    "claim",
    "claim_line",
    "claim_drug",
    "roster",
    "cclf.cclf8",
    "cclf.cclf9",
    "enrollment",
)


def week_of(year, month):
    return calendar.week_of(datetime(year, month, 28, 23, tzinfo=UTC))


def listed(week):
    return list(WORLD.attribution_lists("A9999", "all", at(week))[-1].people)


@pytest.fixture(scope="module", params=["v1", "v2", "v3"])
def years(request, tmp_path_factory):
    """API version, and what merges the exports in an order; each has the changes of who was listed before, and all of the others.

    A list of all people comes with each export, as the attribution export has it.
    """
    version, places = request.param, Places.below(tmp_path_factory.mktemp(request.param))
    runs, before, after = [], set(), None
    for month in MONTHS:
        week = week_of(*month)
        people = listed(week)
        stayed, joined = [p for p in people if p in before], [p for p in people if p not in before]
        options = {"week": week, "version": version}
        changed = export(WORLD, stayed, after=after, types=TYPES[1:], **options)
        whole = export(WORLD, joined, types=TYPES[1:], **options)
        files = [(kind, lines + more) for (kind, lines), (_, more) in zip(changed, whole, strict=True)]
        shared = {"version": ApiVersion(version), "transaction_time": at(week)}
        name = f"{month[0]}-{month[1]:02d}"
        since = at(after) if after is not None else at(0)
        runs.append(land(places, files, run_id=f"{name}-changes", since=since, **shared))
        patients = export(WORLD, people, types=TYPES[:1], **options)
        runs.append(land(places, patients, run_id=f"{name}-list", **shared))
        before, after = set(people), week

    def merged(order, home):
        mine = Places(places.raw, places.lake, home / "working.duckdb", home / "bcda.duckdb")
        for place in order:
            run, manifest, batch = runs[place]
            merge_run(mine, run, manifest, [batch], now=NOON.replace(year=2027))
        return mine.warehouse

    return version, merged, range(len(runs))


@pytest.fixture(scope="module")
def forward(years, tmp_path_factory):
    version, merged, order = years
    with duckdb.connect(str(merged(order, tmp_path_factory.mktemp("forward")))) as connection:
        yield version, connection


def last_week_of(person):
    """Return the week of the last export that had someone on its list."""
    return max(week for week in (week_of(*month) for month in MONTHS) if person in listed(week))


def number_of(version, patient_id):
    return int(patient_id) - 300_000_000 if version == "v3" else int(patient_id.removeprefix("-2000000"))


def test_each_person_is_one_person_with_every_mbi_that_they_had(forward):
    version, connection = forward
    rows = connection.execute(
        "SELECT p.patient_id, p.person_key, p.mbi_current, p.death_date, list_sort(list(i.id_value)) "
        "FROM patient AS p JOIN patient_identifier AS i USING (api_version, patient_id) WHERE i.id_kind = 'MBI' GROUP BY ALL"
    ).fetchall()
    assert len(rows) == len({row[1] for row in rows}) == PEOPLE
    for patient_id, _, current, died, mbis in rows:
        person = str(number_of(version, patient_id))
        end = last_week_of(person)
        held = {WORLD.mbi(person, at(week)) for week in range(end + 1)}
        assert (current, set(mbis)) == (WORLD.mbi(person, at(end)), held)
        assert (died is not None) == (person == "2")
    former = connection.execute(
        "SELECT PRVS_NUM, CRNT_NUM, PRVS_ID_OBSLT_DT, list_sort(list(file_date)) FROM cclf.cclf9 GROUP BY ALL"
    ).fetchall()
    (before, now, ended, in_files), current = former[0], WORLD.mbi("4", at(week_of(2026, 11)))
    assert (len(former), before, now) == (1, WORLD.mbi("4", at(0)), current)
    listed_in = connection.execute(
        "SELECT file_date FROM cclf.cclf8 WHERE BENE_MBI_ID = $mbi ORDER BY ALL", {"mbi": current}
    ).fetchall()
    # v1 and v2 send no dates of MBIs: a former one is in the file of every month.
    assert in_files == [day for (day,) in listed_in if ended is None or day >= ended]
    assert (ended is None) == (version != "v3")


def test_the_months_of_attribution_are_those_of_the_lists(forward):
    version, connection = forward
    rows = connection.execute(
        "SELECT p.patient_id, e.month_start FROM enrollment AS e JOIN patient AS p USING (person_key)"
    ).fetchall()
    expected = {(int(person), date(*month, 1)) for month in MONTHS for person in listed(week_of(*month))}
    assert {(number_of(version, patient), month) for patient, month in rows} == expected
    assert len(rows) == len(expected)


def test_the_months_of_coverage_are_those_of_the_world(forward):
    version, connection = forward
    rows = connection.execute(
        "SELECT patient_id, part, month_start, contract_id FROM coverage_month WHERE month_start >= $begin",
        {"begin": BEGIN},
    ).fetchall()
    found = {(number_of(version, patient), *row) for patient, *row in rows}
    assert len(found) == len(rows)
    # Nothing tells how the coverage of who left the list goes on, so it ends with the last list.
    expected = {
        (person, *month)
        for person in range(PEOPLE)
        for month in WORLD.months(str(person), at(last_week_of(str(person))).date())
        if month[1] >= BEGIN
    }
    assert last_week_of("0") == week_of(2025, 6)
    assert found == expected


def test_what_was_paid_is_what_the_world_paid_to_the_cent(forward):
    version, connection = forward
    paid, drugs = Decimal(0), Decimal(0)
    for person in map(str, range(PEOPLE)):
        truth = WORLD.expected(at(last_week_of(person)), people=[person], version=version)
        paid += sum(truth.paid.values(), Decimal(0))
        drugs += truth.drug_cost
    assert paid > 0
    found = connection.execute(
        "SELECT (SELECT sum(paid_amount) FROM claim_current WHERE claim_type <> 'PDE'), (SELECT sum(gross_drug_cost) FROM claim_drug "
        "JOIN claim_current USING (api_version, claim_id))"
    ).fetchall()
    assert found == [(paid, drugs)]
    outside = connection.execute(
        "SELECT count(*) FROM claim_current AS c WHERE c.service_from >= $begin AND NOT EXISTS (SELECT 1 FROM coverage_month AS m WHERE m.part = 'B' AND "
        "m.patient_id = c.patient_id AND m.month_start = date_trunc('month', c.service_from))",
        {"begin": BEGIN},
    ).fetchall()
    assert outside == [(0,)]


def test_the_order_of_the_exports_makes_no_difference(years, forward, tmp_path):
    _, merged, order = years
    _, connection = forward
    expected = {name: connection.execute(f"FROM {name} ORDER BY ALL").fetchall() for name in TABLES}
    shuffled = random.Random(3).sample(order, len(order))
    for other in (list(reversed(order)), shuffled):
        home = tmp_path / str(other[0])
        home.mkdir()
        with duckdb.connect(str(merged(other, home))) as found:
            for name, rows in expected.items():
                assert found.execute(f"FROM {name} ORDER BY ALL").fetchall() == rows, (other, name)
        shutil.rmtree(home)
