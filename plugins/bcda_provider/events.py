"""What the job trigger hands to its sensor: small, typed, checked on arrival. It is stored in Airflow's database."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from bcda.api.protocol import JobState
from bcda.bounds import LONGEST_REASON, shortened
from bcda.errors import ManifestError


class Outcome(StrEnum):
    """How the wait ended."""

    COMPLETED = "completed"
    ENDED = "ended"
    DEADLINE = "deadline"
    REFUSED = "refused"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class JobEvent:
    """The end of a wait.

    Attributes:
        job_id: BCDA's number, as text.
        outcome: how the wait ended.
        state: the job's last state.
        reason: the server's or the client's text; holds nothing about a person. At a deadline, why the job could not be
            canceled; empty when it was.
    """

    job_id: str
    outcome: Outcome
    state: JobState
    reason: str = ""

    def to_json(self) -> dict[str, str]:
        """Return a JSON object for the trigger event."""
        return {key: shortened(str(value), LONGEST_REASON) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Any) -> "JobEvent":
        """Read what `to_json` wrote.

        Raises:
            ManifestError: the value is of another shape, as after an upgrade in mid-wait.
        """
        try:
            reason = shortened(str(value["reason"]), LONGEST_REASON)
            return cls(str(value["job_id"]), Outcome(value["outcome"]), JobState(value["state"]), reason)
        except (TypeError, KeyError, ValueError) as error:
            raise ManifestError("The trigger's event cannot be read; clear the wait task.") from error
