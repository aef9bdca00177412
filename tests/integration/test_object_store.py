"""Workers that share a bucket and no disk: one fetches, one lands, one merges; on a local S3 server."""

import asyncio
import multiprocessing
import os
import shutil
import stat
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import duckdb
import duckdb_cryptography
import killed_exports
import pyarrow.dataset
import pytest
import stage_process
from killed_exports import ORDER, SERVED, START, Death, Stage
from object_server import BUCKET, S3Server
from plain_export import fetch, planned, run_export

from bcda import export, maintenance
from bcda.api.client import BcdaClient
from bcda.errors import EncryptionError, InvalidRequestError, StorageError
from bcda.model.mapping_version import MAPPING_VERSION
from bcda.runs import job_records
from bcda.runs.folders import folders_of, run_folder
from bcda.runs.job_records import Fact
from bcda.runs.landed import write_landed
from bcda.runs.receipts import parse_receipt
from bcda.runs.run import amend_run
from bcda.runs.shared_folder import SharedRunFolder
from bcda.settings import ConnectionSettings
from bcda.storage import duckdb_files
from bcda.storage.commit_points import CommitPoint, StorePoint
from bcda.storage.files import private_folder
from bcda.storage.object_store import ObjectStore, store_of
from bcda.storage.places import Places
from bcda.warehouse import merged_runs
from bcda_simulator import SimulatorServer, SimulatorSettings
from bcda_simulator.world import World

pytestmark = pytest.mark.complete

FETCHER, LANDER, MERGER = "fetcher", "lander", "merger"
WHERE = {
    "plan": MERGER,
    "kick_off": FETCHER,
    "wait": LANDER,
    "fetch": FETCHER,
    "land": LANDER,
    "merge": MERGER,
    "publish": MERGER,
}


@dataclass(frozen=True)
class Lived:
    """Two weekly exports: on one disk, and by three workers."""

    one_disk: Places
    first_week: Places
    home: Path
    data_requests: Counter[str]

    def worker(self, name, address):
        return replace(Places.below(self.home / name), store=address)


@pytest.fixture(scope="module")
def s3():
    with S3Server() as server:
        yield server


@pytest.fixture(scope="module")
def settings():
    return lambda server: ConnectionSettings(
        server.base_url, server.entity.client_id, server.entity.client_secret, tuning=killed_exports.FAST
    )


def a_week(number, settings, server, place_of):
    server.clock.set(START + timedelta(weeks=number))
    given = {"now": server.clock.now().isoformat()}
    for stage in ORDER:
        if stage.batch < int(given.get("batches", stage_process.BATCHES)):
            given |= stage_process._STAGES[stage.name](stage, given, settings(server), place_of(stage))


def new_server():
    return SimulatorServer(World(people=5, seed=7, history_weeks=12), start=START, settings=SERVED)


@pytest.fixture(scope="module")
def lived(s3, settings, tmp_path_factory):
    home, one_disk = tmp_path_factory.mktemp("workers"), Places.below(tmp_path_factory.mktemp("one") / "home")
    first_week = Places.below(tmp_path_factory.mktemp("first") / "week")
    with new_server() as server:
        a_week(0, settings, server, lambda _: one_disk)
        private_folder(first_week.published.parent)
        shutil.copy(one_disk.published, first_week.published)
        a_week(1, settings, server, lambda _: one_disk)
    before = os.umask(0)
    try:
        with new_server() as server:
            workers = {name: replace(Places.below(home / name), store=s3.address("lived")) for name in WHERE.values()}
            for week in range(2):
                a_week(week, settings, server, lambda stage: workers[WHERE[stage.name]])
            asked = Counter(entry.target for entry in server.requests if entry.endpoint == "data")
    finally:
        os.umask(before)
    return Lived(one_disk, first_week, home, asked)


@pytest.fixture
def copied(lived, s3, tmp_path, request):
    """A copy of bucket and workers that may be harmed; gives the workers by name."""
    prefix = f"copy-{abs(hash(request.node.name)):x}"
    s3.copy("lived", prefix)
    shutil.copytree(lived.home, tmp_path / "workers", symlinks=True)
    return lambda name: replace(Places.below(tmp_path / "workers" / name), store=s3.address(prefix))


def tables(places, least=500):
    found = killed_exports.remains(places, Counter()).tables
    assert sum(map(len, found.values())) > least
    return found


def assert_equal_tables(places, expected, *, but=(), least=500):
    found, expected = tables(places, least), tables(expected, least)
    for name in but:
        found[name] = expected[name]
    assert [name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)] == []


@pytest.mark.complete
def test_three_workers_without_a_common_disk_make_the_tables_of_one_disk(lived, s3):
    merger = lived.worker(MERGER, s3.address("lived"))
    assert_equal_tables(merger, lived.one_disk)
    assert set(lived.data_requests.values()) == {1}
    # The workers had nothing else in common.
    assert not list((lived.home / FETCHER).rglob("*.parquet"))
    assert not list((lived.home / LANDER).rglob("*.duckdb"))
    assert not list((lived.home / MERGER).rglob("*.ndjson.gz"))
    with duckdb.connect(str(merger.published), read_only=True) as connection:
        bodies = connection.execute("SELECT count(*), count(body) FROM resource").fetchall()[0]
    with duckdb.connect(str(lived.one_disk.published), read_only=True) as connection:
        assert connection.execute("SELECT count(*), count(body) FROM resource").fetchall()[0] == bodies


def test_objects_have_the_names_of_the_files(lived, s3):
    def without_runs(names, runs):
        for number, run in enumerate(sorted(runs)):
            names = {name.replace(run, f"run-{number}") for name in names}
        return names

    home = lived.one_disk.raw.parent
    here = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    here = {name for name in here if name.startswith(("raw/", "lake/"))}
    found = without_runs(s3.names("lived"), merged_runs(lived.worker(MERGER, s3.address("lived"))))
    notes = {f"raw/run-{number}/merged.json" for number in range(2)} | {"warehouse.mark"}
    assert found == without_runs(here, merged_runs(lived.one_disk)) | notes


def test_objects_are_the_bytes_of_the_files(lived, s3):
    there = store_of(lived.worker(MERGER, s3.address("lived"))).sizes("")
    assert there == {info.path.removeprefix(f"{BUCKET}/lived/"): info.size for info in s3.infos("lived")}
    local = [path for name in (FETCHER, LANDER) for path in (lived.home / name).rglob("*") if path.is_file()]
    compared = 0
    for path in local:
        name = "/".join(path.relative_to(lived.home).parts[1:])
        if name.endswith((".gz", ".parquet", ".receipt.json")):
            with s3.files().open_input_file(f"{BUCKET}/lived/{name}") as file:
                assert file.read() == path.read_bytes(), name
            compared += 1
    assert compared > 20


@pytest.mark.parametrize("table", ["resource", "claim", "claim_line"])
def test_the_bucket_is_a_plain_hive_partitioned_lake(lived, s3, table):
    lake = pyarrow.dataset.dataset(
        f"{BUCKET}/lived/lake/{table}", filesystem=s3.files(), format="parquet", partitioning="hive"
    )
    assert {"api_version", "export_date"} <= set(lake.schema.names)
    counted = "SELECT api_version, export_date, count(*) FROM {} GROUP BY ALL ORDER BY ALL"
    here = f"read_parquet('{lived.one_disk.lake}/{table}/*/*/*.parquet', hive_partitioning = true, hive_types_autocast = false)"
    with duckdb.connect() as connection:
        connection.register("in_bucket", lake)
        found = connection.execute(counted.format("in_bucket")).fetchall()
        assert found == connection.execute(counted.format(here)).fetchall()
    assert len(found) == 2


def test_a_record_is_uploaded_after_all_that_it_makes_count(lived, s3):
    puts = [
        path.removeprefix(f"/{BUCKET}/lived/")
        for method, path, status in s3.log
        if method == "PUT" and "/lived/" in path
    ]
    first = {name: number for number, name in reversed(list(enumerate(puts)))}
    receipts = [name for name in puts if name.endswith(".receipt.json")]
    assert len(receipts) == sum(lived.data_requests.values())
    for receipt in receipts:
        assert first[receipt.removesuffix(".receipt.json")] < first[receipt]
    merger = lived.worker(MERGER, s3.address("lived"))
    accounts = [account for run in merged_runs(merger) for account in run_folder(merger, run).accounts()]
    assert len(accounts) == 3
    for account in accounts:
        at = first[f"raw/{account.run_id}/landed-{account.batch:03d}.json"]
        assert all(first[f"lake/{file.path}"] < at for file in account.lake_files)


def test_copies_are_readable_by_their_owner_only(lived):
    modes = {stat.S_IMODE(path.stat().st_mode) for path in lived.home.rglob("*") if path.is_file()}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in lived.home.glob("*/**/*") if path.is_dir()}
    assert (modes, folders) == ({0o600}, {0o700})


def test_a_worker_drops_its_copies_of_loaded_runs_and_nobody_else_does(copied):
    fetcher, merger = copied(FETCHER), copied(MERGER)
    assert list(fetcher.raw.iterdir())
    assert folders_of(fetcher).clear_loaded() > 0
    assert not list(fetcher.raw.iterdir())
    before = sorted(merger.raw.parent.rglob("*"))
    assert folders_of(merger).clear_loaded() == 0
    assert sorted(merger.raw.parent.rglob("*")) == before


DEATHS = [
    (Stage("kick_off"), Death(StorePoint.RECORD_UPLOADED, 2)),
    (Stage("kick_off"), Death(CommitPoint.JOB_ACCEPTED)),
    (Stage("fetch", 0), Death(StorePoint.DATA_UPLOADED, 2)),
    (Stage("fetch", 0), Death(CommitPoint.FILE_RECEIPTED, 2)),
    (Stage("fetch", 1), Death(StorePoint.RECORD_UPLOADED, 1)),
    (Stage("land", 0), Death(StorePoint.DATA_BROUGHT, 1)),
    (Stage("land", 0), Death(StorePoint.DATA_UPLOADED)),
    (Stage("land", 1), Death(StorePoint.RECORD_UPLOADED)),
    (Stage("merge"), Death(StorePoint.RECORD_UPLOADED)),
]


def test_killed_between_data_and_record_and_run_again_elsewhere(lived, s3, settings, tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["duckdb", "pyarrow", "stage_process"])
    address = s3.address("killed")
    store, killed, twice, attempts = ObjectStore(address), [], 0, 0

    def attempt(server, stage, given, death):
        nonlocal attempts, twice
        attempts += 1
        # Every try of a stage that may run anywhere runs where nothing of the one before is.
        name = "merger" if stage.name in {"plan", "merge", "publish"} else f"worker-{attempts}"
        there = receipted(store, given.get("run_id", "none"))
        before = len(server.requests)
        theirs, ours = context.Pipe(duplex=False)
        places = replace(Places.below(tmp_path / name), store=address)
        process = context.Process(target=stage_process.run, args=(stage, given, settings(server), places, death, ours))
        process.start()
        ours.close()
        process.join(60)
        twice += sum(server.base_url + entry.target in there for entry in server.requests[before:])
        if process.exitcode == 0:
            return theirs.recv()[0]
        assert process.exitcode == -9
        killed.append((stage, death))
        return {}

    with new_server() as server:
        given = {"now": server.clock.now().isoformat()}
        for stage in ORDER:
            for death in [*(death for at, death in DEATHS if at == stage), Death()]:
                given |= attempt(server, stage, given, death)
        assert list(server.jobs().values()) == ["Completed"]
    assert sorted(killed, key=DEATHS.index) == DEATHS
    assert twice == 0
    assert_equal_tables(replace(Places.below(tmp_path / "merger"), store=address), lived.first_week)


def receipted(store, run_id):
    names = [name for name in store.sizes(f"raw/{run_id}") if name.endswith(".receipt.json")]
    return {parse_receipt(Path(name), store.read(name)).url for name in names}


def test_two_workers_land_the_same_bytes(lived, copied, tmp_path, s3):
    lander = copied(LANDER)
    run = next(iter(merged_runs(copied(MERGER))))
    first = run_folder(lander, run).account(0)
    store_of(lander).delete([f"raw/{run}/landed-000.json"])
    other = replace(Places.below(tmp_path / "other"), store=lander.store)
    assert export.land_batch(other, run, 0, stage_process.BATCHES) == first


def test_retention_works_in_the_bucket_and_receipts_stay(copied, s3):
    merger = copied(MERGER)
    before = s3.names(merger.store.prefix)
    raw = {name for name in before if name.endswith(".ndjson.gz")}
    # Planned in January, asked for when the list had come.
    for run in merged_runs(merger):
        amend_run(merger.run_folder(run), planned_at=START - timedelta(days=40))
        run_folder(merger, run).share("run.json")
    assert maintenance.purge_raw(merger, now=START + timedelta(days=29)).files == 0
    purged = maintenance.purge_raw(merger, now=killed_exports.datetime.now(killed_exports.UTC) + timedelta(days=31))
    assert (purged.runs, purged.files) == (2, len(raw))
    assert s3.names(merger.store.prefix) == before - raw
    # A purged run that someone clears is not landed or merged again.
    for run in merged_runs(merger):
        export.land_batch(copied(LANDER), run, 0, stage_process.BATCHES)


def test_the_working_database_comes_back_from_the_bucket_alone(copied, lived, tmp_path):
    empty = replace(Places.below(tmp_path / "empty"), store=copied(MERGER).store)
    rebuilt = maintenance.rebuild_warehouse(empty, empty.warehouse)
    assert rebuilt.runs == 2
    with pytest.raises(StorageError, match="another place merges"):
        export.publish(empty)
    store_of(empty).delete(["warehouse.mark"])
    export.publish(empty)
    # Checks ran after each load then, and after the last one only now.
    assert_equal_tables(empty, lived.one_disk, but=["ops.dq_result"])


def test_the_lake_comes_back_from_raw_files_in_the_bucket(copied, tmp_path):
    merger = copied(MERGER)
    shutil.rmtree(merger.raw)
    shutil.rmtree(merger.lake)
    rebuilt = maintenance.rebuild_lake(merger, tmp_path / "lake")
    assert (rebuilt.runs, rebuilt.differing, rebuilt.not_rebuilt) == (2, (), ())
    assert rebuilt.rows > 500
    assert not list(merger.raw.rglob("*.ndjson.gz"))


def test_the_view_of_texts_is_complete_after_a_disk_is_lost(copied):
    merger = copied(MERGER)
    shutil.rmtree(merger.lake)
    shutil.rmtree(merger.raw)
    export.publish(merger)
    with duckdb.connect(str(merger.published), read_only=True) as connection:
        texts = connection.execute("SELECT count(body) FROM resource").fetchall()
        assert texts == connection.execute("SELECT count(*) FROM resource_version WHERE is_latest").fetchall()
    assert {path.name for path in merger.lake.iterdir()} == {"resource"}


class KilledError(BaseException):
    pass


def dies(monkeypatch, module, name, count=1):
    """Let the next calls of something end as if the process had been killed there."""
    original, left = getattr(module, name), count

    def dying(*given, **named):
        nonlocal left
        left -= 1
        if left == 0:
            raise KilledError
        return original(*given, **named)

    monkeypatch.setattr(module, name, dying)


@pytest.mark.complete
@pytest.mark.parametrize(
    ("module", "name", "count"),
    [
        (ObjectStore, "write", 1),
        (ObjectStore, "copy", 2),
        (SharedRunFolder, "share", 1),
    ],
    ids=["all is uploaded, nothing noted", "half is copied", "accounts are not"],
)
def test_compaction_in_the_bucket_loses_and_doubles_nothing_wherever_it_is_finished(
    copied, s3, monkeypatch, tmp_path, module, name, count
):
    merger, prefix = copied(MERGER), copied(MERGER).store.prefix
    before, lake = len([n for n in s3.names(prefix) if n.endswith(".parquet")]), rows_in_bucket(s3, prefix)
    with monkeypatch.context() as patch:
        dies(patch, module, name, count)
        with pytest.raises(KilledError):
            maintenance.compact_lake(merger, merged_runs(merger))
    half = rows_in_bucket(s3, prefix)
    assert all(half.get(table, 0) <= rows for table, rows in lake.items())
    # The machine is lost with its copies, all but the working database.
    shutil.rmtree(merger.raw)
    shutil.rmtree(merger.lake)
    maintenance.compact_lake(merger, merged_runs(merger))
    left = s3.names(prefix)
    assert rows_in_bucket(s3, prefix) == lake
    assert len([name for name in left if name.endswith(".parquet")]) < before
    assert not [name for name in left if "compact" in name]
    if name == "copy":
        assert maintenance.rebuild_warehouse(merger, tmp_path / "again.duckdb").differing == ()


@pytest.mark.parametrize(("name", "count"), [("copy", 2), ("delete", 2)], ids=["half is copied", "accounts are shared"])
def test_a_remap_in_the_bucket_is_finished_also_where_all_but_the_database_is_lost(
    copied, s3, monkeypatch, tmp_path, name, count
):
    merger = copied(MERGER)
    prefix = merger.store.prefix
    names, lake = s3.names(prefix), rows_in_bucket(s3, prefix)
    for run_id in merged_runs(merger):
        for account in run_folder(merger, run_id).accounts():
            write_landed(merger.run_folder(run_id), replace(account, mapping_version=0))
            run_folder(merger, run_id).share(f"landed-{account.batch:03d}.json")
    with monkeypatch.context() as patch:
        dies(patch, ObjectStore, name, count)
        with pytest.raises(KilledError):
            maintenance.remap(merger, now=START)
    shutil.rmtree(merger.raw)
    shutil.rmtree(merger.lake)
    assert maintenance.remap(merger, now=START).is_new_database
    assert rows_in_bucket(s3, prefix) == lake
    assert sorted(s3.names(prefix)) == sorted(names)
    accounts = [a for run_id in merged_runs(merger) for a in run_folder(merger, run_id).accounts()]
    assert {account.mapping_version for account in accounts} == {MAPPING_VERSION}
    assert maintenance.rebuild_warehouse(merger, tmp_path / "again.duckdb").differing == ()


def rows_in_bucket(s3, prefix):
    top = f"{BUCKET}/{prefix}/lake"
    return {
        table: pyarrow.dataset.dataset(f"{top}/{table}", filesystem=s3.files(), format="parquet").count_rows()
        for table in {name.split("/")[1] for name in s3.names(prefix) if name.startswith("lake/")}
    }


@pytest.mark.parametrize("killed_at", [1, 2, 3, 4, None])
def test_what_a_job_that_was_given_up_left_is_gone_on_every_worker(s3, settings, tmp_path, monkeypatch, killed_at):
    prefix, chunks = f"given-up-{killed_at}", {"Patient": 3}
    workers = {
        name: replace(Places.below(tmp_path / name), store=s3.address(prefix)) for name in ("one", "two", MERGER)
    }
    one, two, merger = workers.values()
    served = SimulatorSettings(chunk_people=chunks, pending_seconds=0.05, parts_per_second=500)
    with SimulatorServer(World(people=6, seed=7, history_weeks=12), start=START, settings=served) as server:
        run_id = planned(settings(server), merger, resource_types=("Patient",)).run_id
        assert asyncio.run(fetch(settings(server), one, run_id)) == [0, 1]
        # The place that will merge lands the batch that the other job does not have.
        export.land_batch(one, run_id, 0, 2)
        export.land_batch(merger, run_id, 1, 2)
        first = export.read_manifest(one, run_id)
        server.clock.advance(7 * 86_400)
        chunks["Patient"] = 5000

        async def again(places):
            async with BcdaClient(settings(server)) as client:
                job = await export.kick_off(client, places, run_id, stale_job_ids=(first.job_id,))
                while (await client.status(job.job_id)).manifest is None:
                    await asyncio.sleep(0.02)
                await export.save_manifest(client, places, run_id, job.job_id)
                await export.fetch_batch(client, places, run_id, 0, 2)

        if killed_at:
            with monkeypatch.context() as patch:
                dies(patch, ObjectStore, "delete", killed_at)
                with pytest.raises(KilledError):
                    asyncio.run(again(one))
        asyncio.run(again(two))
        assert export.plan_batches(two, run_id, 2) == [0]
        day = export.read_manifest(two, run_id).transaction_time.date()
        assert day != first.transaction_time.date()
        export.land_batch(two, run_id, 0, 2)
        export.merge(merger, run_id, 2, now=START)
        export.publish(merger)
        fresh = Places.below(tmp_path / "fresh")
        run_export(settings(server), fresh, resource_types=("Patient",))
        asked = len(server.requests)
        with pytest.raises(InvalidRequestError, match="is merged into the warehouse"):
            asyncio.run(again(two))
        assert len(server.requests) == asked
    raw = {"run.json", "manifest.json", "merged.json", "landed-000.json"}
    raw |= {"00001-Patient.ndjson.gz", "00001-Patient.ndjson.gz.receipt.json"}
    if killed_at == 1:
        # That deletion was of the record that the job was canceled, and who comes after cannot know that it was not.
        raw.add("job-1-cancelled.json")
    in_bucket = s3.names(prefix)
    assert {name for name in in_bucket if name.startswith("raw/")} == {f"raw/{run_id}/{name}" for name in raw}
    for names in (in_bucket, {path.as_posix() for path in merger.lake.rglob("*.parquet")}):
        assert {name.split("export_date=")[1] for name in names if name.endswith(".parquet")} == {
            f"{day}/{run_id}-000.parquet"
        }
    assert_equal_tables(merger, fresh, least=20)
    maintenance.compact_lake(merger, merged_runs(merger))
    assert maintenance.rebuild_warehouse(merger, tmp_path / "anew.duckdb").differing == ()


def test_a_second_working_database_cannot_grow(copied, settings):
    lander = copied(LANDER)
    before = sorted(lander.raw.iterdir())
    with new_server() as server:
        for refused in (
            lambda: stage_process._plan(Stage("plan"), {}, settings(server), lander),
            lambda: export.merge(lander, before[0].name, stage_process.BATCHES, now=START),
            lambda: export.publish(lander),
            lambda: maintenance.data_status(lander),
            lambda: merged_runs(lander),
        ):
            with pytest.raises(StorageError, match="another place merges"):
                refused()
    assert sorted(lander.raw.iterdir()) == before
    assert not lander.warehouse.exists()


def test_a_deployment_that_gets_a_store_uploads_what_it_has(lived, s3, tmp_path):
    shutil.copytree(lived.one_disk.raw.parent, tmp_path / "home", symlinks=True)
    places = replace(Places.below(tmp_path / "home"), store=s3.address("uploaded"))
    done = maintenance.upload(places)
    assert done.runs == 2
    assert done.raw_files == sum(lived.data_requests.values())
    assert maintenance.upload(places).raw_files == 0
    empty = replace(Places.below(tmp_path / "empty"), store=places.store)
    store_of(empty).delete(["warehouse.mark"])
    maintenance.rebuild_warehouse(empty, empty.warehouse)
    export.publish(empty)
    assert_equal_tables(empty, lived.one_disk, but=["ops.dq_result"])


def test_a_key_is_not_changed_behind_the_stores_back(copied):
    with pytest.raises(InvalidRequestError, match="python -m bcda upload"):
        maintenance.change_key(copied(MERGER), duckdb_cryptography.KEY)


def test_a_fresh_worker_that_lost_the_key_writes_nothing_in_the_clear(s3, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(duckdb_files, "LOAD_CRYPTOGRAPHY", duckdb_cryptography.statement())
    with_key = replace(Places.below(tmp_path / "one"), store=s3.address("encrypted"), key=duckdb_cryptography.KEY)
    fresh = replace(Places.below(tmp_path / "two"), store=with_key.store)
    with new_server() as server:
        run = planned(settings(server), with_key).run_id
        asyncio.run(fetch(settings(server), with_key, run))
    export.land_batch(with_key, run, 0, 2)
    before = s3.names("encrypted")
    with pytest.raises(EncryptionError, match="no key is set"):
        export.land_batch(fresh, run, 1, 2)
    assert s3.names("encrypted") == before
    assert export.land_batch(replace(fresh, key=duckdb_cryptography.KEY), run, 1, 2).lake_files


def test_a_record_of_a_job_is_in_the_bucket_alone(s3, tmp_path):
    triggerer, kicker = (replace(Places.below(tmp_path / name), store=s3.address("records")) for name in ("one", "two"))
    for run, job, fact in (("r1", "7", Fact.CANCELLED), ("r1", "7", Fact.BEGUN), ("r2", "8", Fact.CANCELLED)):
        job_records.note(triggerer, run, job, fact, START)
    assert not triggerer.raw.exists()
    assert job_records.cancelled(kicker) == {"7": START, "8": START}
    assert job_records.read(kicker, "r1", "7", Fact.BEGUN) == START
    assert job_records.read(kicker, "r1", "8", Fact.BEGUN) is None
