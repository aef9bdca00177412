"""A data home of an earlier release, in which a failed look-up of a person is a gap of every requested type."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from earlier_code import code_of
from rawfiles import NOON, load

from bcda import export, maintenance
from bcda.api.export_request import Scope
from bcda.runs.plan import Wish
from bcda.settings import ApiVersion
from bcda.storage.places import Places
from bcda.warehouse import correct_gap_types

COMMIT = "7d75af7"
"""The last one that gave every type to a gap whose text names none."""

MODULES = {
    "bcda.api.export_request": "bcda.export_request",
    "bcda.api.manifest": "bcda.manifest",
    "bcda.runs.landed": "bcda.landed",
    "bcda.runs.receipts": "bcda.receipts",
    "bcda.runs.run": "bcda.runs",
    "bcda.storage.files": "bcda.places",
    "bcda.storage.places": "bcda.places",
}
"""Where today's modules were in that commit."""

EOB = "ExplanationOfBenefit"
MAKE = """
import json, sys
from pathlib import Path
from bcda.places import Places
from rawfiles import NOON, land
from bcda.warehouse import merge_run
from datetime import timedelta

def failed(mbi):
    text = f"Error retrieving BlueButton ID for cclfBeneficiary MBI {mbi}"
    return json.dumps({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "diagnostics": text}]}).encode() + b"\\n"

places = Places.below(Path(sys.argv[1]))
def load(run_id, error, **options):
    files = [("Patient", b""), ("Coverage", b""), ("ExplanationOfBenefit", b""), error]
    run, manifest, landed = land(places, files, run_id=run_id, **options)
    (places.run_folder(run_id) / "manifest.json").write_bytes(manifest.to_bytes())
    merge_run(places, run, manifest, [landed], now=max(NOON, manifest.transaction_time))

week = timedelta(days=7)
load("r1", ("OperationOutcome!Coverage", failed("1AA0")))
load("r2", ("OperationOutcome!Patient", failed("1BB0") + b"no JSON\\n"), since=NOON, transaction_time=NOON + week)
load("r3", ("OperationOutcome!", failed("1CC0")), since=NOON + week, transaction_time=NOON + 2 * week)
"""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A home that the earlier release made: three runs, each with a gap of every type."""
    folder = tmp_path_factory.mktemp("earlier")
    code_of(COMMIT, folder / "code", "include")
    # Its own module of this name cannot give an error file the address of a data file.
    text = (Path(__file__).parent / "rawfiles.py").read_text()
    for today, then in MODULES.items():
        text = text.replace(f"from {today} ", f"from {then} ")
    (folder / "code" / "include" / "rawfiles.py").write_text(text)
    path = str(folder / "code" / "include")
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", MAKE, str(folder / "home")], env=environment, check=True)
    return folder / "home"


@pytest.fixture
def home(earlier, tmp_path):
    return Places.below(shutil.copytree(earlier, tmp_path / "home"))


def gaps(places):
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        return connection.execute(
            "SELECT opened_run_id, mbi, resource_type, closed_run_id FROM ops.gap ORDER BY ALL"
        ).fetchall()


UNKNOWN = [("r3", "1CC0", name, None) for name in ("Coverage", EOB, "Patient")]
CORRECTED = [("r1", "1AA0", "Coverage", None), ("r2", "1BB0", "Patient", None), ("r2", None, "Patient", None), *UNKNOWN]


@pytest.mark.complete
def test_false_gaps_are_removed_when_the_home_is_opened_and_what_nothing_tells_stays(home):
    assert len(gaps(home)) == 12
    for raw in home.raw.rglob("*.gz"):
        raw.unlink()
    maintenance.compact_lake(home, ["r1"])
    wish = Wish(ApiVersion.V2, Scope.PATIENT, ("Patient", "Coverage", EOB))
    export.plan(home, wish, now=datetime.now(UTC))
    assert gaps(home) == CORRECTED
    assert correct_gap_types(home) == 0


@pytest.mark.complete
def test_without_the_manifest_or_the_lake_the_gaps_of_a_run_stay(home):
    (home.run_folder("r1") / "manifest.json").unlink()
    for path in home.lake.rglob("operation_outcome/**/r2-*.parquet"):
        path.unlink()
    before = gaps(home)
    assert correct_gap_types(home) == 0
    assert gaps(home) == before


def test_a_home_of_this_release_needs_no_correction(places, monkeypatch):
    load(places, [("Patient", b"")], transaction_time=NOON + timedelta(days=1))
    monkeypatch.setattr("bcda.warehouse.gap_types._correct", None)
    assert correct_gap_types(places) == 0
