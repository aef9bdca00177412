"""What a fault needs besides the server's switchboard: other sources, other places, other processes."""

import asyncio
import ctypes
import json
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
from pooling_proxy import pooling_proxy
from retried_export import Export

from bcda import budgets, export
from bcda.api.client import BcdaClient
from bcda.api.export_request import ExportRequest, Scope
from bcda.runs import canceled_jobs
from bcda.runs.folders import run_folder
from bcda_simulator import Fault, FaultKind
from bcda_simulator.world import World

START = datetime(2026, 11, 10, 12, tzinfo=UTC)
NEXT_WEEK = START + timedelta(weeks=1)
PEOPLE = 12
WITH_COVERAGE = ("Patient", "Coverage", "ExplanationOfBenefit")
GROUP_SINCE = {"scope": Scope.GROUP_ALL, "since": START - timedelta(days=90)}
BOMB_BYTES = 320 << 20
HUGE_LINE = b'{"id":"huge","resourceType":"ExplanationOfBenefit","item":['


WEEKS = 9
"""Weeks of claims in the second week of the matrix."""


def world(weeks: int = WEEKS) -> World:
    """Return the people of the matrix, with claims from the second week of September 2026 when asked in the right week."""
    return World(people=PEOPLE, seed=18, history_weeks=weeks)


# Other sources


class Serving:
    """The world with one more line in the claims' file."""

    def __init__(self, line: Callable[[], Iterator[bytes]]) -> None:
        self._line = line

    def __call__(self) -> World:
        outer = self

        class WithLine(World):
            def lines(self, api_version, resource_type, people, **bounds):
                yield from super().lines(api_version, resource_type, people, **bounds)
                if resource_type == "ExplanationOfBenefit":
                    yield from outer._line()

        return WithLine(people=PEOPLE, seed=18, history_weeks=WEEKS)


def serve_a_gzip_bomb() -> World:
    """Return a world whose claims' file unpacks to a thousand times its size."""
    block = bytes(1 << 20)
    return Serving(lambda: iter([block] * (BOMB_BYTES >> 20)))()


def _huge() -> Iterator[bytes]:
    yield HUGE_LINE + b",".join([b'{"sequence":1}'] * (24 << 16)) + b"]}\n"


def _full_of_elements() -> Iterator[bytes]:
    yield HUGE_LINE + b",".join([b"{}"] * 1_000_000) + b"]}\n"


def _nested() -> Iterator[bytes]:
    yield HUGE_LINE + b"[" * 1_000_000 + b"]" * 1_000_000 + b"]}\n"


def _blank() -> Iterator[bytes]:
    yield b"\n" * 5_000_000


BEYOND_BUDGETS = {
    "longer than 20 MiB": Serving(_huge),
    "with a million elements": Serving(_full_of_elements),
    "with a million levels": Serving(_nested),
}
"""A line among the claims that would take more memory than landing has."""

BLANK_LINES = Serving(_blank)
"""Five million blank lines behind the claims."""


def serve_an_empty_file() -> World:
    """Return a world whose coverage is a file without any line."""

    class Empty(World):
        def lines(self, api_version, resource_type, people, **bounds):
            yield from (
                [b""] if resource_type == "Coverage" else super().lines(api_version, resource_type, people, **bounds)
            )

    return Empty(people=PEOPLE, seed=18, history_weeks=WEEKS)


class Without:
    """The world without any line of one type."""

    def __init__(self, resource_type: str) -> None:
        self._type = resource_type

    def __call__(self) -> World:
        left_out = self._type

        class Less(World):
            def lines(self, api_version, resource_type, people, **bounds):
                if resource_type != left_out:
                    yield from super().lines(api_version, resource_type, people, **bounds)

        return Less(people=PEOPLE, seed=18, history_weeks=9)


def serve_less_than_half_of_the_people() -> World:
    """Return a world whose lists have lost most of their people."""

    class Smaller(World):
        def attribution_lists(self, cms_id, kind, as_of):
            lists = super().attribution_lists(cms_id, kind, as_of)
            return [replace(one, people=one.people[: PEOPLE // 2 - 1]) for one in lists]

    return Smaller(people=PEOPLE, seed=18, history_weeks=9)


class Spoiled:
    """The world whose lines of claims, all of them or the first few, are no JSON."""

    def __init__(self, lines: int) -> None:
        self._lines = lines

    def __call__(self) -> World:
        spoiled = self._lines

        class Unreadable(World):
            def lines(self, api_version, resource_type, people, **bounds):
                for number, line in enumerate(super().lines(api_version, resource_type, people, **bounds)):
                    yield line[1:] if resource_type == "ExplanationOfBenefit" and number < spoiled else line

        return Unreadable(people=PEOPLE, seed=18, history_weeks=9)


def serve_everything_twice() -> World:
    """Return a world with everyone twice on the list, so that each file comes twice."""

    class Twice(World):
        def attribution_lists(self, cms_id, kind, as_of):
            lists = super().attribution_lists(cms_id, kind, as_of)
            return [replace(one, people=_padded(one.people) * 2) for one in lists]

    return Twice(people=PEOPLE, seed=18, history_weeks=WEEKS)


def _padded(people: tuple[str, ...]) -> tuple[str, ...]:
    """Return people repeated to the size of a part, so that the second part begins again."""
    return (people * PEOPLE)[:PEOPLE]


def five_thousand_files() -> World:
    """Return a world with so many people that one file for each makes 5,000."""
    return World(people=5400, seed=18, history_weeks=1)


def _long_line() -> Iterator[bytes]:
    draw = random.Random(5)
    yield b'{"resourceType":"ExplanationOfBenefit","id":"long","text":"'
    for _ in range(200):
        yield (draw.randbytes(4096).hex().encode() * 128)[: 1 << 20]
    yield b'"}\n'


_START = b'{"resourceType":"ExplanationOfBenefit","id":"x1","meta":{"lastUpdated":"2026-11-15T00:00:00Z"}'
BAD_LINES: dict[str, Callable[[], Iterator[bytes]]] = {
    "of 200 MB": _long_line,
    "that is not JSON": lambda: iter([b"{nonsense\n"]),
    "that is truncated": lambda: iter([_START]),
    "that is empty": lambda: iter([b"\n"]),
    "that is not UTF-8": lambda: iter([_START + b',"a":"\xff\xfe"}\n']),
    "of another resource type": lambda: iter([b'{"resourceType":"Patient","id":"x1"}\n']),
    "without an id": lambda: iter([b'{"resourceType":"ExplanationOfBenefit"}\n']),
    "dated in the future": lambda: iter([_START.replace(b"2026-11-15", b"2099-01-01") + b"}\n"]),
    "that is a JSON array": lambda: iter([b"[1,2]\n"]),
}


# Other processes and places


def restart_the_api(one: Export) -> None:
    """Restart the server's process in a moment."""
    if one.memo:
        return
    one.memo.add("restarted")
    threading.Thread(target=one.server.restart, args=(0.2,)).start()
    time.sleep(0.05)


def ask_where_nobody_answers(one: Export) -> Callable[[], object]:
    """Point the connection at an address whose connections are never accepted."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(4):
        knock = socket.socket()
        knock.setblocking(False)
        knock.connect_ex(listener.getsockname())
        waiting.append(knock)
    one.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def undo() -> None:
        one.base_url = ""
        for sock in (*waiting, listener):
            sock.close()

    return undo


class MeasureSpeedOver:
    """Average the speed of downloads over another time than a minute."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, one: Export) -> Callable[[], object]:
        before, budgets.SPEED_SECONDS = budgets.SPEED_SECONDS, self._seconds

        def undo() -> None:
            budgets.SPEED_SECONDS = before

        return undo


def share_connections(one: Export) -> Callable[[], object]:
    """Put a proxy before the server that keeps connections and shares them among all who ask."""
    stack = ExitStack()
    one.base_url, pool = stack.enter_context(pooling_proxy(one.server.base_url))
    one.pool = pool

    def undo() -> None:
        one.base_url, one.pool = "", None
        stack.close()

    return undo


def let_strangers_be_refused(one: Export) -> None:
    """Leave two connections of the shared ones to the handlers that refused someone else's token."""
    for target in ("/data/1/x.ndjson", "/api/v2/jobs"):
        host = one.base_url.removeprefix("http://")
        status, _, _ = one.pool.ask("GET", target, {"Authorization": "Bearer a.b.c", "Host": host})
        assert status in {401, 404}


def lose_a_parameter(one: Export) -> None:
    """Let the job be one whose address was rewritten on the way, so that a parameter of it could not be read."""
    job = one.server.job(int(one.job_id))
    job.request_url = job.request_url.replace("_type=", "_type=%")


def cancel_the_job(one: Export) -> None:
    """Cancel the job as its owner could from elsewhere."""
    one.server.job(int(one.job_id)).cancelled_at = one.server.clock.now()


def start_a_foreign_job(one: Export) -> None:
    """Start a job that brings the same types and asks for something else."""
    request = ExportRequest(one.settings.api_version, Scope.GROUP_ALL, ("Patient", "ExplanationOfBenefit"))

    async def start() -> None:
        async with BcdaClient(one.settings) as client:
            await client.kick_off(request)

    asyncio.run(start())


def leave_a_canceled_job_that_comes_back(one: Export) -> Callable[[], object]:
    """Let the job of a run that was given up come back: it was canceled while its preparation failed."""
    gone = Fault(FaultKind.UPSTREAM_GONE)
    one.server.faults.add(gone)
    given_up = _another(one)
    given_up.run = given_up._plan()
    given_up._with_client(given_up._kick_off)
    given_up._with_client(lambda client: canceled_jobs.cancel(client, one.places, given_up.run.run_id, "1"))
    one.server.faults.active.remove(gone)
    one.server.clock.advance(2)
    assert one.server.jobs()[1] == "Pending"

    def undo() -> None:
        assert one.server.jobs()[1] == "Cancelled"

    return undo


def ask_and_forget(one: Export) -> None:
    """Kick off, and lose what came back, as a killed process does."""

    async def ask() -> None:
        async with BcdaClient(one.settings) as client:
            await export.kick_off(client, one.places, one.run.run_id)

    asyncio.run(ask())


def ask_twice_and_forget(one: Export) -> None:
    """Let two attempts ask at the same instant and die before either has recorded its job."""

    async def ask() -> None:
        async with BcdaClient(one.settings) as client:
            await client.kick_off(one.run.request)
            await client.kick_off(one.run.request)

    run_folder(one.places, one.run.run_id).amend(newest_job_before=0)
    asyncio.run(ask())


def _another(one: Export) -> Export:
    return Export(one.server, one.places, {**one.changes, "full": True}, one.tuning, one.api_version, {})


def merge_another_run_first(one: Export) -> None:
    """Let a second run overtake this one between landing and merging."""
    _another(one).to_the_end()


def merge_another_run_beside(one: Export) -> Callable[[], object]:
    """Let another process merge a second run at the same instant."""
    other = _another(one)
    other.to_the_lake()
    script = (
        "import sys; from datetime import datetime; from pathlib import Path; from bcda import export; from bcda.storage.places import Places\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "export.merge(Places.below(Path(sys.argv[1])), sys.argv[2], 1, now=datetime.fromisoformat(sys.argv[3]))"
    )
    given = [str(one.places.raw.parent), other.run.run_id, one.server.clock.now().isoformat()]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()

    def undo() -> None:
        assert process.wait(30) == 0
        process.stdin.close()
        process.stdout.close()
        with duckdb.connect(str(one.places.warehouse), read_only=True) as connection:
            runs = connection.execute("SELECT run_id FROM ops.export_run").fetchall()
        assert {(one.run.run_id,), (other.run.run_id,)} <= set(runs)

    return undo


_BESIDE = """
import asyncio, json, sys
from datetime import datetime
from pathlib import Path
from bcda import export
from bcda.api.client import BcdaClient
from bcda.storage.places import Places
from bcda.settings import ApiVersion, ConnectionSettings

given = json.loads(sys.argv[1])
places, run_id = Places.below(Path(given["home"])), given["run_id"]

async def fetch():
    async with BcdaClient(ConnectionSettings(*given["connection"], ApiVersion(given["api_version"]))) as client:
        await export.fetch_batch(client, places, run_id, 0, 1)

STAGES = {
    "fetch": lambda: asyncio.run(fetch()),
    "land": lambda: export.land_batch(places, run_id, 0, 1),
    "merge": lambda: export.merge(places, run_id, 1, now=datetime.fromisoformat(given["now"])),
    "publish": lambda: export.publish(places),
}
print("ready", flush=True)
sys.stdin.readline()
STAGES[given["stage"]]()
"""


class AttemptBeside:
    """Another process at the same stage of the same run, as a killed supervisor leaves it."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def __call__(self, one: Export) -> Callable[[], object]:
        given = {
            "home": str(one.places.raw.parent),
            "run_id": one.run.run_id,
            "connection": [one.settings.base_url, one.settings.client_id, one.settings.client_secret],
            "api_version": one.api_version,
            "now": one.server.clock.now().isoformat(),
            "stage": self._stage,
        }
        process = subprocess.Popen(
            [sys.executable, "-c", _BESIDE, json.dumps(given)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()

        def undo() -> None:
            assert process.wait(60) == 0
            process.stdin.close()
            process.stdout.close()

        return undo


def change_a_fetched_file(one: Export) -> None:
    """Fetch everything, then change a byte of a file that no checksum of gzip covers."""
    one._with_client(lambda client: one._fetch(client, 0))
    path = _newest(one.places.run_folder(one.run.run_id).glob("0*.ndjson.gz"))
    content = bytearray(path.read_bytes())
    content[4] ^= 0xFF
    path.write_bytes(content)


class OpenToAll:
    """A folder of the home in which every account can write."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __call__(self, one: Export) -> Callable[[], object]:
        folder = one.places.raw.parent / self._folder
        mode = folder.stat().st_mode
        folder.chmod(0o777)
        return lambda: folder.chmod(mode)


def begin_with_nothing(one: Export) -> None:
    """Remove what earlier weeks have brought."""
    shutil.rmtree(one.places.raw.parent)


def fill_the_disk(one: Export) -> Callable[[], object]:
    """Let every file of this process end after 100 bytes, as if the disk were full there."""
    deadline = time.monotonic() + 10
    # The server shares the process; its files are to be whole.
    while "In Progress" in one.server.jobs().values() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class ReadOnly:
    """A folder of the home that may not be written; the superuser gives up the right to write everywhere first."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __call__(self, one: Export) -> Callable[[], object]:
        home = one.places.raw.parent / self._folder
        folders = [home, *(path for path in home.iterdir() if path.is_dir())] if self._folder == "raw" else [home]
        for folder in folders:
            folder.chmod(0o500)
        restore = _without_superpowers()

        def undo() -> None:
            restore()
            for folder in folders:
                folder.chmod(0o700)

        return undo


def _without_superpowers() -> Callable[[], object]:
    """Give up CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH in this thread; return what takes them back."""
    if os.geteuid() != 0:
        return lambda: None
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    held = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, held) == 0
    fewer = (ctypes.c_uint32 * 6)(*held)
    fewer[0] &= ~0b110
    assert libc.capset(header, fewer) == 0
    return lambda: libc.capset(header, held)


def hold_the_warehouse(one: Export) -> Callable[[], object]:
    """Open the working database in another process, as a person with a shell may."""
    script = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(one.places.warehouse)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"held\n"

    def undo() -> None:
        holder.stdin.close()
        holder.wait(10)
        holder.stdout.close()

    return undo


def _newest(paths: Iterator[Path]) -> Path:
    return max(paths, key=lambda path: path.stat().st_mtime_ns)


def damage_a_raw_file(one: Export) -> None:
    """Flip a byte in the middle of a fetched file."""
    if one.memo:
        return
    one.memo.add("damaged")
    path = _newest(one.places.run_folder(one.run.run_id).glob("0*.ndjson.gz"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def damage_a_lake_file(one: Export) -> None:
    """Cut a Parquet file of the run."""
    path = _newest(one.places.lake.glob(f"claim_line/*/*/{one.run.run_id}-*.parquet"))
    path.write_bytes(path.read_bytes()[:-30])
