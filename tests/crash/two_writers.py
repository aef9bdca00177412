"""Exports of which two attempts at the same stage are alive together, compared with an export that nobody disturbed.

When the supervisor of a task is killed its child lives on, and the orchestrator starts another attempt. Here the first attempt
is stopped at a commit point, or at a drawn change of a file, and another one begins. The first goes on while the second is at
work, or after the run is published; or the second is killed, and a third one ends the stage.

`python tests/crash/two_writers.py --pairs 200` runs it on demand; the seed is printed and can be given again.
"""

import hashlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import killed_exports
import stage_process
from stage_process import Death, Stage

from bcda.errors import BcdaError
from bcda.maintenance import purge_raw
from bcda.runs.receipts import parse_receipt
from bcda.settings import ConnectionSettings
from bcda.storage.places import Places

SHARED = ("wait", "fetch", "land", "merge", "publish")
"""Stages that two attempts are at together. A second plan is another run, and two kick-offs find one job at BCDA."""

LOCKED = ("merge", "publish")
"""Of them, those in which the second attempt waits for the first, so that the first must go on before the second can end."""


@dataclass(slots=True)
class PairTally:
    """What a number of pairs came to."""

    pairs: int = 0
    lives: int = 0
    by_place: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)


def attempt(
    stage: Stage, given: dict[str, str], settings: ConnectionSettings, places: Places, death: Death, answer: Connection
) -> None:
    """Run one stage; send what it gave, or the kind of the library's error that ended it."""
    try:
        stage_process.run(stage, given, settings, places, death, answer)
    except BcdaError as error:
        answer.send(f"{type(error).__name__}: {error}")


class Attempt:
    """One attempt at a stage, in a process of its own."""

    def __init__(self, process: BaseProcess, answer: Connection) -> None:
        self._process = process
        self._answer = answer

    def is_stopped(self) -> bool:
        """Wait until it has stopped or ended, and say which."""
        deadline = time.monotonic() + 120
        while self._process.exitcode is None:
            if self._state() == b"T":
                return True
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return False

    def _state(self) -> bytes:
        """Return its state as the kernel names it; nothing once it has ended."""
        try:
            return Path(f"/proc/{self._process.pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return b""

    def go_on(self) -> None:
        """Let it go on."""
        os.kill(self._process.pid or 0, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it if it is still there, stopped or not."""
        self._process.kill()

    def ended(self) -> tuple[dict[str, str], list[str]] | str | None:
        """Return what it gave, what refused it, or None when it was killed."""
        self._process.join(120)
        if self._process.exitcode == -signal.SIGKILL:
            return None
        assert self._process.exitcode == 0, f"an attempt ended with {self._process.exitcode}"
        return self._answer.recv()


class PairedLife(killed_exports.Life):
    """One home and one server, with two weekly exports; two attempts are at each shared stage."""

    def __init__(self, home: Path, draw: random.Random, pairs: PairTally, points: list[tuple[Stage, str]]) -> None:
        super().__init__(home, draw, killed_exports.Tally(), drawn_per_stage=0)
        self._pairs = pairs
        self._known = sorted(set(points), key=str)
        self._late: list[Attempt] = []
        self._started: list[Attempt] = []

    def live(self, deaths: list[tuple[Stage, Death]]) -> killed_exports.Remains:
        """Run the exports; nothing that is stopped stays when they fail."""
        try:
            return super().live(deaths)
        finally:
            for one in self._started:
                one.kill()

    def _to_the_end(self, stage: Stage, given: dict[str, str], wanted: list[Death]) -> dict[str, str]:
        result = self._pair(stage, given) if stage.name in SHARED else super()._to_the_end(stage, given, wanted)
        if stage.name == "publish":
            for late in self._late:
                late.go_on()
            for late in self._late:
                self._note(stage, late.ended())
            self._late.clear()
            # What nobody removed until now goes with the nightly maintenance.
            purge_raw(self.places, now=self._server.clock.now())
        return result

    def _pair(self, stage: Stage, given: dict[str, str]) -> dict[str, str]:
        stop = self._draw_place(stage, signal.SIGSTOP)
        first = self._start(stage, given, stop)
        if not first.is_stopped():
            return self._given(stage, first)
        self._pairs.pairs += 1
        self._pairs.by_place[f"{stage.name}, {stop.event}"] += 1
        turn = self._draw.choice(("together", "late", "killed"))
        if stage.name in LOCKED and turn == "late":
            turn = "together"
        second = self._start(stage, given, self._draw_place(stage, signal.SIGKILL) if turn == "killed" else Death())
        if turn == "late":
            self._late.append(first)
            return self._given(stage, second)
        time.sleep(self._draw.uniform(0.0, 0.4))
        first.go_on()
        if turn == "together":
            result = self._given(stage, second)
            self._note(stage, first.ended())
            return result
        # The second may have been done before it came to the place of its death.
        self._note(stage, second.ended())
        result = self._given(stage, self._start(stage, given, Death()))
        self._note(stage, first.ended())
        return result

    def _given(self, stage: Stage, one: Attempt) -> dict[str, str]:
        done = one.ended()
        assert isinstance(done, tuple), f"{stage}: {done}"
        return done[0]

    def _note(self, stage: Stage, done: object) -> None:
        """Count an attempt that was refused, which is right for one whose work another has done or removed."""
        if isinstance(done, str):
            self._pairs.refused[f"{stage.name}, {done.partition(':')[0]}"] += 1

    def _draw_place(self, stage: Stage, by: signal.Signals) -> Death:
        if self._draw.random() < 0.4:
            return Death("files", self._draw.randint(1, 30), by=by)
        points = [point for at, point in self._known if at == stage]
        return Death(
            self._draw.choice(points), self._draw.randint(1, 2) if stage.name in {"fetch", "land"} else 1, by=by
        )

    def _start(self, stage: Stage, given: dict[str, str], death: Death) -> Attempt:
        theirs, ours = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=attempt, args=(stage, given, self._settings, self.places, death, ours), daemon=True
        )
        process.start()
        ours.close()
        self._started.append(Attempt(process, theirs))
        return self._started[-1]


def foreign_bytes(places: Places) -> list[str]:
    """Name the raw files that do not have the bytes of their receipts."""
    return [
        f"{receipt.name} has another's bytes"
        for path in sorted(places.raw.glob("*/*.receipt.json"))
        for receipt in [parse_receipt(path)]
        if hashlib.sha256((path.parent / receipt.name).read_bytes()).hexdigest() != receipt.wire_sha256
    ]


def run_pairs(pairs: int, seed: int) -> PairTally:
    """Let two attempts be alive together at least `pairs` times, and compare each life."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["duckdb", "pyarrow", "stage_process"])
    draw, tally = random.Random(seed), PairTally()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bcda-pairs-")))
        whole = killed_exports.Life(folder / "undisturbed", draw, killed_exports.Tally(), drawn_per_stage=0)
        expected = whole.live([])
        while tally.pairs < pairs:
            life = PairedLife(folder / f"life-{tally.lives}", draw, tally, whole.points)
            found = life.live([])
            named = killed_exports.differences(found, expected) + foreign_bytes(life.places)
            tally.differences += [f"life {tally.lives}: {text}" for text in named]
            tally.lives += 1
    return tally


def report(tally: PairTally, seed: int) -> str:
    """Return what is printed at the end."""
    lines = [f"{count:5d}  {place}" for place, count in sorted(tally.by_place.items())]
    lines += [f"{count:5d}  refused: {what}" for what, count in sorted(tally.refused.items())]
    lines.append(f"seed {seed}: {tally.pairs} pairs in {tally.lives} lives, {len(tally.differences)} differences")
    return "\n".join(lines + tally.differences)


def main() -> int:
    """Run from the command line."""
    pairs, seed = killed_exports.asked(
        "Let two attempts at a stage be alive together and compare what is left.", "--pairs", 200
    )
    tally = run_pairs(pairs, seed)
    print(report(tally, seed))
    return bool(tally.differences)


if __name__ == "__main__":
    sys.exit(main())
