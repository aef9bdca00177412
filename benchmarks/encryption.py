"""What encryption at rest costs: `python benchmarks/encryption.py`.

The same file of generated claims is landed, merged, published and asked, without a key and with one. Each step is a process of
its own; rounds alternate. DuckDB writes with OpenSSL where its extension httpfs is installed, and otherwise with its own
cryptography, which is slower and for measuring only; the table says which it was.
"""

import json
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import duckdb
import typer

from bcda.storage import duckdb_files
from generate import write_claims
from landing import Measured, measure

RESULTS = Path(__file__).parent / "results" / "encryption.json"
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
ITS_OWN = "SET force_mbedtls_unsafe = 'true'"

START = """
import hashlib
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from bcda import export, warehouse
from bcda.storage import duckdb_files
from bcda.storage.encryption import EncryptionKey
from bcda.storage.files import private_folder
from bcda.storage.places import Places
source, lines, home, key, duckdb_files.LOAD_CRYPTOGRAPHY = sys.argv[1:]
places = replace(Places.below(Path(home)), key=EncryptionKey.from_text(key) if key else None)
NAME, EOB, AT = "00001-ExplanationOfBenefit.ndjson.gz", "ExplanationOfBenefit", datetime(2026, 11, 10, 12, tzinfo=UTC)
folder = private_folder(places.run_folder("bench"))
from bcda.api.export_request import ExportRequest, Scope
from bcda.runs.landed import read_landed
from bcda.landing import land_files
from bcda.api.manifest import FileKind, Manifest, OutputFile
from bcda.runs.receipts import Receipt
from bcda.runs.run import ExportRun
from bcda.settings import ApiVersion
run = ExportRun("bench", ExportRequest(ApiVersion.V2, Scope.PATIENT, (EOB,)), AT)
manifest = Manifest("1", AT, "", None, (OutputFile(NAME, FileKind.OUTPUT, EOB, ""),))
"""

ASK = """
with duckdb_files.connected(spill=Path(home) / "spill", memory="1GB", key=places.key) as connection:
    duckdb_files.attach(connection, places.published, key=places.key, read_only=True)
    connection.execute("USE warehouse")
    connection.execute({query!r}).fetchall()
"""

STEPS = {
    "land": """
(folder / NAME).symlink_to(source)
digest = hashlib.file_digest((folder / NAME).open("rb"), "sha256").hexdigest()
land_files(run, manifest, [Receipt(NAME, FileKind.OUTPUT, EOB, "", 0, digest, 0, int(lines))], batch=0, places=places)
""",
    "merge": "warehouse.merge_run(places, run, manifest, [read_landed(folder, 0)], now=AT)",
    "publish": "from bcda.warehouse import publish as p\np.run_checks = lambda *_: []\nwarehouse.publish(places)",
    "sum of all amounts of all lines": ASK.format(
        query="SELECT category_code, sum(amount) FROM claim_line_amount GROUP BY ALL"
    ),
    "one element of every resource's text": ASK.format(
        query="SELECT body ->> '$.status', count(*) FROM resource GROUP BY ALL"
    ),
}
"""Publishing is measured without its checks, which are queries."""


def cryptography() -> str:
    """Return what DuckDB can write with on this machine."""
    with duckdb.connect() as connection:
        try:
            connection.execute(duckdb_files.LOAD_CRYPTOGRAPHY)
        except duckdb.Error:
            return ITS_OWN
    return duckdb_files.LOAD_CRYPTOGRAPHY


def main(
    megabytes: Annotated[int, typer.Option(help="Size of the generated NDJSON.")] = 300,
    rounds: Annotated[int, typer.Option(help="Rounds of each.")] = 3,
) -> None:
    """Measure, print a table, write the figures as JSON."""
    load = cryptography()
    found: dict[tuple[str, bool], list[Measured]] = {(step, has_key): [] for step in STEPS for has_key in (False, True)}
    sizes: dict[bool, dict[str, int]] = {}
    with tempfile.TemporaryDirectory(prefix="bcda-bench-") as folder:
        source = Path(folder) / "claims.ndjson.gz"
        size, lines = write_claims(source, megabytes)
        typer.echo(f"{size / 1e6:.0f} MB of generated v2 claims; DuckDB encrypts with {load!r}")
        for _ in range(rounds):
            for has_key in (False, True):
                with tempfile.TemporaryDirectory(dir=folder) as home:
                    for step, script in STEPS.items():
                        given = (str(source), str(lines), home, KEY if has_key else "", load)
                        found[step, has_key].append(measure(START + script, *given))
                    sizes[has_key] = {
                        "lake": sum(path.stat().st_size for path in Path(home).glob("lake/*/*/*/*.parquet")),
                        "database": (Path(home) / "bcda.duckdb").stat().st_size,
                    }
    typer.echo(f"{'':40} CPU s, plain  with key  ratio (smallest to largest)   wall s, plain  with key")
    for step in STEPS:
        plain, encrypted = found[step, False], found[step, True]
        each = [b.cpu_seconds / a.cpu_seconds for a, b in zip(plain, encrypted, strict=True)]
        cpu = [statistics.median(run.cpu_seconds for run in runs) for runs in (plain, encrypted)]
        wall = [statistics.median(run.wall_seconds for run in runs) for runs in (plain, encrypted)]
        typer.echo(
            f"{step:40} {cpu[0]:12.2f} {cpu[1]:9.2f} {statistics.median(each):6.2f} ({min(each):.2f} to {max(each):.2f})"
            f"{wall[0]:22.2f} {wall[1]:9.2f}"
        )
    for place in ("lake", "database"):
        typer.echo(f"{place}: {sizes[True][place] / sizes[False][place]:.3f} times the size")
    RESULTS.parent.mkdir(exist_ok=True)
    runs = [
        {"step": step, "has_key": has_key, **asdict(run)} for (step, has_key), runs in found.items() for run in runs
    ]
    RESULTS.write_text(json.dumps({"ndjson_bytes": size, "cryptography": load, "sizes": sizes, "runs": runs}, indent=1))
    typer.echo(f"\nFigures: {RESULTS}")


if __name__ == "__main__":
    typer.run(main)
