"""A server that says megabytes: what of it reaches Airflow's database, its logs, notes and notifiers."""

import json
import logging

import pytest

from bcda.api.protocol import JobState
from bcda.bounds import LONGEST_MESSAGE, LONGEST_NOTE, LONGEST_REASON, LONGEST_SUBJECT, LONGEST_TOLD
from bcda_simulator import Fault, FaultKind

WEEKLY = "bcda_weekly_export"
MEGABYTES = 3_000_000


def test_an_event_of_a_trigger_is_bounded_on_both_sides():
    from bcda_provider.events import JobEvent, Outcome

    event = JobEvent("7", Outcome.ENDED, JobState.FAILED, "x" * 10 * LONGEST_REASON).to_json()
    assert len(event["reason"]) == LONGEST_REASON
    # One that an earlier release has stored.
    assert len(JobEvent.from_json({**event, "reason": "x" * MEGABYTES}).reason) == LONGEST_REASON


def stored():
    """Return the longest XCom, note and trigger of Airflow's database, and the number of each."""
    from airflow.models.dagrun import DagRunNote
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = {
            "xcom": [json.dumps(value) for value in session.scalars(select(XComModel.value))],
            "note": list(session.scalars(select(DagRunNote.content))),
            "next": [json.dumps(value, default=str) for value in session.scalars(select(TaskInstance.next_kwargs))],
        }
    return {name: max(map(len, found), default=0) for name, found in rows.items()}


LOUD = "loud" * (MEGABYTES // 4)


def manifest(**fields):
    """Return an answer in place of a job's manifest, with megabytes in one of its fields."""
    whole = {"transactionTime": "2026-11-10T00:00:00Z", "request": "x", "output": [], "error": [], "JobID": 1, **fields}
    return Fault(FaultKind.ANSWER, "status", status=200, body="text", text=json.dumps(whole))


@pytest.mark.complete
@pytest.mark.parametrize(
    "strike",
    [
        manifest(transactionTime=LOUD),
        manifest(output=[{"type": "Patient", "url": f"https://{LOUD}.example/a"}]),
        Fault(FaultKind.ANSWER, "status", text=f"ExportJob failed. {LOUD}"),
        Fault(FaultKind.ANSWER, "kick-off", status=400, text=LOUD),
        Fault(FaultKind.ANSWER, "token", status=401, text=LOUD),
    ],
    ids=["time", "address", "job", "kick-off", "token"],
)
def test_three_megabytes_of_an_answer_stay_outside(
    serve, connect, run_dag, notes_at_once, monkeypatch, logged, caplog, strike
):
    import told

    told.messages.clear()
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("BCDA_NOTIFIERS", json.dumps([{"notifier": "told.Told"}]))
    connect(serve(faults=[strike]), extra={"failed_grace_seconds": 0.1})
    state, _ = run_dag(WEEKLY, resource_types=["Patient"])
    assert (state, strike.struck > 0) == ("failed", True)
    found = stored()
    assert 0 < found["note"] <= LONGEST_NOTE
    assert 0 < found["xcom"] <= 2 * LONGEST_MESSAGE
    assert found["next"] <= 4 * LONGEST_MESSAGE
    longest = max(map(len, logged().splitlines()))
    assert longest < 4 * LONGEST_MESSAGE, longest
    assert told.messages
    for message in told.messages:
        assert len(message.subject) <= LONGEST_SUBJECT
        assert len(message.text) <= LONGEST_TOLD


MARKUP = [
    "[free money](https://evil.example/a)",
    "![](https://evil.example/pixel.png)",
    "<https://evil.example>",
    "<img src=https://evil.example/pixel.png>",
    "https://evil.example and www.evil.example and a@evil.example",
    "[a][b] [b]: https://evil.example",
    "**bold** __bold__ _it_ *it* ~~gone~~ `code`",
    "a\n\n# heading\n\n- list\n\n> quote\n\n```\ncode\n```",
    "\\[a](https://evil.example) \\\\[a](https://evil.example)",
    "`[a](https://evil.example)`",
]


@pytest.mark.parametrize("text", MARKUP)
def test_what_a_server_says_is_text_in_a_note(text):
    """With a parser of CommonMark, which Airflow's interface follows too; bare addresses are GitHub's addition."""
    from markdown_it import MarkdownIt

    from bcda_provider.notes import as_note, sentence_of

    note = as_note(f"kick_off failed: BCDA said {text}")
    shown = MarkdownIt("commonmark").enable("strikethrough").render(note)
    assert not [
        tag for tag in ("<a", "<img", "<strong", "<em", "<code", "<s>", "<h1", "<li", "<blockquote") if tag in shown
    ], shown
    assert "https://" not in note
    assert "www." not in note
    assert "\n" not in note
    assert sentence_of(note) == " ".join(f"kick_off failed: BCDA said {text}".split())


def test_a_note_is_never_longer_than_airflow_takes_and_ends_in_no_half_escape():
    from bcda_provider.notes import as_note

    for text in ("*" * 10 * LONGEST_NOTE, "\\" * 10 * LONGEST_NOTE, "x" * 10 * LONGEST_NOTE, "a@" * 10 * LONGEST_NOTE):
        note = as_note(text)
        assert len(note) <= LONGEST_NOTE
        body = note.removesuffix("…")
        assert (len(body) - len(body.rstrip("\\"))) % 2 == 0


def test_a_note_without_markup_is_as_it_was():
    from bcda_provider.notes import as_note

    for text in (
        "kick_off failed: 503. Next try at 06:40 UTC.",
        "batch.fetch[0] failed",
        "v2, since 2026-11-03: 3 files",
    ):
        assert as_note(text) == f"BCDA {text}"
