"""A process of its own that meets one answer under a hard limit of its memory, and says what came of it and what it took.

Called by `budgeted.py`: the stage as JSON in the first argument; prints `ready`, waits for a line, prints the result as JSON.
"""

import asyncio
import json
import re
import resource
import sys
import time
from pathlib import Path

from bcda import budgets
from bcda.api.client import BcdaClient
from bcda.api.manifest import FileKind, OutputFile
from bcda.errors import BcdaError
from bcda.runs.fetch import fetch_batch, verify_gzip
from bcda.settings import ConnectionSettings, Tuning

GIVEN = json.loads(sys.argv[1])
FOLDER = Path(GIVEN["folder"])


async def status(client):
    return len((await client.status("1")).manifest.files)


async def fetch(client):
    found = OutputFile("00001-Patient.ndjson.gz", FileKind.OUTPUT, "Patient", GIVEN["file"])
    return len(await fetch_batch(client, [found], FOLDER / "raw", job_id="1"))


async def unpack(client):
    return verify_gzip(FOLDER / "bomb.gz").lines


CALLS = {
    "status": status,
    "jobs": lambda client: client.jobs(),
    "attribution": lambda client: client.attribution_status(),
    "fetch": fetch,
    "unpack": unpack,
}


def of_process(name):
    """Return a size of this process, in bytes."""
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


def set_limit():
    """Limit the memory of this process from now on; return what it has."""
    Path("/proc/self/clear_refs").write_text("5")
    limit = of_process("VmSize") + GIVEN["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return of_process("VmRSS")


def left_bytes():
    """Return the size of the largest file that is left."""
    found = [path for path in FOLDER.rglob("*") if path.name != "bomb.gz" and path.is_file()]
    return max((path.stat().st_size for path in found), default=0)


async def main():
    for name, value in GIVEN["budgets"].items():
        setattr(budgets, name, value)
    tuning = Tuning(max_attempts=1, file_attempts=1, **GIVEN["tuning"])
    settings = ConnectionSettings(*GIVEN["connection"], tuning=tuning)
    async with BcdaClient(settings) as warm:
        await warm.attribution_status()
        await status(warm)
        await warm.jobs()
        print("ready", flush=True)
        sys.stdin.readline()
        before = set_limit()
        began = time.monotonic()
        # A client that has no token yet, so that it asks for one.
        async with BcdaClient(settings) as client:
            try:
                outcome, said = "taken", str(await CALLS[GIVEN["call"]](client if GIVEN["is_new"] else warm))
            except BcdaError as error:
                outcome, said = type(error).__name__, str(error)
    took = time.monotonic() - began
    peak = of_process("VmHWM") - before
    found = {"outcome": outcome, "said": said, "peak_bytes": peak, "seconds": took, "left_bytes": left_bytes()}
    print(json.dumps(found))


asyncio.run(main())
