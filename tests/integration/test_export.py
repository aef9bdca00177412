"""Whole exports as plain calls: what is killed, repeated or broken leaves the same tables."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from plain_export import TYPES, fetch, load, planned, run_export, wish

from bcda import export, maintenance, model
from bcda.api.client import BcdaClient
from bcda.api.export_request import format_instant
from bcda.api.manifest import Manifest
from bcda.errors import AttributionMissingError, IncompleteFileError, InvalidRequestError, ManifestError, ServerError
from bcda.runs.coverage import Interval
from bcda.runs.folders import run_folder
from bcda.runs.plan import GapWish, NotNeeded
from bcda.runs.run import read_run
from bcda.storage.files import remove_dead
from bcda.storage.places import Places
from bcda_simulator import Fault, FaultKind, SimulatorServer, SimulatorSettings
from bcda_simulator.world import World

TABLES = [table.relation for table in model.core_tables()]
MANY_FILES = SimulatorSettings(chunk_people={"ExplanationOfBenefit": 1, "Patient": 2, "Coverage": 2})


WEEK = 7 * 86_400


class KilledError(BaseException):
    pass


def longer(*values):
    """Return values of a parameter that are tried by `make test-library` only."""
    return [pytest.param(value, marks=pytest.mark.complete) for value in values]


def dies_at_removal(patch, number):
    """Let the removal with a number, from 0, end as if the process had been killed there."""
    original, left = Path.unlink, number

    def dying(path, *given, **named):
        nonlocal left
        left -= 1
        if left < 0:
            raise KilledError
        return original(path, *given, **named)

    patch.setattr(Path, "unlink", dying)


def files_of(places):
    """Every file below the home with its bytes, but for what BCDA's clock says, which differs in each of its answers."""
    home = places.raw.parent
    return {
        path.relative_to(home): re.sub(rb'"(expires_in_seconds|answered_at)": [^,]+,', b"", path.read_bytes())
        for path in home.rglob("*")
        if path.is_file()
    }


def contents(places):
    """Every core table without the columns that name the run."""
    with duckdb.connect(str(places.published), read_only=True) as connection:
        return {
            table: connection.execute(
                f"SELECT * EXCLUDE ({', '.join(run_columns(connection, table))}) FROM {table} ORDER BY ALL"
            ).fetchall()
            if run_columns(connection, table)
            else connection.execute(f"FROM {table} ORDER BY ALL").fetchall()
            for table in TABLES
        }


def run_columns(connection, table):
    columns = [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
    return [name for name in columns if name.endswith("run_id")]


@pytest.fixture(scope="module")
def world():
    return World(people=8, seed=3, history_weeks=30)


@pytest.fixture(scope="module")
def undisturbed(settings_for, world, tmp_path_factory):
    """Tables of the same export when nothing goes wrong."""
    places = Places.below(tmp_path_factory.mktemp("undisturbed") / "home")
    with SimulatorServer(world, settings=MANY_FILES) as server:
        run_export(settings_for(server), places)
    return contents(places)


def in_a_process(places, settings, body):
    script = textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        from bcda import export
        from bcda.api.client import BcdaClient
        from bcda.storage.places import Places
        from bcda.settings import ConnectionSettings, Tuning
        places = Places.below(Path({str(places.raw.parent)!r}))
        settings = ConnectionSettings({settings.base_url!r}, {settings.client_id!r}, {settings.client_secret!r}, tuning=Tuning(concurrent_downloads=1))
    """) + textwrap.dedent(body)
    return subprocess.Popen([sys.executable, "-c", script])


def kill_when(process, condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.complete
@pytest.mark.parametrize("receipts", [4, *longer(1, 7)])
def test_a_fetch_killed_in_the_middle_fetches_no_receipted_file_again(
    serve, settings_for, places, world, undisturbed, receipts
):
    server = serve(world, settings=MANY_FILES)
    settings = settings_for(server)
    run = planned(settings, places)
    folder = places.run_folder(run.run_id)

    async def prepare():
        async with BcdaClient(settings) as client:
            job = await export.kick_off(client, places, run.run_id)
            while (await client.status(job.job_id)).manifest is None:
                await asyncio.sleep(0.05)
            await export.save_manifest(client, places, run.run_id, job.job_id)

    asyncio.run(prepare())
    server.faults.add(Fault(FaultKind.SLOW, "data", bytes_per_second=400_000))
    killed = in_a_process(
        places,
        settings,
        f"""
        async def main():
            async with BcdaClient(settings) as client:
                await export.fetch_batch(client, places, {run.run_id!r}, 0, 1)
        asyncio.run(main())
        """,
    )
    kill_when(killed, lambda: len(list(folder.glob("*.receipt.json"))) >= receipts)
    server.faults.clear()
    receipted = {
        export.read_receipt(folder, path.name.removesuffix(".receipt.json")).url
        for path in folder.glob("*.receipt.json")
    }
    before = len(server.requests)

    async def again():
        async with BcdaClient(settings) as client:
            await export.fetch_batch(client, places, run.run_id, 0, 1)

    asyncio.run(again())
    asked = {server.base_url + entry.target for entry in server.requests[before:] if entry.endpoint == "data"}
    assert len(receipted) >= receipts
    assert asked
    assert not asked & receipted
    load(places, run.run_id, [0], 1)
    assert contents(places) == undisturbed
    assert list(server.jobs().values()) == ["Completed"]


@pytest.mark.complete
@pytest.mark.parametrize("delay_seconds", [0.05, *longer(0.0, 0.02, 0.1, 0.2)])
def test_a_landing_killed_at_any_time_lands_the_same_when_run_again(
    serve, settings_for, places, world, undisturbed, delay_seconds
):
    settings = settings_for(serve(world, settings=MANY_FILES))
    run = planned(settings, places)
    batches = asyncio.run(fetch(settings, places, run.run_id, 1))
    started = places.raw / "started"
    killed = in_a_process(
        places,
        settings,
        f"Path({str(started)!r}).touch()\nexport.land_batch(places, {run.run_id!r}, 0, 1)\nimport time; time.sleep(60)",
    )
    kill_when(killed, lambda: started.exists() and time.time() >= started.stat().st_mtime + delay_seconds)
    # A table's folder, as engines read it, holds whole files only. What was being written stays in a hidden folder beside it.
    tables = [folder for folder in places.lake.glob("*") if not folder.name.startswith(".")]
    in_tables = [path for folder in tables for path in folder.rglob("*.parquet")]
    assert all(path.name.startswith(run.run_id) for path in in_tables)
    assert all(pq.ParquetFile(path).metadata.num_rows for path in in_tables)
    load(places, run.run_id, batches, 1)
    assert contents(places) == undisturbed


def test_a_corrupt_file_leaves_the_tables_as_they_were(serve, settings_for, places, world):
    server = serve(world, settings=MANY_FILES)
    settings = settings_for(server)
    run_export(settings, places)
    before, ledger = contents(places), covered(places)
    server.clock.advance(14 * 86_400)
    server.faults.add(Fault(FaultKind.CORRUPT, "data"))
    with pytest.raises(IncompleteFileError):
        run_export(settings, places)
    assert contents(places) == before
    assert covered(places) == ledger
    server.faults.clear()
    run_export(settings, places)
    assert len(covered(places)) == 2 * len(ledger)


def covered(places):
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        return connection.execute("FROM ops.coverage ORDER BY ALL").fetchall()


@pytest.mark.complete
def test_two_exports_of_the_same_data_differ_in_nothing(serve, settings_for, places, world, undisturbed):
    settings = settings_for(serve(world, settings=MANY_FILES))
    run_export(settings, places)
    summary = run_export(settings, places, full=True)
    assert contents(places) == undisturbed
    assert {(entry.new, entry.changed) for entry in summary.counts} == {(0, 0)}
    assert sum(entry.unchanged for entry in summary.counts) > 100


@pytest.mark.complete
def test_weekly_steps_arrive_where_one_full_export_does(serve, settings_for, tmp_path):
    world, start = World(people=8, seed=31, history_weeks=400), datetime(2026, 9, 1, tzinfo=UTC)
    steps, whole = Places.below(tmp_path / "steps"), Places.below(tmp_path / "whole")
    server = serve(world, start=start)
    for _ in range(6):
        run_export(settings_for(server), steps)
        server.clock.advance(7 * 86_400)
    run_export(settings_for(server), steps)
    run_export(settings_for(serve(world, start=server.clock.now())), whole)
    assert contents(steps) == contents(whole)


def test_a_job_left_by_a_crash_between_request_and_record_is_adopted(serve, settings_for, places):
    server = serve(settings=SimulatorSettings(pending_seconds=60))
    settings = settings_for(server)
    run = planned(settings, places)

    async def twice():
        async with BcdaClient(settings) as client:
            first = await export.kick_off(client, places, run.run_id)
            return first, await export.kick_off(client, places, run.run_id)

    first, second = asyncio.run(twice())
    assert (first.is_adopted, second.is_adopted) == (False, True)
    assert first.job_id == second.job_id
    assert len(server.jobs()) == 1


@pytest.mark.parametrize("asked", [2, 4])
def test_kick_offs_at_the_same_instant_end_as_one_job(serve, settings_for, places, asked, monkeypatch):
    """As when a task's supervisor is killed and its retry asks beside it: BCDA sees no running job and accepts all."""
    server = serve(settings=SimulatorSettings(pending_seconds=60), faults=[Fault(FaultKind.SAME_INSTANT, "kick-off")])
    settings = settings_for(server)
    run = planned(settings, places)
    send = BcdaClient.kick_off

    async def ask():
        async with BcdaClient(settings) as client:
            return await export.kick_off(client, places, run.run_id)

    async def at_once():
        everyone = asyncio.Barrier(asked)

        async def together(client, request):
            await everyone.wait()
            return await send(client, request)

        with monkeypatch.context() as patch:
            patch.setattr(BcdaClient, "kick_off", together)
            return await asyncio.gather(*(ask() for _ in range(asked)))

    kicked_off = asyncio.run(at_once())
    assert {job.job_id for job in kicked_off} == {"1"}
    assert server.jobs() == {1: "Pending", **dict.fromkeys(range(2, asked + 1), "Cancelled")}
    # Nor does a later attempt take one of those that were canceled, or start another.
    assert asyncio.run(ask()).job_id == "1"
    assert len(server.jobs()) == asked


def test_what_killed_kick_offs_left_ends_as_one_job(serve, settings_for, places):
    server = serve(settings=SimulatorSettings(pending_seconds=60), faults=[Fault(FaultKind.SAME_INSTANT, "kick-off")])
    settings = settings_for(server)
    run = planned(settings, places)

    async def ask():
        async with BcdaClient(settings) as client:
            await client.kick_off(run.request)
            await client.kick_off(run.request)
            return await export.kick_off(client, places, run.run_id)

    run_folder(places, run.run_id).amend(newest_job_before=0)
    assert asyncio.run(ask()).job_id == "1"
    assert server.jobs() == {1: "Pending", 2: "Cancelled"}


async def complete_job(client, places, run):
    """Start the job of a run, wait until it is complete, and return its number."""
    job_id = (await export.kick_off(client, places, run.run_id)).job_id
    while (await client.status(job_id)).manifest is None:
        await asyncio.sleep(0.05)
    return job_id


def test_a_failing_check_of_the_token_is_no_end_of_a_complete_job(serve, settings_for, places):
    """BCDA then answers 500 for the job, as for one that failed (docs/bcda.md#token-check)."""
    server = serve()
    settings = settings_for(server)
    run = planned(settings, places)

    async def save():
        async with BcdaClient(settings) as client:
            job_id = await complete_job(client, places, run)
            for text, times, said in (
                ("Internal Error", settings.tuning.max_attempts, "token service is slow or down"),
                ("Something new", 1, "unknown text, 13 characters; kept in server-text-001.txt"),
            ):
                server.faults.add(Fault(FaultKind.ANSWER, "status", status=500, text=text, times=times))
                with pytest.raises(ServerError, match=said) as caught:
                    await export.save_manifest(client, places, run.run_id, job_id)
                assert caught.value.status == 500
            await export.save_manifest(client, places, run.run_id, job_id)

    asyncio.run(save())
    assert export.plan_batches(places, run.run_id, 2) == [0, 1]


def test_a_job_of_another_request_than_the_runs_is_not_fetched(serve, settings_for, places):
    """As when something between here and BCDA rewrites the address, so that BCDA drops a parameter (docs/bcda.md#kick-off-request)."""
    server = serve()
    settings = settings_for(server)
    run = planned(settings, places)

    async def save():
        async with BcdaClient(settings) as client:
            job_id = await complete_job(client, places, run)
            job = server.job(int(job_id))
            job.request_url = job.request_url.replace("_type=", "_type=%")
            with pytest.raises(
                ManifestError, match=r"_type missing instead of Patient,Coverage,Expl.*Nothing was fetched"
            ):
                await export.save_manifest(client, places, run.run_id, job_id)
            job.request_url = job.request_url.replace("%", "")
            await export.save_manifest(client, places, run.run_id, job_id)

    asyncio.run(save())


def test_a_stale_job_is_cancelled_and_not_adopted(serve, settings_for, places):
    server = serve(settings=SimulatorSettings(pending_seconds=60))
    settings = settings_for(server)
    run = planned(settings, places)

    async def cleared():
        async with BcdaClient(settings) as client:
            first = await export.kick_off(client, places, run.run_id)
            return await export.kick_off(client, places, run.run_id, stale_job_ids=(first.job_id,))

    assert asyncio.run(cleared()).is_adopted is False
    assert server.jobs() == {1: "Cancelled", 2: "Pending"}


@pytest.mark.complete
def test_what_had_landed_from_a_job_that_was_given_up_is_landed_anew(serve, settings_for, places, tmp_path):
    server = serve(World(people=8, seed=3, history_weeks=30))
    settings = settings_for(server)
    run = planned(settings, places)

    async def again(job_id):
        async with BcdaClient(settings) as client:
            return await export.kick_off(client, places, run.run_id, stale_job_ids=(job_id,))

    batches = asyncio.run(fetch(settings, places, run.run_id))
    for batch in batches:
        export.land_batch(places, run.run_id, batch, 2)
    # A person clears `kick_off` before the merge, as some errors say; BCDA has new claims by then.
    given_up = export.read_manifest(places, run.run_id).job_id
    server.clock.advance(14 * 86_400)
    assert asyncio.run(again(given_up)).job_id != given_up
    load(places, run.run_id, asyncio.run(fetch(settings, places, run.run_id)))
    fresh = Places.below(tmp_path / "fresh")
    run_export(settings, fresh)
    assert contents(places) == contents(fresh)


class GivenUp:
    """A run of which two batches have landed, whose `kick_off` is cleared then: another job is complete at BCDA."""

    def __init__(self, serve, settings_for, places, days=7):
        chunks = {"Patient": 5}
        self.server = serve(World(people=8, seed=3, history_weeks=30), settings=SimulatorSettings(chunk_people=chunks))
        self.settings, self.places = settings_for(self.server), places
        self.run_id = planned(self.settings, places, resource_types=("Patient",)).run_id
        batches = asyncio.run(fetch(self.settings, places, self.run_id))
        assert batches == [0, 1]
        for batch in batches:
            export.land_batch(places, self.run_id, batch, 2)
        first = export.read_manifest(places, self.run_id).job_id
        # What dies in the middle leaves temporary files, and one of the second batch will not be written again.
        lake_file = next(places.lake.glob("patient/*/*/*-001.parquet"))
        lake_file.with_name(f".{lake_file.name}.tmp").touch()
        (places.run_folder(self.run_id) / ".00002-Patient.ndjson.gz.part").touch()
        chunks["Patient"] = 5000
        self.is_another_day = days > 0
        self.server.clock.advance(days * 86_400)
        self.job_id = asyncio.run(self._kick_off(first))

    async def _kick_off(self, first):
        async with BcdaClient(self.settings) as client:
            job = await export.kick_off(client, self.places, self.run_id, stale_job_ids=(first,))
            while (await client.status(job.job_id)).manifest is None:
                await asyncio.sleep(0.05)
            return job.job_id

    def wait(self, places):
        """What the task after `kick_off` does."""

        async def save():
            async with BcdaClient(self.settings) as client:
                return await export.save_manifest(client, places, self.run_id, self.job_id)

        return asyncio.run(save())


@pytest.fixture(params=[0, 7], ids=["the same day", "another day"])
def given_up(request, serve, settings_for, places):
    return GivenUp(serve, settings_for, places, request.param)


def finish(given_up, places):
    """From the manifest to the published database."""
    load(places, given_up.run_id, asyncio.run(fetch_stored(given_up.settings, places, given_up.run_id)))


async def fetch_stored(settings, places, run_id):
    batches = export.plan_batches(places, run_id, 2)
    async with BcdaClient(settings) as client:
        for batch in batches:
            await export.fetch_batch(client, places, run_id, batch, 2)
    return batches


@pytest.mark.complete
def test_a_job_with_fewer_batches_leaves_nothing_of_the_job_before(given_up, places, tmp_path):
    before = export.read_manifest(places, given_up.run_id).transaction_time
    assert (given_up.wait(places).transaction_time.date() != before.date()) == given_up.is_another_day
    finish(given_up, places)
    fresh = Places.below(tmp_path / "fresh")
    run_export(given_up.settings, fresh, resource_types=("Patient",))
    assert contents(places) == contents(fresh)
    names = {path.name for path in places.run_folder(given_up.run_id).iterdir()}
    raw = {"00001-Patient.ndjson.gz", "00001-Patient.ndjson.gz.receipt.json"}
    assert names == raw | {"run.json", "manifest.json", "landed-000.json", "merged.json"}
    assert len({path.name for path in places.lake.rglob("*") if path.is_file()}) == 1
    with duckdb.connect(str(places.published), read_only=True) as connection:
        rows = connection.execute("SELECT resource_id, body ->> '$.id' FROM resource").fetchall()
    assert len(rows) == len(contents(fresh)["patient"]) > 5
    assert [row for row in rows if row[0] != row[1]] == []
    with duckdb.connect() as connection:
        lake = connection.execute(f"SELECT count(*) FROM '{places.lake}/resource/*/*/*.parquet'").fetchall()
    assert lake == [(len(rows),)]
    maintenance.compact_lake(places, [given_up.run_id])
    assert maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb").differing == ()


def test_forgetting_a_job_that_is_killed_is_finished_by_the_next_try(serve, settings_for, tmp_path, monkeypatch):
    given_up = GivenUp(serve, settings_for, Places.below(tmp_path / "home"))

    def copied(name):
        shutil.copytree(tmp_path / "home", tmp_path / name, symlinks=True)
        return Places.below(tmp_path / name)

    undisturbed = copied("undisturbed")
    given_up.wait(undisturbed)
    expected = files_of(undisturbed)
    assert {path.name for path in expected} == {"run.json", "manifest.json"}
    for step in count():
        places = copied(f"killed-{step}")
        with monkeypatch.context() as patch:
            dies_at_removal(patch, step)
            try:
                given_up.wait(places)
            except KilledError:
                # Until it is done, the manifest says that there is something to do.
                assert export.read_manifest(places, given_up.run_id).job_id != given_up.job_id
            else:
                break
        given_up.wait(places)
        # What the kill left of the manifest's own file goes with the merge.
        remove_dead(places.run_folder(given_up.run_id))
        assert files_of(places) == expected
    assert step > 8


def test_the_manifest_of_a_job_is_kept_when_it_comes_in_another_order(serve, settings_for, places):
    settings = settings_for(serve(settings=MANY_FILES))
    run = planned(settings, places)
    asyncio.run(fetch(settings, places, run.run_id))
    path = places.run_folder(run.run_id) / "manifest.json"
    stored = Manifest.from_bytes(path.read_bytes())
    urls = [file.url for file in stored.files]
    turned = replace(
        stored, files=tuple(replace(file, url=url) for file, url in zip(stored.files, reversed(urls), strict=True))
    )
    path.write_bytes(turned.to_bytes())

    async def again():
        async with BcdaClient(settings) as client:
            return await export.save_manifest(client, places, run.run_id, stored.job_id)

    assert asyncio.run(again()) == turned
    assert path.read_bytes() == turned.to_bytes()


def test_a_loaded_run_is_not_kicked_off_again(serve, settings_for, places):
    server = serve()
    settings = settings_for(server)
    run_id = run_export(settings, places, resource_types=("Patient",)).run_id
    before, asked = sorted(places.raw.parent.rglob("*")), len(server.requests)

    async def again():
        async with BcdaClient(settings) as client:
            await export.kick_off(client, places, run_id, stale_job_ids=("1",))

    with pytest.raises(InvalidRequestError, match="clear `plan` with everything after it, which plans a new run"):
        asyncio.run(again())
    assert len(server.requests) == asked
    assert sorted(places.raw.parent.rglob("*")) == before


def test_a_manifest_of_another_job_does_not_take_the_place_of_a_loaded_one(given_up, places):
    export.merge(places, given_up.run_id, 2, now=datetime.now(UTC))
    before = files_of(places)
    with pytest.raises(InvalidRequestError, match="is merged into the warehouse"):
        given_up.wait(places)
    assert files_of(places) == before


def test_a_plan_follows_coverage_and_says_when_nothing_is_needed(serve, settings_for, places):
    settings = settings_for(serve())
    assert planned(settings, places).request.since is None
    summary = run_export(settings, places)
    run = planned(settings, places)
    assert run.request.to_json()["since"] == summary.transaction_time
    until = run.request.since
    covered_interval = Interval(datetime(2026, 1, 1, tzinfo=UTC), until)
    asked = wish(settings, interval=covered_interval)
    skipped = export.plan(places, asked, now=datetime.now(UTC))
    assert isinstance(skipped, NotNeeded)
    assert "is covered for Patient, Coverage, ExplanationOfBenefit" in skipped.reason
    assert planned(settings, places, interval=covered_interval, force=True).request.since == covered_interval.since
    assert planned(settings, places, full=True).request.since is None
    assert planned(settings, places, since=datetime(2026, 2, 2, tzinfo=UTC)).request.since == datetime(
        2026, 2, 2, tzinfo=UTC
    )


@pytest.mark.complete
def test_a_short_outage_is_asked_for_again_for_its_type_from_the_oldest_gap_on(serve, settings_for, places):
    world = World(people=12, seed=21, history_weeks=400)
    server = serve(world)
    settings = settings_for(server)
    first = run_export(settings, places)
    server.clock.advance(WEEK)
    server.faults.add(Fault(FaultKind.SHORT_OUTAGE, resource_type="ExplanationOfBenefit", times=1))
    second = run_export(settings, places)
    assert (first.gaps, second.gaps) == (0, 1)
    server.clock.advance(WEEK)

    def of_gaps(sql):
        with duckdb.connect(str(places.published), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    assert of_gaps("SELECT DISTINCT resource_type FROM ops.open_gap") == [("ExplanationOfBenefit",)]
    regular = planned(settings, places).request
    assert (regular.resource_types, format_instant(regular.since)) == (TYPES, second.transaction_time)
    again = planned(settings, places, gaps=GapWish()).request
    assert (again.resource_types, format_instant(again.since)) == (("ExplanationOfBenefit",), first.transaction_time)
    run_export(settings, places)
    run_export(settings, places, gaps=GapWish())
    assert of_gaps("FROM ops.open_gap") == []
    assert isinstance(export.foresee(places, wish(settings, gaps=GapWish())), NotNeeded)
    ((mbi, claims),) = of_gaps(
        "SELECT g.mbi, count(DISTINCT c.claim_id) FROM ops.gap AS g JOIN patient AS p ON p.mbi_current = g.mbi "
        "JOIN claim AS c ON c.patient_id = p.patient_id GROUP BY ALL"
    )
    now = server.clock.now()
    (missed,) = [p for p in world.attribution_lists("A9999", "all", now)[-1].people if world.mbi(p, now) == mbi]
    assert claims == sum(world.expected(now, people=[missed]).claims.values())


@pytest.mark.complete
def test_nothing_in_raw_or_lake_names_a_person(serve, settings_for, places, world):
    run_export(settings_for(serve(world)), places)
    with duckdb.connect(str(places.published), read_only=True) as connection:
        private = [row[0] for row in connection.execute("SELECT id_value FROM patient_identifier").fetchall()]
    names = [str(path.relative_to(places.raw.parent)) for path in Path(places.raw.parent).rglob("*")]
    assert private
    assert not [name for name in names for value in private if value in name]


def test_people_in_an_error_file_that_no_manifest_lists_are_noticed(serve, settings_for, places):
    chunks = {"ExplanationOfBenefit": 50, "Patient": 5000, "Coverage": 5, "Claim": 4000, "ClaimResponse": 4000}
    server = serve(
        World(people=15, seed=3, history_weeks=20),
        settings=SimulatorSettings(chunk_people=chunks, failure_threshold=2.0),
        faults=[Fault(FaultKind.PEOPLE_FAIL, people=tuple(range(5)), resource_type="Coverage")],
    )
    # Each part of five people fails as a whole, so no part has a data file and BCDA lists no error file.
    summary = run_export(settings_for(server), places)
    assert summary.gaps == 0
    with duckdb.connect(str(places.published), read_only=True) as connection:
        row = connection.execute(
            "SELECT people_on_list, people_with_data, missing FROM ops.data_status WHERE resource_type = 'Coverage'"
        ).fetchall()[0]
    assert row[1] == 0
    assert row[2] == f"{row[0]} people without any Coverage, which BCDA did not report"


def test_a_run_that_waited_is_made_from_the_list_that_came_in_the_meantime(serve, settings_for, places):
    server = serve(World(people=6, seed=3, history_weeks=20), start=datetime(2026, 1, 20, tzinfo=UTC))
    settings = settings_for(server)
    run = planned(settings, places)

    async def twice():
        async with BcdaClient(settings) as client:
            with pytest.raises(AttributionMissingError):
                await export.kick_off(client, places, run.run_id)
            server.clock.set(datetime(2026, 2, 13, tzinfo=UTC))
            await export.kick_off(client, places, run.run_id)

    asyncio.run(twice())
    assert read_run(places.run_folder(run.run_id)).list_at == datetime(2026, 2, 12, 15, 31, 27, tzinfo=UTC)
