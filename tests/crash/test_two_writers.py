"""Two attempts at the same stage that are alive together: the same tables and files, and no file with another's bytes."""

import os
import random

import pytest
import two_writers

PAIRS = int(os.environ.get("CRASH_PAIRS", "50"))
SEED = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(10**6)))


@pytest.mark.complete
def test_two_attempts_together_leave_what_one_leaves(capsys):
    tally = two_writers.run_pairs(PAIRS, SEED)
    with capsys.disabled():
        print("\n" + two_writers.report(tally, SEED))
    assert tally.pairs >= PAIRS
    assert tally.differences == []
