"""Telling people outside Airflow, through Airflow's own notifiers; this project sends nothing by itself.

The setting is a JSON list in the environment variable BCDA_NOTIFIERS. It names code that workers run, so it is read from nowhere
that a person can edit in Airflow:

    [{"notifier": "airflow.providers.http.notifications.http.HttpNotifier", "on": ["failure"],
      "kwargs": {"http_conn_id": "chat", "json": {"text": "{{ bcda.text }}"}}}]

`notifier` names a class, `kwargs` are its arguments, and `on` is `success`, `failure` or both, which is the default. In
arguments that the class renders, `bcda` has what a `Message` has, and there is nothing else: no connection, no Variable.
"""

import importlib
import json
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from airflow.sdk import BaseNotifier, Context
from jinja2 import Environment, TemplateError, meta

from bcda.bounds import LONGEST_SUBJECT, LONGEST_TOLD, shortened
from bcda.errors import InvalidRequestError
from bcda_provider.data_home import raw_places
from bcda_provider.failures import map_index_of, name_of, reason_of

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

    @classmethod
    def bounded(cls, outcome: str, subject: str, text: str, run_id: str = "", html_file: str = "") -> "Message":
        """Return a message that is no longer than it may be."""
        return cls(outcome, shortened(subject, LONGEST_SUBJECT), shortened(text, LONGEST_TOLD), run_id, html_file)


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
        InvalidRequestError: the setting is malformed, or what the task returned was changed since and names no run; Airflow
            logs it and leaves the task as it is.
    """
    ti = context["ti"]
    # A person may edit an XCom, and must not name a file of the worker in it.
    task: Any = ti.task
    here = raw_places(task.bcda_conn_id)
    for run in ti.xcom_pull(task_ids=ti.task_id, map_indexes=map_index_of(ti))["reports"]:
        run_id = run["run_id"]
        here.run_folder(run_id)
        text = (here.reports / f"{run_id}.txt").read_text(encoding="utf-8")
        _tell(Message.bounded("success", f"BCDA {run['headline']}", text, run_id, str(here.reports / f"{run_id}.html")))


def notify_failed(context: Context) -> None:
    """Tell which task failed, with what, and what to do next; the callback of every task that failed for good.

    Args:
        context: of the task, with its exception; without one when the task's process died.

    Raises:
        InvalidRequestError: the setting is malformed; Airflow logs it and leaves the task as it is.
    """
    # Of a task whose process died Airflow calls this in the DAG processor, which knows no exception.
    ti, reason = context["ti"], reason_of(context.get("exception"))
    text = (
        f"Task {name_of(ti)} of {ti.dag_id} failed in its try {ti.try_number}.\n"
        f"Run: {ti.run_id}\n\n{reason}\n\nIts log: {getattr(ti, 'log_url', 'in Airflow')}\n"
    )
    _tell(Message.bounded("failure", f"BCDA {ti.dag_id}: {ti.task_id} failed", text))


def notify_late(subject: str, text: str) -> None:
    """Tell that a run is late, to those who are told of failures.

    Args:
        subject: one line.
        text: which run, and what it may wait for.

    Raises:
        InvalidRequestError: the setting is malformed.
    """
    _tell(Message.bounded("failure", subject, text))


def configured() -> tuple[Configured, ...]:
    """Return the entries of the setting.

    Raises:
        InvalidRequestError: it is not a list of such entries.
    """
    text = os.environ.get("BCDA_NOTIFIERS")
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


def _tell(message: Message) -> None:
    """Tell the notifiers. None of them gets Airflow's context, which reaches connections and Variables."""
    # Each is called whatever becomes of the others; Airflow logs the error of one that fails.
    with ExitStack() as stack:
        for entry in reversed([entry for entry in configured() if message.outcome in entry.on]):
            stack.callback(_send, entry, message)


def _send(entry: Configured, message: Message) -> None:
    given: Any = {"bcda": message}
    _notifier(entry)(given)


def _notifier(entry: Configured) -> BaseNotifier:
    kind = _class_of(entry)
    _check_arguments(entry, kind)
    return kind(**entry.kwargs)


def _class_of(entry: Configured) -> type[BaseNotifier]:
    """Return the class that an entry names; nothing is called before it is known to be a notifier."""
    module, _, name = entry.notifier.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidRequestError(
            f"{SETTING} names {entry.notifier}, which cannot be imported ({type(error).__name__}). Install its provider package."
        ) from None
    if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
        raise InvalidRequestError(
            f"{SETTING} names {entry.notifier}, which is not a notifier of Airflow. It was not called."
        )
    return found


def _check_arguments(entry: Configured, kind: type[BaseNotifier]) -> None:
    """Refuse templates that use anything but the message: Airflow would render most of them to nothing, without a word."""
    used: set[str] = set()
    for name in kind.template_fields:
        for text in _texts(entry.kwargs.get(name)):
            try:
                used |= meta.find_undeclared_variables(_PARSER.parse(text))
            except TemplateError:
                # Airflow says what is wrong with it when it renders it.
                continue
    if others := sorted(used - {"bcda"}):
        raise InvalidRequestError(
            f"{SETTING}: the arguments of {entry.notifier} use {', '.join(others)}, and only `bcda` is there: outcome, subject, text, "
            "run_id and html_file. Nobody was told. Correct the arguments."
        )


_PARSER = Environment(autoescape=False)  # noqa: S701 - parses templates and renders none


def _texts(value: Any) -> list[str]:
    """Return the texts of an argument, however deep they lie."""
    if isinstance(value, str):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in inside for text in _texts(each)]
