"""Which failures are retried, how often and when. With this policy no operator needs a `try`."""

import math
import os
from datetime import timedelta
from typing import Any

from airflow.sdk import RetryPolicy
from airflow.sdk.definitions.retry_policy import RetryDecision
from airflow.sdk.exceptions import TaskDeferralError

from bcda import budgets
from bcda.errors import (
    ActionNeededError,
    BcdaError,
    ExportExpiredError,
    ExportFailedError,
    NotAllowListedError,
    TerminalError,
    TransientError,
    UnknownConnectionError,
    WarehouseLockedError,
)
from bcda_provider.connections import has_secrets_backend
from bcda_provider.data_home import raw_places

PAUSES = (30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 900.0, 900.0, 900.0)
"""Seconds between the tries of a task: ten tries over 4,710 s, which is 78.5 minutes. A task that waits holds no worker.

The first pauses are short, because most trouble is; the last are long, because an outage is not shortened by asking. Within a
try the client asks up to six times for at most a minute (`budgets.HELD_SECONDS`), so that a task sends about 60 requests in an
outage of an hour.
"""

SCALE = "BCDA_RETRY_SCALE"
_MOST = 24.0

FEW = 3
"""Retries after an error that this project does not expect: more of them would only hide a defect."""


def pauses() -> tuple[timedelta, ...]:
    """Return the pauses between tries: `PAUSES`, each multiplied by `BCDA_RETRY_SCALE`, which is 1 by default.

    Raises:
        ValueError: the variable is not a number above 0 and up to 24; Airflow shows it as an import error of the DAG files.
    """
    text = os.environ.get(SCALE) or "1"
    try:
        scale = float(text)
    except ValueError:
        scale = math.nan
    if not 0 < scale <= _MOST:
        raise ValueError(f"{SCALE} must be a number above 0 and at most {_MOST:g}, such as 2. Got: {text!r}.")
    return tuple(timedelta(seconds=seconds * scale) for seconds in PAUSES)


BACKEND_WAIT = timedelta(minutes=1)
"""Airflow takes a secrets backend that does not answer for one that does not have the connection."""


class BcdaRetryPolicy(RetryPolicy):
    """Fails at once what a retry cannot mend. Retries the rest after `pauses()`, or later if the server asked for it.

    Args:
        has_job: the task works on a job that BCDA gave to this run, so that this address is on the allow list. Without it the
            raw folder tells whether BCDA has ever answered this connection.
    """

    def __init__(self, *, has_job: bool = False) -> None:
        super().__init__()
        self._has_job = has_job

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Any = None,
    ) -> RetryDecision:
        """Decide by the branch of the error tree.

        Args:
            exception: what the task raised.
            try_number: number of the try that failed, from 1; it goes on counting when a person clears the task.
            max_tries: number of the last try before the one that is final.
            context: of the task; names the connection.
        """
        failures = failures_before(try_number, max_tries, context)
        if isinstance(exception, UnknownConnectionError) and failures == 0 and has_secrets_backend():
            return RetryDecision.retry(delay=BACKEND_WAIT, reason="the secrets backend may answer again")
        # Another load has the database for minutes; only one that keeps it for an hour needs a person.
        is_held = isinstance(exception, WarehouseLockedError)
        if isinstance(exception, BcdaError) and not is_held and not self._is_outage(exception, context):
            if isinstance(exception, ActionNeededError):
                return RetryDecision.fail(reason="a person must act first")
            if isinstance(exception, TerminalError):
                return RetryDecision.fail(reason="this run is over")
        # What goes wrong in the triggerer, such as a secrets backend that is away, does not touch the job at BCDA.
        if not isinstance(exception, BcdaError | TaskDeferralError) and failures >= FEW:
            return RetryDecision.fail(reason=f"this error is not expected, and {FEW} retries did not help")
        pause = pauses()[min(failures, len(PAUSES) - 1)]
        wished = getattr(exception, "retry_after_seconds", None)
        wish = min(wished or 0.0, budgets.LONGEST_WAIT_SECONDS)
        if wish > pause.total_seconds():
            if failures * wish >= budgets.LONGEST_WAITS_SECONDS:
                return RetryDecision.fail(reason="the server has asked for waits of more than a day in all")
            return RetryDecision.retry(delay=timedelta(seconds=wish), reason="the server asked to wait")
        return RetryDecision.retry(delay=pause, reason="it may pass by itself")

    def passes_by_itself(self, exception: BaseException, context: Any = None) -> bool:
        """Tell whether a new run may work without a person: after an outage, or when the job or its files were lost.

        Args:
            exception: what the task raised in its last try.
            context: of the task; names the connection.
        """
        is_lost = isinstance(exception, ExportExpiredError) or (
            isinstance(exception, ExportFailedError) and exception.may_work_anew
        )
        return is_lost or self._is_outage(exception, context)

    def _is_outage(self, exception: BaseException, context: Any) -> bool:
        if isinstance(exception, NotAllowListedError):
            # The same silence is an outage for who has been answered before, and the allow list for who never was.
            return self._has_job or _was_answered(context)
        return isinstance(exception, TransientError)

    def serialize(self) -> dict[str, Any]:
        """Return the policy's settings."""
        return {"has_job": self._has_job}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "BcdaRetryPolicy":
        """Return the policy."""
        return cls(**data)


def failures_before(try_number: int, max_tries: int, context: Any = None) -> int:
    """Return how many tries failed before this one since the task was last cleared by a person.

    Args:
        try_number: number of this try, from 1.
        max_tries: grows with each clear by the task's retries.
        context: of the task.
    """
    ti = (context or {}).get("ti")
    retries: int | None = getattr(getattr(ti, "task", None), "retries", None)
    if retries is None:
        return max(0, try_number - 1)
    return max(0, min(try_number - 1, retries - (max_tries - try_number + 1)))


def _was_answered(context: Any) -> bool:
    """Tell whether BCDA has ever answered this connection: a run is written down only after that."""
    task = getattr((context or {}).get("ti"), "task", None)
    conn_id = getattr(task, "bcda_conn_id", None)
    return conn_id is not None and any(raw_places(conn_id).raw.glob("*/run.json"))
