"""What a run says of itself in one sentence: tasks leave it as XCom, and the scheduler makes it the run's note at its end.

A task cannot write a note. The interface that tasks talk to has no such call, and the public API wants a person's
credentials, which have no place on workers. So the note is written where the run's end is noticed, in the transaction
that records that end; until then the page and the tasks' logs tell what is going on.
"""

from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

KEY = "bcda_note"
"""XCom that holds the sentence; the newest of a run counts."""

OURS = "BCDA "
"""How our notes begin; any other note is a person's and stays."""

NOT_NEEDED = "not needed: "
"""How a plan begins that found nothing to do."""

_LONGEST = 1000


def leave_note(ti: Any, text: str) -> None:
    """Leave a sentence for the note of the task's run.

    Args:
        ti: task instance at work.
        text: the sentence; nothing about a person.
    """
    ti.xcom_push(key=KEY, value=text)


@hookimpl
def on_dag_run_success(dag_run: "DagRun", msg: str) -> None:  # noqa: ARG001 - the interface's
    """Write the note of a run that ended well."""
    _write(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: "DagRun", msg: str) -> None:  # noqa: ARG001 - the interface's
    """Write the note of a run that failed."""
    _write(dag_run)


def _write(dag_run: "DagRun") -> None:
    if not dag_run.dag_id.startswith("bcda_"):
        return
    # Every component reads this module with the plugin; only the scheduler gets here and has a session.
    from airflow.models.xcom import XComModel
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None or (dag_run.note and not dag_run.note.startswith(OURS)):
        return
    left = (
        select(XComModel.value)
        .where(XComModel.dag_id == dag_run.dag_id, XComModel.run_id == dag_run.run_id, XComModel.key == KEY)
        .order_by(XComModel.timestamp.desc())
    )
    if sentences := list(session.scalars(left)):
        dag_run.note = f"{OURS}{_together(sentences)}"[:_LONGEST]


def _together(sentences: list[str]) -> str:
    """Return the newest sentence; of a run that was not needed, the reasons of all its plans."""
    newest = sentences[0]
    if not newest.startswith(NOT_NEEDED):
        return newest
    reasons = [text.removeprefix(NOT_NEEDED) for text in reversed(sentences) if text.startswith(NOT_NEEDED)]
    return NOT_NEEDED + " ".join(dict.fromkeys(reasons))
