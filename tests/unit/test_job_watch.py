"""When the wait for a job ends, by the states it has shown and the time."""

import pytest

from bcda.api.job_watch import JobWatch, Verdict
from bcda.api.protocol import JobState, JobStatus

PENDING, BEGUN = JobStatus(JobState.PENDING), JobStatus(JobState.IN_PROGRESS)
FAILED = JobStatus(JobState.FAILED, reason="Service encountered numerous errors. Job failed to complete.")
UNWELL = JobStatus(JobState.FAILED, reason="Internal Error")
HOUR = 3600.0


def verdicts(*seen, **watch):
    """Judge statuses, each with its time in hours."""
    one = JobWatch(75 * 60, **watch)
    return [one.see(status, hours * HOUR).value for status, hours in seen]


@pytest.mark.parametrize(
    ("seen", "watch", "last"),
    [
        ([(PENDING, 0), (BEGUN, 0.1), (FAILED, 0.2)], {}, "ended"),
        ([(FAILED, 0)], {"has_begun": True}, "ended"),
        ([(PENDING, 0), (FAILED, 0.1), (FAILED, 1.3)], {}, "wait"),
        ([(PENDING, 0), (FAILED, 0.1), (FAILED, 1.4)], {}, "ended"),
        ([(FAILED, 0.1), (PENDING, 1.3), (FAILED, 1.4)], {}, "wait"),
        ([(FAILED, 0.1)], {}, "wait"),
        ([(BEGUN, 0), (UNWELL, 0.1)], {}, "wait"),
        ([(BEGUN, 0), (UNWELL, 0.1), (UNWELL, 1.4)], {}, "ended"),
        ([(PENDING, 1.9)], {"restart_at_epoch_seconds": 2 * HOUR}, "wait"),
        ([(PENDING, 2.0)], {"restart_at_epoch_seconds": 2 * HOUR}, "stuck"),
        ([(PENDING, 30)], {}, "wait"),
        ([(BEGUN, 3)], {"restart_at_epoch_seconds": 2 * HOUR}, "wait"),
        ([(FAILED, 1.9), (FAILED, 2.1)], {"restart_at_epoch_seconds": 2 * HOUR}, "wait"),
        ([(JobStatus(JobState.CANCELLED), 0)], {}, "ended"),
        ([(JobStatus(JobState.COMPLETED), 3)], {"restart_at_epoch_seconds": 2 * HOUR}, "completed"),
    ],
    ids=[
        "fails after it has begun",
        "fails, and an earlier wait saw it begin",
        "fails in preparation, within the grace",
        "fails in preparation, for too long",
        "fails, heals and fails",
        "fails, and nobody knows whether it began",
        "BCDA is unwell after it has begun",
        "BCDA stays unwell",
        "pending for almost two hours",
        "pending for two hours",
        "pending, and restarted already",
        "in progress after two hours",
        "failing after two hours",
        "canceled",
        "complete",
    ],
)
def test_the_wait_ends_when_nothing_better_can_come(seen, watch, last):
    *before, verdict = verdicts(*seen, **watch)
    assert set(before) <= {Verdict.WAIT}
    assert verdict == last
