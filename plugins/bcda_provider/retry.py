"""Library error → retry when, or fail now. With this policy no operator needs a `try`."""

from datetime import timedelta
from typing import Any

from airflow.sdk import RetryPolicy
from airflow.sdk.definitions.retry_policy import RetryDecision

from bcda.errors import ActionNeededError, TerminalError, TransientError


class BcdaRetryPolicy(RetryPolicy):
    """Fails at once what a retry cannot mend, and waits as long as the server asked for the rest."""

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
        """Return nothing: the policy has no settings."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "BcdaRetryPolicy":  # noqa: ARG003 - the interface's
        """Return the policy."""
        return cls()
