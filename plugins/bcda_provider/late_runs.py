"""Deadline alerts: that an export is late is said while it is still under way, and not only when it fails."""

import asyncio
import logging
import math
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from bcda.api.deadlines import is_closed
from bcda_provider import metrics
from bcda_provider.notifications import notify_late

log = logging.getLogger(__name__)


def deadline_of(source: str) -> DeadlineAlert | None:
    """Return the alert for runs of an export DAG that are not done in time, counted from when they were queued.

    The time is `BCDA_LATE_HOURS` in the environment. Without it there is no alert: in a DAG that has one Airflow 3.3.2 answers
    every clear with an error until the run is late, and fails at the end of `airflow dags test` (apache/airflow#73428).

    Args:
        source: connection of the DAG.

    Raises:
        ValueError: the variable is not a number of hours; Airflow shows it as an import error of the DAG files.
    """
    hours = _late_hours()
    if hours is None:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=hours),
        callback=AsyncCallback(run_is_late, kwargs={"source": source, "hours": hours}),
        name="not done in time",
    )


async def run_is_late(source: str, hours: float, context: dict[str, Any]) -> None:
    """Say that a run is late, and tell the notifiers; Airflow calls it in the triggerer.

    Args:
        source: connection of the run.
        hours: after which it counts as late.
        context: Airflow's: the run as its API shows it, and the deadline.
    """
    dag_id, dag_run_id = str(context["dag_run"]["dag_id"]), str(context["dag_run"]["dag_run_id"])
    metrics.emit(metrics.RUNS_LATE, 1, source=source, dag_id=dag_id)
    text = late_text(dag_id, dag_run_id, hours, now=datetime.now(UTC))
    log.warning("%s", text)
    # Notifiers wait for their servers, and one that did so in the loop would stop every trigger of the process.
    await asyncio.to_thread(notify_late, f"BCDA {dag_id} is late", text)


def late_text(dag_id: str, dag_run_id: str, hours: float, *, now: datetime) -> str:
    """Return what a person should know of a run that is late."""
    why = (
        "Until the year's first attribution list, about mid February, that is how it should be: the run waits in `kick_off`."
        if is_closed(now)
        else "The newest log of its tasks says what it waits for; BCDA's files live for a day, then the run has to start again."
    )
    return f"The run {dag_run_id} of {dag_id} is not done {hours:g} hours after it was queued. {why}"


def _late_hours() -> float | None:
    text = os.environ.get("BCDA_LATE_HOURS")
    if not text:
        return None
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours < math.inf:
        raise ValueError(
            f"BCDA_LATE_HOURS is {text!r}; it must be a number of hours such as 20, or empty for no alert."
        )
    return hours
