"""Dates that BCDA's own clock has not reached: they are not believed, and a home that believed them is repaired."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from earlier_code import code_of
from rawfiles import NOON, land, load
from typer.testing import CliRunner

from bcda import maintenance
from bcda.__main__ import app
from bcda.api import protocol
from bcda.api.export_request import Scope
from bcda.api.manifest import Manifest
from bcda.api.server_clock import LEEWAY, is_future, latest_possible
from bcda.doctor import Status, check_storage
from bcda.errors import ManifestError, ServerError, StorageError
from bcda.export import plan
from bcda.landing import land_files
from bcda.runs.manifest_check import check_manifest
from bcda.runs.plan import Wish
from bcda.runs.receipts import Receipt
from bcda.settings import ApiVersion
from bcda.storage.places import Places
from bcda.warehouse import merge_run

COMMIT = "7d75af7"
"""The last one that believed every date."""

EOB = "ExplanationOfBenefit"
WEEK = timedelta(days=7)
FAR = datetime(2099, 1, 1, tzinfo=UTC)
MAKE = """
import json, sys
from datetime import datetime, timedelta, UTC
from pathlib import Path
from bcda.places import Places
from rawfiles import NOON, land
from bcda.runs import amend_run, read_run
from bcda.warehouse import merge_run

def claim(number, updated, status="active"):
    document = {"id": f"carrier-{number}", "meta": {"lastUpdated": updated}, "resourceType": "ExplanationOfBenefit", "status": status}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\\n"

places = Places.below(Path(sys.argv[1]))
def load(run_id, content, now, **options):
    run, manifest, landed = land(places, [("ExplanationOfBenefit", content)], run_id=run_id, **options)
    folder = places.run_folder(run_id)
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    # Planned when it was merged, whatever BCDA said.
    run = amend_run(folder, planned_at=now, list_at=datetime(2099, 2, 1, tzinfo=UTC) if run_id == "r2" else None)
    merge_run(places, run, manifest, [landed], now=now)

week = timedelta(days=7)
load("r1", claim(1, "2026-11-09T00:00:00Z"), NOON)
late = claim(2, "2026-11-16T00:00:00Z") + claim(1, "2098-01-01T00:00:00Z", "draft")
load("r2", late, NOON + week, since=NOON, transaction_time=datetime(2099, 1, 1, tzinfo=UTC))
load("r3", claim(3, "2026-11-23T00:00:00Z") + claim(1, "2026-11-22T00:00:00Z", "cancelled"), NOON + 2 * week,
     since=NOON + week, transaction_time=NOON + 2 * week)
"""


def claim(number, updated, status="active"):
    document = {
        "id": f"carrier-{number}",
        "meta": {"lastUpdated": updated},
        "resourceType": EOB,
        "status": status,
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def ask(places, statement):
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        return connection.execute(statement).fetchall()


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A home of the release before: the second of three runs is dated 2099, and so is a claim that it brought."""
    folder = tmp_path_factory.mktemp("earlier")
    code_of(COMMIT, folder / "code", "include", "tests/unit")
    path = os.pathsep.join(str(folder / "code" / part) for part in ("include", "tests/unit"))
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", MAKE, str(folder / "home")], env=environment, check=True)
    return folder / "home"


@pytest.fixture
def home(earlier, tmp_path):
    return Places.below(shutil.copytree(earlier, tmp_path / "home"))


WISH = Wish(ApiVersion.V2, Scope.PATIENT, (EOB,))


@pytest.mark.complete
def test_a_home_that_believed_a_date_in_the_future_is_found_and_repaired(home, monkeypatch):
    status = "SELECT eob_status FROM claim WHERE claim_id = 'carrier-1'"
    assert ask(home, status) == [("draft",)], "the claim of 2098 hides the cancellation that came after it"
    with pytest.raises(StorageError, match="repair-timestamps --source bcda_default"):
        plan(home, WISH, now=NOON + 3 * WEEK)
    found = {check.name: check for check in check_storage(home)}["timestamps"]
    assert found.status is Status.FAILED
    assert "1 runs, the last of which is r2" in found.text
    assert "repair-timestamps" in found.text
    monkeypatch.setenv("BCDA_HOME", str(home.raw.parent))
    done = CliRunner().invoke(app, ["repair-timestamps"])
    assert done.output.startswith("Repaired the dates of 1 runs and 1 resources."), done.output
    assert ask(home, status) == [("cancelled",)]
    assert ask(home, "SELECT count(*) FROM claim") == [(3,)]
    assert ask(home, "SELECT run_id, until_ts FROM ops.coverage ORDER BY ALL") == [
        ("r1", NOON.replace(tzinfo=None)),
        ("r3", (NOON + 2 * WEEK).replace(tzinfo=None)),
    ]
    assert ask(home, "SELECT transaction_time, list_at FROM ops.export_run WHERE run_id = 'r2'") == [
        ((NOON + WEEK).replace(tzinfo=None), None)
    ]
    run = plan(home, WISH, now=NOON + 3 * WEEK)
    assert run.request.since == NOON, "what the run of 2099 hid is asked for again"
    assert "timestamps" not in {check.name for check in check_storage(home)}
    again = CliRunner().invoke(app, ["repair-timestamps"])
    assert "No changes were made" in again.output
    assert maintenance.rebuild_warehouse(home, home.raw.parent / "anew.duckdb").differing == ()
    assert list(home.warehouse.parent.glob(".*")) == []


@pytest.mark.complete
def test_a_repair_that_fails_leaves_the_working_database_as_it_was(home):
    before = ask(home, "FROM ops.coverage ORDER BY ALL")
    (home.run_folder("r3") / "manifest.json").unlink()
    with pytest.raises(ManifestError):
        maintenance.repair_timestamps(home)
    assert ask(home, "FROM ops.coverage ORDER BY ALL") == before
    assert list(home.warehouse.parent.glob("*repaired*")) == []


def test_a_manifest_of_the_release_before_that_is_dated_in_the_future_is_not_merged(places):
    run, manifest, landed = land(places, [(EOB, claim(1, "2026-11-09T00:00:00Z"))], transaction_time=FAR)
    with pytest.raises(ManifestError, match="2099-01-01T00:00:00Z, which lies in the future"):
        merge_run(places, replace(run, planned_at=NOON), manifest, [landed], now=NOON)


@pytest.mark.parametrize(
    ("ahead", "fails"), [(timedelta(0), False), (LEEWAY, False), (LEEWAY + timedelta(seconds=1), True)]
)
def test_transaction_time_is_measured_by_bcdas_clock(ahead, fails, places):
    run, manifest, _ = land(places, [("Patient", b"")])
    request = f"http://x{protocol.kick_off_path(run.request)}"
    sent = replace(manifest, request_url=request, transaction_time=FAR + ahead, answered_at=FAR)
    if not fails:
        check_manifest(sent, run, "1")
        return
    with pytest.raises(ManifestError, match="would make every later one empty"):
        check_manifest(sent, run, "1")


def test_a_line_that_was_updated_in_the_future_is_quarantined(places):
    wanted = claim(1, "2026-11-11T11:59:00Z") + claim(2, "2026-11-11T12:01:00Z") + claim(3, "not a date")
    run, manifest, _ = land(places, [(EOB, wanted)])
    raw = (places.run_folder(run.run_id) / manifest.files[0].name).read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    receipts = [
        Receipt(f.name, f.kind, f.resource_type, f.url, len(raw), digest, len(wanted), 3) for f in manifest.files
    ]
    landed = land_files(run, replace(manifest, answered_at=NOON), receipts, batch=1, places=places)
    assert [(file.rows_landed, file.lines_quarantined) for file in landed.files] == [(2, 1)]
    files = {file.table: places.lake / file.path for file in landed.lake_files}
    with duckdb.connect() as connection:
        rows = connection.execute(f"SELECT raw_line, reason FROM '{files['quarantine']}'").fetchall()
    assert rows == [(2, "meta.lastUpdated in the future")]


def test_a_list_of_the_future_is_one_that_cannot_be_read():
    def status(current, runout):
        dates = [
            {"timestamp": current, "type": "last_attribution_update"},
            {"timestamp": runout, "type": "last_runout_update"},
        ]
        return protocol.attribution_of(json.dumps({"ingestion_dates": dates}).encode(), as_of=NOON)

    future = status("2099-01-01T00:00:00Z", "2026-07-10T11:02:03Z")
    assert (future.current_at, future.unreadable) == (None, {"current"})
    assert future.of(Scope.GROUP_RUNOUT) == datetime(2026, 7, 10, 11, 2, 3, tzinfo=UTC)
    with pytest.raises(ServerError, match="current list in the future"):
        future.of(Scope.GROUP_ALL)
    assert status("2026-11-05T00:00:00Z", None).unreadable == {"runout"}


def test_a_job_of_the_future_has_no_known_age():
    task = {
        "identifier": [{"value": "42"}],
        "status": "in-progress",
        "input": [{"valueString": "GET http://x/api/v2/Patient/$export"}],
        "executionPeriod": {"start": "2099-01-01T00:00:00Z"},
    }
    body = json.dumps({"entry": [{"resource": task}]}).encode()
    assert [job.created_at for job in protocol.jobs_of(body, as_of=NOON)] == [None]


def test_the_end_of_the_calendar_is_no_trouble():
    end = datetime.max.replace(tzinfo=UTC)
    assert latest_possible(end) == end
    assert not is_future(end, end)


def test_a_stored_manifest_of_the_release_before_can_be_read():
    stored = json.loads(Manifest("1", NOON, "http://x", None, (), NOON, ("count",)).to_bytes())
    assert Manifest.from_bytes(json.dumps(stored).encode()) == Manifest(
        "1", NOON, "http://x", None, (), NOON, ("count",)
    )
    del stored["answered_at"], stored["unknown_fields"]
    assert Manifest.from_bytes(json.dumps(stored).encode()) == Manifest("1", NOON, "http://x", None, ())


def test_a_run_that_is_merged_before_bcdas_time_is_known_believes_its_own_clock(places):
    assert load(places, [(EOB, claim(1, "2026-11-09T00:00:00Z"))]).transaction_time == "2026-11-10T12:00:00Z"
