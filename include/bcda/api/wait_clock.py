"""How long a job has been waited for, whatever happens to this machine's clock meanwhile."""

import time
from dataclasses import dataclass, field
from datetime import datetime

from bcda import budgets

SLACK_SECONDS = 60.0
"""How much less than ours BCDA's clock may say has passed: its answers tell the time to the second, and clocks drift."""


@dataclass(slots=True)
class WaitClock:
    """The time of one wait in one process.

    A clock that is set right in the middle of a wait, or jumps while a machine sleeps, makes a job look a day older than it
    is. So within a process the time goes on with a clock that cannot be set, and what ends a job needs BCDA's clock to agree.

    Attributes:
        asked_at: when BCDA accepted the job, by its own clock; None when it is not known.
    """

    asked_at: datetime | None = None
    _began_epoch: float = field(default_factory=time.time)
    _began: float = field(default_factory=time.monotonic)

    def now(self) -> float:
        """Return the present instant, epoch seconds, as if this machine's clock had not been set since the wait began."""
        return self._began_epoch + self._waited()

    def has_lasted(self, seconds: float, server_now: datetime | None) -> bool:
        """Tell whether BCDA's clock agrees that a job is so old; True where it is not known when BCDA accepted it.

        Args:
            seconds: since BCDA accepted it.
            server_now: BCDA's clock; None when it has not answered yet. Nobody waits for its word for longer than
                `UNCONFIRMED_SECONDS`: an answer that never ends must not put off a deadline.
        """
        if self.asked_at is None:
            return True
        if server_now is None:
            return self._waited() >= min(seconds, budgets.UNCONFIRMED_SECONDS)
        return (server_now - self.asked_at).total_seconds() + SLACK_SECONDS >= seconds

    def _waited(self) -> float:
        return time.monotonic() - self._began
