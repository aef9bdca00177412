"""What the BCDA page costs after a load: `python benchmarks/page.py`.

A generated world is loaded and published; then its people and claims are copied in the published file under other ids until
it has as many claims as asked for. Reading and keeping the aggregates, which the report task does, and looking at them, which
the API server does, are measured in processes of their own.
"""

import gzip
import hashlib
import json
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import duckdb
import typer

from bcda.api.export_request import ExportRequest, Scope
from bcda.api.manifest import FileKind, Manifest, OutputFile
from bcda.landing import land_files
from bcda.reporting.overview.kept import overview_path
from bcda.runs.receipts import Receipt
from bcda.runs.run import ExportRun, write_run
from bcda.settings import ApiVersion
from bcda.storage.files import private_folder
from bcda.storage.places import Places
from bcda.warehouse import merge_run, publish
from bcda_simulator.world import World, calendar

WEEK = 120
NOW = calendar.load_at(WEEK)
TYPES = ("Patient", "Coverage", "ExplanationOfBenefit")
PEOPLE = 300

KEEP = """
import json, sys, time
from pathlib import Path
from bcda.reporting.overview import keep_overview
from bcda.storage.places import Places
started = time.monotonic()
keep_overview(Places.below(Path(sys.argv[1])))
print(json.dumps({"keeping_ms": (time.monotonic() - started) * 1000}))
"""
"""What the report task does once after each load: the aggregates are read from the published database and kept beside it."""

LOOK = """
import json, re, sys, time
from datetime import UTC, datetime
from pathlib import Path
from bcda.reporting import charts
from bcda.reporting.overview import read_overview
from bcda.reporting.overview.pictures import pictures
from bcda.storage.places import Places
begun = time.monotonic()
charts.svg({"data": {"values": []}, "mark": "bar"}, description="the first chart of a process")
places = Places.below(Path(sys.argv[1]))
started = time.monotonic()
overview = read_overview(places)
pictures(overview, datetime.now(UTC), ("coverage",))
operations = time.monotonic()
pictures(read_overview(places), datetime.now(UTC), ("paid", "roster", "lag"))
data = time.monotonic()
print(json.dumps({"starting_ms": (started - begun) * 1000, "operations_ms": (operations - started) * 1000,
                  "data_ms": (data - operations) * 1000,
                  "peak_mib": int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) / 1024}))
"""
"""What the API server does: the chart engine once in its life, then the first look at each page after a load."""


def load(places: Places) -> None:
    """Load and publish a world of `PEOPLE` people."""
    world, people = World(people=PEOPLE, seed=4), [str(number) for number in range(PEOPLE)]
    run = ExportRun("r1", ExportRequest(ApiVersion.V2, Scope.PATIENT, TYPES), NOW)
    folder = private_folder(places.run_folder("r1"))
    write_run(folder, run)
    receipts, files = [], []
    for number, kind in enumerate(TYPES, start=1):
        content = b"".join(world.lines("v2", kind, people, after=None, up_to=NOW))
        name = f"{number:05d}-{kind}.ndjson.gz"
        wire = gzip.compress(content, 1)
        (folder / name).write_bytes(wire)
        receipts.append(
            Receipt(
                name,
                FileKind.OUTPUT,
                kind,
                "",
                len(wire),
                hashlib.sha256(wire).hexdigest(),
                len(content),
                content.count(b"\n"),
            )
        )
        files.append(OutputFile(name, FileKind.OUTPUT, kind, ""))
    manifest = Manifest("1", NOW, "", None, tuple(files))
    landed = land_files(run, manifest, receipts, batch=0, places=places)
    merge_run(places, run, manifest, [landed], now=NOW + timedelta(hours=1))
    publish(places)


def enlarge(places: Places, claims: int) -> tuple[int, int]:
    """Copy people and claims under other ids; return how many there are then."""
    with duckdb.connect(str(places.published)) as connection:
        have = connection.execute("SELECT count(*) FROM claim").fetchall()[0][0]
        copies = max(0, claims // have - 1)
        for table, ids in (
            ("patient", "patient_id = patient_id || '-' || n, person_key = person_key || '-' || n"),
            ("roster", "patient_id = patient_id || '-' || n"),
            ("claim", "claim_id = claim_id || '-' || n, patient_id = patient_id || '-' || n"),
        ):
            changed = ", ".join(
                f"{new.strip()} AS {name.strip()}" for name, new in (part.split(" = ") for part in ids.split(", "))
            )
            connection.execute(
                f"INSERT INTO {table} SELECT c.* REPLACE ({changed}) FROM {table} AS c, range({copies}) AS copy(n)"
            )
        return tuple(
            connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] for table in ("patient", "claim")
        )


def main(claims: Annotated[list[int] | None, typer.Option(help="Sizes; repeatable.")] = None) -> None:
    """Print a line for each size."""
    for size in claims or [20_000, 500_000, 3_000_000]:
        with tempfile.TemporaryDirectory() as home:
            places = Places.below(Path(home))
            load(places)
            people, found = enlarge(places, size)
            for _ in range(3):
                overview_path(places).unlink(missing_ok=True)
                measured = run(KEEP, home) | run(LOOK, home)
                figures = ", ".join(
                    f"{name.rpartition('_')[0].replace('_', ' ')} {value:,.0f} {name.rpartition('_')[2]}"
                    for name, value in measured.items()
                )
                print(f"{people:,} people, {found:,} claims: {figures}")


def run(script: str, home: str) -> dict[str, float]:
    """Run a script in a process of its own and return what it measured."""
    done = subprocess.run([sys.executable, "-c", script, home], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    typer.run(main)
