"""Nothing that a server sends takes more memory, disk or time than its budget: each at ten times its value, in a process of its own."""

import re
from pathlib import Path

import pytest
from budgeted import LARGE, MEGABYTE, MEMORY, TIME, measure

from bcda import budgets


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


PAGE = Path(__file__).resolve().parents[2] / "docs" / "guarantees.md"


def test_the_page_has_every_budget_as_it_is_and_nothing_that_took_more_than_its_limit():
    section = PAGE.read_text().split("## Budgets")[1].split("## Longer tests")[0]
    rows = {
        cells[0]: cells[1:]
        for cells in re.findall(r"^\| (.*?) \| ?(.*?) ?\| (.*?) \| (.*?) \|$", section, re.MULTILINE)
    }
    for stage in (*MEMORY, LARGE, *TIME):
        budget, took, end = rows[stage.name]
        assert budget == stage.budget
        assert end == ("loads" if stage.outcome == "taken" else f"`{stage.outcome}`")
        if stage not in TIME:
            assert int(took.removesuffix(" MB")) <= stage.memory_megabytes
    for name in ("free_disk_megabytes", "file_megabytes"):
        assert f"`{name}`" in section
    assert f"{budgets.FREE_DISK_MEGABYTES:g} MB (`free_disk_megabytes`)" in section
    assert f"{budgets.LIST_WAITS_SECONDS / 86_400:g} days" in section
