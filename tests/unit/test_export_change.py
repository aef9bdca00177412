"""What a merge records of the claims that it changed, compared with the claims that count before and after it."""

import json
from collections import Counter
from datetime import timedelta
from decimal import Decimal

import duckdb
import pytest
from rawfiles import NOON, land, load
from test_cases import kind_of, patient, v2, v3
from worlds import at, export

from bcda import maintenance
from bcda.reporting.overview.snapshot import read_published
from bcda.reporting.run_report import document_of, read_facts
from bcda.settings import ApiVersion
from bcda.warehouse import merge_run, publish
from bcda_simulator.world import World

EOB, WEEK = "ExplanationOfBenefit", 90
STATE = (
    "SELECT claim_id, patient_id, claim_type, date_trunc('month', service_thru)::DATE, paid_amount, content_hash, is_current "
    "FROM claim"
)


def query(places, sql):
    if not places.warehouse.exists():
        return []
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def kind(before, after):
    """What became of a claim, from its two states."""
    if before is None:
        return "new" if after[-1] else "new, not counted"
    if before[-1] != after[-1]:
        return "counts again" if after[-1] else "ended"
    if before[-2] == after[-2]:
        return None
    return "changed" if after[-1] else "changed, not counted"


def expected(before, after, reasons):
    """The cells that two states of all claims should give, each with claims and people, and dollars moved by month."""
    claims, people, moved = Counter(), {}, Counter()
    for claim_id, now in after.items():
        was = before.get(claim_id)
        if (change := kind(was, now)) is None:
            continue
        for cell in (
            ("run", None, None, None),
            ("change", change, None, None),
            ("reason", change, reasons[claim_id], None),
            ("claim type", change, None, now[1]),
        ):
            claims[cell] += 1
            people.setdefault(cell, set()).add(now[0])
        for state, sign in ((was, -1), (now, 1)):
            if state is not None and state[-1]:
                moved[state[2]] += sign * (state[3] or Decimal(0))
    return {(*cell, number, len(people[cell])) for cell, number in claims.items()}, {
        m: v for m, v in moved.items() if v
    }


def changed(line, number, **values):
    """A later version of a claim."""
    claim = json.loads(line) | values
    claim["meta"]["lastUpdated"] = (at(WEEK) + timedelta(days=number)).isoformat()
    return json.dumps(claim).encode() + b"\n"


def paid_more(line):
    """The change of a claim that Medicare paid a dollar more for."""
    payment = json.loads(line)["payment"]
    payment["amount"]["value"] += 1
    return {"payment": payment}


@pytest.mark.complete
def test_a_run_records_what_it_did_to_the_claims_that_count(places):
    people, lines = export(World(people=8, seed=5, history_weeks=60), [str(n) for n in range(8)], week=WEEK)[::2]
    claims = [
        line for line in lines[1].splitlines(keepends=True) if b'"status":"active"' in line and b'"CARRIER"' in line
    ]
    period = {"billablePeriod": {"start": "2020-01-05", "end": "2020-01-06"}}
    runs = [
        (None, [lines[1]]),
        (1, [changed(line, 1, status="cancelled") for line in claims[:3]]),
        (
            2,
            [
                changed(claims[0], 2),
                changed(claims[1], 2, status="cancelled", **period),
                changed(claims[5], 2, **period),
            ],
        ),
        (3, [changed(line, 3, **paid_more(line)) for line in claims[6:10]]),
        # A full pull that no longer brings a claim, and then one that brings it again.
        (None, [line for line in lines[1].splitlines(keepends=True) if line != claims[20]]),
        (None, [lines[1]]),
    ]
    seen = Counter()
    for number, (after, content) in enumerate(runs):
        files = [people, (EOB, b"".join(content))] if after is None else [(EOB, b"".join(content))]
        time = at(WEEK) + timedelta(days=number)
        since = time - timedelta(days=1) if after else None
        run, manifest, landed = land(places, files, run_id=f"r{number}", transaction_time=time, since=since)
        before = {row[0]: row[1:] for row in query(places, STATE)}
        merge_run(places, run, manifest, [landed], now=NOON)
        now = {row[0]: row[1:] for row in query(places, STATE)}
        cells, moved = expected(before, now, dict(query(places, "SELECT claim_id, superseded_reason FROM claim")))
        told = query(places, f"SELECT * EXCLUDE (run_id) FROM ops.export_change WHERE run_id = 'r{number}'")
        assert {(*row[:4], *row[5:7]) for row in told if row[0] != "service month"} == cells, number
        assert {row[4]: row[8] - row[7] for row in told if row[0] == "service month" and row[8] != row[7]} == moved, (
            number
        )
        assert [row[8] - row[7] for row in told if row[0] == "run"] == [sum(moved.values())]
        seen.update({cell[1:3]: cell[-2] for cell in cells if cell[0] == "reason"})
    assert seen["ended", "cancelled"] == 3
    assert seen["ended", "not in full pull"] == 1
    assert seen["counts again", None] == 2
    assert seen["changed", None] >= 5
    assert seen["changed, not counted", "cancelled"] == 1
    assert seen["new", None] > 50


def advantage(version, number, nch, **changes):
    """An inpatient claim of a type of NCH that Medicare paid 1,000 for."""
    changes = {
        "payment": {"amount": {"value": 1000, "currency": "USD"}},
        "patient": {"reference": f"Patient/{number}"},
        "billablePeriod": {"start": "2025-12-01", "end": "2025-12-02"},
    } | changes
    if version is ApiVersion.V3:
        return v3(number, **kind_of(nch, "INPATIENT"), **changes)
    line = json.loads(v2(number, "INPATIENT", **changes))
    line["type"]["coding"].append(
        {"system": "https://bluebutton.cms.gov/resources/variables/nch_clm_type_cd", "code": nch}
    )
    return json.dumps(line).encode() + b"\n"


@pytest.mark.parametrize("version", list(ApiVersion))
def test_no_ready_made_figure_has_medicare_advantage_in_it(places, version):
    """Report, headline, page and sums of ops, with twelve records of each payer and then a run with Medicare Advantage only."""
    lines = b"".join(advantage(version, n, "60") for n in range(1, 13))
    lines += b"".join(
        advantage(version, n, nch) for n, nch in zip(range(21, 33), ["61", "62", "63", "4011"] * 3, strict=True)
    )
    options = {"version": version, "transaction_time": NOON}
    load(places, [(EOB, lines)], run_id="r1", **options)
    rows = query(places, "SELECT grouped_by, claims, people, paid_now FROM ops.export_change ORDER BY ALL")
    assert rows == [
        (by, 12, 12, Decimal(12000))
        for by in ("Medicare Advantage", "change", "claim type", "reason", "run", "service month")
    ]
    publish(places)
    document = document_of(read_facts(places, "r1"), now=NOON)
    assert "12 new claims" in document.headline
    assert document.claims == (
        "12 claims came new, +$12,000.00.",
        "In all +$12,000.00 of Medicare payments moved. Drug events have no such payment.",
        "12 records of Medicare Advantage came or changed too. All numbers of claims and payments here leave them out.",
    )
    assert document.bars == (("2025-12", 12000.0),)
    shown = read_published(places)
    assert {row["paid"] for row in shown.paid} == {12000.0}
    assert {row["claims"] for row in shown.lag} <= {12}
    load(
        places,
        [(EOB, advantage(version, 41, "62"))],
        run_id="r2",
        version=version,
        transaction_time=NOON + timedelta(days=7),
        since=NOON,
    )
    publish(places)
    alone = document_of(read_facts(places, "r2"), now=NOON)
    assert "no new claims" in alone.headline
    assert alone.claims == (
        "No claim changed.",
        f"Records of fewer than 11 people {document.claims[-1].removeprefix('12 records ')}",
    )


def test_a_remap_states_medicare_advantage_apart(places):
    content = advantage(ApiVersion.V2, 1, "60") + advantage(ApiVersion.V2, 2, "61")
    run, manifest, landed = land(places, [(EOB, content)], run_id="r1")
    (places.run_folder("r1") / "manifest.json").write_bytes(manifest.to_bytes())
    merge_run(places, run, manifest, [landed], now=NOON)
    with duckdb.connect(str(places.warehouse)) as connection:
        connection.execute("UPDATE ops.run_mapping SET mapping_version = 0")
    done = maintenance.remap(places, now=NOON)
    assert [(c.name, c.after) for c in done.changes if c.measure == "paid"] == [
        ("v2 INPATIENT", Decimal(1000)),
        ("v2 INPATIENT (Medicare Advantage)", Decimal(1000)),
    ]


def test_the_comparison_of_versions_leaves_medicare_advantage_out(places):
    for version, claims in (
        (ApiVersion.V2, [advantage(ApiVersion.V2, 1, "60")]),
        (
            ApiVersion.V3,
            [advantage(ApiVersion.V3, 1, "60"), advantage(ApiVersion.V3, 2, "62", patient={"reference": "Patient/1"})],
        ),
    ):
        load(places, [("Patient", patient("1")), (EOB, b"".join(claims))], run_id=version, version=version)
    query_of = "SELECT v2_claims, v3_claims, claims_differ, paid_differs FROM version_comparison"
    assert query(places, query_of) == [(1, 1, 0, 0)]
