import asyncio
import gzip
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from plain_export import planned

from bcda import export
from bcda.api.client import BcdaClient
from bcda.api.manifest import FileKind, OutputFile
from bcda.errors import (
    CredentialsError,
    ExportExpiredError,
    IncompleteFileError,
    NotAllowListedError,
    ServerError,
    StorageError,
)
from bcda.runs import fetch
from bcda.runs.fetch import fetch_batch, verify_gzip
from bcda.runs.receipts import read_receipt
from bcda.storage.commit_points import CommitPoint
from bcda.storage.files import open_own
from bcda_simulator import Fault, FaultKind, SimulatorSettings
from bcda_simulator.world import World

EOB = ("ExplanationOfBenefit",)


async def manifest_of(client, places, settings, types=EOB):
    """Kick off, wait and save the manifest; return it with the run's folder."""
    run = planned(settings, places, resource_types=types)
    job = await export.kick_off(client, places, run.run_id)
    while (await client.status(job.job_id)).manifest is None:
        pass
    manifest = await export.save_manifest(client, places, run.run_id, job.job_id)
    return manifest, places.run_folder(run.run_id)


def at_once(files, settings):
    return replace(settings, tuning=replace(settings.tuning, concurrent_downloads=files))


def data_requests(server):
    return [entry for entry in server.requests if entry.endpoint == "data"]


def stored_bytes(server, manifest):
    """Sizes of the files as the server stores them, with the empty member that a full answer ends with."""
    number = int(manifest.job_id)
    folder = Path(server._simulator.store.folder) / str(number)
    return {file.name: (folder / file.url.rpartition("/")[2]).stat().st_size for file in manifest.files}


async def test_files_are_kept_as_received_and_proved(serve, settings_for, places):
    server = serve()
    async with BcdaClient(settings_for(server)) as client:
        manifest, folder = await manifest_of(client, places, settings_for(server), ("Patient", "ExplanationOfBenefit"))
        receipts = await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id)
    for receipt in receipts:
        raw = (folder / receipt.name).read_bytes()
        text = gzip.decompress(raw)
        assert (receipt.wire_bytes, receipt.content_bytes, receipt.lines) == (len(raw), len(text), text.count(b"\n"))
        assert all(json.loads(line)["resourceType"] == receipt.resource_type for line in text.splitlines())
        assert (folder / receipt.name).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name.partition(".")[0] for path in folder.iterdir()} >= {
        receipt.name.partition(".")[0] for receipt in receipts
    }
    assert not list(folder.glob(".*"))


async def test_a_receipted_file_is_not_requested_again(serve, settings_for, places):
    server = serve()
    async with BcdaClient(settings_for(server)) as client:
        manifest, folder = await manifest_of(client, places, settings_for(server))
        first = await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id)
        before = len(data_requests(server))
        assert await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id) == first
    assert len(data_requests(server)) == before


class KilledError(BaseException):
    pass


async def test_a_fetch_killed_beside_the_receipt_of_another_jobs_file_goes_on(serve, settings_for, places, monkeypatch):
    server = serve()
    settings = settings_for(server)

    def dying(point):
        if point is CommitPoint.FILE_NAMED:
            raise KilledError

    async with BcdaClient(settings) as client:
        manifest, folder = await manifest_of(client, places, settings, ("Patient", "ExplanationOfBenefit"))
        first, second = manifest.files
        (old,) = await fetch_batch(client, [first], folder, job_id=manifest.job_id)
        other = replace(second, name=first.name)
        with monkeypatch.context() as patch:
            patch.setattr(fetch, "reached", dying)
            with pytest.raises(BaseExceptionGroup) as caught:
                await fetch_batch(client, [other], folder, job_id=manifest.job_id)
        assert caught.group_contains(KilledError)
        assert read_receipt(folder, first.name) is None
        (new,) = await fetch_batch(client, [other], folder, job_id=manifest.job_id)
    assert (new.url, new.wire_bytes) == (second.url, (folder / first.name).stat().st_size)
    assert new.wire_sha256 != old.wire_sha256


async def test_a_cut_download_is_resumed_by_range_and_no_byte_comes_twice(serve, settings_for, places):
    server = serve()
    async with BcdaClient(settings_for(server)) as client:
        manifest, folder = await manifest_of(client, places, settings_for(server))
        server.faults.add(Fault(FaultKind.CUT, "data", fraction=0.5, times=1))
        await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id)
    cut, resumed = data_requests(server)
    size = stored_bytes(server, manifest)[manifest.files[0].name]
    assert (cut.status, resumed.status) == (200, 206)
    assert resumed.range_header == f"bytes={cut.body_bytes}-"
    assert cut.body_bytes + resumed.body_bytes == size


@pytest.mark.parametrize("kind", [FaultKind.CUT, FaultKind.RESET])
async def test_a_transfer_that_breaks_off_in_the_empty_member_is_whole(serve, settings_for, places, kind):
    """Ranges do not count the 23 bytes of that member, so that BCDA answers 416 (docs/bcda.md#downloads)."""
    server = serve()
    async with BcdaClient(settings_for(server)) as client:
        manifest, folder = await manifest_of(client, places, settings_for(server))
        server.faults.add(Fault(kind, "data", fraction=1.5, times=1))
        receipts = await fetch_batch(client, manifest.files[:1], folder, job_id=manifest.job_id)
    assert [entry.status for entry in data_requests(server)] == [200, 416]
    assert data_requests(server)[1].range_header == f"bytes={stored_bytes(server, manifest)[receipts[0].name] + 11}-"
    assert receipts[0].wire_bytes == stored_bytes(server, manifest)[receipts[0].name]


@pytest.mark.parametrize(("name", "is_resumed"), [("a.ndjson", True), ("warnings-and-info.ndjson", False)])
def test_the_file_of_warnings_is_never_resumed(tmp_path, name, is_resumed):
    """It is stored plain and compressed on the way, so that ranges would count other bytes than came (docs/bcda.md#downloads)."""
    file = OutputFile("00001-X.ndjson.gz", FileKind.ERROR, "X", f"https://x/data/1/{name}")
    one = fetch._Download(None, file, tmp_path, "1", asyncio.Semaphore(1))
    one._part = open_own(tmp_path / file.name, "part")
    headers = {"Content-Encoding": "gzip", "Accept-Ranges": "bytes", "Last-Modified": "Sat, 01 Jan 2000 00:00:00 GMT"}
    one._remember(httpx.Response(200, headers=headers))
    assert (one._last_modified() is not None) is is_resumed


@pytest.mark.parametrize(
    ("fault", "requests"),
    [
        (Fault(FaultKind.SHORT, "data", fraction=0.5, times=1), 2),
        (Fault(FaultKind.SHORT, "data", fraction=0.999, times=1), 2),
        (Fault(FaultKind.CORRUPT, "data", fraction=0.5, times=1), 2),
        (Fault(FaultKind.EXPIRE_TOKENS, "data", times=1), 2),
        (Fault(FaultKind.ANSWER, "data", status=200, body="html", times=1), 2),
        (Fault(FaultKind.ANSWER, "data", status=429, retry_after="0", times=2), 3),
        (Fault(FaultKind.ANSWER, "data", status=503, times=2), 3),
        (Fault(FaultKind.DROP, "data", times=1), 2),
    ],
    ids=["clean-short-half", "clean-short-end", "flipped-byte", "token-expires", "html-page", "429", "503", "closed"],
)
async def test_a_passing_fault_is_noticed_and_the_file_fetched_again(serve, settings_for, places, fault, requests):
    server = serve()
    async with BcdaClient(settings_for(server)) as client:
        manifest, folder = await manifest_of(client, places, settings_for(server))
        server.faults.add(fault)
        (receipt,) = await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id)
    assert len(data_requests(server)) == requests
    expected = len(gzip.decompress((folder / receipt.name).read_bytes()).splitlines())
    assert receipt.lines == expected > 0


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (Fault(FaultKind.CORRUPT, "data", fraction=0.5), IncompleteFileError, "damaged at BCDA"),
        (Fault(FaultKind.SHORT, "data", fraction=0.5), IncompleteFileError, "stream is short"),
        (Fault(FaultKind.ANSWER, "data", status=500, body="text", text="Internal Server Error\n"), ServerError, "500"),
        (Fault(FaultKind.ANSWER, "data", status=401), CredentialsError, "fresh token"),
    ],
    ids=["corrupt", "short", "500", "401"],
)
async def test_a_lasting_fault_fails_clearly_after_bounded_tries(serve, settings_for, places, fault, error, message):
    server = serve()
    async with BcdaClient(settings_for(server)) as client:
        manifest, folder = await manifest_of(client, places, settings_for(server))
        server.faults.add(fault)
        with pytest.raises(error, match=message):
            await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id)
    assert 1 <= len(data_requests(server)) <= 3
    assert not list(folder.glob("*.receipt.json"))
    assert not list(folder.glob("0*.ndjson.gz"))


async def test_connections_that_are_not_made_among_many_files_cost_a_try_and_no_batch(
    serve, settings_for, places, gate
):
    server = serve(World(people=40, seed=3, history_weeks=20), settings=SimulatorSettings(chunk_people={EOB[0]: 1}))
    settings = at_once(2, settings_for(server))
    async with BcdaClient(settings) as client:
        manifest, folder = await manifest_of(client, places, settings)
        receipts = 0

        def fetched(receipt):
            nonlocal receipts
            receipts += 1
            if receipts == 10:
                gate.refuses = 2

        assert len(manifest.files) > 20
        await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id, on_file=fetched)
    assert (receipts, gate.refused) == (len(manifest.files), 2)


@pytest.mark.parametrize(("refused", "error"), [(3, None), (4, NotAllowListedError)], ids=["for a while", "for good"])
async def test_a_fetch_that_has_just_begun_is_patient_too(serve, settings_for, places, gate, refused, error):
    server = serve()
    settings = settings_for(server)
    async with BcdaClient(settings) as client:
        manifest, folder = await manifest_of(client, places, settings)
    gate.refuses = refused
    async with BcdaClient(settings) as fresh:
        with pytest.raises(error) if error else nullcontext():
            assert len(await fetch_batch(fresh, manifest.files[:1], folder, job_id=manifest.job_id)) == 1


@pytest.mark.parametrize("status", [401, 404])
async def test_a_failing_check_of_the_token_is_no_end_of_the_job(serve, settings_for, places, status):
    """BCDA then answers 500 for the job too, but not in the words for one that failed (docs/bcda.md#token-check)."""
    server = serve()
    async with BcdaClient(settings_for(server)) as client:
        manifest, folder = await manifest_of(client, places, settings_for(server))
        # A 401 is asked again with a fresh token first.
        server.faults.add(Fault(FaultKind.ANSWER, "data", status=status, times=2 if status == 401 else 1))
        tries = settings_for(server).tuning.max_attempts
        server.faults.add(Fault(FaultKind.ANSWER, "status", status=500, text="Internal Error", times=tries))
        receipts = await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id)
    assert len(receipts) == len(manifest.files)
    assert all(fault.times == 0 for fault in server.faults.active)


async def test_a_file_that_failed_waits_as_long_as_the_server_wishes(serve, settings_for, places):
    server = serve()
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    async with BcdaClient(settings_for(server), sleep=sleep) as client:
        manifest, folder = await manifest_of(client, places, settings_for(server))
        server.faults.add(Fault(FaultKind.ANSWER, "data", status=429, retry_after="7", times=1))
        server.faults.add(Fault(FaultKind.SHORT, "data", fraction=0.5, times=1))
        await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id)
    assert len(waits) == 2
    assert waits[0] >= 7
    assert 0 < waits[1] < 1


async def test_a_server_in_trouble_is_asked_by_few_files(serve, settings_for, places):
    server = serve(World(people=40, seed=3, history_weeks=20), settings=SimulatorSettings(chunk_people={EOB[0]: 1}))
    settings = at_once(2, settings_for(server))
    async with BcdaClient(settings) as client:
        manifest, folder = await manifest_of(client, places, settings)
        server.faults.add(Fault(FaultKind.ANSWER, "data", status=503))
        with pytest.raises(ServerError):
            await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id)
    assert len(manifest.files) > 20
    assert len({entry.target for entry in data_requests(server)}) <= 2 * settings.tuning.concurrent_downloads


async def test_no_more_files_come_at_once_than_configured(serve, settings_for, places):
    server = serve(World(people=12, seed=3, history_weeks=20), settings=SimulatorSettings(chunk_people={EOB[0]: 1}))
    settings = at_once(3, settings_for(server))
    async with BcdaClient(settings) as client:
        manifest, folder = await manifest_of(client, places, settings)
        server.faults.add(Fault(FaultKind.DELAY, "data", seconds=0.2))
        started = time.monotonic()
        await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id)
        seconds = time.monotonic() - started
    assert len(manifest.files) > 6
    # More at once would take fewer turns, and each turn lasts at least as long as the server waits.
    assert seconds >= 0.2 * math.ceil(len(manifest.files) / 3)


async def test_files_that_were_cleaned_up_end_the_run(serve, settings_for, places):
    server = serve()
    async with BcdaClient(settings_for(server)) as client:
        manifest, folder = await manifest_of(client, places, settings_for(server), ("Patient", "ExplanationOfBenefit"))
        server.faults.add(Fault(FaultKind.CLEAN_UP, "data", times=1))
        with pytest.raises(ExportExpiredError, match="start a new run"):
            await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id)


async def test_a_folder_that_cannot_be_written_is_a_storage_error(serve, settings_for, places):
    server = serve()
    async with BcdaClient(settings_for(server)) as client:
        manifest, folder = await manifest_of(client, places, settings_for(server))
        # Where the file would be stands a folder: permissions would not stop the superuser.
        (folder / manifest.files[0].name).mkdir()
        with pytest.raises(StorageError):
            await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id)


async def test_a_killed_process_resumes_where_it_stopped(serve, settings_for, places):
    server = serve()
    settings = settings_for(server)
    async with BcdaClient(settings) as client:
        manifest, folder = await manifest_of(client, places, settings)
        name = manifest.files[0].name
        server.faults.add(Fault(FaultKind.SLOW, "data", bytes_per_second=40_000, times=1))
        script = f"""
            import asyncio
            from pathlib import Path
            from bcda.api.client import BcdaClient
            from bcda.runs.fetch import fetch_batch
            from bcda.api.manifest import Manifest
            from bcda.settings import ConnectionSettings
            folder = Path({str(folder)!r})
            manifest = Manifest.from_bytes((folder / "manifest.json").read_bytes())
            async def main():
                settings = ConnectionSettings({settings.base_url!r}, {settings.client_id!r}, {settings.client_secret!r})
                async with BcdaClient(settings) as client:
                    await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id)
            asyncio.run(main())
        """
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
        deadline = time.monotonic() + 20
        while not (parts := list(folder.glob(f".{name}.*.part"))) or parts[0].stat().st_size <= 8192:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        held = parts[0].stat().st_size
        await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id)
    # The server may notice the end of the killed process only after it has served the other.
    ranges = [entry.range_header for entry in data_requests(server) if entry.range_header]
    assert ranges == [f"bytes={held}-"]
    assert read_receipt(folder, name).wire_bytes == stored_bytes(server, manifest)[name]


def test_verify_gzip_reads_every_member(tmp_path):
    member = gzip.compress(b"one\ntwo\n")
    path = tmp_path / "x.gz"
    path.write_bytes(member + gzip.compress(b"three") + bytes.fromhex("1f8b08000000000000ff010000ffff0000000000000000"))
    proof = verify_gzip(path)
    assert (proof.lines, proof.content_bytes) == (3, 13)


@pytest.mark.parametrize("length", [0, 1, 100, 4000, 5000, 300_000])
def test_verify_gzip_counts_lines_whatever_their_length(tmp_path, length):
    path = tmp_path / "x.gz"
    count = max(3, 400_000 // (length + 1))
    for ending, lines in ((b"\n", count), (b"\nend", count + 1)):
        path.write_bytes(gzip.compress(b"\n".join([b"x" * length] * count) + ending))
        assert verify_gzip(path).lines == lines


@pytest.mark.parametrize("cut", range(1, 11), ids=lambda n: f"cut-at-{n}-tenths" if n < 10 else "last-byte")
def test_verify_gzip_refuses_every_cut(tmp_path, cut):
    whole = gzip.compress(b'{"a":1}\n' * 5000)
    path = tmp_path / "x.gz"
    path.write_bytes(whole[: min(len(whole) * cut // 10, len(whole) - 1)])
    with pytest.raises(IncompleteFileError):
        verify_gzip(path)


@pytest.mark.parametrize(
    "content", [b"", b"<html>", gzip.compress(b"x\n") + b"garbage"], ids=["empty", "html", "garbage"]
)
def test_verify_gzip_refuses_what_is_no_gzip(tmp_path, content):
    path = tmp_path / "x.gz"
    path.write_bytes(content)
    with pytest.raises(IncompleteFileError):
        verify_gzip(path)
