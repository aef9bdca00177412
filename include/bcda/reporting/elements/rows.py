"""The rows that resources land as, in typed columns."""

import gzip
import hashlib
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from bcda import model
from bcda.api.export_request import ExportRequest, Scope
from bcda.api.manifest import FileKind, Manifest, OutputFile
from bcda.landing import land_files
from bcda.model.mapping import LINEAGE
from bcda.runs.landed import LakeFile
from bcda.runs.receipts import Receipt
from bcda.runs.run import ExportRun, write_run
from bcda.settings import ApiVersion
from bcda.storage.files import private_folder
from bcda.storage.places import Places

NOT_TYPED = frozenset({"claim_extension"})
"""Tables that hold any extension as a name and a text: no column of the element's own."""

_WHOLE, _FROM_WHOLE = "resource", "meta_last_updated"
"""The lake's table of whole resources counts for the one column that the merge takes from it."""

_TABLES = frozenset(name for name, _ in model.lake_tables()) - NOT_TYPED | {_WHOLE}

Rows = Mapping[str, Mapping[str, Counter[str]]]
"""The values of the rows of one resource: by table and column, how often each is there."""


def landed_rows(api_version: ApiVersion, resource_type: str, resources: Sequence[object]) -> list[Rows]:
    """Land resources in a folder of their own and return the rows of each, in order. A quarantined resource has none.

    Raises:
        LandingError: they cannot be landed.
    """
    content = b"".join(json.dumps(resource).encode() + b"\n" for resource in resources)
    rows: list[dict[str, dict[str, Counter[str]]]] = [{} for _ in resources]
    with tempfile.TemporaryDirectory() as home:
        places = Places.below(Path(home))
        for file in _land(places, api_version, resource_type, content):
            if file.table in _TABLES:
                _add(rows, file.table, places.lake / file.path)
    return list(rows)


def _add(rows: Sequence[dict[str, dict[str, Counter[str]]]], table: str, path: Path) -> None:
    for row in pq.ParquetFile(path).read().to_pylist():
        of_line = rows[row["raw_line"] - 1].setdefault(table, defaultdict(Counter))
        for column, value in row.items():
            if column not in LINEAGE and value is not None and (table != _WHOLE or column == _FROM_WHOLE):
                of_line[column][str(value)] += 1


def _land(places: Places, api_version: ApiVersion, resource_type: str, content: bytes) -> tuple[LakeFile, ...]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    run = ExportRun("elements", ExportRequest(api_version, Scope.PATIENT, (resource_type,), None), now)
    folder = private_folder(places.run_folder(run.run_id))
    write_run(folder, run)
    name, wire = f"00001-{resource_type}.ndjson.gz", gzip.compress(content, compresslevel=1)
    (folder / name).write_bytes(wire)
    url, sha256 = "http://localhost/1.ndjson", hashlib.sha256(wire).hexdigest()
    receipt = Receipt(name, FileKind.OUTPUT, resource_type, url, len(wire), sha256, len(content), content.count(b"\n"))
    listed = (OutputFile(name, FileKind.OUTPUT, resource_type, url),)
    manifest = Manifest("1", now, "http://localhost", None, listed)
    return tuple(land_files(run, manifest, [receipt], batch=0, places=places).lake_files)


def differing(before: Rows, after: Rows) -> tuple[str, ...]:
    """Return the columns with other values, as table.column; none when what is left after a change is no resource."""
    if not after:
        return ()
    pairs = {(table, column) for rows in (before, after) for table, columns in rows.items() for column in columns}
    return tuple(
        f"{table}.{column}"
        for table, column in sorted(pairs)
        if before.get(table, {}).get(column) != after.get(table, {}).get(column)
    )
