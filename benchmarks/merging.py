"""How the time of a merge depends on the size of the tables it goes into: `python benchmarks/merging.py`.

A warehouse is filled with a generated world's claims, then their rows are copied in the database under other ids until it
holds as many lines as asked for. Into each size the same run is merged (as many lines as one hundredth of the smallest
size), and one that is a hundredth of that size; half of each run's claims are changed ones, half are new. A merge is timed
in a process of its own.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from bcda import model
from bcda.api.export_request import ExportRequest, Scope
from bcda.api.manifest import FileKind, Manifest, OutputFile
from bcda.landing import land_files
from bcda.runs.receipts import Receipt
from bcda.runs.run import ExportRun, write_run
from bcda.settings import ApiVersion
from bcda.storage.files import private_folder
from bcda.storage.places import Places
from bcda.warehouse import merge_run, open_warehouse
from bcda_simulator.world import World, calendar

RESULTS = Path(__file__).parent / "results" / "merging.json"
WEEK = 120
NOW = calendar.load_at(WEEK)
EOB = "ExplanationOfBenefit"

MERGE = """
import json, re, sys, time
from pathlib import Path
from bcda.runs.landed import read_landed
from bcda.api.manifest import Manifest, OutputFile
from bcda.storage.places import Places
from bcda.runs.run import read_run
from bcda.warehouse import merge_run
home, run_id = Path(sys.argv[1]), sys.argv[2]
places = Places.below(home)
run = read_run(places.run_folder(run_id))
landed = read_landed(places.run_folder(run_id), 0)
manifest = Manifest("1", run.planned_at, "", None, tuple(OutputFile(f.name, f.kind, f.resource_type, "") for f in landed.files))
started, cpu = time.monotonic(), time.process_time()
merge_run(places, run, manifest, [landed], now=run.planned_at)
print(json.dumps({"wall_seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - cpu,
                  "peak_mib": int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) / 1024}))
"""


def land(places: Places, run_id: str, lines: list[bytes], days: int) -> tuple[ExportRun, Manifest, object]:
    """Land lines of claims as a run that was delivered some days after the world's week."""
    at = NOW + timedelta(days=days)
    run = ExportRun(run_id, ExportRequest(ApiVersion.V2, Scope.PATIENT, (EOB,), NOW if days else None), at)
    folder = private_folder(places.run_folder(run_id))
    write_run(folder, run)
    name = f"00001-{EOB}.ndjson.gz"
    content = b"".join(lines)
    subprocess.run(["gzip", "-1"], input=content, stdout=(folder / name).open("wb"), check=True)
    digest = hashlib.file_digest((folder / name).open("rb"), "sha256").hexdigest()
    receipt = Receipt(name, FileKind.OUTPUT, EOB, "", 0, digest, len(content), len(lines))
    manifest = Manifest("1", at, "", None, (OutputFile(name, FileKind.OUTPUT, EOB, ""),))
    return run, manifest, land_files(run, manifest, [receipt], batch=0, places=places)


def delta(base: list[bytes], lines: int, lines_per_claim: float) -> list[bytes]:
    """Return changed and new claims that have about as many lines."""
    wanted = int(lines / lines_per_claim)
    changed = [
        line.replace(b'"disposition":"1"', b'"disposition":"2"').replace(b'"lastUpdated":"20', b'"lastUpdated":"21')
        for line in base
    ]
    return [
        line if number % 2 else line.replace(b'"id":"', b'"id":"new-', 1)
        for number, line in enumerate(changed[:wanted])
    ]


def multiply(home: Path, lines: int) -> int:
    """Copy the rows under other ids until there are as many lines; return how many there are."""
    with open_warehouse(Places.below(home).warehouse) as connection:
        have = connection.execute("SELECT count(*) FROM claim_line").fetchall()[0][0]
        copies = max(0, round(lines / have) - 1)
        for table in (t for t in model.core_tables() if t.resource_type == EOB):
            connection.execute(
                f"INSERT INTO {table.relation} SELECT c.* REPLACE (c.claim_id || '~' || n AS claim_id) "
                f"FROM {table.relation} AS c, range({copies}) AS t(n)"
            )
        connection.execute(
            "INSERT INTO resource_version SELECT v.* REPLACE (v.resource_id || '~' || n AS resource_id) "
            f"FROM resource_version AS v, range({copies}) AS t(n)"
        )
        return int(connection.execute("SELECT count(*) FROM claim_line").fetchall()[0][0])


def main(
    millions: Annotated[list[int], typer.Option(help="Lines in the tables, in millions.")] = [1, 4, 16],  # noqa: B006
    rounds: Annotated[int, typer.Option(help="Rounds of each.")] = 3,
) -> None:
    """Measure, print a table, write the figures as JSON."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="bcda-bench-") as folder:
        base = Path(folder) / "base"
        places = Places.below(base)
        world = World(people=10**6, seed=2)
        lines = [x for n in range(1200) for x in world.lines("v2", EOB, [str(n)], after=None, up_to=NOW)]
        run, manifest, landed = land(places, "base", lines, 0)
        merge_run(places, run, manifest, [landed], now=NOW)
        with open_warehouse(places.warehouse) as connection:
            counted = connection.execute("SELECT count(*) FROM claim_line").fetchall()[0][0]
        per_claim = counted / len(lines)
        deltas = {f"{size}": delta(lines, size * 10_000, per_claim) for size in millions}
        for name, resources in deltas.items():
            land(places, f"delta-{name}", resources, 7)
        for size in millions:
            home = Path(folder) / f"m{size}"
            shutil.copytree(base, home, symlinks=True)
            held = multiply(home, size * 1_000_000)
            for name in dict.fromkeys([f"{millions[0]}", f"{size}"]):
                for _ in range(rounds):
                    copy = Path(folder) / "copy"
                    shutil.copytree(home, copy, symlinks=True)
                    done = subprocess.run(
                        [sys.executable, "-c", MERGE, str(copy), f"delta-{name}"],
                        capture_output=True,
                        text=True,
                        check=True,
                    )
                    figures.append(
                        {"lines": held, "delta_claims": len(deltas[name]), **json.loads(done.stdout.splitlines()[-1])}
                    )
                    shutil.rmtree(copy)
                last = figures[-rounds:]
                wall = sorted(f["wall_seconds"] for f in last)[rounds // 2]
                typer.echo(
                    f"{held:>12,} lines, delta of {len(deltas[name]):>7,} claims: {wall:6.2f} s, "
                    f"peak {max(f['peak_mib'] for f in last):,.0f} MiB"
                )
            shutil.rmtree(home)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=1))
    typer.echo(f"Figures: {RESULTS}")


if __name__ == "__main__":
    typer.run(main)
