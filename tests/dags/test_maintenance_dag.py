"""The nightly DAG: what is well is green, what a person has to do is red, and what will be soon is a warning in the log."""

from datetime import UTC, datetime, timedelta

import pytest

from bcda.api.deadlines import is_closed
from bcda_simulator.world import World

STEPS = ("purge_raw", "compact_lake", "vacuum", "start_missed_export")


@pytest.fixture
def look(serve, connect, run_dag, logged):
    """Load everything that BCDA had so many days ago, then maintain; return the states of the tasks and the log."""

    def after(days, secret_days):
        now = datetime.now(UTC)
        server = serve(World(people=6, seed=3, history_weeks=20), start=now - timedelta(days=days))
        made_on = (now - timedelta(days=secret_days)).date().isoformat()
        connect(server, extra={"credentials_made_on": made_on})
        assert run_dag("bcda_weekly_export", batches=1)[0] == "success"
        logged()
        tasks = {name.removesuffix("[-1]"): state for name, state in run_dag("bcda_maintenance")[1].items()}
        assert {tasks.pop(step) for step in STEPS} == {"success"}
        return tasks, logged()

    return after


@pytest.mark.complete
def test_fresh_data_and_a_young_secret_are_green(look):
    tasks, log = look(days=0, secret_days=10)
    assert tasks == {"check_freshness": "success", "check_secret": "success"}
    assert "is covered up to" not in log
    assert "Rotate it" not in log


def test_stale_data_and_an_ended_secret_are_red_and_say_what_to_do(look):
    tasks, log = look(days=30, secret_days=91)
    # Until the year's first list comes, BCDA has nothing newer.
    stale = "success" if is_closed(datetime.now(UTC)) else "failed"
    assert tasks == {"check_freshness": stale, "check_secret": "failed"}
    assert "ExplanationOfBenefit of v2 is covered up to" in log
    assert "Rotate it in ACO-MS or 4i" in log


@pytest.mark.complete
def test_a_secret_that_ends_soon_is_a_warning(look):
    tasks, log = look(days=0, secret_days=80)
    assert tasks["check_secret"] == "success"
    assert "Rotate it in ACO-MS or 4i" in log
