import json
import os
import signal
import subprocess
import sys
import textwrap
import traceback
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from rawfiles import NOON, counts, land, load

from bcda import model
from bcda.api.export_request import Scope
from bcda.errors import CountMismatchError, ManifestError, StorageError, WarehouseError, WarehouseLockedError
from bcda.maintenance import change_key
from bcda.runs.coverage import Covered, Gap, TypeLedger
from bcda.settings import ApiVersion
from bcda.storage import files
from bcda.storage.commit_points import CommitPoint
from bcda.storage.encryption import EncryptionKey
from bcda.storage.places import Places
from bcda.warehouse import (
    merge_run,
    open_warehouse,
    publication_held,
    publish,
    quality,
    read_ledger,
    read_older_runs,
    read_published_status,
)

EOB = "ExplanationOfBenefit"
LOCK = ".bcda.duckdb.lock"
LATER = NOON + timedelta(days=7)
TABLES = [table.relation for table in model.core_tables()] + ["patient_identifier", "resource_version"]


def claim(
    number=1,
    *,
    lines=2,
    status="active",
    updated="2026-01-01T00:00:00Z",
    created="2026-01-01",
    kind="CARRIER",
    **changes,
):
    eob_type = {"system": "https://bluebutton.cms.gov/resources/codesystem/eob-type", "code": kind}
    resource = {
        "resourceType": EOB,
        "id": f"{kind.lower()}-{number}",
        "meta": {"lastUpdated": updated},
        "created": created,
        "status": status,
        "type": {"coding": [eob_type]},
        "identifier": [{"system": "https://bluebutton.cms.gov/resources/variables/clm_id", "value": str(number)}],
        "patient": {"reference": "Patient/-7"},
        "payment": {"amount": {"value": 10.25}},
        "item": [{"sequence": n + 1} for n in range(lines)],
    }
    return json.dumps({**resource, **changes}, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def patient(mbis=("1AA0", "2BB0"), **changes):
    system = "http://hl7.org/fhir/sid/us-mbi"
    resource = {
        "resourceType": "Patient",
        "id": "-7",
        "meta": {"lastUpdated": "2026-01-01T00:00:00Z"},
        "birthDate": "1940-02-03",
    }
    resource["identifier"] = [{"system": system, "value": mbi} for mbi in mbis]
    return json.dumps({**resource, **changes}, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def failure(text, severity="error"):
    issue = {"severity": severity, "code": "not-found", "diagnostics": text}
    return json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode() + b"\n"


def query(places, sql):
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def contents(places, tables=TABLES):
    return {table: query(places, f"FROM {table} ORDER BY ALL") for table in tables}


def test_a_first_run_is_new_and_its_ledger_agrees(places):
    summary = load(places, [("Patient", patient()), (EOB, claim(1) + claim(2) + b"broken\n")])
    assert counts(summary, EOB) == {"new": 2, "quarantined": 1}
    assert counts(summary, "Patient") == {"new": 1}
    assert query(places, "SELECT claim_id, is_current, superseded_reason FROM claim ORDER BY ALL") == [
        ("carrier-1", True, None),
        ("carrier-2", True, None),
    ]
    assert query(
        places, "SELECT lines_read, rows_landed, lines_quarantined, output_files, is_full FROM ops.export_run"
    ) == [(4, 3, 1, 2, True)]
    assert query(places, "SELECT sum(lines_read), sum(rows_landed), sum(lines_quarantined) FROM ops.export_file") == [
        (4, 3, 1)
    ]
    assert query(places, "SELECT file_name, line_number, resource_type, reason FROM ops.quarantine") == [
        ("00002-ExplanationOfBenefit.ndjson.gz", 3, EOB, "not JSON")
    ]


def test_the_same_data_again_changes_nothing_but_last_seen(places):
    load(places, [("Patient", patient()), (EOB, claim())])
    seen = "patient_identifier SELECT * EXCLUDE (last_run_id, last_seen, as_of)"
    before = contents(places, ["patient", seen, "claim_line", "claim_diagnosis"])
    claim_before = query(places, "SELECT * EXCLUDE (last_seen_run_id) FROM claim")
    again = claim(updated="2026-06-01T00:00:00Z", created="2026-06-06")
    summary = load(places, [("Patient", patient()), (EOB, again)], run_id="r2", transaction_time=LATER)
    assert counts(summary, EOB) == {"unchanged": 1}
    assert counts(summary, "Patient") == {"unchanged": 1}
    assert contents(places, list(before)) == before
    assert query(places, "SELECT * EXCLUDE (last_seen_run_id) FROM claim") == claim_before
    assert query(places, "SELECT last_seen_run_id FROM claim") == [("r2",)]


@pytest.mark.complete
def test_an_update_replaces_the_claim_and_all_its_lines(places):
    load(places, [(EOB, claim(lines=3) + claim(2, lines=2))])
    summary = load(places, [(EOB, claim(lines=1, updated="2026-02-02T00:00:00Z"))], run_id="r2", transaction_time=LATER)
    assert counts(summary, EOB) == {"changed": 1}
    assert query(places, "SELECT claim_id, line_number FROM claim_line ORDER BY ALL") == [
        ("carrier-1", 1),
        ("carrier-2", 1),
        ("carrier-2", 2),
    ]
    versions = "SELECT is_latest, first_run_id FROM resource_version WHERE resource_id = 'carrier-1' ORDER BY ALL"
    assert query(places, versions) == [(False, "r1"), (True, "r2")]


@pytest.mark.complete
def test_equal_last_updated_with_other_content_lets_the_later_run_win(places):
    load(places, [(EOB, claim(lines=1))])
    load(places, [(EOB, claim(lines=4))], run_id="r2", transaction_time=LATER)
    assert query(places, "SELECT count(*) FROM claim_line") == [(4,)]


@pytest.mark.complete
def test_a_late_older_run_is_recorded_and_changes_no_core_table(places):
    load(places, [(EOB, claim(lines=4, updated="2026-03-03T00:00:00Z"))], run_id="r2", transaction_time=LATER)
    before = contents(places, ["claim", "claim_line"])
    summary = load(places, [(EOB, claim(lines=1, updated="2026-01-01T00:00:00Z"))])
    assert counts(summary, EOB) == {"older": 1}
    assert contents(places, ["claim", "claim_line"]) == before
    assert query(places, "SELECT first_run_id, is_latest FROM resource_version ORDER BY ALL") == [
        ("r1", False),
        ("r2", True),
    ]


def test_content_that_comes_back_has_one_version_row(places):
    load(places, [(EOB, claim(lines=1))])
    load(places, [(EOB, claim(lines=2, updated="2026-02-01T00:00:00Z"))], run_id="r2", transaction_time=LATER)
    third = LATER + timedelta(days=7)
    load(places, [(EOB, claim(lines=1, updated="2026-03-01T00:00:00Z"))], run_id="r3", transaction_time=third)
    assert query(places, "SELECT count(*), count(*) FILTER (WHERE is_latest) FROM resource_version") == [(2, 1)]
    assert query(places, "SELECT count(*) FROM claim_line") == [(1,)]


def test_within_a_run_the_newest_line_wins(places):
    old, new = claim(lines=1, updated="2026-01-01T00:00:00Z"), claim(lines=2, updated="2026-02-01T00:00:00Z")
    for run_id, content in (("r1", new + old), ("r2", old + new)):
        summary = load(places, [(EOB, content)], run_id=run_id)
        assert counts(summary, EOB)["duplicates"] == 1
        assert query(places, "SELECT claim_id, count(*) FROM claim_line GROUP BY ALL") == [("carrier-1", 2)]
    assert query(places, "FROM ops.version_conflict") == []


@pytest.mark.complete
def test_of_two_contents_with_one_last_updated_the_same_counts_whatever_the_order_of_files_and_lines(tmp_path):
    one, other, apart = claim(lines=5), claim(lines=6), claim(2, lines=1)
    orders = ([one + other + apart], [apart + other + one], [one, other, apart], [other, apart, one])
    found = set()
    for number, order in enumerate(orders):
        places = Places.below(tmp_path / str(number))
        summary = load(places, [(EOB, content) for content in order])
        assert counts(summary, EOB) == {"new": 2, "duplicates": 1}
        kept = query(
            places,
            "SELECT content_hash, count(*) FROM claim JOIN claim_line USING (claim_id) WHERE claim_id = 'carrier-1' GROUP BY ALL",
        )
        listed = query(places, "FROM ops.version_conflict")
        assert [row[:4] + row[5:] for row in listed] == [("r1", "v2", EOB, "carrier-1", 2, kept[0][0])]
        found.add((*kept, *listed))
    assert len(found) == 1


def test_a_cancelled_claim_and_a_deleted_drug_event_do_not_count(places):
    deleted = [
        {
            "category": {"coding": [{"code": "https://bluebutton.cms.gov/resources/variables/adjstmt_dltn_cd"}]},
            "code": {"coding": [{"code": "D"}]},
        }
    ]
    load(places, [(EOB, claim(1, status="cancelled") + claim(2) + claim(3, kind="PDE", supportingInfo=deleted))])
    assert query(places, "SELECT claim_id, superseded_reason FROM claim WHERE NOT is_current ORDER BY ALL") == [
        ("carrier-1", "cancelled"),
        ("pde-3", "deleted drug event"),
    ]
    assert query(places, "SELECT claim_id, paid_amount::VARCHAR FROM claim_current") == [("carrier-2", "10.25")]


def test_a_changed_mbi_keeps_the_person_and_both_numbers(places):
    load(places, [("Patient", patient(("1AA0",)))])
    before = query(places, "SELECT person_key FROM patient")
    load(places, [("Patient", patient(("1AA0", "2BB0")))], run_id="r2", transaction_time=LATER)
    assert query(places, "SELECT person_key FROM patient") == before
    assert query(places, "SELECT id_value FROM patient_identifier ORDER BY ALL") == [("1AA0",), ("2BB0",)]


def held(places, version=ApiVersion.V2, types=("Patient", EOB)):
    return read_ledger(places, version, Scope.PATIENT, types).types


def test_the_ledger_covers_the_interval_of_a_run(places):
    assert held(places) == {"Patient": TypeLedger(), EOB: TypeLedger()}
    load(places, [(EOB, claim())])
    load(places, [(EOB, b"")], run_id="r2", since=NOON, transaction_time=LATER)
    runs = (Covered(None, NOON, NOON), Covered(NOON, LATER, LATER))
    assert held(places) == {"Patient": TypeLedger(), EOB: TypeLedger(runs)}
    assert held(places, ApiVersion.V3, [EOB]) == {EOB: TypeLedger()}


def missing(mbi):
    return failure(f"Error retrieving ExplanationOfBenefit for beneficiary MBI {mbi} in ACO 0000")


@pytest.mark.complete
def test_people_that_bcda_could_not_retrieve_are_gaps_until_they_come(places):
    files = [
        ("Patient", patient()),
        (EOB, claim()),
        ("OperationOutcome!", missing("1AA0") + failure("note", "warning")),
    ]
    summary = load(places, files)
    assert summary.gaps == 1
    assert query(places, "SELECT resource_type, mbi, needs, closed_run_id FROM ops.gap") == [
        (EOB, "1AA0", "changes", None)
    ]
    run = (Covered(None, NOON, NOON),)
    assert held(places) == {"Patient": TypeLedger(run), EOB: TypeLedger(run, (Gap(None, NOON),))}
    # Someone else who fails later does not keep this gap open.
    load(places, [(EOB, claim()), ("OperationOutcome!", missing("1BB0"))], run_id="r2", transaction_time=LATER)
    assert query(places, "SELECT mbi, closed_run_id FROM ops.gap ORDER BY mbi") == [("1AA0", "r2"), ("1BB0", None)]
    assert "1AA0" not in json.dumps(summary.to_json())


@pytest.mark.complete
def test_a_gap_is_closed_by_a_run_that_was_merged_before_it(places):
    load(places, [(EOB, claim())], run_id="new", transaction_time=LATER)
    load(places, [(EOB, claim()), ("OperationOutcome!", missing("1AA0"))], run_id="old")
    assert query(places, "SELECT opened_run_id, closed_run_id FROM ops.gap") == [("old", "new")]


@pytest.mark.complete
def test_a_gap_that_fails_three_times_is_listed_and_no_longer_tried(places):
    load(places, [(EOB, claim())], run_id="first")
    for number in range(3):
        files, since, at = (
            [(EOB, claim()), ("OperationOutcome!", missing("1AA0"))],
            NOON,
            NOON + timedelta(days=number + 1),
        )
        load(places, files, run_id=f"r{number}", since=since, transaction_time=at)
        assert all(gap.is_tried_again is (number < 2) for gap in held(places)[EOB].gaps)
    (status,) = query(places, "SELECT asks_from, open_gaps, given_up_gaps, missing FROM ops.data_status")
    assert status[:3] == ((NOON + timedelta(days=3)).replace(tzinfo=None), 0, 1)
    assert "no run requests automatically" in status[3]


@pytest.mark.complete
def test_a_gap_of_the_first_load_is_asked_for_by_one_full_pull_of_its_type_and_then_listed(places):
    def tried(**options):
        load(places, [(EOB, claim()), ("OperationOutcome!", missing(options.pop("mbi")))], **options)
        return query(places, "SELECT mbi, is_tried_again FROM ops.open_gap WHERE since_ts IS NULL ORDER BY ALL")

    days = [NOON + timedelta(days=number) for number in range(6)]
    assert tried(run_id="r0", mbi="1AA0") == [("1AA0", True)]
    # Whoever the full pull misses is not worth another one, for the same person or another.
    assert tried(run_id="r1", mbi="1BB0", transaction_time=days[1]) == [("1BB0", False)]
    assert tried(run_id="r2", mbi="1BB0", transaction_time=days[2]) == [("1BB0", False), ("1BB0", False)]
    # One that brings everyone begins again.
    load(places, [(EOB, claim())], run_id="r3", transaction_time=days[3])
    assert tried(run_id="r4", mbi="1CC0", transaction_time=days[4]) == [("1CC0", True)]
    # Changes alone do not say anything about it.
    load(places, [(EOB, claim())], run_id="r5", since=days[4], transaction_time=days[5])
    assert query(places, "SELECT is_tried_again FROM ops.open_gap") == [(True,)]


@pytest.mark.complete
def test_whom_a_full_run_has_brought_lacks_only_what_came_after_it(places):
    load(places, [("Patient", patient(mbis=("1BB0",))), (EOB, claim()), ("OperationOutcome!", missing("1AA0"))])
    # A full pull that is made for someone else's gap, and one of changes since long before.
    late = missing("1BB0") + missing("1CC0")
    load(places, [(EOB, claim()), ("OperationOutcome!", late)], run_id="r2", transaction_time=LATER)
    early, latest = NOON - timedelta(days=9), LATER + timedelta(days=7)
    load(places, [(EOB, claim()), ("OperationOutcome!", late)], run_id="r3", since=early, transaction_time=latest)
    noon = NOON.replace(tzinfo=None)
    assert query(places, "SELECT opened_run_id, mbi, since_ts FROM ops.gap ORDER BY ALL") == [
        ("r1", "1AA0", None),
        ("r2", "1BB0", noon),
        ("r2", "1CC0", None),
        ("r3", "1BB0", noon),
        ("r3", "1CC0", early.replace(tzinfo=None)),
    ]
    # What is only short of some weeks is asked for again as such, although it came out in a full pull.
    assert query(places, "SELECT mbi, is_tried_again FROM ops.open_gap WHERE opened_run_id = 'r2' ORDER BY ALL") == [
        ("1BB0", True),
        ("1CC0", False),
    ]


@pytest.mark.complete
def test_who_was_away_from_the_lists_is_asked_for_again_from_when_they_were_last_seen(places):
    week = timedelta(days=7)
    both = patient(mbis=("1AA0",)) + patient(mbis=("1BB0",), id="-8")
    load(places, [("Patient", both), (EOB, claim())], run_id="r1")
    load(places, [("Patient", patient(mbis=("1AA0",)))], run_id="r2", transaction_time=NOON + week)
    load(places, [(EOB, claim())], run_id="r3", since=NOON, transaction_time=NOON + week)
    assert query(places, "FROM ops.open_gap") == []
    load(places, [("Patient", both)], run_id="r4", transaction_time=NOON + 2 * week)
    assert query(places, "SELECT mbi, resource_type, needs, tries, opened_run_id FROM ops.open_gap") == [
        ("1BB0", EOB, "changes", 0, "r4")
    ]
    assert held(places)[EOB].gaps == (Gap(NOON, NOON + 2 * week),)
    # Changes since then only do not bring what was missed; changes from before do.
    load(places, [(EOB, claim())], run_id="r5", since=NOON + week, transaction_time=NOON + 2 * week)
    assert len(held(places)[EOB].gaps) == 1
    load(places, [(EOB, claim())], run_id="r6", since=NOON, transaction_time=NOON + 2 * week)
    assert held(places)[EOB].gaps == ()


LOOK_UP = failure("Error retrieving BlueButton ID for cclfBeneficiary MBI 1AA0")


@pytest.mark.parametrize(
    ("error", "types"),
    [
        (("OperationOutcome!Coverage", LOOK_UP), ["Coverage"]),
        (("OperationOutcome!Claim", LOOK_UP), ["Claim"]),
        (("OperationOutcome!Coverage", b"<html>\n"), ["Coverage"]),
        (("OperationOutcome!Coverage", missing("1AA0")), ["Coverage", EOB]),
        (("OperationOutcome!", missing("1AA0")), [EOB]),
        # Parts of Claim look nobody up.
        (("OperationOutcome!", LOOK_UP), ["Coverage", EOB]),
        (("OperationOutcome!", failure("out of order")), ["Claim", "Coverage", EOB]),
    ],
    ids=["pair", "pair of Claim", "unreadable", "pair and text differ", "text", "look-up alone", "nothing tells"],
)
def test_the_type_of_a_gap_is_that_of_the_data_file_beside_the_error_file(places, error, types):
    load(places, [("Claim", b""), ("Coverage", b""), (EOB, claim()), error])
    assert [row[0] for row in query(places, "SELECT resource_type FROM ops.gap ORDER BY ALL")] == types


def test_a_look_up_that_failed_in_a_run_of_claims_alone_is_no_lost_gap(places):
    load(places, [("Claim", b""), ("OperationOutcome!", LOOK_UP)])
    assert query(places, "SELECT resource_type, mbi FROM ops.gap") == [("Claim", "1AA0")]


def test_an_error_file_that_cannot_be_read_is_a_gap_of_every_type(places):
    load(places, [("Patient", patient()), (EOB, claim()), ("OperationOutcome!", b"<html>\n")])
    assert query(places, "SELECT resource_type, mbi FROM ops.gap ORDER BY ALL") == [(EOB, None), ("Patient", None)]
    assert [entry.gaps for entry in held(places).values()] == [(Gap(None, NOON),), (Gap(None, NOON),)]


ANY_ERROR = [
    {"issue": [{"severity": "error", "code": "exception"}]},
    {"issue": [{"severity": "fatal", "code": "exception", "diagnostics": "out of order"}]},
    {"issue": [{"severity": "ERROR", "code": "exception", "diagnostics": "out of order"}]},
    {"issue": [{"code": "exception"}]},
    {"issue": [{"severity": "warning"}, {"severity": "error"}]},
    {"issue": [{}]},
    {"issue": [None]},
    {"issue": []},
    {},
]


@pytest.mark.parametrize(
    "outcome",
    [ANY_ERROR[0], *(pytest.param(outcome, marks=pytest.mark.complete) for outcome in ANY_ERROR[1:])],
    ids=json.dumps,
)
@pytest.mark.parametrize(
    "beside",
    [b"", pytest.param(failure("", "warning"), marks=pytest.mark.complete)],
    ids=["alone", "beside a warning"],
)
def test_an_error_line_that_names_nobody_is_a_gap_of_every_type(places, outcome, beside):
    line = json.dumps({"resourceType": "OperationOutcome", **outcome}).encode() + b"\n"
    load(places, [("Patient", patient()), (EOB, claim()), ("OperationOutcome!", beside + line)])
    assert query(places, "SELECT resource_type, mbi FROM ops.gap ORDER BY ALL") == [(EOB, None), ("Patient", None)]
    assert [entry.gaps for entry in held(places).values()] == [(Gap(None, NOON),), (Gap(None, NOON),)]


@pytest.mark.parametrize("severity", ["warning", "information"])
def test_a_line_that_says_itself_that_it_is_harmless_is_no_gap(places, severity):
    load(places, [("Patient", patient()), ("OperationOutcome!", failure("Default System-Type behavior", severity))])
    assert query(places, "FROM ops.gap") == []


def test_a_person_is_named_whatever_the_severity_is_called(places):
    text = f"Error retrieving {EOB} for beneficiary MBI 1AA0 in ACO 0000"
    load(places, [("Patient", patient()), (EOB, claim()), ("OperationOutcome!", failure(text, "Error"))])
    assert query(places, "SELECT resource_type, mbi FROM ops.gap") == [(EOB, "1AA0")]


@pytest.mark.complete
def test_a_merge_that_fails_leaves_the_warehouse_as_it_was_and_says_nothing_of_the_data(places):
    load(places, [(EOB, claim(1))])
    before = contents(places)
    run, manifest, landed = land(places, [(EOB, claim(2))], run_id="r2", transaction_time=NOON + timedelta(days=1))
    path = places.lake / next(file.path for file in landed.lake_files if file.table == "claim")
    # A lake file as another tool might have written it again.
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns("claim_number"), path)
    with pytest.raises(WarehouseError, match="BinderException") as caught:
        merge_run(places, run, manifest, [landed], now=NOON)
    assert "claim_number" not in "".join(traceback.format_exception(caught.value))
    assert contents(places) == before


def test_a_run_is_merged_once(places):
    run, manifest, landed = land(places, [(EOB, claim())])
    first = merge_run(places, run, manifest, [landed], now=NOON)
    before = contents(places)
    assert merge_run(places, run, manifest, [landed], now=LATER) == first
    assert contents(places) == before


@pytest.mark.complete
def test_what_is_done_before_the_commit_and_fails_leaves_the_warehouse_as_it_was(places):
    load(places, [(EOB, claim(1))])
    before = contents(places)
    run, manifest, landed = land(places, [(EOB, claim(2))], run_id="r2")

    def refuse():
        raise StorageError("no space")

    with pytest.raises(StorageError, match="no space"):
        merge_run(places, run, manifest, [landed], now=NOON, before_commit=refuse)
    assert contents(places) == before


def test_a_lake_file_that_is_not_of_the_run_shows_nobody_elses_texts(places):
    load(places, [(EOB, claim(1) + claim(2))])
    (path,) = places.lake.glob("resource/*/*/*.parquet")
    stray = path.parents[1] / "export_date=2026-11-09" / path.name
    stray.parent.mkdir()
    rows = pq.read_table(path, partitioning=None)
    pq.write_table(rows.set_column(rows.column_names.index("raw_line"), "raw_line", [[2, 1]]), stray)
    publish(places)
    with duckdb.connect(str(places.published), read_only=True) as connection:
        shown = connection.execute("SELECT resource_id, body ->> '$.id' FROM resource ORDER BY ALL").fetchall()
    assert shown == [("carrier-1", "carrier-1"), ("carrier-2", "carrier-2")]


@pytest.mark.complete
def test_a_file_that_did_not_land_leaves_the_warehouse_as_it_was(places):
    load(places, [(EOB, claim())])
    before = contents(places)
    run, manifest, _ = land(places, [(EOB, claim(2))], run_id="r2")
    with pytest.raises(ManifestError, match="1 have not landed"):
        merge_run(places, run, manifest, [], now=NOON)
    assert contents(places) == before


@pytest.mark.complete
def test_a_lake_file_with_other_rows_leaves_the_warehouse_as_it_was(places):
    load(places, [(EOB, claim())])
    before = contents(places)
    run, manifest, landed = land(places, [(EOB, claim(2))], run_id="r2")
    path = places.lake / next(file.path for file in landed.lake_files if file.table == "resource")
    duckdb.connect().execute(f"COPY (FROM '{path}' LIMIT 0) TO '{path}'")
    with pytest.raises(CountMismatchError):
        merge_run(places, run, manifest, [landed], now=NOON)
    assert contents(places) == before


def hold(places, then="time.sleep(60)"):
    script = f"""
        import sys, time
        from pathlib import Path
        from bcda.warehouse import open_warehouse
        with open_warehouse(Path({str(places.warehouse)!r})) as connection:
            print("held", flush=True)
            {then}
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_held_lock_is_named_and_not_waited_for_for_ever(places):
    holder = hold(places)
    try:
        with (
            pytest.raises(WarehouseLockedError, match=f"process {holder.pid}"),
            open_warehouse(places.warehouse, wait_seconds=1),
        ):
            pass
    finally:
        holder.kill()
        holder.wait()


def test_a_lock_that_is_released_is_waited_for(places, caplog):
    holder = hold(places, then="time.sleep(1.5)")
    with caplog.at_level("INFO"), open_warehouse(places.warehouse, wait_seconds=30) as connection:
        assert connection.execute("SELECT count(*) FROM claim").fetchall() == [(0,)]
    holder.wait()
    assert f"held by process {holder.pid}" in caplog.text


@pytest.mark.complete
@pytest.mark.parametrize(
    "moment",
    ["merge/stage", "merge/version_insert", "merge/patient_identifier", "merge/claim_currency", "ledger/coverage"],
)
def test_a_merge_killed_at_any_statement_leaves_all_or_nothing(places, moment):
    load(places, [(EOB, claim(1))])
    before = contents(places)
    files = [(EOB, claim(1, lines=1, updated="2026-02-01T00:00:00Z") + claim(2)), ("Patient", patient())]
    run, manifest, landed = land(places, files, run_id="r2", transaction_time=LATER)
    script = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from bcda import model
        from bcda.runs.landed import read_landed
        from bcda.api.manifest import Manifest, OutputFile
        from bcda.storage.places import Places
        from bcda.runs.run import read_run
        from bcda.warehouse import merge_run
        from rawfiles import NOON
        places = Places.below(Path({str(places.raw.parent)!r}))
        read = model.sql
        def deadly(name):
            if name == {moment!r}:
                os.kill(os.getpid(), signal.SIGKILL)
            return read(name)
        model.sql = deadly
        landed = read_landed(places.run_folder("r2"), 0)
        manifest = Manifest("1", NOON, "", None, tuple(OutputFile(f.name, f.kind, f.resource_type, "u") for f in landed.files))
        merge_run(places, read_run(places.run_folder("r2")), manifest, [landed], now=NOON)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert contents(places) == before
    merge_run(places, run, manifest, [landed], now=LATER)
    assert query(places, "SELECT claim_id, count(*) FROM claim_line GROUP BY ALL ORDER BY ALL") == [
        ("carrier-1", 1),
        ("carrier-2", 2),
    ]


@pytest.mark.complete
def test_readers_keep_the_snapshot_they_opened(places):
    load(places, [(EOB, claim(1))])
    first = publish(places)
    assert (first.path, first.runs) == (places.published, 1)
    with duckdb.connect(str(places.published), read_only=True) as reader:
        load(places, [(EOB, claim(2))], run_id="r2", transaction_time=LATER)
        assert publish(places).runs == 2
        assert reader.execute("SELECT count(*) FROM claim").fetchall() == [(1,)]
    with duckdb.connect(str(places.published), read_only=True) as reader:
        assert reader.execute("SELECT count(*) FROM claim_current").fetchall() == [(2,)]
    assert places.published.stat().st_mode & 0o777 == 0o600


def test_publishing_removes_what_a_killed_one_left(places):
    load(places, [(EOB, claim(1))])
    files.own_name(places.published).write_bytes(b"half")
    publish(places)
    assert hidden_beside(places.published) == {LOCK}


def hidden_beside(path):
    return {found.name for found in path.parent.iterdir() if found.name.startswith(".")}


def publishing(places, wait_seconds):
    """Another process that publishes; it ends with 3 when it had to wait for too long."""
    script = f"""
        import sys
        from pathlib import Path
        from bcda.errors import WarehouseLockedError
        from bcda.storage.places import Places
        from bcda.warehouse import publish
        print("begun", flush=True)
        try:
            publish(Places.below(Path({str(places.raw.parent)!r})), lock_wait_seconds={wait_seconds})
        except WarehouseLockedError as error:
            print(error, flush=True)
            sys.exit(3)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.complete
def test_two_publications_at_once_follow_each_other(places, monkeypatch):
    load(places, [(EOB, claim(1))])
    others = []

    def copied(point):
        if point is CommitPoint.SNAPSHOT_COPIED:
            patient, hasty = publishing(places, 60), publishing(places, 0.5)
            said, _ = hasty.communicate(timeout=60)
            assert hasty.returncode == 3
            assert f"{places.published} is being published by process {os.getpid()}" in said
            assert patient.poll() is None
            others.append(patient)

    monkeypatch.setattr(sys.modules["bcda.warehouse.publish"], "reached", copied)
    publish(places)
    (patient,) = others
    assert patient.wait(timeout=60) == 0
    assert hidden_beside(places.published) == {LOCK}
    assert (places.published.parent / LOCK).stat().st_mode & 0o777 == 0o600
    with duckdb.connect(str(places.published), read_only=True) as reader:
        assert reader.execute("SELECT count(*) FROM claim").fetchall() == [(1,)]


def test_the_key_is_not_changed_while_a_snapshot_is_on_its_way(places):
    load(places, [(EOB, claim(1))])
    key = EncryptionKey.from_text("A" * 43 + "=")
    with (
        publication_held(places.published, wait_seconds=0),
        pytest.raises(WarehouseLockedError, match="is being published by process"),
    ):
        change_key(places, key, wait_seconds=0)


def test_a_first_load_killed_before_its_tables_were_there_keeps_no_later_run_from_planning(places):
    places.warehouse.parent.mkdir(parents=True)
    duckdb.connect(str(places.warehouse)).close()
    assert read_ledger(places, ApiVersion.V2, Scope.PATIENT, (EOB,)).types[EOB].covered == ()
    load(places, [(EOB, claim())])


def test_a_warehouse_of_another_schema_version_is_refused(places):
    load(places, [(EOB, claim(1))])
    with duckdb.connect(str(places.warehouse)) as connection:
        connection.execute("UPDATE ops.schema_info SET schema_version = 99")
    with pytest.raises(StorageError, match="schema version 99"), open_warehouse(places.warehouse):
        pass


@pytest.mark.complete
def test_keys_are_unique_after_many_runs(places):
    for number in range(6):
        lines = b"".join(
            claim(n, lines=1 + (n + number) % 3, updated=f"2026-0{number + 1}-01T00:00:00Z") for n in range(20)
        )
        load(places, [(EOB, lines)], run_id=f"r{number}", transaction_time=NOON + timedelta(days=number))
    assert query(places, "SELECT count(*), count(DISTINCT claim_id) FROM claim") == [(20, 20)]
    assert query(
        places, "SELECT count(*) FROM (SELECT claim_id, line_number FROM claim_line GROUP BY ALL HAVING count(*) > 1)"
    ) == [(0,)]
    assert query(places, "SELECT count(*) FROM resource_version WHERE is_latest") == [(20,)]


@pytest.mark.complete
def test_every_sql_file_of_the_model_is_used_by_an_empty_merge_or_a_full_one(places):
    text = "Error retrieving Patient for beneficiary MBI 1AA0 in ACO 0000"
    used: set[str] = set()
    read = model.sql

    def noting(name):
        used.add(name)
        return read(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "sql", noting)
        coverage = json.dumps({"resourceType": "Coverage", "id": "part-a--7"}).encode() + b"\n"
        novel = [{"url": "http://example.org/novel", "valueCoding": {"code": "1"}}]
        diagnosed = claim(diagnosis=[{"diagnosisCodeableConcept": {"coding": [{"code": "I10"}]}}], extension=novel)
        load(
            places,
            [
                ("Patient", patient()),
                ("Coverage", coverage),
                (EOB, diagnosed + b"x\n"),
                ("OperationOutcome!", failure(text)),
            ],
        )
        load(places, [(EOB, b"")], run_id="r2", transaction_time=LATER)
        quality.checks.cache_clear()
        publish(places)
        held(places)
        read_published_status(places)
        read_older_runs(places)
    folder = Path(model.data_path(""))
    written = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.sql")} - {
        "declarations/macros",
        # Of the repair of dates, and of what `export.merge` refuses.
        "ops/future_resources",
        "ops/last_full",
        # Of remapping.
        "ops/remap_paid",
        # Of a database of an earlier release.
        "ledger/gap_earlier",
    }
    # Nothing but a disposal uses these.
    written -= {name for name in written if name.startswith("disposal/")}
    assert used == written
