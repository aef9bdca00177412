"""`make bench`: fetching many files, against curl on the same URLs in the same run; then landing and merging them.

The simulator is a process of its own and closes every connection after one answer. Two loads:

- large: hundreds of ExplanationOfBenefit files of about 2 MB compressed. A few real ones are generated and served under
  many names, so that what is fetched, proved and synced is as much as it says, while ids repeat. The server waits before
  each file, and gives all of them together at most so many bytes a second, or as many as it can. How long that takes is
  measured with curl, which asks for as many at once and writes them nowhere; rounds alternate. Some of the files are
  landed afterwards, for the memory.
- small: thousands of files with one claim each, fetched, landed and merged: what a file costs, whatever is in it.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from bcda.api.client import BcdaClient
from bcda.api.export_request import ExportRequest, Scope
from bcda.api.manifest import Manifest
from bcda.runs.run import ExportRun, write_run
from bcda.settings import ApiVersion, ConnectionSettings, Tuning
from bcda.storage.files import private_folder
from bcda.storage.places import Places
from generate import write_claims

RESULTS = Path(__file__).parent / "results" / "load.json"
RUN = "bench"
LATENCY_SECONDS = 0.1
AT_ONCE = Tuning().concurrent_downloads
EOB = "ExplanationOfBenefit"

_PEAK = """
import re
from pathlib import Path
def peak_mib():
    # Not ru_maxrss: a child begins with the peak of the process that started it.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) // 1024
"""

FETCH = f"""{_PEAK}
import asyncio, json, sys, time
from bcda.api.client import BcdaClient
from bcda.runs.fetch import fetch_batch
from bcda.api.manifest import Manifest
from bcda.settings import ConnectionSettings, Tuning
facts = json.load(sys.stdin)
folder = Path(facts["run_folder"])
manifest = Manifest.from_bytes((folder / "manifest.json").read_bytes())
settings = ConnectionSettings(facts["base_url"], facts["client_id"], facts["client_secret"], tuning=Tuning(**facts["tuning"]))
async def main():
    async with BcdaClient(settings) as client:
        started = time.monotonic()
        receipts = await fetch_batch(client, manifest.files, folder, job_id=manifest.job_id)
        return time.monotonic() - started, receipts
seconds, receipts = asyncio.run(main())
print(json.dumps({{"wall_seconds": seconds, "cpu_seconds": time.process_time(), "peak_mib": peak_mib(),
                   "wire_bytes": sum(r.wire_bytes for r in receipts), "lines": sum(r.lines for r in receipts)}}))
"""

LAND = f"""{_PEAK}
import json, sys, time
from bcda.export import read_manifest
from bcda.landing import land_files
from bcda.storage.places import Places
from bcda.runs.receipts import read_receipt
from bcda.runs.run import read_run
facts = json.load(sys.stdin)
places = Places.below(Path(facts["home"]))
folder = places.run_folder("{RUN}")
manifest = read_manifest(places, "{RUN}")
receipts = [read_receipt(folder, file.name) for file in manifest.files[: facts["files"]]]
started = time.monotonic()
landed = land_files(read_run(folder), manifest, receipts, batch=0, places=places)
print(json.dumps({{"wall_seconds": time.monotonic() - started, "cpu_seconds": time.process_time(), "peak_mib": peak_mib(),
                   "files": len(receipts), "content_bytes": sum(r.content_bytes for r in receipts),
                   "lines": sum(f.lines_read for f in landed.files)}}))
"""

MERGE = f"""{_PEAK}
import json, sys, time
from bcda.export import read_manifest
from bcda.runs.landed import read_landed
from bcda.storage.places import Places
from bcda.runs.run import read_run
from bcda.warehouse import merge_run
places = Places.below(Path(json.load(sys.stdin)["home"]))
folder = places.run_folder("{RUN}")
run = read_run(folder)
started = time.monotonic()
merge_run(places, run, read_manifest(places, "{RUN}"), [read_landed(folder, 0)], now=run.planned_at)
print(json.dumps({{"wall_seconds": time.monotonic() - started, "cpu_seconds": time.process_time(), "peak_mib": peak_mib()}}))
"""

Figures = dict[str, Any]


def measured(script: str, facts: Figures) -> Figures:
    """Run a script in a process of its own; it reads the facts and prints its figures as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(facts), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the measured process failed:\n{done.stderr}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


@contextmanager
def serving(files: int, *options: str) -> Iterator[Figures]:
    """Run `serving.py` and give its facts."""
    command = [sys.executable, str(Path(__file__).with_name("serving.py")), "--files", str(files), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()


async def exported(facts: Figures) -> Manifest:
    """Have the server make its job and return the manifest."""
    settings = ConnectionSettings(facts["base_url"], facts["client_id"], facts["client_secret"])
    async with BcdaClient(settings) as client:
        job_id = await client.kick_off(ExportRequest(ApiVersion.V2, Scope.PATIENT, (EOB,)))
        while (manifest := (await client.status(job_id)).manifest) is None:  # noqa: ASYNC110 - the server can only be asked
            await asyncio.sleep(0.1)
    return manifest


def home_with(manifest: Manifest, home: Path) -> Places:
    """Prepare a home in which the run is planned and its manifest saved."""
    places = Places.below(home)
    folder = private_folder(places.run_folder(RUN))
    write_run(folder, ExportRun(RUN, ExportRequest(ApiVersion.V2, Scope.PATIENT, (EOB,)), datetime.now(UTC)))
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    return places


def put_in_place(stored: Sequence[Path], manifest: Manifest, folder: Path) -> int:
    """Let the job's files be links to a few stored ones; return the bytes that are served in all."""
    served = 0
    for number, file in enumerate(manifest.files):
        path = folder / manifest.job_id / file.url.rpartition("/")[2]
        path.unlink()
        source = stored[number % len(stored)]
        os.link(source, path)
        served += source.stat().st_size
    return served


def curl(facts: Figures, manifest: Manifest, at_once: int, folder: Path) -> Figures:
    """Fetch all files with curl, to nowhere."""
    credentials = (facts["client_id"], facts["client_secret"])
    token = httpx.post(f"{facts['base_url']}/auth/token", auth=credentials).raise_for_status().json()["access_token"]
    options = ["parallel", "parallel-immediate", f"parallel-max = {at_once}", "silent", "show-error", "fail"]
    options += [f'header = "Authorization: Bearer {token}"', 'header = "Accept-Encoding: gzip"']
    options += [r'write-out = "%{size_download}\n"']
    for file in manifest.files:
        options += [f'url = "{file.url}"', 'output = "/dev/null"']
    # The token is in a file of ours and not on a command line that everyone can read.
    config = folder / "curl.conf"
    config.touch(mode=0o600)
    config.write_text("\n".join(options))
    started = time.monotonic()
    done = subprocess.run(["curl", "--config", str(config)], capture_output=True, text=True, check=True)
    sizes = [int(line) for line in done.stdout.split()]
    if len(sizes) != len(manifest.files):
        raise RuntimeError(f"curl fetched {len(sizes)} of {len(manifest.files)} files")
    return {"wall_seconds": time.monotonic() - started, "wire_bytes": sum(sizes)}


def requests_made(facts: Figures) -> int:
    """Return how many requests the server has answered."""
    return len(httpx.get(f"{facts['base_url']}/_sim/state", timeout=60).json()["requests"])


def fetched(facts: Figures, manifest: Manifest, home: Path, tuning: Figures) -> Figures:
    """Fetch the manifest's files into an empty home."""
    places = home_with(manifest, home)
    before = requests_made(facts)
    figures = measured(FETCH, {**facts, "run_folder": str(places.run_folder(RUN)), "tuning": tuning})
    return figures | {"requests": requests_made(facts) - before}


def large_load(files: int, limit: float, at_once: int, rounds: int, landed: int, folder: Path) -> Figures:
    """Fetch files of about 2 MB in turns with curl, and land some of them."""
    found: Figures = {"megabytes_per_second": limit, "at_once": at_once, "rounds": []}
    with serving(files, "--latency", str(LATENCY_SECONDS), "--megabytes-per-second", str(limit)) as facts:
        manifest = asyncio.run(exported(facts))
        served = put_in_place(sorted(folder.glob("stored-*")), manifest, Path(facts["folder"]))
        typer.echo(
            f"\n{files} files, {served / 1e6:.0f} MB compressed, {LATENCY_SECONDS * 1000:.0f} ms before each, one a connection, "
            f"{at_once} at once; {f'{limit:.0f} MB/s' if limit else 'no limit'}"
        )
        for number in range(rounds):
            theirs = curl(facts, manifest, at_once, folder)
            with tempfile.TemporaryDirectory(dir=folder) as home:
                ours = fetched(facts, manifest, Path(home), {"concurrent_downloads": at_once})
                if number == 0 and landed:
                    found["landing"] = measured(LAND, {"home": home, "files": landed})
            if ours["wire_bytes"] != theirs["wire_bytes"]:
                raise RuntimeError(f"{ours['wire_bytes']} bytes kept, curl received {theirs['wire_bytes']}")
            found["rounds"].append({"ours": ours, "curl": theirs, "load_average": os.getloadavg()[0]})
            show_round(found["rounds"][-1])
    ratios = [each["ours"]["wall_seconds"] / each["curl"]["wall_seconds"] for each in found["rounds"]]
    typer.echo(f"{statistics.median(ratios):.2f} times curl (median; {min(ratios):.2f} to {max(ratios):.2f})")
    return found


def show_round(figures: Figures) -> None:
    """Print one round."""
    ours, theirs = figures["ours"], figures["curl"]
    typer.echo(
        f"ours {ours['wall_seconds']:6.2f} s ({ours['wire_bytes'] / 1e6 / ours['wall_seconds']:4.0f} "
        f"MB/s, {ours['cpu_seconds']:.1f} CPU s, {ours['peak_mib']} MiB, {ours['requests']} requests), "
        f"curl {theirs['wall_seconds']:6.2f} s: {ours['wall_seconds'] / theirs['wall_seconds']:.2f} times; "
        f"load average {figures['load_average']:.1f}"
    )


def small_load(files: int, folder: Path) -> Figures:
    """Fetch, land and merge files of one claim."""
    found = {}
    with serving(files) as facts, tempfile.TemporaryDirectory(dir=folder) as home:
        manifest = asyncio.run(exported(facts))
        found["curl"] = curl(facts, manifest, AT_ONCE, folder)
        # The server here has no budget of requests, and waiting for it is not what is measured.
        found["fetch"] = fetched(facts, manifest, Path(home), {"requests_per_five_minutes": 10 * files})
        found["land"] = measured(LAND, {"home": home, "files": files})
        found["merge"] = measured(MERGE, {"home": home})
    typer.echo(f"\n{files} files of one claim")
    for name, figures in found.items():
        show(name, figures)
    return found


def show(name: str, figures: Figures) -> None:
    """Print the figures of one process."""
    cpu = f", {figures['cpu_seconds']:.1f} CPU s, peak {figures['peak_mib']} MiB" if "cpu_seconds" in figures else ""
    content = f", {figures['files']} files, {figures['content_bytes'] / 1e6:.0f} MB" if "files" in figures else ""
    typer.echo(f"{name:6} {figures['wall_seconds']:7.2f} s{cpu}{content}")


def main(
    files: Annotated[int, typer.Option(help="Files of about 2 MB; 0 for none.")] = 600,
    rounds: Annotated[int, typer.Option(help="Rounds of each.")] = 3,
    limit: Annotated[list[float], typer.Option(help="MB that the server gives in a second; 0 for no limit.")] = [40, 0],  # noqa: B006
    at_once: Annotated[int, typer.Option(help="Files fetched at the same time, by both.")] = AT_ONCE,
    landed: Annotated[int, typer.Option(help="How many of them are landed, once, for the memory; 0 for none.")] = 40,
    small: Annotated[int, typer.Option(help="Files of one claim; 0 for none.")] = 5000,
) -> None:
    """Measure, print, write the figures as JSON."""
    results: Figures = {"large": []}
    with tempfile.TemporaryDirectory(prefix="bcda-bench-") as name:
        folder = Path(name)
        if files:
            for number in range(1, 5):
                write_claims(folder / f"stored-{number}.ndjson.gz", 25, seed=number)
            for place, each in enumerate(limit):
                results["large"].append(large_load(files, each, at_once, rounds, 0 if place else landed, folder))
            if landed:
                show("land", results["large"][0]["landing"])
        if small:
            results["small"] = small_load(small, folder)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1))
    typer.echo(f"\nFigures: {RESULTS}")


if __name__ == "__main__":
    typer.run(main)
