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
import hashlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from bcda.api.export_request import ExportRequest, Scope
from bcda.landing import land_files
from bcda.api.manifest import FileKind, Manifest
from bcda.storage.files import private_folder
from bcda.storage.places import Places
from bcda.runs.receipts import Receipt
from bcda.runs.run import ExportRun
from bcda.settings import ApiVersion
source, lines, home = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
places = Places.below(home)
now = datetime.now(UTC)
run = ExportRun("bench", ExportRequest(ApiVersion.V2, Scope.PATIENT, ("ExplanationOfBenefit",)), now)
name = "00001-ExplanationOfBenefit.ndjson.gz"
(private_folder(places.run_folder("bench")) / name).symlink_to(source)
digest = hashlib.file_digest(source.open("rb"), "sha256").hexdigest()
receipt = Receipt(name, FileKind.OUTPUT, "ExplanationOfBenefit", "", 0, digest, 0, lines)
landed = land_files(run, Manifest("1", now, "", None, ()), [receipt], batch=0, places=places)
assert landed.files[0].rows_landed == lines
"""

TABLES = LAND.replace(
    "landed = land_files",
    """import pyarrow as pa
from bcda.landing import batch
batch._Landing._resource_rows = lambda *_: pa.table({})
batch.LakeWriter.write = lambda self, table, rows, write=batch.LakeWriter.write: rows.num_columns and write(self, table, rows)
landed = land_files""",
)
"""The same without the JSON text of the resources, its hash included: typed tables only."""

FLOOR = """
import sys
from pathlib import Path
import duckdb
from bcda.landing.engine import slice_table
from bcda.landing.lines import LineReader
from bcda.model import mapping
from bcda.settings import ApiVersion
shape = mapping.shape(ApiVersion.V2, "ExplanationOfBenefit")
connection = duckdb.connect(config={"threads": 1})
for lines in LineReader().slices([Path(sys.argv[1])]):
    connection.register("incoming", slice_table(lines))
    connection.execute(f"SELECT count(r.id) FROM (SELECT json_transform(body, '{shape}') AS r FROM incoming)").fetchall()
"""
"""What no landing of this shape can go below: unpacking, cutting into lines, and one parse."""

DATANT = """
import logging, sys
from bcda_client.client import BCDAClient
client = BCDAClient.__new__(BCDAClient)
client.logger = logging.getLogger("datant")
client.convert_to_parquet(sys.argv[1], sys.argv[3])
"""
"""The conversion of the package `bcda-client-datant`; it is called without a server, on one file."""

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


def measure(script: str, *arguments: str, python: str = sys.executable) -> Measured:
    """Run a script in a process of its own."""
    started = time.monotonic()
    process = subprocess.Popen([python, "-c", script, *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"the measured process ended with status {status}")
    return Measured(usage.ru_utime + usage.ru_stime, time.monotonic() - started, usage.ru_maxrss / 1024)


Ways = dict[str, tuple[str, Path, str]]


def compare(ways: Ways, lines: int, rounds: int, folder: Path) -> dict[str, list[Measured]]:
    """Measure all ways once, then all again, so that a machine that slows down slows all alike."""
    found: dict[str, list[Measured]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (script, source, python) in ways.items():
            with tempfile.TemporaryDirectory(dir=folder) as home:
                found[name].append(measure(script, str(source), str(lines), home, python=python))
    return found


def other_environment(folder: Path) -> str:
    """Return the interpreter of an environment with the rival from the package index."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "bcda-client-datant==0.2.0"], check=True)
    return python


def unpacked(packed: Path) -> Path:
    """Return a copy of a gzip file without compression."""
    plain = packed.with_suffix("")
    with plain.open("wb") as file:
        subprocess.run(["gzip", "-dc", str(packed)], stdout=file, check=True)
    return plain


def main(
    megabytes: Annotated[int, typer.Option(help="Size of the generated NDJSON.")] = 1000,
    rounds: Annotated[int, typer.Option(help="Rounds of each way.")] = 3,
    large: Annotated[
        int, typer.Option(help="Size of a further file, landed once for its peak memory; 0 for none.")
    ] = 4000,
    small: Annotated[int, typer.Option(help="Size of the file for bcda-client-datant; 0 for none.")] = 100,
) -> None:
    """Measure, print tables, write the figures as JSON."""
    results = {}
    with tempfile.TemporaryDirectory(prefix="bcda-bench-") as name:
        folder, here = Path(name), sys.executable
        packed = folder / "claims.ndjson.gz"
        size, lines = write_claims(packed, megabytes)
        plain = unpacked(packed)
        typer.echo(
            f"{size / 1e6:.0f} MB of generated v2 claims, {lines} lines, {packed.stat().st_size / 1e6:.0f} MB as gzip"
        )
        ways = {
            "landing, all": (LAND, packed, here),
            "landing, tables only": (TABLES, packed, here),
            "parse floor": (FLOOR, packed, here),
            "naive COPY, from gzip": (NAIVE, packed, here),
            "naive COPY, from plain": (NAIVE, plain, here),
        }
        results["main"] = report(size, compare(ways, lines, rounds, folder))
        plain.unlink()
        if small:
            packed = folder / "small.ndjson.gz"
            size, lines = write_claims(packed, small)
            rival = other_environment(folder / "rival")
            ways = {"landing, all": (LAND, packed, here), "bcda-client-datant": (DATANT, unpacked(packed), rival)}
            typer.echo(f"\n{size / 1e6:.0f} MB")
            results["small"] = report(size, compare(ways, lines, rounds, folder))
        if large:
            packed = folder / "large.ndjson.gz"
            size, lines = write_claims(packed, large)
            typer.echo(f"\n{size / 1e6:.0f} MB")
            results["large"] = report(size, compare({"landing, all": (LAND, packed, here)}, lines, 1, folder))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1))
    typer.echo(f"\nFigures: {RESULTS}")


def report(size: int, found: dict[str, list[Measured]]) -> dict[str, object]:
    """Print medians and ratios; return everything as a JSON object."""
    rates = {name: statistics.median(size / 1e6 / run.cpu_seconds for run in runs) for name, runs in found.items()}
    ours = [name for name in rates if name.startswith("landing")]
    typer.echo(f"{'':24} MB per CPU s  peak MiB  wall s   (medians of {len(found[ours[0]])})")
    for name, runs in found.items():
        peak, wall = max(run.peak_mib for run in runs), statistics.median(run.wall_seconds for run in runs)
        typer.echo(f"{name:24} {rates[name]:12.0f}  {peak:8.0f}  {wall:6.1f}")
    ratios = {}
    for name in ours:
        for rival in (rival for rival in rates if rival not in ours):
            each = [b.cpu_seconds / a.cpu_seconds for a, b in zip(found[name], found[rival], strict=True)]
            ratios[f"{name} / {rival}"] = each
            typer.echo(
                f"{name}: {statistics.median(each):.2f} times the rate of {rival} ({min(each):.2f} to {max(each):.2f})"
            )
    return {
        "ndjson_bytes": size,
        "runs": {name: [asdict(run) for run in runs] for name, runs in found.items()},
        "ratios": ratios,
    }


if __name__ == "__main__":
    typer.run(main)
