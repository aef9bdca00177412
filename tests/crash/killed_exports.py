"""Exports whose processes are killed with SIGKILL again and again, compared with an export that nobody disturbed.

`python tests/crash/killed_exports.py --kills 5000` runs it on demand; the seed is printed and can be given again.
"""

import argparse
import gzip
import multiprocessing
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "tests" / folder) for folder in ("crash", "integration", "unit")]

import duckdb  # noqa: E402
import stage_process  # noqa: E402
from stage_process import ORDER, Death, Stage  # noqa: E402

from bcda.privacy.server_text import KEPT_PATTERN  # noqa: E402
from bcda.runs.receipts import read_receipt  # noqa: E402
from bcda.settings import ConnectionSettings, Tuning  # noqa: E402
from bcda.storage.places import Places  # noqa: E402
from bcda_simulator import SimulatorServer, SimulatorSettings  # noqa: E402
from bcda_simulator.world import World  # noqa: E402

MANY_KILLS = 100
"""From this number on, each stage is killed three times at drawn places; below, once."""
START = datetime(2026, 11, 10, 12, tzinfo=UTC)
WEEKS = 2
SERVED = SimulatorSettings(
    chunk_people={"ExplanationOfBenefit": 2, "Patient": 3, "Coverage": 3}, pending_seconds=0.05, parts_per_second=500
)
FAST = Tuning(backoff_initial_seconds=0.02, backoff_max_seconds=0.1, concurrent_downloads=2)
VOLATILE = re.compile(
    r"run_id$|^source_id$|^job_id$|^(started|finished|asked)_at$|^known_until$|^wire_bytes$|^wire_sha256$"
)
"""Columns that name the source, the run, its job, or the second at which it ran; and the bytes on the wire: a resumed file lacks the
empty gzip member that the server adds to a whole one."""


@dataclass(slots=True)
class Tally:
    """What a number of lives came to."""

    kills: int = 0
    lives: int = 0
    by_place: Counter[str] = field(default_factory=Counter)
    longest_recovery_seconds: float = 0.0
    longest_recovery_after: str = ""
    differences: list[str] = field(default_factory=list)
    refetched: int = 0
    jobs_left_alive: int = 0


@dataclass(frozen=True, slots=True)
class Remains:
    """All that an export leaves: rows of every table, files below the home, states of the server's jobs."""

    tables: dict[str, list[tuple[object, ...]]]
    files: frozenset[str]
    contents: Counter[bytes]
    jobs: Counter[str]


class Life:
    """One home and one server, with two weekly exports."""

    def __init__(self, home: Path, draw: random.Random, tally: Tally, *, drawn_per_stage: int) -> None:
        self.places = Places.below(home)
        self._draw = draw
        self._tally = tally
        self._drawn_per_stage = drawn_per_stage
        self._context = multiprocessing.get_context("forkserver")
        self.points: list[tuple[Stage, str]] = []
        self.seconds: dict[str, float] = {}

    def live(self, deaths: list[tuple[Stage, Death]]) -> Remains:
        """Run the exports; the given deaths come first, then drawn ones."""
        with SimulatorServer(World(people=5, seed=7, history_weeks=12), start=START, settings=SERVED) as server:
            self._server = server
            self._settings = ConnectionSettings(
                server.base_url, server.entity.client_id, server.entity.client_secret, tuning=FAST
            )
            for week in range(WEEKS):
                server.clock.set(START + timedelta(weeks=week))
                given = {"now": server.clock.now().isoformat()}
                for stage in ORDER:
                    if stage.batch >= int(given.get("batches", stage_process.BATCHES)):
                        continue
                    wanted = [death for at, death in deaths if at == stage] if week == self._tally.lives % WEEKS else []
                    given |= self._to_the_end(stage, given, wanted)
            return remains(self.places, Counter(server.jobs().values()))

    def _to_the_end(self, stage: Stage, given: dict[str, str], wanted: list[Death]) -> dict[str, str]:
        drawn = [self._draw_death(stage) for _ in range(self._drawn_per_stage)]
        killed_at, died_of = 0.0, ""
        for death in [*wanted, *drawn, Death()]:
            started = time.monotonic()
            done = self._attempt(stage, given, death)
            if done is None:
                killed_at, died_of = killed_at or time.monotonic(), f"{stage}: {death}"
                continue
            result, points = done
            self.points += [(stage, point) for point in points]
            self.seconds.setdefault(stage.name, time.monotonic() - started)
            if killed_at and (took := time.monotonic() - started) > self._tally.longest_recovery_seconds:
                self._tally.longest_recovery_seconds, self._tally.longest_recovery_after = took, died_of
            return result
        raise AssertionError("an undisturbed attempt was killed")

    def _draw_death(self, stage: Stage) -> Death:
        if self._draw.random() < 0.5:
            return Death("files", self._draw.randint(1, 12))
        return Death(after_seconds=self._draw.uniform(0.0, 0.6))

    def _attempt(self, stage: Stage, given: dict[str, str], death: Death) -> tuple[dict[str, str], list[str]] | None:
        """Run a stage in a process; return what it gave, or None when it was killed."""
        receipted = self._receipted(given)
        before = len(self._server.requests)
        theirs, ours = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=stage_process.run, args=(stage, given, self._settings, self.places, death, ours), daemon=True
        )
        process.start()
        ours.close()
        process.join(death.after_seconds)
        if death.after_seconds is not None and process.exitcode is None:
            process.kill()
        process.join(120)
        self._tally.refetched += sum(
            entry.endpoint == "data" and self._server.base_url + entry.target in receipted
            for entry in self._server.requests[before:]
        )
        if process.exitcode == 0:
            return theirs.recv()
        assert process.exitcode == -9, f"{stage} ended with {process.exitcode} instead of being killed at {death}"
        self._tally.kills += 1
        self._tally.by_place[_place(stage, death)] += 1
        return None

    def _receipted(self, given: dict[str, str]) -> set[str]:
        if "run_id" not in given:
            return set()
        folder = self.places.run_folder(given["run_id"])
        found = (
            read_receipt(folder, path.name.removesuffix(".receipt.json")) for path in folder.glob("0*.receipt.json")
        )
        return {receipt.url for receipt in found if receipt is not None}


def _place(stage: Stage, death: Death) -> str:
    return f"{stage.name}, {death.event or 'at a random time'}"


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not come true.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("did not happen in time")
        time.sleep(0.2)


def remains(places: Places, jobs: Counter[str]) -> Remains:
    """Look at everything that is left."""
    home = places.raw.parent
    with duckdb.connect(str(places.published), read_only=True) as connection:
        runs = [
            row[0]
            for row in connection.execute("SELECT run_id FROM ops.export_run ORDER BY transaction_time").fetchall()
        ]
        tables = {}
        for name in [
            row[0]
            for row in connection.execute(
                "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE database_name = current_database()"
            ).fetchall()
        ]:
            columns = [row[0] for row in connection.execute(f"DESCRIBE {name}").fetchall()]
            kept = ", ".join(column for column in columns if not VOLATILE.search(column))
            rows = connection.execute(f"SELECT {kept} FROM {name} ORDER BY ALL").fetchall()
            tables[name] = [row for row in rows if row[0] != "source_id"] if name == "ops.setting" else rows
    files, contents = set(), Counter[bytes]()
    for path in sorted(home.rglob("*")):
        if path.match(KEPT_PATTERN):
            # What the server said to one attempt and not to another.
            continue
        relative = path.relative_to(home).as_posix()
        if relative.startswith("raw/") and path.parts[len(home.parts) + 1] not in runs:
            # A plan that was killed before anybody knew its number leaves its request, and nothing else.
            assert path.name in {"run.json", relative.split("/")[1]} or path.name.endswith(".tmp"), relative
            continue
        for number, run in enumerate(runs):
            relative = relative.replace(run, f"run-{number}")
        files.add(relative)
        if path.name.endswith(".ndjson.gz"):
            contents[gzip.decompress(path.read_bytes())] += 1
    return Remains(tables, frozenset(files), contents, jobs)


def differences(found: Remains, expected: Remains) -> list[str]:
    """Name what differs, without showing any row."""
    named = [
        f"table {name}: {len(found.tables.get(name, []))} rows, expected {len(expected.tables.get(name, []))}"
        for name in sorted(found.tables.keys() | expected.tables.keys())
        if found.tables.get(name) != expected.tables.get(name)
    ]
    named += [f"file {name} is there" for name in sorted(found.files - expected.files)]
    named += [f"file {name} is missing" for name in sorted(expected.files - found.files)]
    if found.contents != expected.contents:
        named.append("contents of raw files differ")
    if found.jobs != expected.jobs:
        named.append(f"jobs {dict(found.jobs)}, expected {dict(expected.jobs)}")
    return named


def run_lives(kills: int, seed: int) -> Tally:
    """Kill at least `kills` processes, at every commit point of every stage and at drawn places, and compare each life."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["duckdb", "pyarrow", "stage_process"])
    draw, tally = random.Random(seed), Tally()
    drawn_per_stage = 3 if kills >= MANY_KILLS else 1
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bcda-crash-")))
        whole = Life(folder / "undisturbed", draw, Tally(), drawn_per_stage=0)
        expected = whole.live([])
        points = sorted(set(whole.points), key=str)
        left = [(stage, Death(point)) for stage, point in points]
        while tally.kills < kills or left:
            draw.shuffle(left)
            deaths: dict[Stage, list[Death]] = {}
            for stage, death in left:
                deaths.setdefault(stage, []).append(death)
            now = [(stage, death) for stage, several in deaths.items() for death in several[:2]]
            home = folder / f"life-{tally.lives}"
            life = Life(home, draw, tally, drawn_per_stage=drawn_per_stage)
            found = life.live(now)
            tally.differences += [f"life {tally.lives}: {text}" for text in differences(found, expected)]
            tally.jobs_left_alive += sum(found.jobs[state] for state in ("Pending", "In Progress"))
            tally.lives += 1
            # A stage that had nothing left to do never came to its point; another life will.
            left = [entry for entry in left if not tally.by_place[_place(*entry)]]
    return tally


def report(tally: Tally, seed: int) -> str:
    """Return what is printed at the end."""
    lines = [f"{count:5d}  {place}" for place, count in sorted(tally.by_place.items())]
    lines.append(
        f"seed {seed}: {tally.kills} kills in {tally.lives} lives, {len(tally.differences)} differences, "
        f"{tally.refetched} files fetched again after a receipt, {tally.jobs_left_alive} jobs left alive, "
        f"longest recovery {tally.longest_recovery_seconds:.2f} s ({tally.longest_recovery_after})"
    )
    lines += tally.differences
    return "\n".join(lines)


def asked(description: str, option: str, default: int) -> tuple[int, int]:
    """Read how much is wanted, and the seed, from the command line; a seed that is drawn is printed at once."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(option, dest="wanted", type=int, default=default)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    return given.wanted, seed


def main() -> int:
    """Run from the command line."""
    kills, seed = asked("Kill the processes of exports and compare what is left.", "--kills", 1000)
    tally = run_lives(kills, seed)
    print(report(tally, seed))
    return bool(tally.differences or tally.refetched or tally.jobs_left_alive)


if __name__ == "__main__":
    sys.exit(main())
