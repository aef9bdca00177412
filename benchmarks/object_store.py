"""What an object store costs: `python benchmarks/object_store.py`, after `scripts/setup.sh dev`.

A file of random bytes, which is how a compressed file looks, is uploaded to a local S3 server and brought back, by the calls
that the stages use; each step is a process of its own. Beside it: reading and hashing the file, which is the proof alone. The server is
moto's, one Python process that keeps objects in memory: it, and not the client, is the limit of the rate.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

STEPS = {
    "read and hash": "import hashlib; hashlib.file_digest(path.open('rb'), 'sha256')",
    "upload": "store.put(path, 'there')",
    "bring, proved": "store.get('there', path.with_name('back'), size=path.stat().st_size)",
}
START = """
import sys
from pathlib import Path
from bcda.storage.object_store import ObjectStore
from bcda.storage.store_address import StoreAddress
path = Path(sys.argv[1])
store = ObjectStore(StoreAddress.from_text(sys.argv[2]))
"""
MAKE_BUCKET = """
import sys
from pyarrow import fs
fs.S3FileSystem(scheme="http", endpoint_override=sys.argv[1], region="us-east-1", allow_bucket_creation=True).create_dir("bench")
"""
ENVIRONMENT = os.environ | {
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def measure(code: str, *arguments: str) -> tuple[float, float, float]:
    """Return wall seconds, CPU seconds and peak MiB of a process."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], env=ENVIRONMENT)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"a step ended with {os.waitstatus_to_exitcode(status)}")
    return time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main(
    megabytes: Annotated[int, typer.Option(help="Size of the file.")] = 300,
    rounds: Annotated[int, typer.Option(help="How often; medians are shown.")] = 3,
) -> None:
    """Measure and print a table."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        path = Path(folder) / "file"
        with path.open("wb") as file:
            for _ in range(megabytes):
                file.write(os.urandom(1_000_000))
        server = subprocess.Popen(
            [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", endpoint.split(":")[1]],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while socket.socket().connect_ex(("127.0.0.1", int(endpoint.split(":")[1]))):
                time.sleep(0.1)
            measure(MAKE_BUCKET, endpoint)
            address = f"s3://bench/x?scheme=http&region=us-east-1&endpoint_override={endpoint}"
            found = {
                name: [measure(START + step, str(path), address) for _ in range(rounds)] for name, step in STEPS.items()
            }
        finally:
            server.terminate()
            server.wait()
    print(f"| {megabytes} MB | wall seconds | CPU seconds | peak MiB |\n|---|---|---|---|")
    for name, measured in found.items():
        wall, cpu, peak = (statistics.median(values) for values in zip(*measured, strict=True))
        print(f"| {name} | {wall:.1f} | {cpu:.1f} | {peak:.0f} |")


if __name__ == "__main__":
    typer.run(main)
