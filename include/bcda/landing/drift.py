"""What a resource holds that was never seen before: names that CMS chose, and elements of the JSON.

Names are looked for in every row of the tables that keep them. Elements are looked for in a sample: in a slice of lines,
the first half megabyte of each file. A new element comes with a release of the server and is in many lines.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from bcda import model
from bcda.landing.lines import Slice

SAMPLE_BYTES = 512 << 10
"""Text of a file in a slice that is looked through for unknown elements. Measured: 140 MB per CPU second, so all
of it would cost half as much again as the whole landing."""

MOST_PATHS = 50
"""Unknown elements that are counted in one slice; more of them are another format, not a drift."""

_ELEMENT = re.compile(r"[\w\-]+(\[\])*(\.[\w\-]+(\[\])*)*")

_COLUMNS: dict[str, "pa.DataType"] = {
    "resource_type": pa.string(),
    "path": pa.string(),
    "raw_file": pa.string(),
    "raw_line": pa.int64(),
    "occurrences": pa.int64(),
}


def unknown_names(
    connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table, *, api_version: str, resource_type: str
) -> pa.Table:
    """Return the names in a table's rows that are not among the known ones, each with its first line and count.

    Args:
        connection: with the relation known_name (api_version, place, name).
        table: name of the lake table.
        rows: its rows.
        api_version: version of the resources.
        resource_type: type of the resources.

    Returns:
        Columns resource_type, path (`table.column: name`), raw_file, raw_line, occurrences.
    """
    found = []
    connection.register("filled", rows)
    for column in model.DRIFT_COLUMNS.get(table, ()):
        place = f"{table}.{column}"
        names = connection.execute(
            # Table and column come from the model's own list, never from outside.
            f"SELECT {column}, min((raw_file, raw_line)), count(*) FROM filled "  # noqa: S608
            f"WHERE {column} IS NOT NULL AND {column} NOT IN "
            "(SELECT name FROM known_name WHERE api_version = $api_version AND place = $place) "
            f"GROUP BY {column} ORDER BY {column}",
            {"api_version": api_version, "place": place},
        ).fetchall()
        found += [(resource_type, f"{place}: {name}", *first, times) for name, first, times in names]
    connection.unregister("filled")
    return _table(found)


def samples_of(rows: pa.Table, lines: Slice) -> list[pa.Table]:
    """Return those rows of a slice that are looked through for unknown elements, in portions of half a megabyte.

    Args:
        rows: what is left of the slice's rows; column row_number, ascending.
        lines: the slice.
    """
    numbers: list[int] = rows["row_number"].to_pylist()  # type: ignore[assignment]  # never null
    portions: list[tuple[int, int, int]] = []
    for part in lines.parts:
        size = lines.span(part.first_row + part.rows - 1)[1] - lines.span(part.first_row)[0]
        wanted = min(part.rows, max(1, part.rows * SAMPLE_BYTES // max(1, size)))
        start, stop = (bisect_left(numbers, part.first_row + more) for more in (0, wanted))
        size = size * wanted // part.rows
        # Small files go together: a query for each would cost more than their text.
        if portions and portions[-1][1] == start and portions[-1][2] + size <= SAMPLE_BYTES:
            start, _, before = portions.pop()
            size += before
        portions.append((start, stop, size))
    return [rows.slice(start, stop - start) for start, stop, _ in portions if stop > start]


def unknown_elements(
    connection: duckdb.DuckDBPyConnection,
    lines: pa.Table,
    samples: Sequence[pa.Table],
    *,
    api_version: str,
    resource_type: str,
) -> pa.Table:
    """Return the elements in the text of samples that are not among the known ones, with first line and count by file.

    Args:
        connection: of the engine.
        lines: columns raw_file, raw_line and body; where the elements are counted.
        samples: some of the lines; where they are looked for.
        api_version: version of the resources.
        resource_type: type of the resources; of a type without known elements nothing is reported.

    Returns:
        Columns as of `unknown_names`; lines are counted, not values.
    """
    known = model.known_paths(api_version, resource_type)
    if not known or not lines.num_rows:
        return _table([])
    paths: set[str] = set()
    for sample in samples:
        connection.register("sample", sample)
        structure = connection.execute("SELECT json_group_structure(body::JSON) FROM sample").fetchall()[0][0]
        connection.unregister("sample")
        paths |= set(_paths(json.loads(structure), ""))
    # A key that is no FHIR name cannot be asked for by a path.
    unknown = sorted(path for path in paths - known if _ELEMENT.fullmatch(path))
    connection.register("incoming", lines)
    found = []
    for path in unknown[:MOST_PATHS]:
        steps = "$" + "".join(f'."{part}"' if part != "[*]" else part for part in _steps(path))
        is_there = "len(json_extract(body, $path)) > 0" if "[*]" in steps else "json_extract(body, $path) IS NOT NULL"
        counted = connection.execute(
            f"SELECT raw_file, min(raw_line), count(*) FROM incoming WHERE {is_there} GROUP BY ALL ORDER BY ALL",  # noqa: S608
            {"path": steps},
        ).fetchall()
        found += [(resource_type, path, *of_file) for of_file in counted]
    connection.unregister("incoming")
    return _table(found)


def _paths(structure: Any, path: str) -> Iterator[str]:
    if isinstance(structure, dict):
        for key, inner in structure.items():
            yield from _paths(inner, f"{path}.{key}" if path else key)
    elif isinstance(structure, list):
        yield from _paths(structure[0], f"{path}[]")
    elif structure != "NULL":
        yield path


def _steps(path: str) -> Iterator[str]:
    for part in path.split("."):
        yield part.removesuffix("[]")
        if part.endswith("[]"):
            yield "[*]"


def _table(rows: list[tuple[str, str, str, int, int]]) -> pa.Table:
    return pa.table(
        {name: pa.array([row[place] for row in rows], kind) for place, (name, kind) in enumerate(_COLUMNS.items())}
    )
