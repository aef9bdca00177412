"""The weekly and the runout export ask for gaps again, in a job for the types that have some."""

import re

import pytest

from bcda_simulator import Fault, FaultKind
from bcda_simulator.world import World

WEEK = 7 * 86_400
EOB = "ExplanationOfBenefit"


def asked(server):
    """Return types and `_since` of every job so far."""
    targets = [entry.target for entry in server.requests if entry.endpoint == "kick-off"]
    return [(re.search(r"_type=([A-Za-z,]+)", target).group(1), "_since" in target) for target in targets]


@pytest.mark.complete
def test_a_gap_is_asked_for_by_the_next_run_for_its_type_and_by_the_form_when_runs_have_stopped(
    serve, connect, run_dag, ask
):
    server = serve(World(people=15, seed=3, history_weeks=20))
    connect(server)
    first_load = Fault(FaultKind.SHORT_OUTAGE, resource_type="Coverage", times=1)
    server.faults.add(first_load)
    state, tasks = run_dag("bcda_weekly_export")
    # A run leaves the gaps that it has met itself for the next one.
    assert (state, tasks["gaps.plan[-1]"], tasks["publish[-1]"]) == ("success", "skipped", "success")
    assert ask("SELECT resource_type, since_ts FROM ops.open_gap") == [("Coverage", None)]
    server.clock.advance(WEEK)
    everyone = Fault(FaultKind.PEOPLE_FAIL, resource_type="Coverage", people=(0,))
    server.faults.add(everyone)
    state, tasks = run_dag("bcda_weekly_export")
    assert (state, tasks["gaps.merge[-1]"]) == ("success", "success")
    everything = f"Patient,Coverage,{EOB}"
    assert asked(server) == [(everything, False), (everything, True), ("Coverage", False)]
    # One full pull of its type was all; the form asks again, and for nothing else.
    assert ask("SELECT bool_or(is_tried_again) FROM ops.open_gap WHERE since_ts IS NULL") == [(False,)]
    server.faults.clear()
    state, tasks = run_dag("bcda_weekly_export", gaps=True)
    assert (state, tasks["plan[-1]"], tasks["publish[-1]"]) == ("success", "skipped", "success")
    assert asked(server)[3:] == [("Coverage", False)]
    assert ask("FROM ops.open_gap") == []
    state, tasks = run_dag("bcda_weekly_export", gaps=True)
    assert (state, tasks["gaps.plan[-1]"], tasks["publish[-1]"]) == ("success", "skipped", "skipped")


@pytest.mark.complete
def test_a_job_for_gaps_that_fails_holds_nothing_back(serve, connect, run_dag, ask):
    server = serve(World(people=15, seed=3, history_weeks=20))
    connect(server)
    server.faults.add(Fault(FaultKind.SHORT_OUTAGE, resource_type="Coverage", times=1))
    assert run_dag("bcda_runout_export")[0] == "success"
    server.faults.clear()
    server.faults.add(Fault(FaultKind.ANSWER, "kick-off", match="_type=Coverage$", status=400))
    _, tasks = run_dag("bcda_runout_export")
    assert (tasks["gaps.kick_off[-1]"], tasks["gaps.end[-1]"], tasks["report[-1]"]) == ("failed", "skipped", "success")
    assert ask("SELECT count(*) FROM ops.export_run") == [(2,)]
