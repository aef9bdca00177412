"""Nothing that a server sends takes more memory, disk or time than its budget: each at ten times its value, in a process of its own."""

import pytest
from budgeted import LARGE, MEGABYTE, MEMORY, TIME, measure


def marked(stages, *, short):
    """Return stages; those that take long are of the longer tests."""
    return [
        pytest.param(stage, id=stage.name, marks=() if stage.name in short else pytest.mark.complete)
        for stage in stages
    ]


@pytest.mark.parametrize("stage", marked((*MEMORY, LARGE), short={"Manifest", "Any other answer"}))
def test_ten_times_a_budget_of_bytes_ends_within_it(stage):
    took = measure(stage, is_short=True)
    assert (took.outcome, stage.says in took.said) == (stage.outcome, True), took
    assert took.peak_bytes <= stage.memory_megabytes * MEGABYTE
    # Nothing is left of a file that was not kept.
    assert took.left_bytes == 0


@pytest.mark.parametrize("stage", marked(TIME, short={"Token that drips"}))
def test_ten_times_a_budget_of_time_ends_within_it(stage):
    took = measure(stage, is_short=True)
    assert (took.outcome, stage.says in took.said) == (stage.outcome, True), took
    # Half a second is the budget; what would last ten times as long ends before that, on any machine.
    assert took.seconds < 5
