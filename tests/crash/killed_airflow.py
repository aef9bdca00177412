"""The same comparison with a real Airflow: its worker, triggerer and scheduler are killed, or all of them at once.

`python tests/crash/killed_airflow.py --weeks 50` runs it on demand; the seed is printed and can be given again.
"""

import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
HOOKS = Path(__file__).parent / "hooks"
sys.path[:0] = [str(PROJECT / "scripts"), *(str(PROJECT / "tests" / name) for name in ("crash", "faults"))]

import httpx  # noqa: E402
import killed_exports  # noqa: E402
from canaries import PLANTED, canaries, leaks_below  # noqa: E402

from airflow_processes import COMPONENTS, READ_SELDOM, SECRET_FILES, AirflowProcesses  # noqa: E402
from bcda.storage.commit_points import CommitPoint  # noqa: E402
from bcda.storage.places import Places  # noqa: E402
from bcda_simulator import Fault, FaultKind, SimulatorServer  # noqa: E402
from bcda_simulator.world import World  # noqa: E402

CALM, STORM = "calm", "storm"
DAG = "bcda_weekly_export__"
OF_A_TASK = ("kick_off", "fetch", "land", "merge", "publish")
TURNS = (("triggerer",), ("scheduler",), COMPONENTS)
"""What is killed from outside in each week, in a drawn order; a killed scheduler takes its workers with it."""


@dataclass(slots=True)
class AirflowTally:
    """What a number of weeks came to."""

    kills: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    files_searched: int = 0
    longest_run_seconds: float = 0.0


class Storm:
    """One Airflow with two sources of the same organization: what is done to one is not done to the other."""

    def __init__(self, home: Path, seed: int) -> None:
        self._draw = random.Random(seed)
        self._orders = home / "orders"
        self._orders.mkdir()
        self._data = Places.below(home / "data")
        self._server = SimulatorServer(
            World(people=5, seed=7, history_weeks=12), start=killed_exports.START, settings=killed_exports.SERVED
        )
        self._home = home
        self.tally = AirflowTally()

    def rage(self, weeks: int) -> AirflowTally:
        """Run both sources week by week and compare them after each."""
        with self._server as server:
            connection = json.dumps(
                {
                    "conn_type": "bcda",
                    "host": server.base_url,
                    "login": server.entity.client_id,
                    "password": server.entity.client_secret,
                    # Long enough that the triggerer can be killed while it waits.
                    "extra": {"poll_seconds": 8, "poll_max_seconds": 4},
                }
            )
            environment = {
                **READ_SELDOM,
                "AIRFLOW_CONN_CALM": connection,
                "AIRFLOW_CONN_STORM": connection,
                "BCDA_SOURCES": f"{CALM},{STORM}",
                "BCDA_HOME": str(self._home / "data"),
                "CRASH_ORDERS": str(self._orders),
                "PYTHONPATH": f"{HOOKS}:{os.environ.get('PYTHONPATH', '')}",
                # How soon Airflow notices; by default a scheduler that died is missed after minutes.
                "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
                "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            }
            with AirflowProcesses(self._home / "airflow", environment=environment) as airflow:
                for week in range(weeks):
                    server.clock.set(killed_exports.START + timedelta(weeks=week))
                    self._week(airflow, week)
            self._search()
        return self.tally

    def _search(self) -> None:
        """Look for people and secrets in all that Airflow keeps: its database with XComs, events and rendered fields, its logs."""
        wanted = canaries(World(people=5, seed=7, history_weeks=12), self._server, 5)
        searched, found = leaks_below(self._home / "airflow", wanted, but=SECRET_FILES)
        self.tally.files_searched += searched
        self.tally.leaks += found

    def _week(self, airflow: AirflowProcesses, week: int) -> None:
        seen = set(self._server.jobs())
        self._run(airflow, CALM, week)
        calm = set(self._server.jobs()) - seen
        named = f"Database Error for beneficiary MBI {PLANTED}"
        self._server.faults.add(Fault(FaultKind.ANSWER, "status", status=500, text=named, times=1))
        order = self._give_orders()
        ended = threading.Event()
        killer = threading.Thread(target=self._kill_from_outside, args=(airflow, ended))
        started = time.monotonic()
        try:
            self._run(airflow, STORM, week, before=killer.start)
        finally:
            ended.set()
            killer.join()
        self.tally.longest_run_seconds = max(self.tally.longest_run_seconds, time.monotonic() - started)
        self.tally.kills.update(name for name in order if not (self._orders / name).exists())
        storm = set(self._server.jobs()) - seen - calm
        states = self._server.jobs()
        expected, found = (
            killed_exports.remains(self._data.of_source(source), Counter(states[number] for number in jobs))
            for source, jobs in ((CALM, calm), (STORM, storm))
        )
        self.tally.differences += [f"week {week}: {text}" for text in killed_exports.differences(found, expected)]

    def _give_orders(self) -> list[str]:
        """Order one death in each of two tasks."""
        order = []
        for task in self._draw.sample(OF_A_TASK, 2):
            points = [point.value for point in CommitPoint if point.value.startswith(f"{task}:")]
            order.append(self._draw.choice(points))
        for name in order:
            (self._orders / name).touch()
        return order

    def _kill_from_outside(self, airflow: AirflowProcesses, ended: threading.Event) -> None:
        for turn in self._draw.sample(TURNS, len(TURNS)):
            if ended.wait(self._draw.uniform(2, 20)):
                return
            for component in turn:
                airflow.kill(component)
            self.tally.kills[" + ".join(turn)] += 1
            ended.wait(self._draw.uniform(0, 2))
            for component in turn:
                airflow.start(component)
            airflow.wait_until_healthy()

    def _run(self, airflow: AirflowProcesses, source: str, week: int, before: object = None) -> None:
        """Run a source's weekly export to its end; the first one is what its schedule begins with."""
        dag = DAG + source
        if week == 0:
            airflow.unpause(dag)
            killed_exports.wait_until(lambda: airflow.api("GET", f"/dags/{dag}/dagRuns")["dag_runs"])
            run = airflow.api("GET", f"/dags/{dag}/dagRuns")["dag_runs"][0]["dag_run_id"]
        else:
            run = airflow.trigger(dag, {"batches": killed_exports.stage_process.BATCHES})
        if callable(before):
            before()
        state = ""

        def ended() -> bool:
            nonlocal state
            try:
                state = airflow.api("GET", f"/dags/{dag}/dagRuns/{run}")["state"]
            except httpx.HTTPError:
                # The api-server is among those that are killed.
                return False
            return state in {"success", "failed"}

        killed_exports.wait_until(ended, 420)
        assert state == "success", f"week {week}: the run of {source} ended as {state}"


def main() -> int:
    """Run from the command line."""
    weeks, seed = killed_exports.asked(
        "Kill Airflow's processes during exports and compare what is left.", "--weeks", 10
    )
    with tempfile.TemporaryDirectory(prefix="bcda-storm-") as home:
        tally = Storm(Path(home), seed).rage(weeks)
    print(report(tally, seed))
    return bool(tally.differences or tally.leaks)


def report(tally: AirflowTally, seed: int) -> str:
    """Return what is printed at the end."""
    lines = [f"{count:4d}  {what}" for what, count in sorted(tally.kills.items())]
    lines.append(
        f"seed {seed}: {tally.kills.total()} kills, {len(tally.differences)} differences, longest run with its recoveries "
        f"{tally.longest_run_seconds:.0f} s; {len(tally.leaks)} leaks in {tally.files_searched} files"
    )
    return "\n".join(lines + tally.differences + tally.leaks)


if __name__ == "__main__":
    sys.exit(main())
