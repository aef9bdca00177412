"""`python benchmarks/landing_budgets.py`: what landing takes when a file goes far beyond its budgets, as a Markdown table.

Each file is landed by a process of its own. The kernel counts its peak of resident memory, and ends its allocations at a hard
limit (`RLIMIT_DATA`), which counts what DuckDB and the C library reserve without touching it too, so it is larger than the budget.
The tests land the same files.
"""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bcda import budgets

MIB = 1 << 20

HARD_LIMIT = 4 << 30
"""Memory beyond what a process has at its beginning, reserved or used, at which its allocations fail."""

EOB = "ExplanationOfBenefit"

LAND = """
import json, resource, sys
from datetime import UTC, datetime
from pathlib import Path
import duckdb, pyarrow.parquet
from bcda.api.export_request import ExportRequest, Scope
from bcda.landing import land_files
from bcda.api.manifest import FileKind, Manifest
from bcda.storage.places import Places
from bcda.runs.receipts import Receipt
from bcda.runs.run import ExportRun
from bcda.settings import ApiVersion
home, limit = Path(sys.argv[1]), int(sys.argv[2])
places = Places.below(home)
now = datetime(2026, 11, 10, 12, tzinfo=UTC)
run = ExportRun("bench", ExportRequest(ApiVersion.V2, Scope.PATIENT, ("ExplanationOfBenefit",)), now)
receipt = json.loads((home / "receipt.json").read_bytes())
receipt["kind"] = FileKind.OUTPUT
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
before = int(status["VmData"].split()[0]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (before + limit, before + limit))
landed = land_files(run, Manifest("1", now, "", None, ()), [Receipt(**receipt)], batch=0, places=places)
(file,) = landed.files
print(json.dumps([file.lines_read, file.rows_landed, file.lines_quarantined]))
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A file that goes beyond a budget.

    Attributes:
        stage: what meets it.
        budget: name in `bcda.budgets`, and how far beyond.
        content: gives the file's text.
    """

    stage: str
    budget: str
    content: Callable[[], Iterator[bytes]]


def claim(number: int = 1, **more: object) -> bytes:
    """Return a line of a claim, without newline."""
    meta = {"lastUpdated": "2026-01-02T03:04:05.678-05:00"}
    return json.dumps(
        {"id": f"carrier-{number}", "meta": meta, "resourceType": EOB, "status": "active", **more},
        separators=(",", ":"),
    ).encode()


def listing(name: str, element: bytes, times: int, number: int = 1) -> bytes:
    """Return a line of a claim with a list of equal elements."""
    return claim(number, **{name: "@"}).replace(b'"@"', b"[" + b",".join([element] * times) + b"]")


def _item() -> bytes:
    variable = "https://bluebutton.cms.gov/resources/variables/line_alowd_chrg_amt"
    coding = {"coding": [{"code": variable, "display": "Line Allowed Charge Amount. " * 12, "system": variable}]}
    amount = {"amount": {"currency": "USD", "value": 1.25}, "category": coding}
    return json.dumps({"adjudication": [amount] * 12, "sequence": 1}, separators=(",", ":")).encode()


def _real(size: int, number: int) -> bytes:
    """Return a claim of as many items as a size in bytes allows."""
    return listing("item", _item(), max(1, size // (len(_item()) + 1)), number)


def _lines(lines: Iterator[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield line
        yield b"\n"


CASES: dict[str, Case] = {
    "ordinary": Case("parsing", "none", lambda: _lines(_real(20_000, n) for n in range(16_000))),
    "blank": Case(
        "reading", "SLICE_BYTES x 32: one GiB of blank lines", lambda: (b"\n" * (1 << 24) for _ in range(64))
    ),
    "blank-crlf": Case(
        "reading",
        "SLICE_BYTES x 10: blank lines of carriage returns",
        lambda: (b" \r\n" * (10 << 20) for _ in range(10)),
    ),
    "blank-between": Case(
        "reading",
        "SLICE_LINES x 10: a blank line between any two",
        lambda: _lines(b"\n" + claim(n) for n in range(655_360)),
    ),
    "one-line": Case("reading", "LINE_BYTES x 10: one line", lambda: (b"x" * MIB for _ in range(200))),
    "one-text": Case(
        "reading", "LINE_BYTES x 10: a claim with one text", lambda: iter([b'{"id":"', *[b"x" * MIB] * 200, b'"}\n'])
    ),
    "long-lines": Case(
        "reading", "LINE_BYTES x 1.2, 1.4, 1.5", lambda: _lines(_real(n * MIB, n) for n in (24, 28, 30))
    ),
    **{
        f"legal-{size}": Case(
            "parsing",
            f"claims of {size} MB, 200 MB in all",
            lambda size=size: _lines(_real(size * 10**6, n) for n in range(200 // size)),
        )
        for size in (1, 5, 10, 20)
    },
    "legal-texts": Case(
        "parsing",
        "LINE_BYTES, 20 claims with one text each",
        lambda: _lines(claim(n, disposition="x" * (budgets.LINE_BYTES - 1000)) for n in range(20)),
    ),
    "tiny-lines": Case("parsing", "SLICE_LINES x 100: lines of two bytes", lambda: (b"{}\n" * MIB for _ in range(6))),
    "bad-lines": Case(
        "quarantine",
        "QUARANTINE_LISTED x 1,000: lines that are no JSON",
        lambda: (b"bad!\n" * 100_000 for _ in range(10)),
    ),
    "wrong-lines": Case(
        "quarantine",
        "QUARANTINE_TEXT_BYTES x 10, 5,000 lines",
        lambda: _lines(claim(resourceType="Patient", x="x" * 163_840) for _ in range(5_000)),
    ),
    "elements": Case(
        "parsing",
        "LINE_ELEMENTS x 10: items without content",
        lambda: _lines(iter([listing("item", b"{}", 2_500_000)])),
    ),
    "numbers": Case(
        "parsing",
        "LINE_ELEMENTS x 10: items that are numbers",
        lambda: _lines(iter([listing("item", b"0", 2_500_000)])),
    ),
    "elements-legal": Case(
        "parsing",
        "LINE_ELEMENTS x 10: in 10 lines",
        lambda: _lines(listing("item", b"{}", 120_000, n) for n in range(10)),
    ),
    "elements-spread": Case(
        "parsing",
        "PORTION_ELEMENTS x 20: 1,900 in each line",
        lambda: _lines(listing("item", b"{}", 1_900, n) for n in range(1_500)),
    ),
    "elements-below": Case(
        "parsing",
        "ORDINARY_ELEMENTS x 5, spread over lines that look ordinary",
        lambda: _lines(listing("item", b"{}", 580, n) + b" " * 10_000 for n in range(2_500)),
    ),
    "side-lists": Case(
        "filling",
        "LINE_SIDE_LIST x 10: for each item all of a care team",
        lambda: _lines(
            listing("item", b'{"careTeamSequence":[1]}', 10_000, n).replace(
                b'"meta"', b'"careTeam":[' + b",".join([b'{"sequence":1}'] * 10_000) + b'],"meta"'
            )
            for n in range(4)
        ),
    ),
    "repeated-text": Case(
        "filling",
        "LINE_REPEATED_BYTES x 10: a text for each item",
        lambda: _lines(
            listing("item", b'{"careTeamSequence":[1]}', 10_000, n).replace(
                b'"meta"',
                b'"careTeam":[{"sequence":1,"provider":{"identifier":{"value":"%s"}}}],"meta"' % (b"x" * 140_000),
            )
            for n in range(4)
        ),
    ),
    "deep": Case(
        "parsing", "a line of ten million levels", lambda: iter([b'{"id":"x","item":', *[b"[" * MIB] * 10, b"\n"])
    ),
    "deep-short": Case(
        "parsing",
        "50 lines of 400,000 levels",
        lambda: _lines(b'{"id":"x","a":' + b"[" * 400_000 + b"]" * 400_000 + b"}" for _ in range(50)),
    ),
    "names": Case(
        "drift",
        "MOST_PATHS x 1,000: names never seen",
        lambda: _lines(claim(n, **{f"n{n}-{k}": 1 for k in range(50_000)}) for n in range(20)),
    ),
    "urls": Case(
        "drift",
        "extensions never seen, one million",
        lambda: _lines(claim(n, extension=[{"url": f"http://x/{n}-{k}"} for k in range(900)]) for n in range(1_100)),
    ),
}
"""By name; every one but the first ones within the limits is far beyond a budget."""


def write(folder: Path, case: Case) -> tuple[int, int]:
    """Write a raw file with its receipt into a home; return the bytes on the wire and those of the text."""
    raw = folder / "raw" / "bench"
    raw.mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    raw.parent.chmod(0o700)
    name = f"00001-{EOB}.ndjson.gz"
    size = lines = 0
    last = b"\n"
    with gzip.open(raw / name, "wb", compresslevel=1) as file:
        for piece in case.content():
            file.write(piece)
            size, lines, last = size + len(piece), lines + piece.count(b"\n"), piece[-1:] or last
    wire = (raw / name).stat().st_size
    receipt = {
        "name": name, "kind": "output", "resource_type": EOB, "url": "", "wire_bytes": wire, "content_bytes": size,
        "wire_sha256": hashlib.file_digest((raw / name).open("rb"), "sha256").hexdigest(),
        "lines": lines + (last != b"\n"),
    }  # fmt: skip
    (folder / "receipt.json").write_text(json.dumps(receipt))
    return wire, size


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of a file: lines read, landed and quarantined; None for those when it did not land. Peak in MiB."""

    lines: tuple[int, int, int] | None
    peak_mib: int
    error: str


def land(folder: Path, limit: int = HARD_LIMIT) -> Landed:
    """Land the file of a home in a process of its own that may take so many bytes more than it has at its beginning."""
    errors = folder / "errors.txt"
    with errors.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", LAND, str(folder), str(limit)], stdout=subprocess.PIPE, stderr=log
        )
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
    lines = tuple(json.loads(output)) if status == 0 else None
    return Landed(lines, usage.ru_maxrss >> 10, errors.read_text(errors="replace").strip().rsplit("\n", 1)[-1])


def main(
    only: Annotated[list[str] | None, typer.Argument(help="Names of cases. Default: all cases.")] = None,
) -> None:
    """Land every file and print the table."""
    typer.echo("| stage | content | wire | text | lines read | landed | quarantined | budget | peak |")
    typer.echo("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in only or CASES:
        case = CASES[name]
        with tempfile.TemporaryDirectory() as home:
            wire, size = write(Path(home), case)
            landed = land(Path(home))
        lines = " | ".join(f"{n:,}" for n in landed.lines) if landed.lines else f"{landed.error[:300]} | | "
        typer.echo(
            f"| {case.stage} | {case.budget} | {wire / 1e6:,.2f} MB | {size / 1e6:,.0f} MB | {lines} "
            f"| {budgets.LANDING_BYTES // MIB:,} MiB | {landed.peak_mib:,} MiB |"
        )


if __name__ == "__main__":
    typer.run(main)
