"""Write a file of generated v2 claims: `python benchmarks/generate.py --megabytes 1000 --out FILE.ndjson.gz`."""

import gzip
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from bcda_simulator.world import World

AS_OF = datetime(2026, 11, 10, 12, tzinfo=UTC)


def write_claims(out: Path, megabytes: int, seed: int = 1) -> tuple[int, int]:
    """Write ExplanationOfBenefit lines of a synthetic world until the size is reached.

    Args:
        out: file to write; compressed when its name ends in .gz.
        megabytes: size of the NDJSON, in millions of bytes.
        seed: of the world.

    Returns:
        Bytes and lines of the NDJSON.
    """
    world, size, lines = World(people=10**9, seed=seed), 0, 0
    with gzip.open(out, "wb", compresslevel=1) if out.suffix == ".gz" else out.open("wb") as file:
        for person in count():
            for line in world.lines("v2", "ExplanationOfBenefit", [str(person)], after=None, up_to=AS_OF):
                file.write(line)
                size += len(line)
                lines += 1
                if size >= megabytes * 1_000_000:
                    return size, lines
    return size, lines


def main(
    out: Annotated[Path, typer.Option(help="File to write; .gz compresses.")],
    megabytes: Annotated[int, typer.Option(help="Size of the NDJSON.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the world.")] = 1,
) -> None:
    """Write a file of generated v2 claims and say how fast."""
    started = time.monotonic()
    size, lines = write_claims(out, megabytes, seed)
    seconds = time.monotonic() - started
    typer.echo(f"{size / 1e6:.0f} MB, {lines} claims in {seconds:.0f} s: {size / 1e6 / seconds:.0f} MB/s")


if __name__ == "__main__":
    typer.run(main)
