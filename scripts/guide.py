"""Runs the queries of docs/analysts.md on the demo's data and puts their results below them: `python scripts/guide.py`."""

import gzip
import hashlib
import re
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from bcda.api.export_request import ExportRequest, Scope
from bcda.api.manifest import FileKind, Manifest, OutputFile
from bcda.landing import land_files
from bcda.runs.receipts import Receipt
from bcda.runs.run import ExportRun, write_run
from bcda.settings import ApiVersion
from bcda.storage.files import private_folder
from bcda.storage.places import Places
from bcda.warehouse import merge_run, publish
from bcda_simulator.world import World

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "analysts.md"
NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
TYPES = ("Patient", "Coverage", "ExplanationOfBenefit")


def demo_database(home: Path) -> Path:
    """Load what `make demo` loads, without server and Airflow; return the published database."""
    places, world = Places.below(home), World(people=150, seed=7)
    since = None
    for number, now in enumerate((NOW, NOW + timedelta(weeks=1))):
        at = world.last_load_at(now)
        people = world.attribution_lists("A9999", "all", now)[-1].people
        run = ExportRun(f"demo-{number + 1}", ExportRequest(ApiVersion.V2, Scope.PATIENT, TYPES, since), now)
        folder = private_folder(places.run_folder(run.run_id))
        write_run(folder, run)
        receipts = []
        for place, kind in enumerate(TYPES, start=1):
            content = b"".join(world.lines("v2", kind, people, after=since, up_to=at))
            name = f"{place:05d}-{kind}.ndjson.gz"
            write_gzip(folder / name, content)
            raw = (folder / name).read_bytes()
            digest = hashlib.sha256(raw).hexdigest()
            lines = content.count(b"\n")
            receipts.append(Receipt(name, FileKind.OUTPUT, kind, "", len(raw), digest, len(content), lines))
        listed = tuple(OutputFile(r.name, r.kind, r.resource_type, "") for r in receipts)
        manifest = Manifest(str(number), at, "", None, listed)
        landed = land_files(run, manifest, receipts, batch=0, places=places)
        merge_run(places, run, manifest, [landed], now=now)
        since = at
    return publish(places).path


def write_gzip(path: Path, content: bytes) -> None:
    """Write a raw file."""
    path.write_bytes(gzip.compress(content, compresslevel=1))


def render(text: str, connection: duckdb.DuckDBPyConnection) -> str:
    """Return the guide with the result of each query below it, those it had before left out.

    Args:
        text: the guide in Markdown; queries are blocks of `sql`, results the blocks of `text` after them.
        connection: to the database that is asked.
    """
    bare = re.sub(r"(```sql\n.*?```\n)\n```text\n.*?```\n", r"\1", text, flags=re.DOTALL)
    return re.sub(
        r"```sql\n(.*?)```\n",
        lambda m: f"{m.group(0)}\n```text\n{table(connection, m.group(1))}```\n",
        bare,
        flags=re.DOTALL,
    )


def table(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """Return a result as columns of text."""
    result = connection.execute(query)
    rows = [[column[0] for column in result.description or []]]
    rows += [["" if value is None else str(value) for value in row] for row in result.fetchall()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the results into the guide."""
    with (
        tempfile.TemporaryDirectory() as home,
        duckdb.connect(str(demo_database(Path(home))), read_only=True) as connection,
    ):
        GUIDE.write_text(render(GUIDE.read_text(encoding="utf-8"), connection), encoding="utf-8")


if __name__ == "__main__":
    main()
