"""Retention, compaction, vacuum, health and rebuilding, on exports that really ran."""

import asyncio
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from plain_export import fetch, load, planned, run_export, wish

from bcda import export, maintenance, warehouse
from bcda.errors import CountMismatchError, ManifestError, StorageError
from bcda.landing import KEPT_TABLES
from bcda.maintenance import compaction
from bcda.runs.landed import read_accounts, read_landed, write_landed
from bcda.runs.run import amend_run
from bcda.storage.places import Places
from bcda.warehouse import StatusRow
from bcda_simulator import SimulatorServer
from bcda_simulator.world import World

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def two_weeks(settings_for, tmp_path_factory):
    """A home with two weeks of exports of a small world, two batches each."""
    places = Places.below(tmp_path_factory.mktemp("two-weeks") / "home")
    with SimulatorServer(World(people=12, seed=4, history_weeks=60)) as server:
        settings = settings_for(server)
        run_export(settings, places)
        server.clock.advance(7 * 86_400)
        run_export(settings, places)
    return places.raw.parent


@pytest.fixture
def loaded(two_weeks, places):
    """A copy of that home, which a test may change."""
    shutil.copytree(two_weeks, places.raw.parent, symlinks=True)


def lake_rows(places):
    with duckdb.connect() as connection:
        return {
            table.name: connection.execute(
                "SELECT count(*) FROM read_parquet($files, union_by_name = true)", {"files": f"{table}/*/*/*.parquet"}
            ).fetchall()
            for table in sorted(places.lake.iterdir())
            if table.is_dir()
        }


@pytest.mark.complete
def test_raw_files_go_after_their_time_and_receipts_stay(loaded, places):
    before = sorted(path.name for path in places.raw.rglob("*"))
    assert maintenance.purge_raw(places, now=NOW).files == 0
    assert sorted(path.name for path in places.raw.rglob("*")) == before
    # The second run came a week later.
    purged = maintenance.purge_raw(places, now=NOW + timedelta(days=38))
    assert purged.runs == 2
    assert purged.files == len([name for name in before if name.endswith(".ndjson.gz")])
    assert purged.bytes > 0
    assert sorted(path.name for path in places.raw.rglob("*")) == [n for n in before if not n.endswith(".ndjson.gz")]
    # A purged run that someone clears is not landed or merged again, and nothing fails.
    for folder in places.raw.iterdir():
        for batch in export.plan_batches(places, folder.name, 2):
            export.land_batch(places, folder.name, batch, 2)
        export.merge(places, folder.name, 2, now=NOW)


def test_a_run_that_waited_through_january_keeps_its_raw_files_from_when_it_was_asked_for(serve, settings_for, places):
    asked = datetime(2026, 2, 13, 2, tzinfo=UTC)
    settings = settings_for(serve(start=asked))
    run = export.plan(places, wish(settings, resource_types=("Patient",)), now=asked - timedelta(days=40))
    batches = asyncio.run(fetch(settings, places, run.run_id))
    part = places.run_folder(run.run_id) / ".00002-Patient.ndjson.gz.part"
    part.touch()
    for days in (0, 29):
        assert maintenance.purge_raw(places, now=asked + timedelta(days=days)).files == 0
    # What is not merged is at work for two days at most.
    for hours in (23, 47):
        assert maintenance.purge_raw(places, now=asked + timedelta(hours=hours), kept=timedelta(days=1)).files == 0
    load(places, run.run_id, batches)
    part.touch()
    assert maintenance.purge_raw(places, now=asked + timedelta(hours=25), kept=timedelta(days=1)).files == 2


@pytest.mark.complete
def test_a_run_of_an_adopted_job_is_kept_from_the_time_of_its_manifest(loaded, places):
    for folder in places.raw.iterdir():
        amend_run(folder, asked_at=None, planned_at=NOW - timedelta(days=90))
    newest = max(export.read_manifest(places, folder.name).transaction_time for folder in places.raw.iterdir())
    assert maintenance.purge_raw(places, now=newest + timedelta(days=29)).runs == 1
    assert maintenance.purge_raw(places, now=newest + timedelta(days=30)).runs == 1


@pytest.mark.complete
def test_compaction_leaves_one_file_a_table_and_run_with_the_same_rows(loaded, places, tmp_path):
    before, files = lake_rows(places), len(list(places.lake.rglob("*.parquet")))
    saved = maintenance.compact_lake(places, warehouse.merged_runs(places))
    assert saved > 0
    assert len(list(places.lake.rglob("*.parquet"))) == files - saved
    assert lake_rows(places) == before
    per_table = [(path.parent, path.name.rpartition("-")[0]) for path in places.lake.rglob("*.parquet")]
    assert len(per_table) == len(set(per_table))
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in places.lake.rglob("*.parquet"))
    assert maintenance.compact_lake(places, warehouse.merged_runs(places)) == 0
    assert maintenance.rebuild_warehouse(places, tmp_path / "again.duckdb").differing == ()


@pytest.mark.parametrize(
    "fails_at",
    [
        "replace",
        pytest.param("unlink", marks=pytest.mark.complete),
        pytest.param("write_landed", marks=pytest.mark.complete),
    ],
)
def test_a_compaction_that_is_killed_is_finished_by_the_next(loaded, places, monkeypatch, fails_at):
    before = lake_rows(places)

    class KilledError(BaseException):
        pass

    calls = []

    def killed(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KilledError
        return original(*args, **kwargs)

    owner = compaction if fails_at == "write_landed" else Path
    original = getattr(owner, fails_at)
    with monkeypatch.context() as patch:
        patch.setattr(owner, fails_at, killed)
        with pytest.raises(KilledError):
            maintenance.compact_lake(places, warehouse.merged_runs(places))
    maintenance.compact_lake(places, warehouse.merged_runs(places))
    assert lake_rows(places) == before
    assert not list(places.raw.rglob("compaction.json"))
    assert not [path for path in places.lake.rglob(".*") if path.is_file()]


@pytest.mark.complete
def test_batches_and_compacted_runs_are_remapped_each_under_the_names_they_have(loaded, places, tmp_path):
    first, second = warehouse.merged_runs(places)
    maintenance.compact_lake(places, [first])
    before, names = lake_rows(places), sorted(path.name for path in places.lake.rglob("*.parquet"))
    for run_id in (first, second):
        for account in read_accounts(places.run_folder(run_id)):
            write_landed(places.run_folder(run_id), replace(account, mapping_version=0))
    for path in places.lake.rglob("*.parquet"):
        if path.relative_to(places.lake).parts[0] not in KEPT_TABLES:
            path.write_bytes(b"what nobody reads")
    assert maintenance.remap(places, now=NOW).runs == 2
    assert lake_rows(places) == before
    assert sorted(path.name for path in places.lake.rglob("*.parquet")) == names
    assert [path for path in places.lake.rglob(".*") if path.is_file()] == []
    assert [change for change in maintenance.remap(places, now=NOW).changes if change.differing] == []
    assert maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb").differing == ()


@pytest.mark.complete
def test_a_lake_file_with_other_rows_is_not_compacted(loaded, places):
    folder = next(iter(sorted(places.raw.iterdir())))
    account = read_landed(folder, 0)
    table = next(f for f in account.lake_files if any(o.table == f.table for o in read_landed(folder, 1).lake_files))
    with duckdb.connect() as connection:
        path = str(places.lake / table.path)
        connection.execute(
            f"COPY (FROM read_parquet('{path}', hive_partitioning=false) LIMIT 1) TO '{path}.x' (FORMAT parquet)"
        )
    Path(f"{path}.x").replace(path)
    with pytest.raises(CountMismatchError, match="Rebuild the lake from raw"):
        maintenance.compact_lake(places, warehouse.merged_runs(places))
    assert Path(path).exists()


@pytest.mark.complete
def test_the_lake_is_rebuilt_from_raw_and_the_warehouse_from_the_lake_and_both_are_equal(loaded, places, tmp_path):
    lake = maintenance.rebuild_lake(places, tmp_path / "lake")
    assert (lake.runs, lake.differing, lake.not_rebuilt) == (2, (), ())
    assert lake.rows == sum(rows[0][0] for rows in lake_rows(places).values())
    rebuilt = maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb")
    assert (rebuilt.runs, rebuilt.differing) == (2, ())
    assert rebuilt.rows > lake.rows / 2
    with pytest.raises(ManifestError, match="exists already"):
        maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb")


@pytest.mark.complete
def test_a_lake_that_was_compacted_is_rebuilt_under_the_names_of_its_accounts(loaded, places, tmp_path):
    maintenance.compact_lake(places, warehouse.merged_runs(places))
    names = {path.relative_to(places.lake) for path in places.lake.rglob("*.parquet")}
    lake = maintenance.rebuild_lake(places, tmp_path / "lake")
    assert (lake.runs, lake.differing) == (2, ())
    assert {path.relative_to(tmp_path / "lake") for path in (tmp_path / "lake").rglob("*.parquet")} == names
    # Put into its place, it is what the warehouse is rebuilt from.
    places.lake.rename(tmp_path / "old")
    (tmp_path / "lake").rename(places.lake)
    assert maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb").differing == ()


@pytest.mark.complete
def test_a_store_that_differs_is_named(loaded, places, tmp_path):
    with warehouse.open_warehouse(places.warehouse) as connection:
        connection.execute(
            "UPDATE claim SET paid_amount = paid_amount + 0.01 WHERE claim_id = (SELECT min(claim_id) FROM claim)"
        )
        connection.execute("DELETE FROM roster WHERE patient_id = (SELECT min(patient_id) FROM roster)")
    assert maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb").differing == ("claim", "roster")
    target = next(places.lake.glob("claim_line/*/*/*.parquet"))
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * REPLACE ('0001' AS revenue_code) FROM read_parquet('{target}', hive_partitioning=false)) TO '{target}.x' (FORMAT parquet)"
        )
    Path(f"{target}.x").replace(target)
    assert maintenance.rebuild_lake(places, tmp_path / "lake").differing == ("claim_line",)


@pytest.mark.complete
def test_runs_whose_raw_files_are_gone_are_named(loaded, places, tmp_path):
    maintenance.purge_raw(places, now=NOW + timedelta(days=38))
    rebuilt = maintenance.rebuild_lake(places, tmp_path / "lake")
    assert (rebuilt.runs, len(rebuilt.not_rebuilt)) == (0, 2)


@pytest.mark.complete
def test_vacuum_gives_space_back_and_loses_nothing(loaded, places):
    def contents():
        with duckdb.connect(str(places.warehouse), read_only=True) as connection:
            rows = connection.execute("FROM claim ORDER BY ALL").fetchall()
            views = connection.execute(
                "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
            ).fetchall()
            columns = connection.execute(
                "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() ORDER BY ALL"
            ).fetchall()
        return rows, views, columns

    with warehouse.open_warehouse(places.warehouse) as connection:
        connection.execute("CREATE TABLE ballast AS SELECT hash(i) AS h FROM range(2_000_000) AS t(i)")
        connection.execute("CHECKPOINT").fetchall()
        connection.execute("DROP TABLE ballast")
    before = contents()
    assert warehouse.vacuum(places) > 1_000_000
    assert contents() == before
    assert places.warehouse.stat().st_mode & 0o777 == 0o600
    assert warehouse.vacuum(places) == 0
    assert [path.name for path in places.warehouse.parent.iterdir()] == [places.warehouse.name]


def row(until, missing="", population="current"):
    return StatusRow("v2", population, "Coverage", until and datetime.fromisoformat(until).replace(tzinfo=UTC), missing)


def test_old_data_is_a_failure_except_while_bcda_is_closed():
    def found(status, now):
        at = datetime.fromisoformat(now).replace(tzinfo=UTC)
        return [finding.is_failure for finding in maintenance.check_freshness(status, now=at, limit=timedelta(days=14))]

    assert found([row("2026-11-01")], "2026-11-14") == []
    assert found([row("2026-11-01")], "2026-11-16") == [True]
    assert found([row("2025-12-20")], "2026-01-20") == [False]
    assert found([row("2026-01-01", population="runout")], "2026-11-16") == []
    assert found([row(None, "not loaded from the beginning")], "2026-11-16") == [False]


@pytest.mark.parametrize(
    ("today", "expected"),
    [("2026-03-01", None), ("2026-03-17", False), ("2026-03-31", False), ("2026-04-01", True)],
)
def test_a_secret_is_warned_of_before_day_ninety(today, expected):
    finding = maintenance.check_secret("2026-01-01", today=date.fromisoformat(today))
    assert (finding and finding.is_failure) == expected
    assert maintenance.check_secret("", today=date.fromisoformat(today)) is None


def command(places, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "bcda", *arguments],
        env={"BCDA_HOME": str(places.raw.parent), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.complete
def test_the_commands_say_what_they_did(loaded, places, tmp_path):
    status = command(places, "status")
    assert (status.returncode, status.stdout.count("complete")) == (0, 3)
    assert "files fewer" in command(places, "compact").stdout
    assert command(places, "rebuild-lake", str(tmp_path / "lake")).stdout.endswith("equal\n")
    assert command(places, "rebuild-warehouse", str(tmp_path / "w.duckdb")).stdout.endswith("equal\n")
    refused = command(places, "show", "v3")
    assert refused.returncode == 1
    assert "of which no run is loaded" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_abandoned_run_is_purged_too(serve, settings_for, places):
    settings = settings_for(serve())
    run = planned(settings, places)
    batches = asyncio.run(fetch(settings, places, run.run_id))
    assert maintenance.purge_raw(places, now=NOW + timedelta(days=31)).runs == 1
    with pytest.raises(ManifestError):
        load(Places.below(places.raw.parent), run.run_id, batches)


@pytest.mark.complete
def test_a_warehouse_of_an_older_schema_is_built_anew(loaded, places, tmp_path):
    with warehouse.open_warehouse(places.warehouse) as connection:
        connection.execute("UPDATE ops.schema_info SET schema_version = 1")
    with pytest.raises(StorageError, match="bcda remap"):
        maintenance.data_status(places)
    rebuilt = maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb")
    assert (rebuilt.runs, rebuilt.rows) == (2, 0)
    assert maintenance.remap(places, now=NOW).is_new_database
    assert [row.missing for row in maintenance.data_status(places)] == ["", "", ""]
