"""When the wait for a job ends: a rule over its states, without I/O and without a clock."""

from dataclasses import dataclass
from enum import StrEnum

from bcda.api.protocol import LIVE_STATES, JobState, JobStatus


class Verdict(StrEnum):
    """What a status means for who waits."""

    WAIT = "wait"
    COMPLETED = "completed"
    ENDED = "ended"
    STUCK = "stuck"


@dataclass(slots=True)
class JobWatch:
    """Judges the states of one job as they come.

    A job that was In Progress and failed never heals, so its failure ends the wait at once. One that fails while BCDA
    prepares it may turn Pending again for about an hour. One that stays Pending for longer than all of BCDA's tries to
    prepare it take will stay so (docs/bcda.md#stuck-and-returning-jobs).

    A wait that begins again, as after a restart of the triggerer, has to be told what the one before it saw. Who does not know
    whether the job was ever In Progress grants the time: a wait that is too long costs an hour, one that is too short
    costs the export.

    Attributes:
        failed_grace_seconds: how long a job that was never seen In Progress may answer that it failed.
        restart_at_epoch_seconds: when a job that is still Pending counts as stuck; None for never.
        has_begun: whether the job was seen In Progress.
        failing_since: when it began to answer that it failed, epoch seconds; None when it last answered something else.
    """

    failed_grace_seconds: float
    restart_at_epoch_seconds: float | None = None
    has_begun: bool = False
    failing_since: float | None = None

    def see(self, status: JobStatus, now: float) -> Verdict:
        """Judge an answer.

        Args:
            status: as BCDA sent it.
            now: present instant, epoch seconds.
        """
        if status.state is JobState.COMPLETED:
            return Verdict.COMPLETED
        if status.state is JobState.FAILED:
            return self._see_failed(status, now)
        self.failing_since = None
        if status.state is JobState.IN_PROGRESS:
            self.has_begun = True
        if status.state not in LIVE_STATES:
            return Verdict.ENDED
        restart_at = self.restart_at_epoch_seconds
        is_stuck = not self.has_begun and restart_at is not None and now >= restart_at
        return Verdict.STUCK if is_stuck else Verdict.WAIT

    def _see_failed(self, status: JobStatus, now: float) -> Verdict:
        if self.failing_since is None:
            self.failing_since = now
        # Another 500 than that of a failed job says that BCDA is not well, such as its check of tokens (row 12).
        if self.has_begun and status.says_that_the_job_failed:
            return Verdict.ENDED
        return Verdict.WAIT if now - self.failing_since < self.failed_grace_seconds else Verdict.ENDED
