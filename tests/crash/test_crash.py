"""Whatever is killed whenever: the same tables, ledger and files, no file fetched twice, no job left behind."""

import os
import random

import killed_exports
import pytest
from killed_exports import Remains

from bcda.storage.commit_points import CommitPoint

KILLS = int(os.environ.get("CRASH_KILLS", "200"))
SEED = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(10**6)))


@pytest.fixture(scope="module")
def tally():
    return killed_exports.run_lives(KILLS, SEED)


def test_killed_exports_leave_what_undisturbed_ones_leave(tally, capsys):
    with capsys.disabled():
        print("\n" + killed_exports.report(tally, SEED))
    assert tally.kills >= KILLS
    assert tally.differences == []
    assert tally.refetched == 0
    assert tally.jobs_left_alive == 0


def test_every_commit_point_was_one_to_die_at(tally):
    assert {point.value for point in CommitPoint} <= {place.partition(", ")[2] for place in tally.by_place}


def test_the_comparison_sees_what_is_lost_doubled_or_left_behind():
    def left(rows=2, file="lake/a.parquet", raw=b"x", state="Completed"):
        return Remains(
            {"main.claim": [("a",)] * rows},
            frozenset({file}),
            killed_exports.Counter([raw]),
            killed_exports.Counter([state]),
        )

    assert killed_exports.differences(left(), left()) == []
    for other in (left(rows=1), left(rows=3), left(file="lake/.tmp"), left(raw=b"y"), left(state="Pending")):
        assert killed_exports.differences(other, left()) != []
