"""Rows of an older mapping follow the current one: from the lake alone, run by run, and with any kill in between."""

import gzip
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import duckdb
import pytest
from earlier_code import code_of
from rawfiles import NOON, load
from typer.testing import CliRunner
from worlds import at, export

from bcda import maintenance, warehouse
from bcda.__main__ import app
from bcda.doctor.check import Status
from bcda.doctor.storage import check_storage
from bcda.errors import CountMismatchError, InvalidRequestError, StorageError
from bcda.model.mapping_version import MAPPING_VERSION
from bcda.reporting.overview import read_overview
from bcda.runs.landed import read_accounts
from bcda.settings import ApiVersion
from bcda.storage.commit_points import EVENT, CommitPoint, RemapPoint
from bcda.storage.places import Places
from bcda_simulator.world import World

PROJECT = Path(__file__).resolve().parents[2]
COMMIT = "7d75af7"
"""A release that recorded no version of the mapping."""

PEOPLE = [str(number) for number in range(3)]
RUNS = (("r0", "v2", 40, None), ("r1", "v2", 44, 40), ("r2", "v3", 44, None))
"""Run, API version, week, and the week after which changes are asked for."""

WRONG = {
    "claim.toml": ("money_of(r.payment.amount.value)", "2 * money_of(r.payment.amount.value)"),
    "patient.toml": ("date_of(r.birthDate)", "date_of(r.birthDate) + 1"),
}
"""What the earlier release got wrong: payments, and the day of birth."""

MAKE = f"""
import sys
from pathlib import Path
from bcda.overview import read_overview
from bcda.places import Places
from bcda.settings import ApiVersion
from bcda_simulator.world import World
from rawfiles import NOON, land
from worlds import at, export
from bcda.warehouse import merge_run

places, world = Places.below(Path(sys.argv[1])), World(people=3, seed=11)
for run_id, version, week, after in {RUNS!r}:
    files = export(world, {PEOPLE!r}, week=week, after=after, version=version)
    since = None if after is None else at(after)
    run, manifest, landed = land(places, files, run_id=run_id, version=ApiVersion(version), transaction_time=at(week), since=since)
    (places.run_folder(run_id) / "manifest.json").write_bytes(manifest.to_bytes())
    merge_run(places, run, manifest, [landed], now=max(NOON, manifest.transaction_time))
"""

OTHERWISE = {
    "setting",
    "schema_info",
    "dq_result",
    "suspect_claim",
    "person_change",
    "earlier_person_key",
    "mapping_change",
}
"""Tables that say when and by which release something was done, and not what is in the data."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folder of the home that an earlier release made and whose raw files are purged, and what today's code makes of them."""
    folder = tmp_path_factory.mktemp("earlier")
    code_of(COMMIT, folder / "code", "include", "tests/unit")
    for name, (right, wrong) in WRONG.items():
        path = folder / "code" / "include" / "bcda" / "model" / "declarations" / name
        assert right in path.read_text()
        path.write_text(path.read_text().replace(right, wrong))
    path = os.pathsep.join(str(folder / "code" / part) for part in ("include", "tests/unit"))
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", MAKE, str(folder / "home")], env=environment, check=True)
    old, fresh = Places.below(folder / "home"), Places.below(folder / "fresh")
    for run_id, version, week, after in RUNS:
        paths = sorted(old.run_folder(run_id).glob("*.gz"))
        files = [(path.name[6:].partition(".")[0], gzip.decompress(path.read_bytes())) for path in paths]
        since = None if after is None else at(after)
        load(fresh, files, run_id=run_id, version=ApiVersion(version), transaction_time=at(week), since=since)
        for path in paths:
            path.unlink()
    return old, fresh


@pytest.fixture
def home(made, tmp_path):
    return Places.below(shutil.copytree(made[0].raw.parent, tmp_path / "home"))


@pytest.fixture
def fresh(made):
    return made[1]


def ask(places, query):
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        return connection.execute(query).fetchall()


def contents(places):
    """Return the rows of every table of data and ledger, but for the keys that an earlier release gave to persons.

    And for the hash of raw files: gzip puts the time into them.
    """
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        tables = connection.execute("SELECT schema_name, table_name FROM duckdb_tables() ORDER BY ALL").fetchall()
        return {
            f"{schema}.{table}": Counter(
                map(
                    repr,
                    connection.execute(
                        f"SELECT COLUMNS(lambda c: c NOT IN ('person_key', 'wire_sha256')) FROM {schema}.{table}"
                    ).fetchall(),
                )
            )
            for schema, table in tables
            if table not in OTHERWISE
        }


def lake(places):
    """Return the rows of every lake file by its path."""
    with duckdb.connect() as connection:
        return {
            str(path.relative_to(places.lake)): Counter(
                map(
                    repr,
                    connection.execute(
                        "FROM read_parquet($path, hive_partitioning = false)", {"path": str(path)}
                    ).fetchall(),
                )
            )
            for path in places.lake.rglob("*")
            if path.is_file()
        }


def assert_equal(home, fresh):
    assert lake(home) == lake(fresh)
    found, wanted = contents(home), contents(fresh)
    assert [name for name in wanted if found.get(name) != wanted[name]] == []
    assert found.keys() == wanted.keys()
    assert all(a.mapping_version == MAPPING_VERSION for run in RUNS for a in read_accounts(home.run_folder(run[0])))
    assert [path.name for path in (*home.warehouse.parent.iterdir(), *home.raw.rglob("remap*"))] == [
        home.warehouse.name
    ]


def remap(home):
    return maintenance.remap(home, now=NOON)


def test_a_home_of_an_earlier_release_becomes_what_a_fresh_load_makes(home, fresh):
    keys = "SELECT api_version, patient_id, person_key FROM patient ORDER BY ALL"
    persons, paid = ask(home, keys), ask(home, "SELECT sum(paid_amount) FROM claim WHERE is_current")
    assert warehouse.read_older_runs(home) == len(RUNS)
    assert contents(home)["main.claim"] != contents(fresh)["main.claim"]
    done = remap(home)
    assert (done.runs, done.is_new_database) == (len(RUNS), True)
    assert_equal(home, fresh)
    assert ask(home, keys) == persons
    assert warehouse.read_older_runs(home) == 0
    changes = {(change.measure, change.name): change for change in done.changes}
    patients, coverage, diagnoses = (changes["rows", name] for name in ("patient", "coverage", "claim_diagnosis"))
    assert patients.before == patients.after == patients.differing > 0
    # Coverage has gained columns since, diagnoses have not.
    assert coverage.before == coverage.after == coverage.differing > 0
    assert (diagnoses.before, diagnoses.differing) == (diagnoses.after, 0)
    sums = [change for change in done.changes if change.measure == "paid" and change.after is not None]
    assert len(sums) > 4
    assert all(change.before == 2 * change.after for change in sums)
    assert (sum(change.before for change in sums),) == paid[0]


@pytest.mark.complete
def test_once_all_is_new_nothing_is_done_again_and_the_report_stays(home):
    first = remap(home)
    before = {path: path.stat().st_ino for path in (home.warehouse, *home.lake.rglob("*.parquet"))}
    again = remap(home)
    assert (again.runs, again.is_new_database, again.changes) == (0, False, first.changes)
    assert {path: path.stat().st_ino for path in (home.warehouse, *home.lake.rglob("*.parquet"))} == before


def test_new_runs_land_beside_old_ones_and_the_status_tells_them_apart(home):
    world = World(people=3, seed=11)
    load(home, export(world, PEOPLE, week=46, after=44), run_id="r4", transaction_time=at(46), since=at(44))
    assert ask(home, "SELECT DISTINCT api_version, older_mapping_runs FROM ops.data_status ORDER BY ALL") == [
        ("v2", 2),
        ("v3", 1),
    ]
    assert warehouse.read_older_runs(home) == len(RUNS)


def test_doctor_page_and_command_name_the_remedy(home, monkeypatch):
    (check,) = [check for check in check_storage(home) if check.name == "mapping"]
    assert (check.status, check.text[:46]) == (Status.WARNING, "3 loaded runs have rows that an older mapping ")
    warehouse.publish(home)
    assert (
        read_overview(home).on_older_mapping("other").startswith("3 loaded runs have rows that an older mapping made")
    )
    monkeypatch.setenv("BCDA_HOME", str(home.raw.parent))
    assert "`python -m bcda remap`" in CliRunner().invoke(app, ["status"]).output


def test_too_little_space_is_said_before_anything_changes(home, monkeypatch):
    before = lake(home)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    with pytest.raises(StorageError, match=r"needs \d+ MB .* 1 MB are free. No changes were made"):
        remap(home)
    assert lake(home) == before
    assert warehouse.read_older_runs(home) == len(RUNS)


@pytest.mark.complete
def test_a_home_without_data_and_one_with_damaged_resources_are_refused(home, tmp_path):
    with pytest.raises(InvalidRequestError, match="nothing is loaded"):
        remap(Places.below(tmp_path / "none"))
    (path,) = home.lake.glob("resource/*/*/r1-*.parquet")
    (other,) = home.lake.glob("resource/*/*/r0-*.parquet")
    shutil.copy(other, path)
    with pytest.raises(CountMismatchError, match="its account says"):
        remap(home)


KILL = f"""
import os, signal, sys
point, left = sys.argv[1], int(sys.argv[2])
def hook(event, arguments):
    global left
    if event == {EVENT!r} and arguments[0] == point:
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
from bcda.__main__ import main
sys.argv = ["bcda", "remap"]
main()
"""

KILLS = [
    (RemapPoint.DERIVED, 1),
    (RemapPoint.NOTED, 1),
    (RemapPoint.FILE_EXCHANGED, 1),
    (RemapPoint.FILE_EXCHANGED, 5),
    (RemapPoint.ACCOUNTED, 1),
    (RemapPoint.DERIVED, 1),
    (RemapPoint.LAKE_DONE, 1),
    (CommitPoint.MERGE_COMMITTED, 2),
    (RemapPoint.DATABASE_MADE, 1),
    (RemapPoint.DATABASE_EXCHANGED, 1),
]
"""Each kills the life that goes on after the one before."""


@pytest.mark.complete
def test_killed_at_ten_points_it_ends_as_a_fresh_load(home, fresh):
    environment = {**os.environ, "BCDA_HOME": str(home.raw.parent)}
    for point, times in KILLS:
        life = [sys.executable, "-c", KILL, point.value, str(times)]
        assert subprocess.run(life, env=environment, check=False).returncode == -9, point
    done = subprocess.run(
        [sys.executable, "-m", "bcda", "remap"], env=environment, check=True, capture_output=True, text=True
    )
    assert "patient" in done.stdout
    assert home.published.exists()
    assert_equal(home, fresh)
