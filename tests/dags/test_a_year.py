"""A year of an ACO, week by week, with the real DAGs: whatever happens, the tables hold what is true of the people attributed."""

import re
import threading
from datetime import UTC, datetime, timedelta

import pytest

from bcda_simulator import Fault, FaultKind, SimulatorSettings
from bcda_simulator.world import World, calendar

CHECK, EXPORT, WEEKLY, RUNOUT = (
    "bcda_attribution_check",
    "bcda_attribution_export",
    "bcda_weekly_export",
    "bcda_runout_export",
)
FIRST = datetime(2025, 2, 18, 12, tzinfo=UTC)
WEEKS = 56
JANUARY = datetime(2026, 1, 6, 12, tzinfo=UTC)
AWAY = datetime(2025, 9, 20, tzinfo=UTC)
WORLD = World(people=24, seed=18, history_weeks=400, opted_out={"4": AWAY, "7": datetime(2026, 2, 20, tzinfo=UTC)})

FAULTS = {
    5: Fault(FaultKind.PEOPLE_FAIL, people=(2,), resource_type="ExplanationOfBenefit"),
    9: Fault(FaultKind.JOB_FAILS, "kick-off"),
    14: Fault(FaultKind.CORRUPT, "data", match="/data/"),
    15: Fault(FaultKind.ANSWER, "token", status=401, body="text", text="Unauthorized\n"),
    20: Fault(FaultKind.PHANTOM, "kick-off"),
    24: Fault(FaultKind.ANSWER, "kick-off", status=429, retry_after="0", body="none", times=2),
    29: Fault(FaultKind.JOB_FAILS, "kick-off", match="Group/all.*_since"),
    36: Fault(FaultKind.ANSWER, "data", status=404, body="text"),
}
"""Week → what goes wrong in it."""


def named(server):
    """Return the people whose data is to be here: those of the newest list, less who opted out."""
    now = server.clock.now()
    people = WORLD.attribution_lists("A9999", "all", now)[-1].people
    # Who was away comes back with the next list, and what was missed with the export after that.
    back = AWAY < now < AWAY + timedelta(days=60 + 28)
    return tuple(p for p in people if p not in WORLD.opted_out(now) and not (p == "4" and back))


def is_due(server):
    """Tell whether a list came lately: the check runs daily, and would find nothing in the other weeks."""
    now = server.clock.now()
    return now - WORLD.attribution_lists("A9999", "all", now)[-1].dated_at < timedelta(days=17)


def ids_of(people):
    return ", ".join(f"'-2000000{int(person):07d}'" for person in people)


def check_truth(server, ask):
    """Compare people, coverage, claims, lines and money of everyone attributed with the world."""
    people = named(server)
    expected = WORLD.expected(server.clock.now(), people=people)
    ids = ids_of(people)
    for table in ("patient", "coverage"):
        assert ask(f"SELECT count(DISTINCT patient_id) FROM {table} WHERE patient_id IN ({ids})") == [(len(people),)]
    claims = dict(ask(f"SELECT claim_type, count(*) FROM claim WHERE patient_id IN ({ids}) GROUP BY ALL"))
    assert claims == dict(expected.claims)
    paid = ask(
        f"SELECT claim_type, sum(paid_amount) FROM claim_current WHERE patient_id IN ({ids}) AND claim_type <> 'PDE' GROUP BY ALL"
    )
    assert dict(paid) == expected.paid
    lines = ask(
        f"SELECT count(*) FROM claim_line AS l JOIN claim AS c USING (api_version, claim_id) WHERE c.patient_id IN ({ids})"
    )
    assert lines == [(expected.lines,)]


def check_list(server, ask):
    """Compare the months of the newest list with who is on it, less who opted out."""
    now = server.clock.now()
    newest = WORLD.attribution_lists("A9999", "all", now)[-1]
    people = set(newest.people) - set(WORLD.opted_out(now))
    shown = ask("SELECT month_start, count(*) FROM enrollment GROUP BY ALL ORDER BY month_start DESC LIMIT 1")
    assert shown == [(newest.dated_at.date().replace(day=1), len(people))]


def check_runout(server, ask):
    """Compare last year's claims of everyone on the runout list with the world."""
    now, cap = server.clock.now(), SimulatorSettings().runout_cap
    people = set(WORLD.attribution_lists("A9999", "runout", now)[-1].people) - set(WORLD.opted_out(now))
    claims = sum(len(WORLD._claims(int(person), 0, calendar.week_of(now), cap)) for person in people)
    assert ask(
        f"SELECT count(*) FROM claim WHERE patient_id IN ({ids_of(people)}) AND service_from <= DATE '{cap}'"
    ) == [(claims,)]


@pytest.mark.complete
def test_a_year_of_exports_holds_the_truth_each_week(serve, connect, run_dag, ask, logged):
    # The clock jumps by weeks while a run waits, which no token would outlive.
    server = serve(WORLD, start=FIRST, settings=SimulatorSettings(token_seconds=10**9))
    connect(server, extra={"list_wait_seconds": 0.3, "failed_grace_seconds": 0.1, "max_attempts": 2})
    seen = {"weekly": 0, "failed": 0, "lists": 0, "backfills": 0}
    week = 0
    while week < WEEKS:
        now = FIRST + timedelta(weeks=week)
        server.clock.set(now)
        if fault := FAULTS.get(week):
            server.faults.add(fault)
        if now == JANUARY:
            week += close_for_january(server, run_dag, ask, logged)
            seen["lists"] += 1
            server.faults.clear()
        elif (
            is_due(server)
            and run_dag(CHECK)[1] == {"check_list[-1]": "success"}
            and run_dag(EXPORT, batches=1)[0] == "success"
        ):
            seen["lists"] += 1
            check_list(server, ask)
        state, tasks = run_dag(WEEKLY, batches=1)
        seen["weekly"] += 1
        if fault and fault.kind is not FaultKind.PEOPLE_FAIL and state == "failed":
            seen["failed"] += 1
        else:
            assert state == "success", (week, tasks)
            listed = ask("SELECT count(*) FROM ops.open_gap")[0][0]
            # A list whose history failed is a gap too, until the check announces it again.
            if not fault or fault.kind is not FaultKind.JOB_FAILS:
                assert listed == (1 if week == 5 else 0), week
                if not listed:
                    check_truth(server, ask)
        server.faults.clear()
        seen["backfills"] += backfill(week, now, run_dag, logged)
        if now.month == 3 and now.year == 2026 and now.day < 8:
            assert run_dag(RUNOUT, batches=1)[0] == "success"
            check_runout(server, ask)
        week += 1
    check_truth(server, ask)
    assert seen["lists"] == 12
    assert seen["failed"] >= 5
    assert seen["backfills"] == 3
    check_ledger(ask)


def close_for_january(server, run_dag, ask, logged):
    """The weekly run waits for the new year's list while weeks go by; only runout works. Return the weeks that went by."""
    assert run_dag(CHECK)[1] == {"check_list[-1]": "skipped"}
    assert "until then only bcda_runout_export brings anything" in logged()
    # The runout list of this year comes a few days later; last year's was kept until now.
    server.clock.advance(7 * 86_400)
    assert run_dag(RUNOUT, batches=1)[0] == "success"
    check_runout(server, ask)
    done, weeks = threading.Event(), 6

    def time_goes_by():
        for _ in range(weeks - 1):
            if done.wait(1.0):
                return
            server.clock.advance(7 * 86_400)

    clock = threading.Thread(target=time_goes_by)
    clock.start()
    state, tasks = run_dag(WEEKLY, batches=1)
    done.set()
    clock.join()
    assert state == "success", tasks
    assert "This run waits, without holding a worker" in logged()
    server.clock.set(JANUARY + timedelta(weeks=weeks))
    assert run_dag(CHECK)[1] == {"check_list[-1]": "success"}
    assert run_dag(EXPORT, batches=1)[0] == "success"
    return weeks


def backfill(week, now, run_dag, logged):
    """After the failed weeks a person backfills what is missing, what is not, and what is not but forced."""
    if week == 15:
        # Weeks 14 and 15 failed: the interval that ends with week 14 is open.
        state, tasks = run_dag(WEEKLY, backfill_of=now - timedelta(days=5), batches=1)
        assert (state, tasks["plan[-1]"]) == ("success", "success"), tasks
        assert "the start of the backfill's interval" in logged()
        return 1
    if week == 18:
        state, tasks = run_dag(WEEKLY, backfill_of=now - timedelta(weeks=6), batches=1)
        assert tasks["plan[-1]"] == "skipped", tasks
        assert "is covered for" in logged()
        return 1
    if week == 26:
        state, tasks = run_dag(WEEKLY, backfill_of=now - timedelta(weeks=3), batches=1, force=True)
        assert (state, tasks["plan[-1]"]) == ("success", "success")
        return 1
    return 0


def check_ledger(ask):
    """Every gap is closed, nothing was fetched twice without a reason that is written down."""
    assert ask("SELECT count(*), count(closed_run_id) FROM ops.gap") == [(1, 1)]
    assert {row[0] for row in ask("SELECT missing FROM ops.data_status WHERE population = 'current'")} == {""}
    reached = None
    rows = ask(
        "SELECT since_ts, transaction_time, reason FROM ops.export_run WHERE export_scope <> 'group-runout' "
        "AND list_contains(resource_types, 'ExplanationOfBenefit') ORDER BY finished_at"
    )
    for since, until, reason in rows:
        if reached is not None and (since is None or since < reached):
            assert re.search(
                r"attribution list|has been missing since |are covered further|`force` is set|backfill's interval",
                reason,
            ), reason
        reached = until if reached is None else max(reached, until)
    changes = dict(ask("SELECT change, count(*) FROM roster_change GROUP BY ALL"))
    assert changes["joined"] > 0
    assert changes["left"] > 0
    months = ask("SELECT count(DISTINCT month_start) FROM enrollment")
    assert months == [(13,)]
