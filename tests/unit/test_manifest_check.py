"""The manifest is the one that the run asked for, and whole."""

import json
from dataclasses import replace
from datetime import timedelta

import duckdb
import pytest
from rawfiles import NOON, land

from bcda.api import protocol
from bcda.errors import ManifestError
from bcda.runs.manifest_check import check_manifest
from bcda.runs.plan import Wish, decide
from bcda.runs.run import read_run, write_run
from bcda.warehouse import merge_run

BASE = "http://x"


def sent(**changes):
    """A manifest with the fields of the real server in every version (docs/bcda.md#manifest), and some others."""
    document = {
        "transactionTime": "2026-11-10T12:00:00Z",
        "request": f"{BASE}/api/v2/Patient/$export?_type=Patient",
        "requiresAccessToken": True,
        "output": [{"type": "Patient", "url": f"{BASE}/data/1/a.ndjson"}],
        "error": [],
        "JobID": 1,
        **changes,
    }
    return protocol.manifest_of(json.dumps(document).encode(), base_url=BASE, expires_in=None)


def test_what_is_not_known_in_a_manifest_is_named_and_counted(places):
    assert sent().unknown_fields == ()
    file = {"type": "Patient", "url": f"{BASE}/data/1/a.ndjson", "count": 5}
    unknown = sent(output=[file, {**file, "url": f"{BASE}/data/1/b.ndjson"}], organized={}).unknown_fields
    assert unknown == ("organized", "output[].count")
    for number in (1, 2):
        run, manifest, landed = land(places, [("Patient", b"")], run_id=f"r{number}")
        merge_run(places, run, replace(manifest, unknown_fields=unknown[:number]), [landed], now=NOON)
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        rows = connection.execute("SELECT resource_type, path, first_run_id, occurrences FROM ops.drift ORDER BY path")
        assert rows.fetchall() == [("Manifest", "organized", "r1", 2), ("Manifest", "output[].count", "r2", 1)]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"link": []}, ""),
        ({"link": [{"relation": "next", "url": f"{BASE}/2"}]}, "further one in `link`"),
        ({"outputFormat": "application/fhir+ndjson"}, ""),
        ({"outputFormat": "application/parquet"}, "`outputFormat` other than NDJSON"),
        ({"outputFormat": 7}, "`outputFormat` other than NDJSON"),
    ],
)
def test_a_part_of_a_manifest_and_another_format_are_refused(fields, said):
    if said:
        with pytest.raises(ManifestError, match=said):
            sent(**fields)
    else:
        assert sent(**fields).unknown_fields == ()


@pytest.fixture
def run(places):
    planned, _, _ = land(places, [("Patient", b"")])
    return planned


def test_a_manifest_of_another_job_or_request_is_refused(run):
    check_manifest(sent(), run, "1")
    with pytest.raises(ManifestError, match="status request for job 2 with the manifest of job 1"):
        check_manifest(sent(), run, "2")
    with pytest.raises(ManifestError, match="does not match the request"):
        check_manifest(sent(request=f"{BASE}/api/v2/Group/all/$export?_type=Patient"), run, "1")
    check_manifest(sent(request=f"{BASE}/api/v2/Patient/$export"), run, "1", is_of_run=False)


def test_an_export_that_continues_another_cannot_end_before_it(run, places):
    """BCDA answers a `since` after its last load of data with the time of that load (docs/bcda.md#time-windows)."""
    since = NOON + timedelta(days=1)
    request = replace(run.request, since=since)
    chosen, follows = replace(run, request=request), replace(run, request=request, follows_coverage=True)
    manifest = sent(request=f"{BASE}{protocol.kick_off_path(request)}")
    check_manifest(manifest, chosen, "1")
    check_manifest(replace(manifest, transaction_time=since), follows, "1")
    with pytest.raises(ManifestError, match="gone back in time"):
        check_manifest(manifest, follows, "1")
    write_run(places.run_folder("r1"), follows)
    assert read_run(places.run_folder("r1")) == follows
    written = json.loads((places.run_folder("r1") / "run.json").read_bytes())
    del written["follows_coverage"]
    (places.run_folder("r1") / "run.json").write_text(json.dumps(written))
    assert read_run(places.run_folder("r1")) == chosen


def test_only_what_follows_the_ledger_is_held_to_it(run):
    wish = Wish(run.request.api_version, run.request.scope, ("Patient",), since=NOON)
    assert not decide(wish, {}, None).follows_coverage
