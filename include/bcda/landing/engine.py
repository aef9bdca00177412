"""One parse of each line, then one query per table: DuckDB turns slices of NDJSON into rows.

Lines arrive as an Arrow array over the reader's buffer, are parsed once into the shape of their resource type, and
gather in temporary tables; when enough have gathered, each declared table is filled by one query over all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import duckdb
import pyarrow as pa

from bcda import model
from bcda.budgets import GROUP_BYTES, GROUP_ROWS
from bcda.errors import EngineMemoryError, LandingError
from bcda.landing.drift import unknown_elements, unknown_names
from bcda.landing.lines import Slice
from bcda.landing.odd_json import with_last_keys
from bcda.model import mapping
from bcda.settings import ApiVersion
from bcda.storage.sql_text import literal

T = TypeVar("T")

CHUNK_BYTES = 2 << 20
"""Text that the engine parses in one go. Measured: 8 MiB leaves the processor's cache and costs a fifth more."""

_EXTENSION_NAMES = """
SELECT raw_file, raw_line, regexp_replace(cms_name(x.url), '[0-9]{2}(/[0-9]{4}-[0-9]{1,2})?$', '##') AS name
FROM (SELECT raw_file, raw_line, unnest(extension) AS x FROM gathered)
"""
"""Names of a resource's own extensions; monthly ones have one name for all months."""

_ITEMS = "item"
"""The list whose elements the tables of lines are filled from."""

_PIECE_ROWS = 2_048
"""Rows that the engine hands over at a time: one of its own vectors."""

_NO_ROW = 2**62
"""Past every row: the keys of a slice of which nothing is left."""


@dataclass(frozen=True, slots=True)
class ParsedKeys:
    """Keys of the lines of one slice; all lists have one value per line.

    Attributes:
        resource_type: as the line says, or None.
        resource_id: `id`, or None.
        last_updated: `meta.lastUpdated` as text, or None.
        last_updated_at: the same as a UTC timestamp.
        created: `created`, or None.
    """

    resource_type: list[str | None]
    resource_id: list[str | None]
    last_updated: list[str | None]
    last_updated_at: "pa.ChunkedArray[pa.TimestampScalar]"
    created: list[str | None]


class Engine:
    """Parses slices of one API version and fills the tables of its resource types, on a connection of its own."""

    def __init__(self, api_version: ApiVersion, connection: duckdb.DuckDBPyConnection) -> None:
        self._api_version = api_version
        self._has_gathered = False
        self._connection = connection
        self._looking = connection.cursor()
        # An instant without offset is taken as UTC, whatever the machine's zone is.
        self._run("SET TimeZone = 'UTC'")
        self._types = self._read_types()
        self._run(
            "CREATE TABLE state AS SELECT * FROM read_csv($path, all_varchar = true)",
            path=model.data_path("states.csv"),
        )
        self._run(
            "CREATE TABLE known_name AS SELECT * FROM read_csv($path, all_varchar = true)",
            path=model.data_path("known/names.csv"),
        )
        for statement in mapping.macros().split(";\n"):
            if statement.strip():
                self._run(statement)

    def invalid_rows(self, lines: pa.Table) -> set[int]:
        """Return the row numbers of the lines that are not JSON objects."""
        query = "SELECT row_number FROM incoming WHERE CASE WHEN json_valid(body) THEN json_type(body) <> 'OBJECT' ELSE true END"
        self._connection.register("incoming", lines)
        rows = _without_text(lambda: self._run(query).fetchall(), "resource")
        self._connection.unregister("incoming")
        return {row[0] for row in rows}

    def parse(self, lines: pa.Table, *, resource_type: str) -> ParsedKeys | None:
        """Parse the lines of one slice and keep the result for `tables`.

        Args:
            lines: as of `slice_table`, every body a JSON object.
            resource_type: type that the manifest gave.

        Returns:
            The keys, or None when some line cannot be parsed; nothing was kept then.
        """
        self._connection.register("incoming", lines)
        try:
            is_gathered = _without_text(lambda: self._gather(lines, resource_type), "resource")
        finally:
            self._connection.unregister("incoming")
        if not is_gathered:
            return None
        query = (
            "SELECT resourceType AS type, id, meta.lastUpdated AS updated, "
            "instant_of(meta.lastUpdated) AS updated_at, created FROM gathered "
            "WHERE row_number >= $first ORDER BY row_number"
        )
        first = lines["row_number"][0].as_py() if lines.num_rows else _NO_ROW
        keys = _without_text(lambda: self._connection.sql(query, params={"first": first}).to_arrow_table(), "resource")
        return ParsedKeys(
            keys["type"].to_pylist(),
            keys["id"].to_pylist(),
            keys["updated"].to_pylist(),
            keys["updated_at"],
            keys["created"].to_pylist(),
        )

    def unknown_elements(self, lines: pa.Table, samples: Sequence[pa.Table], *, resource_type: str) -> pa.Table:
        """Return the elements of a slice that no resource of the type is known to have; see `drift`."""
        version = self._api_version.value
        return _without_text(
            lambda: unknown_elements(
                self._connection, lines, samples, api_version=version, resource_type=resource_type
            ),
            "drift",
        )

    def drop_rows(self, row_numbers: Sequence[int]) -> None:
        """Forget some lines that were parsed."""
        self._run(
            "DELETE FROM gathered WHERE row_number IN (SELECT unnest($row_numbers))", row_numbers=list(row_numbers)
        )

    def tables(self, resource_type: str) -> Iterator[tuple[str, pa.Table]]:
        """Yield each table of the type filled from all that was gathered, group of rows by group of rows, then forget it.

        Args:
            resource_type: type of everything gathered.

        Yields:
            Name of the table and some of its rows, columns typed as in the table's definition.

        Raises:
            LandingError: a table could not be filled.
        """
        if not self._has_gathered:
            return
        for declaration in mapping.declarations(self._api_version, resource_type):
            types = self._types.get(declaration.table) or dict.fromkeys(declaration.columns, "VARCHAR")
            for rows in self._groups(declaration.query("gathered", types), declaration.table):
                yield declaration.table, rows
                yield "drift", self._unknown_names(declaration.table, rows, resource_type)
        if resource_type in model.NAMED_EXTENSIONS:
            place = model.NAMED_EXTENSIONS[resource_type]
            for names in self._groups(_EXTENSION_NAMES, place):
                yield "drift", self._unknown_names(place, names, resource_type)
        self._run("DROP TABLE gathered")
        self._has_gathered = False

    def columns(self, table: str) -> dict[str, str]:
        """Return the columns of a lake table that has a definition, in its order, each with its SQL type."""
        return {"raw_file": "VARCHAR", "raw_line": "BIGINT", **self._types[table]}

    def list_lengths(self, lines: pa.Table, *, resource_type: str) -> dict[int, tuple[int, int]]:
        """Return by row number how long the lists of a resource are: that of its items, and the longest of the others.

        Args:
            lines: as of `slice_table`; a line that is not JSON has none.
            resource_type: of the lines.
        """
        names = mapping.list_names(self._api_version, resource_type)
        items, others = ([f"$.{name}" for name in names if (name == _ITEMS) is wanted] for wanted in (True, False))
        query = (
            "SELECT row_number, CASE WHEN json_valid(body) THEN list_max(json_array_length(body, $items)) END, "
            "CASE WHEN json_valid(body) THEN list_max(json_array_length(body, $others)) END FROM incoming"
        )
        self._connection.register("incoming", _as_it_will_be_read(lines))
        found = _without_text(lambda: self._run(query, items=items, others=others).fetchall(), "resource")
        self._connection.unregister("incoming")
        return {number: (item or 0, other or 0) for number, item, other in found}

    def _unknown_names(self, table: str, rows: pa.Table, resource_type: str) -> pa.Table:
        version = self._api_version.value
        return _without_text(
            # The connection itself is still giving the rows of a table.
            lambda: unknown_names(self._looking, table, rows, api_version=version, resource_type=resource_type),
            "drift",
        )

    def _groups(self, query: str, table: str) -> Iterator[pa.Table]:
        """Yield the rows of a query in groups of bounded size; what they come from is not held as a whole."""
        reader = _without_text(lambda: self._connection.sql(query).to_arrow_reader(_PIECE_ROWS), table)
        pieces: list[pa.RecordBatch] = []
        rows = size = 0
        while (piece := _without_text(lambda: next(reader, None), table)) is not None:
            pieces.append(piece)
            rows, size = rows + piece.num_rows, size + piece.nbytes
            if rows >= GROUP_ROWS or size >= GROUP_BYTES:
                yield pa.Table.from_batches(pieces)
                pieces, rows, size = [], 0, 0
        if pieces:
            yield pa.Table.from_batches(pieces)

    def _gather(self, lines: pa.Table, resource_type: str) -> bool:
        """Parse the incoming lines into `gathered`; return False when one of them is not JSON, and nothing was kept."""
        # One table for all slices: a union of tables would be planned once for each of them. A column for each
        # element: a table that needs three of them reads three.
        target = "INSERT INTO gathered" if self._has_gathered else "CREATE TEMP TABLE gathered AS"
        shape = literal(mapping.shape(self._api_version, resource_type))
        try:
            if (plain := with_last_keys(lines)) is not lines:
                self._connection.register("incoming", plain)
            self._run(
                f"{target} SELECT {self._columns(resource_type)} FROM (SELECT row_number, raw_file, raw_line, unnest(r) FROM "
                f"(SELECT row_number, raw_file, raw_line, json_transform(body, {shape}) AS r FROM incoming)) AS r"
            )
        except (duckdb.InvalidInputException, ValueError, RecursionError):
            # Its text quotes the line, so it goes no further. When it is cut within a letter Python cannot even read it.
            return False
        self._has_gathered = True
        return True

    def _columns(self, resource_type: str) -> str:
        """Return what is kept of the parsed lines: a key for what has none, and lists without elements that are `null`."""
        key = mapping.no_id_key(self._api_version, resource_type)
        changed = [f"coalesce(id, {key}) AS id"] if key else []
        if self._run("SELECT 1 FROM incoming WHERE contains(body, 'null') LIMIT 1").fetchone():
            names = mapping.list_names(self._api_version, resource_type)
            changed += [f'list_filter("{name}", lambda y: y IS NOT NULL) AS "{name}"' for name in names]
        return f"* REPLACE ({', '.join(changed)})" if changed else "*"

    def _run(self, statement: str, **parameters: object) -> duckdb.DuckDBPyConnection:
        return self._connection.execute(statement, parameters or None)

    def _read_types(self) -> dict[str, dict[str, str]]:
        """Return the SQL type of every lake column of every table, from the definitions."""
        self._run("CREATE SCHEMA partial")
        types: dict[str, dict[str, str]] = {}
        for name, relation in model.lake_tables():
            self._run(model.table_sql(name))
            columns = self._run(f"DESCRIBE {relation}").fetchall()
            types[name] = {row[0]: row[1] for row in columns if row[0] not in model.MERGE_COLUMNS}
            self._run(f"DROP TABLE {relation}")
        return types


def _as_it_will_be_read(lines: pa.Table) -> pa.Table:
    """Return lines with the last of equal keys; as they are if one of them cannot be read so, since it will be refused."""
    try:
        return with_last_keys(lines)
    except (ValueError, RecursionError):
        return lines


def _without_text(work: Callable[[], T], table: str) -> T:
    """Return what the engine gives; of an error only its kind travels on, since its text can quote a resource."""
    failure = ""
    try:
        return work()
    except duckdb.OutOfMemoryException:
        pass
    except (duckdb.Error, UnicodeDecodeError) as error:
        failure = type(error).__name__
    # Raised out here, so that the engine's text is not chained to it.
    if not failure:
        raise EngineMemoryError(
            f"Table {table} could not be filled: no memory, and no space to spill. The raw files are kept. Free disk space, then run "
            "the task again."
        )
    raise LandingError(
        f"Table {table} could not be filled ({failure}). The raw files are kept; report this with the run id.",
        table=table,
    )


def slice_table(lines: Slice) -> pa.Table:
    """Return a slice as an Arrow table over the same memory: row_number, raw_file, raw_line and body.

    It is cut into chunks, which the engine works through one at a time: what it touches stays in the processor's cache,
    while the slice as a whole is planned once.
    """
    body = pa.Array.from_buffers(
        pa.string(), len(lines), [None, pa.py_buffer(lines.offsets), pa.py_buffer(lines.buffer)]
    )
    row_numbers = pa.array(range(lines.first_row, lines.first_row + len(lines)), pa.int64())
    raw_files = pa.array([part.file_name for part in lines.parts for _ in range(part.rows)], pa.string())
    raw_lines = pa.array(
        [number for part in lines.parts for number in range(part.first_line, part.first_line + part.rows)], pa.int64()
    )
    rows = max(1, len(lines) * CHUNK_BYTES // max(1, lines.offsets[-1]))
    starts = range(0, len(lines), rows) if len(lines) else [0]
    columns = [
        pa.chunked_array([column.slice(start, rows) for start in starts])
        for column in (row_numbers, raw_files, raw_lines, body)
    ]
    return pa.Table.from_arrays(columns, names=["row_number", "raw_file", "raw_line", "body"])
