"""Library error → retry when, or fail now. With this policy no operator needs a `try`."""

from datetime import timedelta
from typing import Any

from airflow.sdk import RetryPolicy
from airflow.sdk.definitions.retry_policy import RetryDecision

from bcda.errors import ActionNeededError, NotAllowListedError, TerminalError, TransientError


class BcdaRetryPolicy(RetryPolicy):
    """Fails at once what a retry cannot mend, and waits as long as the server asked for the rest.

    Args:
        has_job: the task works on a job that BCDA gave to this run. Then this address is on the allow list, or was a day ago,
            so that connections which are not made in time are an outage: a job and its files are not given up for it.
    """

    def __init__(self, *, has_job: bool = False) -> None:
        super().__init__()
        self._has_job = has_job

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - the interface's
        max_tries: int,  # noqa: ARG002
        context: Any = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Decide by the branch of the error tree.

        Args:
            exception: what the task raised.
            try_number: not looked at.
            max_tries: not looked at.
            context: not looked at.
        """
        if self._has_job and isinstance(exception, NotAllowListedError):
            return RetryDecision.default()
        if isinstance(exception, ActionNeededError):
            return RetryDecision.fail(reason="a person must act first")
        if isinstance(exception, TerminalError):
            return RetryDecision.fail(reason="this run is over")
        if isinstance(exception, TransientError) and exception.retry_after_seconds:
            return RetryDecision.retry(
                delay=timedelta(seconds=exception.retry_after_seconds), reason="the server asked to wait"
            )
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """Return the policy's settings."""
        return {"has_job": self._has_job}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "BcdaRetryPolicy":
        """Return the policy."""
        return cls(**data)
