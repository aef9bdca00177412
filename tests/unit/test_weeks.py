"""Ten simulated weeks: after each, the current claims add up to what the world knows to be true."""

from decimal import Decimal

import duckdb
import pytest
from rawfiles import load
from worlds import at, export

from bcda.settings import ApiVersion
from bcda_simulator.world import World

PEOPLE = [str(n) for n in range(40)]
START = 90


def totals(places):
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        paid = dict(
            connection.execute(
                "SELECT claim_type, sum(paid_amount) FROM claim_current WHERE claim_type <> 'PDE' GROUP BY ALL"
            ).fetchall()
        )
        cost = connection.execute(
            "SELECT sum(d.gross_drug_cost) FROM claim_drug AS d JOIN claim_current AS c USING (api_version, claim_id)"
        ).fetchall()[0][0]
        lines = dict(
            connection.execute(
                "SELECT claim_type, sum(paid_amount) FROM claim_line_current "
                "WHERE claim_type IN ('CARRIER', 'DME', 'OUTPATIENT', 'HHA', 'HOSPICE') GROUP BY ALL"
            ).fetchall()
        )
        reasons = {
            row[0]
            for row in connection.execute(
                "SELECT DISTINCT superseded_reason FROM claim WHERE NOT is_current"
            ).fetchall()
        }
    return paid, cost, lines, reasons


@pytest.mark.complete
@pytest.mark.parametrize("version", list(ApiVersion))
def test_current_claims_add_up_after_each_of_ten_weeks(places, version):
    world, seen = World(people=40, seed=11), set()
    for week in range(START, START + 10):
        files = export(world, PEOPLE, week=week, after=None if week == START else week - 1, version=version.value)
        load(places, files, version=version, transaction_time=at(week), run_id=f"w{week}", since=None if week == START else at(week - 1))  # fmt: skip
        expected = world.expected(at(week), people=PEOPLE, version=version.value)
        paid, cost, lines, reasons = totals(places)
        assert {kind: amount.quantize(Decimal("0.01")) for kind, amount in expected.paid.items()} == paid
        assert cost == expected.drug_cost
        assert lines == {kind: paid[kind] for kind in lines}
        seen |= reasons
    if version is ApiVersion.V3:
        assert seen == {
            "not final",
            "replaced by newer",
            "duplicate of final claim",
            "deleted drug event",
            "unfinished",
        }
    else:
        assert seen == {"cancelled", "deleted drug event"}


@pytest.mark.complete
def test_every_version_lands_the_same_facts_in_the_same_shape(places):
    world = World(people=40, seed=11)
    for version in ApiVersion:
        load(
            places,
            export(world, PEOPLE, week=START, version=version.value),
            version=version,
            transaction_time=at(START),
            run_id=f"r-{version}",
        )
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        sums = connection.execute(
            "SELECT api_version, claim_type, sum(paid_amount), sum(charge_amount) FROM claim "
            "WHERE is_current AND claim_type <> 'PDE' GROUP BY ALL"
        ).fetchall()
        people = connection.execute(
            "SELECT count(*) FILTER (WHERE NOT is_stub), count(*) FILTER (WHERE is_stub), count(DISTINCT person_key) FROM patient"
        ).fetchall()
        crosswalk = connection.execute(
            "SELECT count(*), count(DISTINCT v2_claim_id), count(*) FILTER (WHERE v2_is_current <> v3_is_current) "
            "FROM claim_crosswalk AS x JOIN claim AS c ON c.claim_id = x.v3_claim_id WHERE c.source_system = 'NCH'"
        ).fetchall()
        institutional = connection.execute(
            "SELECT count(*) FROM claim WHERE api_version = 'v2' "
            "AND claim_type IN ('INPATIENT', 'OUTPATIENT', 'SNF', 'HOSPICE', 'HHA')"
        ).fetchall()[0][0]
        shown = {row[0] for row in connection.execute("SELECT DISTINCT api_version FROM claim_current").fetchall()}
    by_version = {v: sorted(row[1:] for row in sums if row[0] == v) for v in ("v1", "v2", "v3")}
    assert by_version["v1"] == by_version["v2"] == by_version["v3"]
    # One person has one key, whatever the version and its ids.
    assert people == [(3 * len(PEOPLE), 2, len(PEOPLE))]
    assert crosswalk == [(institutional, institutional, 0)]
    assert shown == {"v1"}
