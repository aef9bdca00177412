"""The suites of tests: `make test`, `make test-NAME`, and all of them in .ci/run. tests/suites.toml says what belongs to each.

    python3 scripts/suites.py run test-faults [options of pytest]
    python3 scripts/suites.py list
    python3 scripts/suites.py missing
    python3 scripts/suites.py all

Needs nothing but Python: `all` runs before anything is installed, since setting up is part of what it times.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
TABLE = PROJECT / "tests" / "suites.toml"
TOTAL_MINUTES = 60
"""Budget of all suites together."""
STOPPED_AFTER_MINUTES = 88
"""All suites together are stopped after this, for the same reason as a single one below."""
BEGUN_WITHIN_MINUTES = 68
"""A suite whose turn comes later is left out, and the table says so: on a slow machine the longest one would not end in time."""
STOPPED_AT = 3
"""A suite is stopped at its budget times this. Budgets are for two idle cores, and a build machine is not always idle."""
SAMPLES = os.environ.get("BCDA_SAMPLES") or str(PROJECT.parent / "shared" / "samples")


@dataclass(frozen=True, slots=True)
class Need:
    """What a suite needs beside Python and make.

    Attributes:
        about: its name.
        programs: one of them must be on PATH.
        debian: package that installs it.
        folder: must exist.
        is_optional: not part of what everyone can have; without it .ci/run leaves the suite out and says so.
    """

    about: str
    programs: tuple[str, ...] = ()
    debian: str = ""
    folder: str = ""
    is_optional: bool = False

    @property
    def is_missing(self) -> bool:
        """Tell whether it is not here."""
        if self.folder:
            return not Path(self.folder).exists()
        # Servers are often in a folder that only root has on PATH.
        path = f"{os.environ.get('PATH', '')}:/usr/sbin"
        return bool(self.programs) and not any(shutil.which(program, path=path) for program in self.programs)

    @property
    def how(self) -> str:
        """Return what to do about it."""
        return f"Install it: sudo apt-get install {self.debian}" if self.debian else f"Put it into {self.folder}"


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite, as tests/suites.toml has it; one without paths is a make target that runs no tests."""

    name: str
    about: str
    budget_minutes: float
    paths: tuple[str, ...] = ()
    select: str = ""
    processes: int = 2
    distribution: str = "loadfile"
    needs: tuple[Need, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    may_skip: str = ""
    elsewhere: str = ""

    @property
    def arguments(self) -> list[str]:
        """What pytest is given."""
        return ["-m", self.select, "-n", str(self.processes), "--dist", self.distribution, *self.paths]

    @property
    def missing(self) -> list[Need]:
        """What it needs and is not here."""
        return [need for need in self.needs if need.is_missing]


def suites() -> dict[str, Suite]:
    """Return all suites by name, in the order in which they run."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    needs = {name: _need(**given) for name, given in table["needs"].items()}
    return {
        name: Suite(
            name,
            **{
                **given,
                "paths": tuple(given.get("paths", ())),
                "needs": tuple(needs[n] for n in given.get("needs", ())),
            },
        )
        for name, given in table["suites"].items()
    }


def _need(*, programs: Iterable[str] = (), folder: str = "", **given: object) -> Need:
    return Need(programs=tuple(programs), folder=folder.replace("$BCDA_SAMPLES", SAMPLES), **given)  # type: ignore[arg-type]


def run(name: str, options: list[str]) -> int:
    """Run the tests of a suite in this Python, and return pytest's exit code.

    It does not start when something that it needs is missing: a suite whose tests are skipped shows nothing.
    """
    suite = _named(name)
    for need in suite.missing:
        print(f"make {name} needs {need.about}, which is not installed. {need.how}", file=sys.stderr)
    if suite.missing:
        return 2
    strict = ["--nothing-skipped"] if os.environ.get("CI") and not suite.may_skip else []
    command = [sys.executable, "-m", "pytest", *strict, *suite.arguments, *options]
    # A value of the shell counts more than the suite's.
    done = subprocess.run(command, cwd=PROJECT, env={**suite.environment, **os.environ}, check=False)
    if name == "test":
        print("\nmake test leaves out what takes longer or needs more:\n" + "\n".join(listing()))
    return done.returncode


def _named(name: str) -> Suite:
    found = suites()
    if name not in found:
        raise SystemExit(f"There is no suite {name}. The suites are: {', '.join(found)}")
    return found[name]


def listing() -> list[str]:
    """Return a line for each suite but the first: its command, what it covers, its minutes, and what it needs."""
    return [
        f"  make {suite.name:<15} {suite.about}; {suite.budget_minutes:g} minute{'s' if suite.budget_minutes > 1 else ''}"
        + (f"; needs {', '.join(need.about for need in suite.needs)}" if suite.needs else "")
        for suite in list(suites().values())[1:]
    ]


def row(suite: Suite) -> str:
    """Return the line of a suite in the table of CONTRIBUTING.md."""
    needs = ", ".join(need.about for need in suite.needs) or "nothing"
    return f"| `make {suite.name}` | {suite.about} | {needs} | {suite.budget_minutes:g} |"


def missing() -> list[str]:
    """Return the Debian packages of programs that some suite needs and that are not installed."""
    needs = {need for suite in suites().values() for need in suite.missing}
    return sorted(need.debian for need in needs if need.debian)


@dataclass(slots=True)
class Result:
    """How a suite went.

    Attributes:
        said: `passed`, or why not.
        minutes: that it took.
        is_good: whether it passed, or could be left out.
    """

    said: str
    minutes: float = 0.0
    is_good: bool = False


def run_all(names: list[str]) -> int:
    """Run suites one after the other by `make`, print what each took, and return 0 when all passed in time.

    The first one, `make test`, does not see the programs that other suites need, even where they are installed.
    """
    started = time.monotonic()
    chosen = [_named(name) for name in names] or [suite for suite in suites().values() if not suite.elsewhere]
    results: dict[str, Result] = {}
    for suite in chosen:
        passed = (time.monotonic() - started) / 60
        limit = min(suite.budget_minutes * STOPPED_AT, STOPPED_AFTER_MINUTES - passed)
        results[suite.name] = _one(suite, limit) if passed <= BEGUN_WITHIN_MINUTES else _too_late(suite)
    print("\n" + "\n".join(_table(chosen, results)), flush=True)
    return 0 if all(result.is_good for result in results.values()) else 1


def _too_late(suite: Suite) -> Result:
    return Result(f"NOT RUN: {BEGUN_WITHIN_MINUTES} minutes were over; run make {suite.name}", is_good=True)


def _one(suite: Suite, limit_minutes: float) -> Result:
    absent = suite.missing
    if absent:
        said = f"not run: needs {' and '.join(need.about for need in absent)}"
        return Result(said, is_good=all(need.is_optional for need in absent))
    print(f"\n##### make {suite.name}: {suite.about}", flush=True)
    began = time.monotonic()
    with _environment_of(suite) as environment:
        code = _make(suite.name, environment, limit_minutes * 60)
    minutes = (time.monotonic() - began) / 60
    if code is None:
        return Result(f"STOPPED after {minutes:.1f} minutes", minutes)
    return Result("passed" if code == 0 else "FAILED", minutes, code == 0)


def _make(target: str, environment: Mapping[str, str], limit_seconds: float) -> int | None:
    """Run a make target in a session of its own; return its exit code, or None when its time was over."""
    process = subprocess.Popen(
        ["make", target], cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return process.wait(max(1.0, limit_seconds))
    except subprocess.TimeoutExpired:
        # An interrupt lets pytest stop what its tests have started.
        for number, seconds in ((signal.SIGINT, 30), (signal.SIGKILL, 10)):
            os.killpg(process.pid, number)
            try:
                process.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                continue
        return None


@contextmanager
def _environment_of(suite: Suite) -> Iterator[dict[str, str]]:
    """Yield the environment of a suite: for `make test`, without the programs that only other suites may use."""
    if suite.needs or suite.name != "test":
        yield dict(os.environ)
        return
    hidden = {program for other in suites().values() for need in other.needs for program in need.programs}
    with tempfile.TemporaryDirectory(prefix="bcda-path-") as folder:
        # A virtual environment remembers where its Python was, which must not be this folder.
        yield {**os.environ, "PATH": path_without(hidden, Path(folder)), "PYTHON": sys.executable}


def path_without(programs: set[str], folder: Path) -> str:
    """Return PATH without some programs: folders that hold one are replaced by folders of links to all others."""
    path = []
    for number, place in enumerate(os.environ["PATH"].split(os.pathsep)):
        here = Path(place)
        if not any((here / program).exists() for program in programs):
            path.append(place)
            continue
        links = folder / str(number)
        links.mkdir()
        for program in here.iterdir():
            if program.name not in programs:
                (links / program.name).symlink_to(program)
        path.append(str(links))
    return os.pathsep.join(path)


def _table(chosen: list[Suite], results: Mapping[str, Result]) -> list[str]:
    rows = [
        (suite.name, results[suite.name].minutes, suite.budget_minutes, results[suite.name].said) for suite in chosen
    ]
    rows.append(("all", sum(row[1] for row in rows), TOTAL_MINUTES, ""))
    return [
        "suite             minutes  budget",
        *(f"{name:<16} {used:8.1f} {budget:7g}  {said}{_over(used, budget)}" for name, used, budget, said in rows),
    ]


def _over(used: float, budget: float) -> str:
    return ", over its budget" if used > budget else ""


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="the tests of one suite; further options go to pytest")
    one.add_argument("name")
    commands.add_parser("list", help="the suites, and what each needs")
    commands.add_parser("missing", help="Debian packages that the suites need and that are not installed")
    every = commands.add_parser("all", help="all suites by `make`, with a table of minutes at the end")
    every.add_argument("names", nargs="*", help="these suites only")
    given, options = parser.parse_known_args()
    if given.command == "run":
        return run(given.name, options)
    if options:
        parser.error(f"unknown options: {' '.join(options)}")
    if given.command == "all":
        return run_all(given.names)
    print("\n".join(listing() if given.command == "list" else missing()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
