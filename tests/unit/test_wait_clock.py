"""The time of a wait: our clock can be set, BCDA's decides."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from bcda import budgets
from bcda.api import protocol
from bcda.api.export_request import ExportRequest, Scope
from bcda.api.protocol import JobState, ListedJob
from bcda.api.wait_clock import SLACK_SECONDS, WaitClock
from bcda.runs import kick_off
from bcda.runs.run import ExportRun
from bcda.settings import ApiVersion

ASKED = datetime(2026, 11, 10, 12, tzinfo=UTC)
DAY = 86_400.0


def test_a_clock_that_is_set_during_the_wait_changes_nothing(monkeypatch):
    clock, before = WaitClock(), time.time()
    monkeypatch.setattr(time, "time", lambda: before + 10 * DAY)
    assert clock.now() < before + DAY


@pytest.mark.parametrize(
    ("asked_at", "server_now", "lasted"),
    [
        (None, None, True),
        (None, ASKED, True),
        (ASKED, None, False),
        (ASKED, ASKED + timedelta(hours=1), False),
        (ASKED, ASKED + timedelta(days=1, seconds=-SLACK_SECONDS - 1), False),
        (ASKED, ASKED + timedelta(days=1, seconds=-SLACK_SECONDS), True),
        (ASKED, ASKED + timedelta(days=2), True),
    ],
)
def test_what_ends_a_job_needs_bcdas_clock_to_agree(asked_at, server_now, lasted):
    assert WaitClock(asked_at).has_lasted(DAY, server_now) is lasted


def test_without_an_answer_the_time_that_was_waited_counts(monkeypatch):
    clock, before = WaitClock(ASKED), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: before + budgets.UNCONFIRMED_SECONDS - 1)
    assert not clock.has_lasted(DAY, None)
    monkeypatch.setattr(time, "monotonic", lambda: before + budgets.UNCONFIRMED_SECONDS + 1)
    # Nobody waits for BCDA's word for another day.
    assert clock.has_lasted(DAY, None)


def test_our_clock_alone_calls_no_job_stuck(places):
    """A server that never says what time it is has no clock but ours, by which a new job can look old."""
    request = ExportRequest(ApiVersion.V2, Scope.PATIENT, ("Patient",))
    url = f"http://x{protocol.kick_off_path(request)}"
    job = ListedJob("1", JobState.IN_PROGRESS, url, datetime.now(UTC) - timedelta(days=2))
    # A client that is asked to cancel anything fails.
    silent = SimpleNamespace(server_date=None, server_time=datetime.now(UTC))
    asyncio.run(kick_off._cancel_stuck(silent, places, ExportRun("r1", request, ASKED), [job]))
