"""Cells about few people: CMS lets no number from 1 to 10 people leave, nor one from which it could be worked out."""

from collections.abc import Sequence

FEWEST_PEOPLE = 11
"""Source: CMS cell size suppression policy."""

FEW = "fewer than 11 people"
"""What stands in place of such a number."""

WITHHELD = "withheld"
"""What stands in place of a number that would give such a one away."""


def people(number: int) -> str:
    """Return a number of people as readers may see it."""
    return FEW if 0 < number < FEWEST_PEOPLE else f"{number:,}"


def withheld(groups: Sequence[int]) -> set[int]:
    """Return which rows of a table with a total are not shown.

    Args:
        groups: people of each row.

    Returns:
        Numbers of the rows of 1 to 10 people; of a single one also the smallest other row, since the total less all others
        would be its number.
    """
    few = {number for number, count in enumerate(groups) if 0 < count < FEWEST_PEOPLE}
    others = [(count, number) for number, count in enumerate(groups) if count and number not in few]
    if len(few) == 1 and others:
        few.add(min(others)[1])
    return few


def in_place_of(group: int) -> str:
    """Return what stands in the cells of a row that is not shown, of so many people."""
    return FEW if group < FEWEST_PEOPLE else WITHHELD
