"""What a failure says: one sentence, the first and the last line of the error in the task's log, on the page and in the note."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.retry_policy import RetryAction, RetryDecision
from airflow.sdk.exceptions import TaskDeferralError

from bcda.bounds import LONGEST_MESSAGE, shortened
from bcda.errors import BcdaError
from bcda_provider.notes import leave_note
from bcda_provider.retry import BcdaRetryPolicy, failures_before

if TYPE_CHECKING:
    from airflow.sdk import Context

KEY = "bcda_failure"
"""XCom of a failed try: `text`, and `passes`, whether a new run may work without a person. Airflow removes it with the next try."""

TRIED = " failed in try "
"""In the sentence of a task that is retried."""


@contextmanager
def told(task: Any, context: "Context") -> Iterator[None]:
    """Log an error of the library as one sentence, and raise it without the frames and causes that would hide the sentence.

    Args:
        task: operator at work.
        context: of the task.
    """
    try:
        yield
    except (BcdaError, TaskDeferralError) as error:
        task.failure_text = failure_text(context.get("ti"), error, context)
        task.log.error("%s", task.failure_text)  # noqa: TRY400 - Airflow prints the traceback, below this line
        task.log.debug("where it was raised", exc_info=True)
        # The sentence says all. Our frames and the chain of the HTTP library's errors would hide it; they are in the line above.
        raise error.with_traceback(None) from None


def failure_text(ti: Any, error: Any, context: Any = None) -> str:
    """Return the sentence of a failed try: which task, why, and when it is retried.

    Args:
        ti: task instance; None outside of Airflow.
        error: what was raised; None or a text when the process died.
        context: of the task.
    """
    if ti is None:
        return reason_of(error)
    decision, number, tries = _decision(ti, error, context)
    if decision is None:
        return f"{name_of(ti)} failed: {reason_of(error)}"
    text = f"{name_of(ti)}{TRIED}{number} of {tries}: {reason_of(error)}"
    return f"{text} Next try {_when(decision)}."


def map_index_of(ti: Any) -> int:
    """Return the map index of a task instance, -1 for one that is not mapped, as Airflow's XComs have it.

    Args:
        ti: task instance.
    """
    index = getattr(ti, "map_index", None)
    return -1 if index is None else int(index)


def name_of(ti: Any) -> str:
    """Return what a message calls a task: its id, with the batch it works on, or with its map index in brackets.

    Args:
        ti: task instance.
    """
    index = map_index_of(ti)
    if index < 0:
        return str(ti.task_id)
    batch = getattr(getattr(ti, "task", None), "batch", None)
    if batch is None:
        return f"{ti.task_id}[{index}]"
    # Outside of the task's process nothing is rendered, and a batch's number is that of its map index in our DAGs.
    known = isinstance(batch, int) or (isinstance(batch, str) and batch.isdigit())
    return f"{ti.task_id} of batch {batch if known else index}"


def reason_of(error: Any) -> str:
    """Return what an error says. Texts of other errors than ours can hold anything: only their kind travels on.

    Args:
        error: what was raised; None or a text when the process died.
    """
    if isinstance(error, BcdaError):
        return f"{type(error).__name__}: {error}"
    if isinstance(error, TaskDeferralError):
        return "The wait ended with an error in the triggerer, which the lines above show."
    if error is None or isinstance(error, str):
        return "The task ended without saying why: its process died, or was stopped. Look at its log, then clear it."
    return (
        f"{type(error).__name__}, which this project does not expect. Look at the end of the task's log, then clear it."
    )


def tell_at_the_end(ti: Any, error: Any) -> None:
    """Leave the sentence of a failed try for page and note, and end the log with it.

    Args:
        ti: task instance of a task of this project.
        error: what was raised.
    """
    task, context = ti.task, ti.get_template_context()
    text = task.failure_text or failure_text(ti, error, context)
    policy = task.retry_policy
    passes = isinstance(policy, BcdaRetryPolicy) and policy.passes_by_itself(error, context)
    ti.xcom_push(key=KEY, value={"text": shortened(text, LONGEST_MESSAGE), "passes": passes})
    leave_note(ti, text)
    # Airflow folds what it logs after the error into a group, which is closed here: the last line has to be seen.
    task.log.info("::endgroup::")
    task.log.error("%s", text)


def _decision(ti: Any, error: Any, context: Any) -> tuple[RetryDecision | None, int, int]:
    """Return how the task is retried, or None; number of the try since the last clear, and how many there can be."""
    task, try_number = ti.task, ti.try_number
    # Airflow counts to what the task had when its run began, which can be another release's number of retries.
    max_tries = getattr(ti, "max_tries", task.retries or 0)
    number = failures_before(try_number, max_tries, context or {"ti": ti}) + 1
    tries = number + max(0, max_tries + 1 - try_number)
    if number >= tries:
        return None, number, tries
    policy = task.retry_policy
    # A policy of someone else is asked by Airflow alone: it may count how often, or fail, and the sentence must not.
    own = isinstance(policy, BcdaRetryPolicy)
    decision = policy.evaluate(error, try_number, max_tries, context or {"ti": ti}) if own else RetryDecision()
    return (None if decision.action is RetryAction.FAIL else decision), number, tries


def _when(decision: RetryDecision) -> str:
    if decision.retry_delay is None:
        return "after a pause"
    now = datetime.now(UTC)
    at = now + decision.retry_delay
    return f"at {at:%H:%M} UTC" if at.date() == now.date() else f"at {at:%Y-%m-%d %H:%M} UTC"
