"""Lines in which an object has one key twice: of such keys the last counts, as it does for the usual parsers."""

import json
from collections.abc import Collection

import pyarrow as pa


def with_last_keys(lines: pa.Table, row_numbers: Collection[int]) -> pa.Table:
    """Return lines in which some have each key of an object once, the last one, at any depth.

    Numbers become texts, since the engine reads all of them as texts: nothing passes through a binary float.

    Args:
        lines: as of `slice_table`.
        row_numbers: of the lines to change.

    Raises:
        ValueError: a line is no JSON as Python reads it; the engine is more lenient.
        RecursionError: a line is nested more deeply than Python parses.
    """
    numbers: list[int] = lines["row_number"].to_pylist()  # type: ignore[assignment]  # never null
    bodies: list[str] = lines["body"].to_pylist()  # type: ignore[assignment]  # never null
    wanted = set(row_numbers)
    changed = [
        json.dumps(json.loads(body, parse_float=str, parse_int=str)) if number in wanted else body
        for number, body in zip(numbers, bodies, strict=True)
    ]
    place = lines.schema.get_field_index("body")
    return lines.set_column(place, lines.schema.field(place), pa.array(changed, lines.schema.field(place).type))
