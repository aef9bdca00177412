"""How much of a slice is parsed and gathered at a time, since a few bytes of JSON can take a hundred times as much once parsed.

An element of a list takes as much in the engine as all that one of its kind can hold, and so does an empty one. The engine works
on 2,048 rows at a time. Ordinary lines are far from what that can take, and a count of commas and a look at some of them tells.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from bcda.budgets import (
    LINE_ELEMENTS,
    LINE_REPEATED_BYTES,
    LINE_SIDE_LIST,
    ORDINARY_COMMAS,
    ORDINARY_ELEMENTS,
    ORDINARY_LINE_BYTES,
    PORTION_ELEMENTS,
)
from bcda.landing.lines import Slice

VECTOR_ROWS = 2_048
"""Rows that the engine works on at a time."""

_BYTES_AS_ELEMENT = 128
_SAMPLE_LINES = 128

_TOO_MANY = "more elements than a line may have"


@dataclass(frozen=True, slots=True)
class Portion:
    """Rows of a slice that are parsed together.

    Attributes:
        rows: as of `slice_table`.
        weight: elements in them, or bytes for as many; 0 for ordinary ones.
    """

    rows: pa.Table
    weight: int


class Window:
    """What was gathered last, as far as the engine can reach it at a time."""

    def __init__(self) -> None:
        self._rows = self._weight = 0

    def has_room(self, portion: Portion) -> bool:
        """Tell whether a portion can follow."""
        return not self._weight or self._weight + portion.weight <= PORTION_ELEMENTS

    def add(self, portion: Portion) -> None:
        """Add a portion."""
        if self._rows >= VECTOR_ROWS:
            self.clear()
        self._rows += portion.rows.num_rows
        self._weight += portion.weight

    def clear(self) -> None:
        """Say that all that was gathered is out of the engine."""
        self._rows = self._weight = 0


def conspicuous(numbers: Sequence[int], lines: Slice, *, is_careful: bool) -> list[int]:
    """Return the rows that need a closer look: those with many commas or bytes, or all of a slice whose lines have many elements.

    Args:
        numbers: of the rows.
        lines: the slice.
        is_careful: all of them, whatever they have.
    """
    if is_careful:
        return list(numbers)
    # Which lines are looked at cannot be known before, and of those that are not none has many.
    sample = random.sample(numbers, min(len(numbers), _SAMPLE_LINES))
    if sum(_elements(lines, number) for number in sample) * VECTOR_ROWS > ORDINARY_ELEMENTS * len(sample):
        return list(numbers)
    return [number for number in numbers if _is_conspicuous(lines, number)]


def _is_conspicuous(lines: Slice, number: int) -> bool:
    start, stop = lines.span(number)
    # Every element but the first of a list follows a comma.
    return stop - start > ORDINARY_LINE_BYTES or lines.buffer.count(b",", start, stop) > ORDINARY_COMMAS


def weights(numbers: Sequence[int], lines: Slice) -> dict[int, int]:
    """Return by row number how many elements lines have at most, or how many their bytes are worth.

    Args:
        numbers: of the rows.
        lines: the slice.
    """
    return {number: max(_elements(lines, number), _size(lines, number) // _BYTES_AS_ELEMENT) for number in numbers}


def too_many(weighed: Mapping[int, int]) -> dict[int, str]:
    """Return the rows with more elements than a line may have, with the reason.

    Args:
        weighed: as of `weights`.
    """
    return {number: _TOO_MANY for number, weight in weighed.items() if weight > LINE_ELEMENTS}


def too_much_together(lengths: Mapping[int, tuple[int, int]], lines: Slice) -> dict[int, str]:
    """Return the rows whose lists and texts take too much where each item is put together with them, with the reason.

    Args:
        lengths: by row number, how many items a resource has, and how many elements the longest of its other lists.
        lines: the slice.
    """
    reasons = {}
    for number, (items, side) in lengths.items():
        if side > LINE_SIDE_LIST:
            reasons[number] = _TOO_MANY
        elif _has_text(lines, number, LINE_REPEATED_BYTES // max(1, items)):
            reasons[number] = "a text too long for so many items"
    return reasons


def portions(rows: pa.Table, weighed: Mapping[int, int]) -> Iterator[Portion]:
    """Yield the rows of a slice in portions that the engine can take at a time.

    Args:
        rows: as of `slice_table`.
        weighed: as of `weights`, for those that need it.
    """
    start = weight = 0
    if weighed:
        numbers: list[int] = rows["row_number"].to_pylist()  # type: ignore[assignment]  # never null
        for place, number in enumerate(numbers):
            more = weighed.get(number, 0)
            if weight and weight + more > PORTION_ELEMENTS:
                yield Portion(rows.slice(start, place - start), weight)
                start, weight = place, 0
            weight += more
    yield Portion(rows.slice(start), weight)


def _size(lines: Slice, number: int) -> int:
    start, stop = lines.span(number)
    return stop - start


def _elements(lines: Slice, number: int) -> int:
    """Return how many objects, lists and elements of lists a line has at most.

    Commas stand between members of objects and between elements of lists, and a member has a name. What looks like one of these
    within a text makes the number larger, never smaller.
    """
    start, stop = lines.span(number)
    commas, objects, lists, names, quoted = (
        lines.buffer.count(part, start, stop) for part in (b",", b"{", b"[", b'":', b'\\":')
    )
    return commas - (names - quoted) + objects + lists


def _has_text(lines: Slice, number: int, size: int) -> bool:
    """Tell whether a line has a text of a number of bytes or more."""
    if size >= _size(lines, number):
        return False
    line = lines.line(number)
    if b'\\"' in line:
        line = line.replace(b'\\"', b"..")
    return any(text.end() - text.start() > size for text in re.finditer(rb'"[^"]*"', line))
