"""The rules of the run report that need no run."""

from datetime import timedelta
from decimal import Decimal

import pytest

from bcda import suppression
from bcda.run_report import wording


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0"), (1, "fewer than 11 people"), (10, "fewer than 11 people"), (11, "11"), (1204, "1,204")],
)
def test_few_people_are_not_counted(number, said):
    assert suppression.people(number) == said


@pytest.mark.parametrize(
    ("groups", "rows"),
    [
        ([], set()),
        ([11, 0, 40], set()),
        ([3, 4, 40], {0, 1}),
        # A single one would be the total less the others, so the next smallest goes too; rows of nobody hide nothing.
        ([3, 0, 40, 12], {0, 3}),
        ([3], {0}),
        ([3, 0], {0}),
    ],
)
def test_what_could_be_worked_out_from_the_total_is_withheld_too(groups, rows):
    assert suppression.withheld(groups) == rows


def test_numbers_read_as_people_write_them():
    assert [wording.bytes_(size) for size in (0, 999, 1000, 12_345_678)] == ["0 B", "999 B", "1.0 kB", "12.3 MB"]
    assert [wording.dollars(Decimal(x)) for x in ("0", "1234.5", "-0.25")] == ["$0.00", "+$1,234.50", "-$0.25"]
    durations = (timedelta(seconds=x) for x in (0.2, 59, 61, 7200))
    assert [wording.duration(took) for took in durations] == ["under 1 s", "59 s", "1 min 01 s", "2 h 00 min"]
    assert [wording.count(1, "file"), wording.count(2000, "file")] == ["1 file", "2,000 files"]
