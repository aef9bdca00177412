"""`make bench`: landing against what a user would write in its place, on the same generated claims, in the same run.

Each measurement is a process of its own, on one file of v2 ExplanationOfBenefit; the operating system counts its CPU
time and peak memory. The rounds alternate, so that a machine that slows down slows all alike.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from generate import write_claims

RESULTS = Path(__file__).parent / "results" / "landing.json"

LAND = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from bcda.export_request import ExportRequest, Scope
from bcda.landing import land_files
from bcda.manifest import FileKind, Manifest
from bcda.places import Places, private_folder
from bcda.receipts import Receipt
from bcda.runs import ExportRun
from bcda.settings import ApiVersion
source, lines, home = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
places = Places.below(home)
now = datetime.now(UTC)
run = ExportRun("bench", ExportRequest(ApiVersion.V2, Scope.PATIENT, ("ExplanationOfBenefit",)), now)
name = "00001-ExplanationOfBenefit.ndjson.gz"
(private_folder(places.run_folder("bench")) / name).symlink_to(source)
receipt = Receipt(name, FileKind.OUTPUT, "ExplanationOfBenefit", "", 0, "", 0, lines)
landed = land_files(run, Manifest("1", now, "", None, ()), [receipt], batch=0, places=places)
assert landed.files[0].rows_landed == lines
"""

NAIVE = """
import sys
import duckdb
duckdb.sql("SET enable_progress_bar = false")
duckdb.sql(f"COPY (SELECT * FROM read_ndjson_auto('{sys.argv[1]}')) TO '{sys.argv[3]}/naive.parquet' (FORMAT parquet)")
"""


@dataclass(frozen=True)
class Measured:
    """One process: CPU and wall seconds, peak memory."""

    cpu_seconds: float
    wall_seconds: float
    peak_mib: float


def measure(script: str, *arguments: str) -> Measured:
    """Run a script in a process of its own."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", script, *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"the measured process ended with status {status}")
    return Measured(usage.ru_utime + usage.ru_stime, time.monotonic() - started, usage.ru_maxrss / 1024)


def main(
    megabytes: Annotated[int, typer.Option(help="Size of the generated NDJSON.")] = 1000,
    rounds: Annotated[int, typer.Option(help="Rounds of each way.")] = 3,
) -> None:
    """Measure, print a table, write the figures as JSON."""
    with tempfile.TemporaryDirectory(prefix="bcda-bench-") as folder:
        packed, plain = Path(folder) / "claims.ndjson.gz", Path(folder) / "claims.ndjson"
        size, lines = write_claims(packed, megabytes)
        with plain.open("wb") as file:
            subprocess.run(["gzip", "-dc", str(packed)], stdout=file, check=True)
        typer.echo(
            f"{size / 1e6:.0f} MB of generated v2 claims, {lines} lines, {packed.stat().st_size / 1e6:.0f} MB as gzip\n"
        )
        ways = {
            "landing, from gzip": (LAND, packed),
            "naive COPY, from gzip": (NAIVE, packed),
            "naive COPY, from plain": (NAIVE, plain),
        }
        found: dict[str, list[Measured]] = {name: [] for name in ways}
        for number in range(rounds):
            for name, (script, source) in ways.items():
                home = Path(folder) / f"{number}-{len(found[name])}-{name.replace(' ', '-')}"
                home.mkdir()
                found[name].append(measure(script, str(source), str(lines), str(home)))
    report(size, found)


def report(size: int, found: dict[str, list[Measured]]) -> None:
    """Print medians and ratios, and write everything."""
    rates = {name: statistics.median(size / 1e6 / run.cpu_seconds for run in runs) for name, runs in found.items()}
    ours, *rivals = rates
    typer.echo(f"{'':24} MB per CPU s  peak MiB  wall s   (medians of {len(found[ours])})")
    for name, runs in found.items():
        peak, wall = max(run.peak_mib for run in runs), statistics.median(run.wall_seconds for run in runs)
        typer.echo(f"{name:24} {rates[name]:12.0f}  {peak:8.0f}  {wall:6.1f}")
    pairs = {
        rival: [b.cpu_seconds / a.cpu_seconds for a, b in zip(found[ours], found[rival], strict=True)]
        for rival in rivals
    }
    for rival, ratios in pairs.items():
        typer.echo(
            f"{ours} is {statistics.median(ratios):.2f} times as fast as {rival} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    RESULTS.parent.mkdir(exist_ok=True)
    document = {
        "ndjson_bytes": size,
        "runs": {name: [asdict(run) for run in runs] for name, runs in found.items()},
        "ratios": pairs,
    }
    RESULTS.write_text(json.dumps(document, indent=1))
    typer.echo(f"\nFigures: {RESULTS}")


if __name__ == "__main__":
    typer.run(main)
