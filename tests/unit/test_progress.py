"""Progress in the log: what it says, and that it never says much."""

import logging
import re

from bcda.progress import Done, Progress


def said(caplog, total, seconds_each):
    """What is logged of so many files of 2 MB with 10 lines each, that take this long."""
    caplog.set_level(logging.INFO)
    now = 0.0
    progress = Progress(logging.getLogger("test"), "fetching batch 1", "files", total, clock=lambda: now)
    for _ in range(total):
        now += seconds_each
        progress.add(Done(files=1, bytes=2_000_000, lines=10))
    return [record.getMessage() for record in caplog.records]


def test_it_says_how_much_is_done_how_fast_and_when_it_may_be_over(caplog):
    first, *_ = said(caplog, 40, 4.0)
    # 10 s are over with the third file, which is more than a twentieth of forty.
    assert first == "fetching batch 1: 3 of 40 files (7 %), 30 lines, 6.0 MB, 0.5 MB/s, about 148 s left"


def test_what_is_over_in_a_moment_says_nothing(caplog):
    assert said(caplog, 30, 0.3) == []


def test_a_day_of_work_is_twenty_lines(caplog):
    lines = said(caplog, 86_400, 1.0)
    assert 15 < len(lines) <= 20
    left = [int(re.search(r"about (\d+) s left", line).group(1)) for line in lines]
    assert left == sorted(left, reverse=True)
