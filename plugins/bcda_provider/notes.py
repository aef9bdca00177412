"""What a run says of itself in one sentence: tasks leave it as XCom, and it becomes the note of the run.

A task cannot write a note. The interface that tasks talk to has no such call, and the public API wants a person's
credentials, which have no place on workers. So the API server writes the note in the transaction that stores the XCom, and
the scheduler writes it once more in the transaction that records the run's end, with what the run came to.
"""

import re
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

from bcda.bounds import LONGEST_NOTE, shortened
from bcda_provider.sources import is_of_project
from bcda_provider.xcoms import sentence_in

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

KEY = "bcda_note"
"""XCom that holds the sentence; the newest of a run counts."""

OURS = "BCDA "
"""How our notes begin; any other note is a person's and stays."""

_UNSEEN = "\u200b"
_ADDRESS = re.compile(r":(?=//)|\bwww(?=\.)|@", re.IGNORECASE)
# A note is one paragraph that begins with a word of ours, so what begins a block means nothing in it.
_MARKUP = re.compile(r"[\\`*~<]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\](?=[(\[])")
_UNDONE = re.compile(r"\\([\\`*~<_\]])")

NOT_NEEDED = "not needed: "
"""How a plan begins that found nothing to do."""


def leave_note(ti: Any, text: str) -> None:
    """Leave a sentence for the note of the task's run.

    Args:
        ti: task instance at work.
        text: the sentence; nothing about a person.
    """
    ti.xcom_push(key=KEY, value=shortened(text, LONGEST_NOTE))


def as_note(text: str) -> str:
    """Return a sentence as a note: what a server says in it stays text, though Airflow shows notes as Markdown.

    Characters of markup get a backslash, and an invisible space keeps addresses from becoming links.

    Args:
        text: the sentence.
    """
    whole = " ".join(shortened(f"{OURS}{text}", LONGEST_NOTE).split())
    note = _MARKUP.sub(r"\\\g<0>", _ADDRESS.sub(rf"\g<0>{_UNSEEN}", whole))
    if len(note) <= LONGEST_NOTE:
        return note
    # Whole pieces only: half an escape would be markup again.
    pieces = re.findall(r"\\.|.", note)
    return (
        "".join(piece for piece, end in zip(pieces, accumulate(map(len, pieces)), strict=True) if end < LONGEST_NOTE)
        + "…"
    )


def sentence_of(note: str) -> str:
    """Return the sentence of a note of ours as it was before `as_note`.

    Args:
        note: as Airflow has it.
    """
    return _UNDONE.sub(r"\1", note.replace(_UNSEEN, "")).removeprefix(OURS)


@hookimpl
def on_task_instance_failed(previous_state: Any, task_instance: Any, error: Any) -> None:  # noqa: ARG001 - the interface's
    """End a failed try with its sentence, whether Airflow tries the task again or not.

    Airflow calls this for every task, and in the API server where a person marks one as failed. Only tasks of this project
    that raised something have a sentence.
    """
    if error is not None and hasattr(getattr(task_instance, "task", None), "failure_text"):
        # Every component reads this module with the plugin; only a task's process gets here.
        from bcda_provider.failures import tell_at_the_end

        tell_at_the_end(task_instance, error)


@hookimpl
def on_dag_run_success(dag_run: "DagRun", msg: str) -> None:  # noqa: ARG001 - the interface's
    """Write the note of a run that ended well."""
    _write(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: "DagRun", msg: str) -> None:  # noqa: ARG001 - the interface's
    """Write the note of a run that failed."""
    _write(dag_run)


def write_notes_at_once(app: Any) -> Any:
    """Write what tasks leave into the notes of their runs, from now on and in this process; return the application as it is.

    The plugin gives this to Airflow as a middleware, because that is what Airflow calls in the API server alone.

    Args:
        app: application of the API server.
    """
    from airflow.models.xcom import XComModel
    from sqlalchemy import event

    if not event.contains(XComModel, "after_insert", _note_of):
        event.listen(XComModel, "after_insert", _note_of)
    return app


def _note_of(mapper: Any, connection: Any, xcom: Any) -> None:  # noqa: ARG001 - SQLAlchemy's
    if xcom.key != KEY:
        return
    from airflow.models.dagrun import DagRunNote
    from sqlalchemy import or_
    from sqlalchemy.exc import IntegrityError

    table: Any = DagRunNote.__table__
    of_run, content = table.c.dag_run_id == xcom.dag_run_id, table.c.content
    text, now = as_note(sentence_in(xcom.value)), datetime.now(UTC)
    if connection.execute(table.select().where(of_run)).first() is None:
        made = {"dag_run_id": xcom.dag_run_id, "content": text, "created_at": now, "updated_at": now}
        try:
            with connection.begin_nested():
                connection.execute(table.insert().values(made))
        except IntegrityError:
            # Another task of the run, such as one of another map index, has left its sentence in between.
            pass
        else:
            return
    is_ours = or_(content.is_(None), content == "", content.startswith(OURS, autoescape=True))
    connection.execute(table.update().where(of_run, is_ours).values(content=text, updated_at=now))


def _write(dag_run: "DagRun") -> None:
    if not _has_our_tasks(dag_run):
        return
    # Every component reads this module with the plugin; only the scheduler gets here and has a session.
    from airflow.models.xcom import XComModel
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return
    left = (
        select(XComModel.value)
        .where(XComModel.dag_id == dag_run.dag_id, XComModel.run_id == dag_run.run_id, XComModel.key == KEY)
        .order_by(XComModel.timestamp.desc())
    )
    sentences = [sentence for value in session.scalars(left) if (sentence := sentence_in(value))]
    # Read after the sentences, because the API server stores each of them together with the note.
    session.flush()
    session.expire(dag_run, ["dag_run_note"])
    if sentences and (not dag_run.note or dag_run.note.startswith(OURS)):
        dag_run.note = as_note(_together(sentences))


def _has_our_tasks(dag_run: "DagRun") -> bool:
    """Tell whether tasks of this project are in the run's DAG: other DAGs must not cost the scheduler a query.

    A task of a subclass is not known here, and its note is the one that was written at once.
    """
    if is_of_project(dag_run.dag_id):
        return True
    tasks = getattr(getattr(dag_run, "dag", None), "tasks", ())
    return any(str(getattr(task, "_task_module", "")).startswith("bcda_provider.") for task in tasks)


def _together(sentences: list[str]) -> str:
    """Return the newest sentence; of a run that was not needed, the reasons of all its plans."""
    newest = sentences[0]
    if not newest.startswith(NOT_NEEDED):
        return newest
    reasons = [text.removeprefix(NOT_NEEDED) for text in reversed(sentences) if text.startswith(NOT_NEEDED)]
    return NOT_NEEDED + " ".join(dict.fromkeys(reasons))
