"""Cells about few people: CMS lets no number from 1 to 10 people leave, nor one from which it could be worked out.

`withheld` decides for everything that is published together: page, report, headline, notes, and what tasks hand on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

FEWEST_PEOPLE = 11
"""Source: CMS cell size suppression policy."""

FEW = "fewer than 11 people"
"""What stands in place of such a number."""

WITHHELD = "withheld"
"""What stands in a table in place of such a number, and of one that would give it away: to tell them apart would help to solve."""

Cell = Any
"""Name of a published number: anything that can be hashed."""


@dataclass(frozen=True, slots=True)
class Total:
    """A number that is the sum of others.

    Attributes:
        total: its name.
        parts: names of the others.
    """

    total: Cell
    parts: tuple[Cell, ...]


def is_few(number: int) -> bool:
    """Tell whether a number of people must not be shown."""
    return 0 < number < FEWEST_PEOPLE


def people(number: int) -> str:
    """Return a number of people as readers may see it."""
    return FEW if is_few(number) else f"{number:,}"


def rows(number: int, *, is_of_few: bool = False) -> str:
    """Return a number of rows as readers may see it: each row can be a person of its own.

    Args:
        number: of rows.
        is_of_few: all rows are about 1 to 10 people, however many they are.
    """
    if is_of_few:
        return WITHHELD
    return f"fewer than {FEWEST_PEOPLE}" if is_few(number) else f"{number:,}"


def withheld(people_of: Mapping[Cell, int], totals: Sequence[Total]) -> frozenset[Cell]:
    """Return which numbers of all that are published together are not shown.

    Those are the numbers about 1 to 10 people, and as many others as it takes that no reader can work one of them out, or the
    sum of some that are about 1 to 10 people together. Of a total's parts the smallest goes first, of equal ones the first in
    `people_of`. A number about nobody is zero and hides nothing.

    Args:
        people_of: how many people each number is about, at least; names that are missing are about nobody.
        totals: which number is the sum of which others; a total that readers find elsewhere counts as published.
    """
    hidden = {cell for cell, count in people_of.items() if is_few(count)}
    while hidden:
        more = _another(people_of, totals, hidden)
        if more is None:
            break
        hidden.add(more)
    return frozenset(hidden)


def flows(*numbers: int) -> bool:
    """Tell whether numbers are withheld that tell how one published number became another.

    Who joined, left and stayed follow from each other once the people before and after are known. So all are shown, or none.

    Args:
        numbers: of people.
    """
    return any(map(is_few, numbers))


def _another(people_of: Mapping[Cell, int], totals: Sequence[Total], hidden: set[Cell]) -> Cell | None:
    """Return one more number to hide; None when nothing can be worked out, or nothing is left to hide."""
    for total in totals:
        if _tells(total, people_of, hidden) and (found := _smallest(total, people_of, hidden)) is not None:
            return found
    for cell in _solved(people_of, totals, hidden):
        for total in totals:
            if cell in (total.total, *total.parts) and (found := _smallest(total, people_of, hidden)) is not None:
                return found
    return None


def _tells(total: Total, people_of: Mapping[Cell, int], hidden: set[Cell]) -> bool:
    """Tell whether a total less the shown parts is a number about few people."""
    parts = [part for part in total.parts if people_of.get(part, 0)]
    gone = [part for part in parts if part in hidden]
    if total.total in hidden:
        return not gone and bool(parts)
    if not gone:
        return False
    is_whole = len(gone) == len(parts) > 1
    return not is_whole and (len(gone) == 1 or max(people_of[part] for part in gone) < FEWEST_PEOPLE)


def _smallest(total: Total, people_of: Mapping[Cell, int], hidden: set[Cell]) -> Cell | None:
    """Return the smallest shown part of a total, else the total itself; None when all are hidden."""
    shown = [part for part in total.parts if people_of.get(part, 0) and part not in hidden]
    if shown:
        return min(shown, key=lambda part: people_of[part])
    return total.total if people_of.get(total.total, 0) and total.total not in hidden else None


def _solved(people_of: Mapping[Cell, int], totals: Sequence[Total], hidden: set[Cell]) -> list[Cell]:
    """Return the hidden numbers about few people that the totals together determine."""
    reduced: dict[Cell, dict[Cell, Fraction]] = {}
    for total in totals:
        row = {part: Fraction(-1) for part in total.parts if part in hidden}
        if total.total in hidden:
            row[total.total] = Fraction(1)
        _reduce(row, reduced)
    return [pivot for pivot, row in reduced.items() if len(row) == 1 and is_few(people_of[pivot])]


def _reduce(row: dict[Cell, Fraction], reduced: dict[Cell, dict[Cell, Fraction]]) -> None:
    """Add an equation to others that are solved for one unknown each (Gauss and Jordan)."""
    for pivot in [cell for cell in row if cell in reduced]:
        _subtract(row, reduced[pivot], pivot)
    if not row:
        return
    pivot = next(iter(row))
    factor = row[pivot]
    solved = {cell: value / factor for cell, value in row.items()}
    for other in reduced.values():
        if pivot in other:
            _subtract(other, solved, pivot)
    reduced[pivot] = solved


def _subtract(row: dict[Cell, Fraction], other: dict[Cell, Fraction], pivot: Cell) -> None:
    factor = row[pivot]
    for cell, value in other.items():
        rest = row.get(cell, Fraction(0)) - factor * value
        if rest:
            row[cell] = rest
        else:
            row.pop(cell, None)
