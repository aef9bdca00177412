"""A real Airflow whose triggerer, scheduler with workers, and all at once are killed while tasks die at commit points."""

import os
import random

import killed_airflow
import pytest

pytestmark = pytest.mark.storm

WEEKS = int(os.environ.get("CRASH_WEEKS", "1"))
SEED = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(10**6)))


def test_a_storm_leaves_what_calm_leaves(tmp_path, capsys):
    tally = killed_airflow.Storm(tmp_path, SEED).rage(WEEKS)
    with capsys.disabled():
        print("\n" + killed_airflow.report(tally, SEED))
    assert tally.kills.total() >= 4 * WEEKS
    assert tally.differences == []
    assert tally.leaks == []
    assert tally.files_searched > 10
