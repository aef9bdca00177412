"""What a resource holds that was never seen before: names that CMS chose, and elements of the JSON.

Names are looked for in every row of the tables that keep them. Elements are looked for in a sample: in a slice of lines,
the first part of each file. A new element comes with a release of the server and is in many lines. An element of another
kind than the known one, such as a text where a list belongs, is an unknown element too.

The sample is parsed by Python: the engine's own `json_structure` ends the engine for good at a line of 129 levels, and
mixes what lines of different kinds hold.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby, islice
from typing import Any

import duckdb
import pyarrow as pa

from bcda import model
from bcda.budgets import ORDINARY_LINE_BYTES, UNKNOWN_NAMES
from bcda.landing.lines import Slice

SAMPLE_BYTES = 192 << 10
"""Text of a file in a slice that is looked through for unknown elements. Measured: 50 MB per CPU second, so all of it
would cost as much again as the whole landing."""

MOST_PATHS = 50
"""Unknown elements that are counted in one slice; more of them are another format, not a drift."""

_MOST_STEPS = 24
"""FHIR nests less; where an unknown element goes deeper its path is cut."""

_LONGEST_NAME = 80
_LONGEST_TEXT = 200

_PLAIN_NAME = re.compile(r"[\w\-]+")
# What a quoted step of DuckDB's paths can say: it takes no escapes and reads a lone asterisk as all names.
_ASKABLE_NAME = re.compile(r'[^"\\*\x00-\x1f]{1,200}')

_Path = tuple[str | None, ...]
"""Steps from the resource to an element: a name, or None for the elements of a list."""

_TOO_DEEP: _Path = ("(nested too deeply to be looked through)",)
_TOO_LONG: _Path = ("(too long to be looked through)",)
_NOT_STRICT: _Path = ("(not strict JSON)",)

_COLUMNS: dict[str, "pa.DataType"] = {
    "resource_type": pa.string(),
    "path": pa.string(),
    "raw_file": pa.string(),
    "raw_line": pa.int64(),
    "occurrences": pa.int64(),
}


@dataclass(slots=True)
class _Known:
    """What is known of an element.

    Attributes:
        names: elements in it, by name.
        item: elements of it when it is a list, or None.
        is_value: whether it may be text, a number or a boolean.
    """

    names: "dict[str, _Known]" = field(default_factory=dict)
    item: "_Known | None" = None
    is_value: bool = False


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
            f"SELECT left({column}, {_LONGEST_TEXT}) AS name, min((raw_file, raw_line)), count(*) FROM filled "  # noqa: S608
            f"WHERE {column} IS NOT NULL AND {column} NOT IN "
            "(SELECT name FROM known_name WHERE api_version = $api_version AND place = $place) "
            f"GROUP BY ALL ORDER BY name LIMIT {UNKNOWN_NAMES}",
            {"api_version": api_version, "place": place},
        ).fetchall()
        found += [(resource_type, f"{place}: {name}", *first, times) for name, first, times in names]
    connection.unregister("filled")
    return _table(found)


def samples_of(rows: pa.Table, lines: Slice) -> list[pa.Table]:
    """Return those rows of a slice that are looked through for unknown elements, in portions of one sample's size.

    Args:
        rows: what is left of the slice's rows; column row_number, ascending.
        lines: the slice.
    """
    numbers: list[int] = rows["row_number"].to_pylist()  # type: ignore[assignment]  # never null
    portions: list[tuple[int, int, int]] = []
    for _, parts in groupby(lines.parts, key=lambda part: part.file_name):
        # Blank lines part the lines of a file, and are no rows.
        of_file = list(parts)
        first, count = of_file[0].first_row, sum(part.rows for part in of_file)
        size = lines.span(first + count - 1)[1] - lines.span(first)[0]
        wanted = min(count, max(1, count * SAMPLE_BYTES // max(1, size)))
        start, stop = (bisect_left(numbers, first + more) for more in (0, wanted))
        size = size * wanted // count
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
        Columns as of `unknown_names`; lines are counted, not values. An element that the engine cannot be asked for, such
        as one whose name holds a quotation mark, is counted in the samples alone.
    """
    known = _known(api_version, resource_type)
    if known is None or not lines.num_rows:
        return _table([])
    places = _looked_through(samples, known)
    is_all = sum(sample.num_rows for sample in samples) == lines.num_rows
    found = []
    connection.register("incoming", lines)
    for path in sorted(places, key=_shown)[:MOST_PATHS]:
        counted = None if is_all or not _is_askable(path, known) else _counted(connection, path)
        found += [(resource_type, _shown(path), *of_file) for of_file in counted or places[path]]
    connection.unregister("incoming")
    return _table(found)


def _looked_through(samples: Sequence[pa.Table], known: _Known) -> dict[_Path, list[tuple[str, int, int]]]:
    """Return the unknown elements of samples, each with file, first line and count of lines."""
    found: dict[_Path, dict[str, tuple[int, int]]] = {}
    for sample in samples:
        for name, number, text in zip(*(sample[c].to_pylist() for c in ("raw_file", "raw_line", "body")), strict=True):
            for path in _unknown_in(str(text), known):
                if path not in found and len(found) >= UNKNOWN_NAMES:
                    continue
                of_files = found.setdefault(path, {})
                first, times = of_files.get(name, (number, 0))
                of_files[name] = (first, times + 1)
    return {path: [(name, *place) for name, place in of_files.items()] for path, of_files in found.items()}


def _unknown_in(text: str, known: _Known) -> set[_Path]:
    if len(text) > ORDINARY_LINE_BYTES:
        return {_TOO_LONG}
    try:
        resource = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        return {_TOO_DEEP}
    except ValueError:
        # The engine takes a comma before a closing bracket and `nan`; others will not.
        return {_NOT_STRICT}
    return set() if _is_known(resource, known) else set(islice(_unknown(resource, known, ()), UNKNOWN_NAMES))


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _is_known(value: Any, known: _Known) -> bool:
    """Tell whether all of a value is known; most are, so this is the way that has to be fast."""
    if isinstance(value, dict):
        names = known.names
        for name, inner in value.items():
            below = names.get(name)
            if below is None or not (below.is_value if isinstance(inner, str) else _is_known(inner, below)):
                return False
        return True
    if isinstance(value, list):
        item = known.item
        return not value if item is None else all(_is_known(inner, item) for inner in value)
    return known.is_value or value is None


def _unknown(value: Any, known: _Known, path: _Path) -> Iterator[_Path]:
    """Yield the paths of what is not known; the way goes no deeper than what is known."""
    if not isinstance(value, dict | list):
        if value is not None and not known.is_value:
            yield path
        return
    inside = value.items() if isinstance(value, dict) else ((None, inner) for inner in value)
    for step, inner in inside:
        below = known.item if step is None else known.names.get(step)
        yield from _leaves(inner, (*path, step)) if below is None else _unknown(inner, below, (*path, step))


def _leaves(value: Any, path: _Path) -> Iterator[_Path]:
    waiting = [(value, path)]
    while waiting:
        part, at = waiting.pop()
        if isinstance(part, dict | list) and part and len(at) < _MOST_STEPS:
            inside = part.items() if isinstance(part, dict) else ((None, inner) for inner in part)
            waiting += [(inner, (*at, step)) for step, inner in inside]
        elif part is not None and part not in ({}, []):
            yield at


def _is_askable(path: _Path, known: _Known) -> bool:
    """Tell whether the engine can be asked for a path, and would not find the known element that is usually there."""
    below: _Known | None = known
    for step in path:
        below = below and (below.item if step is None else below.names.get(step))
    return below is None and all(step is None or _ASKABLE_NAME.fullmatch(step) for step in path)


def _counted(connection: duckdb.DuckDBPyConnection, path: _Path) -> list[tuple[str, int, int]]:
    """Return by file the first line of a slice that has an element, and how many have it."""
    steps = "$" + "".join("[*]" if step is None else f'."{step}"' for step in path)
    is_there = "len(json_extract(body, $path)) > 0" if None in path else "json_extract(body, $path) IS NOT NULL"
    return connection.execute(
        f"SELECT raw_file, min(raw_line), count(*) FROM incoming WHERE {is_there} GROUP BY ALL ORDER BY ALL",  # noqa: S608
        {"path": steps},
    ).fetchall()


def _shown(path: _Path) -> str:
    if path in {_TOO_DEEP, _TOO_LONG, _NOT_STRICT}:
        return str(path[0])
    text = ""
    for step in path:
        if step is None:
            text += "[]"
        else:
            name = step if _PLAIN_NAME.fullmatch(step) else json.dumps(step)
            text += f"{'.' if text else ''}{name[:_LONGEST_NAME]}"
    return text


@cache
def _known(api_version: str, resource_type: str) -> _Known | None:
    """Return what is known of a type, element within element; None for types that nothing is known of."""
    paths = model.known_paths(api_version, resource_type)
    whole = _Known()
    for path in paths:
        below = whole
        for step in path.replace("[]", ".[]").split("."):
            if step == "[]":
                below.item = below.item or _Known()
                below = below.item
            else:
                below = below.names.setdefault(step, _Known())
        below.is_value = True
    return whole if paths else None


def _table(rows: list[tuple[str, str, str, int, int]]) -> pa.Table:
    return pa.table(
        {name: pa.array([row[place] for row in rows], kind) for place, (name, kind) in enumerate(_COLUMNS.items())}
    )
