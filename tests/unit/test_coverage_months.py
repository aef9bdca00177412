"""Months of coverage: none is forgotten, an open period grows, and what is newest decides in any order of loads."""

import json
import re
from datetime import UTC, date, datetime
from itertools import permutations

import duckdb
import pytest
from rawfiles import NOON, land, load

from bcda import maintenance
from bcda.maintenance.disposal import Period
from bcda.settings import ApiVersion
from bcda.storage.places import Places
from bcda.warehouse import merge_run, publish

VARIABLES = "https://bluebutton.cms.gov/resources/variables/"
STRUCTURES = "https://bluebutton.cms.gov/fhir/StructureDefinition/"
COVERAGE = "part-c-7-H1234-001"


def text(resource):
    return json.dumps(resource, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def v3(start, end=None, *, updated="2026-01-01", contract="H1234"):
    period = {"start": start} | ({"end": end} if end else {})
    plan = {"type": {"coding": [{"code": "plan"}]}, "value": "Part C"}
    extension = [
        {"url": f"{STRUCTURES}BENE-CNTRCT-NUM", "valueString": contract},
        {"url": f"{STRUCTURES}BENE-LIS-COPMT-LVL-CD", "valueCoding": {"code": "4"}},
        {"url": f"{STRUCTURES}BENE-MDCR-ENTLMT-STUS-CD", "valueCoding": {"code": "Y"}},
    ]
    return text(
        {
            "resourceType": "Coverage",
            "id": COVERAGE,
            "meta": {"lastUpdated": f"{updated}T00:00:00Z"},
            "status": "active",
            "beneficiary": {"reference": "Patient/7"},
            "class": [plan],
            "extension": extension,
        }
        | ({"period": period} if start else {})
    )


def yearly(year, codes, *, updated, dated=()):
    """A Coverage of v1 or v2: the dual status of each month that has one, and contracts with a year of their own."""
    extension = [{"url": f"{VARIABLES}rfrnc_yr", "valueDate": str(year)}]
    extension += [
        {"url": f"{VARIABLES}dual_{month:02d}", "valueCoding": {"code": code}} for month, code in codes.items()
    ]
    extension += [
        {"url": f"{VARIABLES}ptdcntrct{month:02d}/{then}-{month}", "valueCoding": {"code": code}}
        for then, month, code in dated
    ]
    return text(
        {
            "resourceType": "Coverage",
            "id": "part-d--7",
            "meta": {"lastUpdated": f"{updated}T00:00:00Z"},
            "status": "active",
            "beneficiary": {"reference": "Patient/-7"},
            "extension": extension,
        }
    )


def patient(identifier="7"):
    return text({"resourceType": "Patient", "id": identifier, "meta": {"lastUpdated": "2020-01-01T00:00:00Z"}})


def bring(places, month, *lines, version=ApiVersion.V3, day=20, listed=None):
    """Load an export of a month such as 2026-03 with a list and the lines of Coverage; the run's name is the month."""
    at = datetime.fromisoformat(f"{month}-{day}").replace(tzinfo=UTC)
    people = b"".join(map(patient, listed or ["7" if version is ApiVersion.V3 else "-7"]))
    files = [("Patient", people), ("Coverage", b"".join(lines))]
    run, manifest, landed = land(places, files, run_id=f"r{month}-{day}", version=version, transaction_time=at)
    # A rebuild reads it.
    (places.run_folder(run.run_id) / "manifest.json").write_bytes(manifest.to_bytes())
    merge_run(places, run, manifest, [landed], now=max(NOON, at))


def ask(places, sql):
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def contracts(places):
    """Return by contract the first month, the last one and how many there are."""
    query = (
        "SELECT contract_id, strftime(min(month_start), '%Y-%m'), strftime(max(month_start), '%Y-%m'), count(*) "
        "FROM coverage_month GROUP BY ALL ORDER BY 2"
    )
    return ask(places, query)


def test_an_open_period_counts_up_to_the_month_of_the_newest_export_that_asked_for_coverage(places):
    bring(places, "2026-03", v3("2019-01-01", updated="2021-03-05"))
    assert contracts(places) == [("H1234", "2019-01", "2026-03", 87)]
    bring(places, "2026-06")
    assert contracts(places) == [("H1234", "2019-01", "2026-06", 90)]
    load(
        places,
        [("Patient", patient())],
        run_id="p",
        version=ApiVersion.V3,
        transaction_time=datetime(2026, 9, 1, tzinfo=UTC),
    )
    assert contracts(places) == [("H1234", "2019-01", "2026-06", 90)]
    bring(places, "2026-05")
    bring(places, "2026-06", day=27)
    assert contracts(places) == [("H1234", "2019-01", "2026-06", 90)]
    assert ask(places, "SELECT DISTINCT cost_share_code, part FROM coverage_month") == [("4", "C")]


def test_a_period_that_ends_later_counts_up_to_the_export_and_then_up_to_its_end(places):
    bring(places, "2026-03", v3("2021-01-15", "2026-05-10"))
    assert contracts(places) == [("H1234", "2021-01", "2026-03", 63)]
    bring(places, "2026-04")
    bring(places, "2026-09")
    assert contracts(places) == [("H1234", "2021-01", "2026-05", 65)]


def test_the_entitlement_status_of_v3_is_no_termination_code(places):
    bring(places, "2026-03", v3("2021-01-01"))
    assert ask(places, "SELECT entitlement_status_code, termination_code FROM coverage") == [("Y", None)]


V3_RUNS = {
    "2024-06": v3("2024-02-01", updated="2024-02-03"),
    "2025-03": v3("2024-02-01", "2024-12-31", updated="2025-01-09"),
    "2025-08": b"",
    "2026-03": v3("2026-02-01", updated="2026-02-04", contract="H9"),
    "2026-08": v3(None, updated="2026-06-02"),
    "2026-10": b"",
}


@pytest.mark.complete
@pytest.mark.parametrize("order", [tuple(V3_RUNS), *list(permutations(V3_RUNS))[401:402]])
def test_who_leaves_a_plan_and_returns_has_both_times_in_any_order_of_loads(places, order):
    for month in order:
        bring(places, month, V3_RUNS[month])
    assert contracts(places) == [("H1234", "2024-02", "2024-12", 11), ("H9", "2026-02", "2026-05", 4)]


@pytest.mark.complete
def test_a_newer_period_ends_an_open_one_and_a_repeated_one_changes_nothing(places):
    bring(places, "2024-06", v3("2024-02-01", updated="2024-02-03"))
    bring(places, "2026-03", v3("2026-01-01", updated="2026-01-04", contract="H9"))
    expected = [("H1234", "2024-02", "2025-12", 23), ("H9", "2026-01", "2026-03", 3)]
    assert contracts(places) == expected
    bring(places, "2026-03", v3("2026-01-01", updated="2026-01-04", contract="H9"), day=27)
    assert contracts(places) == expected
    bring(places, "2026-03", v3("2024-02-01", updated="2026-03-28"), day=29)
    assert contracts(places) == [("H1234", "2024-02", "2026-03", 26)]


LISTS = {"2026-03": "7", "2026-05": "78", "2026-07": "8", "2026-08": "8", "2026-10": "78"}
"""Who is on the list of each month's export."""


@pytest.mark.parametrize(
    ("order", "last"),
    [
        (("2026-03", "2026-05", "2026-07", "2026-08"), "2026-05"),
        (("2026-08", "2026-05", "2026-03", "2026-07"), "2026-05"),
        (("2026-07", "2026-03"), "2026-03"),
        (tuple(LISTS), "2026-10"),
        (tuple(reversed(LISTS)), "2026-10"),
    ],
)
@pytest.mark.complete
def test_an_open_period_of_who_left_counts_up_to_the_last_list_with_them(places, order, last):
    for month in order:
        lines = [v3("2024-01-01", updated="2024-02-03")] if month == "2026-03" else []
        bring(places, month, *lines, listed=LISTS[month])
    months = (int(last[:4]) - 2024) * 12 + int(last[5:])
    assert contracts(places) == [("H1234", "2024-01", last, months)]


def test_a_delivery_without_a_list_tells_that_a_period_still_goes_on(places):
    """Exports of changes bring no list: a list holds until the next one, and a delivery counts for itself."""
    bring(places, "2026-03", v3("2024-01-01", updated="2024-02-03"))

    def changes(month, line=b""):
        options = {"version": ApiVersion.V3, "transaction_time": datetime(2026, month, 25, tzinfo=UTC)}
        load(places, [("Coverage", line)], run_id=f"c{month}", since=datetime(2026, 3, 1, tzinfo=UTC), **options)

    changes(4)
    assert contracts(places) == [("H1234", "2024-01", "2026-04", 28)]
    bring(places, "2026-05", listed="8")
    assert contracts(places) == [("H1234", "2024-01", "2026-03", 27)]
    changes(6, v3("2024-01-01", updated="2024-02-03"))
    changes(7)
    assert contracts(places) == [("H1234", "2024-01", "2026-06", 30)]


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize(
    ("older", "newer", "expected"),
    [
        # The same, begun later: nothing of the months before in that year.
        (v3("2024-02-01", updated="2024-02-03"), v3("2024-05-01", updated="2024-06-03"), [("2024-05", "2024-08", 4)]),
        (
            v3("2023-11-01", updated="2023-11-03"),
            v3("2024-05-01", updated="2024-06-03"),
            [("2023-11", "2023-12", 2), ("2024-05", "2024-08", 4)],
        ),
        # A period that had ended is another one, and so is one with another content.
        (
            v3("2024-02-01", "2024-03-31", updated="2024-04-03"),
            v3("2024-05-01", updated="2024-06-03"),
            [("2024-02", "2024-03", 2), ("2024-05", "2024-08", 4)],
        ),
        (
            v3("2024-02-01", updated="2024-02-03", contract="H9"),
            v3("2024-05-01", updated="2024-06-03"),
            [("2024-02", "2024-08", 7)],
        ),
        # Without a period: not enrolled from then on.
        (v3("2024-02-01", updated="2024-02-03"), v3(None, updated="2024-06-03"), [("2024-02", "2024-05", 4)]),
    ],
)
@pytest.mark.complete
def test_a_corrected_start_takes_its_years_months_away(places, older, newer, expected, is_reversed):
    runs = [("2024-04", older), ("2024-08", newer)]
    for month, line in reversed(runs) if is_reversed else runs:
        bring(places, month, line)
    query = (
        "SELECT strftime(min(month_start), '%Y-%m'), strftime(max(month_start), '%Y-%m'), count(*) FROM (SELECT month_start, "
        "month_start - to_months(row_number() OVER (ORDER BY month_start)::INTEGER) AS span FROM coverage_month) GROUP BY span ORDER BY 1"
    )
    assert ask(places, query) == expected


YEARLY_RUNS = {
    "2024-11": yearly(
        2024, dict.fromkeys(range(1, 13), "02"), updated="2024-11-01", dated=[(2023, 5, "S1"), (2024, 5, "S1")]
    ),
    "2024-12": yearly(2024, dict.fromkeys(range(1, 10), "04"), updated="2024-12-01", dated=[(2024, 5, "S2")]),
    "2025-02": yearly(2025, dict.fromkeys(range(1, 13), "08"), updated="2025-02-01"),
    "2026-02": yearly(2026, {1: "NA"}, updated="2026-02-01"),
    "2026-03": yearly(2026, {}, updated="2026-03-01"),
}


YEARLY_ORDERS = list(permutations(YEARLY_RUNS))


@pytest.mark.complete
@pytest.mark.parametrize(
    ("version", "order"),
    [(ApiVersion.V1, YEARLY_ORDERS[0]), *((ApiVersion.V2, order) for order in (YEARLY_ORDERS[33], YEARLY_ORDERS[-1]))],
)
def test_a_newer_coverage_replaces_the_months_of_its_own_years_alone(places, version, order):
    for month in order:
        bring(places, month, YEARLY_RUNS[month], version=version)
    found = ask(
        places,
        "SELECT year(month_start), dual_code, list(month(month_start) ORDER BY month_start), max(contract_id) "
        "FROM coverage_month GROUP BY ALL ORDER BY ALL",
    )
    # 2023 was stated once; nine months of 2024 by the second one, the last, which leaves three out; 2026 is silent now.
    assert found == [
        (2023, None, [5], "S1"),
        (2024, "04", list(range(1, 10)), "S2"),
        (2025, "08", list(range(1, 13)), None),
    ]
    assert ask(places, "SELECT reference_year FROM coverage") == [(2026,)]
    assert ask(places, "SELECT count(*) FROM coverage_period") == [(4,)]


def test_two_years_of_one_coverage_in_one_export_are_both_kept(places):
    lines = [yearly(year, {3: "02"}, updated=f"{year}-04-01") for year in (2026, 2025)]
    bring(places, "2026-05", *lines, version=ApiVersion.V2)
    assert ask(places, "SELECT CAST(month_start AS VARCHAR) FROM coverage_month ORDER BY 1") == [
        ("2025-03-01",),
        ("2026-03-01",),
    ]


@pytest.mark.complete
@pytest.mark.parametrize("version", [ApiVersion.V2, ApiVersion.V3])
def test_months_that_were_disposed_of_do_not_come_back(places, tmp_path, version):
    if version is ApiVersion.V3:
        bring(places, "2026-03", v3("2024-01-01", updated="2024-02-03"))
    else:
        for year in (2024, 2025, 2026):
            lines = yearly(year, dict.fromkeys(range(1, 13 if year < 2026 else 4), "02"), updated=f"{year}-02-01")
            bring(places, f"{year}-03", lines, version=version)
    publish(places)
    span = "SELECT CAST(min(month_start) AS VARCHAR), CAST(max(month_start) AS VARCHAR), count(*) FROM coverage_month"
    assert ask(places, span) == [("2024-01-01", "2026-03-01", 27)]
    for last, left in (
        (date(2024, 12, 31), ("2025-01-01", "2026-03-01", 15)),
        (date(2025, 6, 30), ("2025-07-01", "2026-03-01", 9)),
    ):
        maintenance.dispose(places, Period(None, last), now=datetime(2026, 4, 1, tzinfo=UTC))
        assert ask(places, span) == [left]
        target = tmp_path / f"{last}.duckdb"
        assert maintenance.rebuild_warehouse(places, target).differing == ()
        assert ask(Places(places.raw, places.lake, target, target), span) == [left]
    bring(places, "2026-04", version=version, day=25)
    assert ask(places, span) == [("2025-07-01", "2026-04-01", 10) if version is ApiVersion.V3 else left]


def outdate(places):
    """Let every run have been landed by a release that recorded no version of the mapping."""
    for path in places.raw.glob("*/landed-*.json"):
        path.write_text(re.sub(r',\s*"mapping_version": [0-9]+', "", path.read_text()))


@pytest.mark.parametrize(
    ("version", "is_compacted"),
    [
        (ApiVersion.V2, False),
        (ApiVersion.V3, False),
        *(pytest.param(version, True, marks=pytest.mark.complete) for version in ApiVersion),
    ],
)
def test_months_that_a_disposal_left_stay_when_the_tables_are_derived_again(places, tmp_path, version, is_compacted):
    if version is ApiVersion.V3:
        # One that loses months, and one that loses none.
        other = v3("2026-01-01", updated="2026-02-03").replace(COVERAGE.encode(), b"part-c-7-H1234-002")
        bring(places, "2026-03", v3("2024-01-01", updated="2024-02-03"), other)
    else:
        for year in (2024, 2025, 2026):
            months = dict.fromkeys(range(1, 13 if year < 2026 else 4), "02")
            lines = yearly(year, months, updated=f"{year}-02-01", dated=[(year, 2, "S0001")])
            bring(places, f"{year}-03", lines, version=version)
    maintenance.dispose(places, Period(None, date(2025, 6, 30)), now=datetime(2026, 4, 1, tzinfo=UTC))
    if is_compacted:
        maintenance.compact_lake(places, sorted(path.name for path in places.raw.iterdir()))
    # On v1 and v2 coverage_period says which years came, so that derived again it has those of the disposed months, too.
    tables = ("coverage", "coverage_month", *(("coverage_period",) if version is ApiVersion.V3 else ()))
    before = {table: ask(places, f"FROM {table} ORDER BY ALL") for table in tables}
    assert ask(places, "SELECT min(month_start) FROM coverage_month") == [(date(2025, 7, 1),)]
    outdate(places)
    assert maintenance.remap(places, now=NOON).runs == len(list(places.raw.iterdir()))
    for table in tables:
        assert ask(places, f"FROM {table} ORDER BY ALL") == before[table], table
    assert maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb").differing == ()
    last = date(2025, 8, 31)
    maintenance.dispose(places, Period(None, last), now=datetime(2026, 4, 1, tzinfo=UTC))
    outdate(places)
    maintenance.remap(places, now=NOON)
    left = [row for row in before["coverage_month"] if row[4] > last]
    assert len(left) == len(before["coverage_month"]) - 2
    assert ask(places, "FROM coverage_month ORDER BY ALL") == left
