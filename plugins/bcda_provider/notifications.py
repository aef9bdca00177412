"""Telling people outside Airflow, through Airflow's own notifiers; this project sends nothing by itself.

The setting is a JSON list in the environment variable BCDA_NOTIFIERS or the Airflow Variable `bcda_notifiers`:

    [{"notifier": "airflow.providers.http.notifications.http.HttpNotifier", "on": ["failure"],
      "kwargs": {"http_conn_id": "chat", "json": {"text": "{{ bcda.text }}"}}}]

`notifier` names a class, `kwargs` are its arguments, and `on` is `success`, `failure` or both, which is the default. In
arguments that the class renders, `bcda` has what a `Message` has.
"""

import importlib
import json
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow.sdk import BaseNotifier, Context, Variable

from bcda.errors import BcdaError, InvalidRequestError
from bcda_provider.notes import leave_note

SETTING = "BCDA_NOTIFIERS"
OUTCOMES = ("success", "failure")


@dataclass(frozen=True, slots=True)
class Message:
    """What is told, without anything about a person.

    Attributes:
        outcome: `success` or `failure`.
        subject: one line.
        text: the short text of the report, or what failed, why, and what to do.
        run_id: our export run; empty when a task failed.
        html_file: file of the report; empty when a task failed.
    """

    outcome: str
    subject: str
    text: str
    run_id: str = ""
    html_file: str = ""


@dataclass(frozen=True, slots=True)
class Configured:
    """One entry of the setting.

    Attributes:
        notifier: class, by its import path.
        on: outcomes that it is told of.
        kwargs: arguments of the class.
    """

    notifier: str
    on: tuple[str, ...] = OUTCOMES
    kwargs: dict[str, Any] = field(default_factory=dict)


def notify_loaded(context: Context) -> None:
    """Tell of each run that a report was written of; the callback of a report that succeeded.

    Args:
        context: of the report task.

    Raises:
        InvalidRequestError: the setting is malformed; Airflow logs it and leaves the task as it is.
    """
    for run in context["ti"].xcom_pull(task_ids=context["ti"].task_id)["reports"]:
        message = Message(
            "success",
            f"BCDA {run['headline']}",
            Path(run["text_file"]).read_text(encoding="utf-8"),
            run["run_id"],
            run["html_file"],
        )
        _tell(message, context)


def notify_failed(context: Context) -> None:
    """Tell which task failed, with what, and what to do next; the callback of every task that failed for good.

    Args:
        context: of the task, with its exception; without one when the task's process died.

    Raises:
        InvalidRequestError: the setting is malformed; Airflow logs it and leaves the task as it is.
    """
    ti, error = context["ti"], context.get("exception")
    reason = _reason(error)
    # Of a task whose process died Airflow calls this in the DAG processor, which knows no exception and never answers who
    # writes an XCom: it would wait until it is killed, and nobody were told.
    if error is not None:
        leave_note(ti, f"{ti.task_id} failed: {reason}")
    where = f" of batch {ti.map_index}" if ti.map_index is not None and ti.map_index >= 0 else ""
    text = (
        f"Task {ti.task_id}{where} of {ti.dag_id} failed in its try {ti.try_number}.\n"
        f"Run: {ti.run_id}\n\n{reason}\n\nIts log: {getattr(ti, 'log_url', 'in Airflow')}\n"
    )
    _tell(Message("failure", f"BCDA {ti.dag_id}: {ti.task_id} failed", text), context)


def notify_late(subject: str, text: str, context: Context) -> None:
    """Tell that a run is late, to those who are told of failures.

    Args:
        subject: one line.
        text: which run, and what it may wait for.
        context: of the deadline alert; it has no task.

    Raises:
        InvalidRequestError: the setting is malformed.
    """
    _tell(Message("failure", subject, text), context)


def configured() -> tuple[Configured, ...]:
    """Return the entries of the setting.

    Raises:
        InvalidRequestError: it is not a list of such entries.
    """
    text = os.environ.get("BCDA_NOTIFIERS") or Variable.get("bcda_notifiers", default="")
    if not text:
        return ()
    try:
        entries = [Configured(**{**entry, "on": tuple(entry.get("on", OUTCOMES))}) for entry in json.loads(text)]
    except (TypeError, ValueError, AttributeError):
        # The text itself may hold a password.
        raise InvalidRequestError(
            f"{SETTING} must be a JSON list of objects with `notifier`, `kwargs` and, if you like, `on`; it was not used."
        ) from None
    for entry in entries:
        if not set(entry.on) <= set(OUTCOMES):
            raise InvalidRequestError(f"{SETTING}: `on` of {entry.notifier} may hold {' and '.join(OUTCOMES)} only.")
    return tuple(entries)


def _tell(message: Message, context: Context) -> None:
    given: Any = {**context, "bcda": message}
    # Each is called whatever becomes of the others; Airflow logs the error of one that fails.
    with ExitStack() as stack:
        for entry in reversed([entry for entry in configured() if message.outcome in entry.on]):
            stack.callback(_send, entry, given)


def _send(entry: Configured, context: Any) -> None:
    _notifier(entry)(context)


def _notifier(entry: Configured) -> BaseNotifier:
    module, _, name = entry.notifier.rpartition(".")
    try:
        made = getattr(importlib.import_module(module), name)(**entry.kwargs)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidRequestError(
            f"{SETTING} names {entry.notifier}, which cannot be imported ({type(error).__name__}). Install its provider package."
        ) from None
    if not isinstance(made, BaseNotifier):
        raise InvalidRequestError(f"{SETTING} names {entry.notifier}, which is no notifier of Airflow.")
    return made


def _reason(error: Any) -> str:
    """Return what an error says. Texts of other errors than ours can hold anything: only their kind travels on."""
    if isinstance(error, BcdaError):
        return f"{type(error).__name__}: {error}"
    if error is None or isinstance(error, str):
        return "The task ended without saying why: its process died, or was stopped. Look at its log, then clear it."
    return (
        f"{type(error).__name__}, which this project does not expect. Look at the end of the task's log, then clear it."
    )
