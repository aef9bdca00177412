"""Landing again from the lake: the texts of resources that have landed become the rows of every other table again."""

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from bcda import model
from bcda.budgets import GATHER_BYTES, GROUP_ROWS, LANDING_ENGINE_BYTES, PORTION_ELEMENTS, SLICE_BYTES
from bcda.errors import EngineMemoryError, LandingError
from bcda.landing.drift import samples_of
from bcda.landing.engine import CHUNK_BYTES, Engine
from bcda.landing.lake_files import LakeWriter
from bcda.landing.lines import Part, Slice
from bcda.progress import Done, Progress
from bcda.runs.landed import LakeFile
from bcda.settings import ApiVersion
from bcda.storage import duckdb_files, parquet_files
from bcda.storage.encryption import lake_key_name
from bcda.storage.files import own_folder, told
from bcda.storage.places import Places
from bcda.storage.sql_text import literal

log = logging.getLogger(__name__)

KEPT_TABLES = frozenset({"resource", "quarantine", "operation_outcome"})
"""Lake tables that do not come from the table of resources. Only raw files can rebuild them."""


def land_again(
    places: Places,
    resources: Sequence[LakeFile],
    *,
    api_version: ApiVersion,
    path_of: Callable[[Path], Path],
    derived: Sequence[LakeFile] = (),
    memory_bytes: int = LANDING_ENGINE_BYTES,
) -> tuple[LakeFile, ...]:
    """Rewrite the tables that come from resources; nothing that is in the lake is changed.

    Keys and content hashes stay as they have landed, and so does which lines are in quarantine. Of a resource whose text a disposal
    replaced by its id the rows stay as they are: they are all that is left of it.

    Args:
        places: where the lake is, and its key.
        resources: lake files of the table `resource`, all in one partition; the first one gives new files their name.
        api_version: of the resources.
        path_of: gives where a new file is put instead of its own path in the lake.
        derived: the run's lake files that were made of resources, for rows that stay.
        memory_bytes: limit of the parsing engine.

    Returns:
        One file a table that got rows, each with its own path.

    Raises:
        LandingError: this release does not read a text that an earlier one has landed, or reads another id in it.
        StorageError: the lake cannot be written.
        EncryptionError: the key is not that of the lake, or this machine cannot encrypt.
    """
    try:
        return _land_once(places, resources, api_version, path_of, derived, memory_bytes, is_careful=False)
    except EngineMemoryError:
        log.info("%s takes more memory than ordinary claims do; it is landed a little at a time", resources[0].path)
    return _land_once(places, resources, api_version, path_of, derived, memory_bytes, is_careful=True)


def _land_once(
    places: Places,
    resources: Sequence[LakeFile],
    api_version: ApiVersion,
    path_of: Callable[[Path], Path],
    derived: Sequence[LakeFile],
    memory_bytes: int,
    *,
    is_careful: bool,
) -> tuple[LakeFile, ...]:
    """Land once; see `land_again`. What is careful parses a little at a time and gathers nothing.

    Raises:
        EngineMemoryError: what was parsed or gathered at a time takes more than the engine has.
    """
    first = Path(resources[0].path)
    with (
        own_folder(places.lake, f"remapping-{first.stem}") as workspace,
        told(f"land the resources of {first} again"),
        duckdb_files.connected(
            spill=workspace, memory=f"{memory_bytes >> 20}MiB", key=places.key, threads=1, keeps_order=True
        ) as connection,
    ):
        writer = LakeWriter(
            places.lake,
            workspace=workspace,
            partition="/".join(first.parts[1:-1]),
            name=first.name,
            connection=connection,
            key=places.key,
        )
        try:
            engine = Engine(api_version, connection)
            again = _Again(places, resources, engine, writer, connection, is_careful=is_careful)
            again.land()
            again.keep(derived)
            return writer.commit(path_of)
        finally:
            writer.discard()


class _Again:
    """The resources of some lake files on their way through the engine."""

    def __init__(
        self,
        places: Places,
        resources: Sequence[LakeFile],
        engine: Engine,
        writer: LakeWriter,
        connection: duckdb.DuckDBPyConnection,
        *,
        is_careful: bool,
    ) -> None:
        # No element takes less than a byte of text.
        self._portion_bytes, self._gather_bytes = (PORTION_ELEMENTS, 0) if is_careful else (SLICE_BYTES, GATHER_BYTES)
        self._places = places
        self._source = parquet_files.relation([str(places.lake / f.path) for f in resources], lake_key_name(places.key))
        self._engine = engine
        self._writer = writer
        # The engine asks while the texts are still being read.
        self._reading = connection.cursor()
        self._progress = Progress(log, "landing again", "lines", sum(file.rows for file in resources))
        self._next_row = 0

    def land(self) -> None:
        """Fill every table, one type after the other."""
        types = self._reading.execute(f"SELECT DISTINCT resource_type FROM {self._source} ORDER BY ALL").fetchall()  # noqa: S608
        for (resource_type,) in types:
            gathered = 0
            for rows in self._portions(resource_type):
                gathered += self._parse(rows, resource_type)
                if gathered >= self._gather_bytes:
                    self._flush(resource_type)
                    gathered = 0
            self._flush(resource_type)

    def keep(self, derived: Sequence[LakeFile]) -> None:
        """Copy the rows of resources whose text is gone; a column that they lack is NULL.

        Args:
            derived: lake files that were made of resources, of any mapping.
        """
        trimmed = f"(SELECT raw_file, raw_line FROM {self._source} AS t WHERE body = {model.TRIMMED_TEXT})"  # noqa: S608 - our own files
        if not self._reading.execute(f"SELECT count(*) FROM {trimmed}").fetchall()[0][0]:  # noqa: S608
            return
        defined = {name for name, _ in model.lake_tables()}
        for file in (file for file in derived if file.table in defined):
            rows = parquet_files.relation([str(self._places.lake / file.path)], lake_key_name(self._places.key))
            there = {row[0] for row in self._reading.execute(f"DESCRIBE FROM {rows}").fetchall()}
            columns = ", ".join(
                f"CAST({name if name in there else 'NULL'} AS {sql_type}) AS {name}"
                for name, sql_type in self._engine.columns(file.table).items()
            )
            kept = f"SELECT {columns} FROM {rows} SEMI JOIN {trimmed} USING (raw_file, raw_line)"  # noqa: S608
            for batch in self._reading.sql(kept).to_arrow_reader(GROUP_ROWS):
                self._writer.write(file.table, batch)

    def _portions(self, resource_type: str) -> Iterator[pa.Table]:
        """Yield the rows of a type, as many at a time as a portion may have text."""
        reader = self._reading.sql(
            f"SELECT resource_id, raw_file, raw_line, body FROM {self._source} "  # noqa: S608 - our own files
            f"AS t WHERE resource_type = {literal(resource_type)} AND body <> {model.TRIMMED_TEXT}"
        ).to_arrow_reader(1)
        held: list[pa.RecordBatch] = []
        size = 0
        for piece in (piece for batch in reader for piece in _cut(batch, self._portion_bytes)):
            added = piece.nbytes
            if held and size + added > self._portion_bytes:
                yield pa.Table.from_batches(held)
                held, size = [], 0
            held.append(piece)
            size += added
        if held:
            yield pa.Table.from_batches(held)

    def _parse(self, rows: pa.Table, resource_type: str) -> int:
        """Give a portion to the engine, look it through for what is unknown, and return the size of its texts."""
        sizes: list[int] = pc.binary_length(rows["body"]).to_pylist()
        offsets = [0, *accumulate(sizes)]
        numbers = pa.array(range(self._next_row, self._next_row + rows.num_rows), pa.int64())
        lines = _chunked(rows.select(["raw_file", "raw_line", "body"]).add_column(0, "row_number", numbers), offsets)
        keys = self._engine.parse(lines, resource_type=resource_type)
        if keys is None or keys.resource_id != rows["resource_id"].to_pylist():
            raise LandingError(
                f"Resources of {resource_type} that have landed are read otherwise by this release. The lake stays as it was; "
                "report this with the run id.",
                table="resource",
            )
        samples = samples_of(lines, _slice(rows["raw_file"].to_pylist(), self._next_row, offsets))
        self._writer.write("drift", self._engine.unknown_elements(lines, samples, resource_type=resource_type))
        self._next_row += rows.num_rows
        self._progress.add(Done(bytes=offsets[-1], lines=rows.num_rows))
        return offsets[-1]

    def _flush(self, resource_type: str) -> None:
        for table, rows in self._engine.tables(resource_type):
            self._writer.write(table, rows)


def _slice(raw_files: Sequence[object], first_row: int, offsets: Sequence[int]) -> Slice:
    """Return which rows are of which raw file, and how long they are; the texts are not in it."""
    found = Slice(bytearray(), first_row)
    found.offsets.extend(offsets[1:])
    starts = [n for n, name in enumerate(raw_files) if n == 0 or name != raw_files[n - 1]]
    for start, stop in pairwise([*starts, len(raw_files)]):
        found.parts.append(Part(str(raw_files[start]), first_row + start, 1, stop - start))
    return found


def _cut(rows: pa.RecordBatch, most_bytes: int) -> Iterator[pa.RecordBatch]:
    """Cut rows that come together into single ones where they have more text than a portion may have."""
    if rows.nbytes <= most_bytes:
        yield rows
        return
    for number in range(rows.num_rows):
        yield rows.slice(number, 1)


def _chunked(rows: pa.Table, offsets: Sequence[int]) -> pa.Table:
    """Cut a table into the chunks that the engine works through one at a time."""
    many = max(1, rows.num_rows * CHUNK_BYTES // max(1, offsets[-1]))
    return pa.concat_tables([rows.slice(start, many) for start in range(0, rows.num_rows, many)])
