"""What the BCDA page costs after a load: `python benchmarks/page.py`.

A generated world is loaded and published; then its people and claims are copied in the published file under other ids until
it has as many claims as asked for. Reading the aggregates and drawing the charts, which happens once after each load, is
measured in a process of its own; what comes after that is served from memory.
"""

import gzip
import json
import re
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import duckdb
import typer

from bcda.export_request import ExportRequest, Scope
from bcda.landing import land_files
from bcda.manifest import FileKind, Manifest, OutputFile
from bcda.places import Places, private_folder
from bcda.receipts import Receipt
from bcda.runs import ExportRun, write_run
from bcda.settings import ApiVersion
from bcda.warehouse import merge_run, publish
from bcda_simulator.world import World, calendar

WEEK = 120
NOW = calendar.load_at(WEEK)
TYPES = ("Patient", "Coverage", "ExplanationOfBenefit")
PEOPLE = 300

READ = """
import json, re, sys, time
from datetime import UTC, datetime
from pathlib import Path
from bcda.overview import read_overview
from bcda.overview.pictures import pictures
from bcda.places import Places
places = Places.below(Path(sys.argv[1]))
started = time.monotonic()
overview = read_overview(places)
read = time.monotonic()
pictures(overview, datetime.now(UTC))
drawn = time.monotonic()
read_overview(places)
print(json.dumps({"read_ms": (read - started) * 1000, "charts_ms": (drawn - read) * 1000, "again_ms": (time.monotonic() - drawn) * 1000,
                  "peak_mib": int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) / 1024}))
"""


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
            Receipt(name, FileKind.OUTPUT, kind, "", len(wire), "0" * 64, len(content), content.count(b"\n"))
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
                done = subprocess.run([sys.executable, "-c", READ, home], capture_output=True, text=True, check=True)
                measured = json.loads(done.stdout)
                figures = ", ".join(
                    f"{re.sub('_.*', '', name)} {value:,.0f} {name.rpartition('_')[2]}"
                    for name, value in measured.items()
                )
                print(f"{people:,} people, {found:,} claims: {figures}")


if __name__ == "__main__":
    typer.run(main)
