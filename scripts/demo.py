"""`make demo`: run the weekly export twice on a simulated BCDA, print a summary, and stop everything."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import duckdb

from airflow_processes import PROJECT, AirflowProcesses
from simulator_process import POLL_SECONDS, SimulatorProcess, port_argument

DAG = "bcda_weekly_export"
HOME = PROJECT / "var" / "demo"
WEEK_SECONDS = 7 * 86_400
LONGEST_RUN_SECONDS = 900
"""A run takes half a minute on two idle cores, and several minutes on a busy machine."""
FIRST_QUERY = "SELECT claim_type, count(*) AS claims, sum(paid_amount) AS paid FROM claim_current WHERE payer_type = 'FFS' GROUP BY ALL"


def main() -> int:
    """Run the demo; return 0 when both exports loaded."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    shutil.rmtree(HOME, ignore_errors=True)
    data = HOME / "data"
    say("Starting a simulated BCDA: 150 synthetic beneficiaries, two years of claims")
    world = ("--people", "150", "--seed", "7", "--clock", "2026-11-10T12:00:00+00:00")
    with SimulatorProcess(HOME, *world, *port_argument()) as simulator:
        say(f"  {simulator.facts['base_url']}")
        say("Starting Airflow: scheduler, dag-processor, triggerer, api-server")
        environment = {
            "AIRFLOW_CONN_BCDA_DEFAULT": simulator.connection(poll_seconds=POLL_SECONDS),
            "BCDA_HOME": str(data),
        }
        port = int(os.environ.get("AIRFLOW_PORT", "0"))
        with AirflowProcesses(HOME / "airflow", environment=environment, port=port) as airflow:
            say(f"  {airflow.base_url}, user admin, password {airflow.password}")
            # Once unpaused, the schedule starts its newest interval at once: that is the first, full export.
            airflow.unpause(DAG)
            say("First export: all data")
            if not run(airflow, first_run(airflow)):
                return 1
            simulator.control("POST", "clock", {"advance_seconds": WEEK_SECONDS})
            say("A week passes in the simulation. Second export: changes only")
            if not run(airflow, airflow.trigger(DAG)):
                return 1
    summarize(data / "bcda.duckdb")
    say(
        f"Done in {time.monotonic() - started:.0f} s. All processes are stopped. The data is in {data.relative_to(PROJECT)}."
    )
    return 0


def first_run(airflow: AirflowProcesses) -> str:
    """Return the run that the schedule created; trigger one if there is none."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        runs = airflow.api("GET", f"/dags/{DAG}/dagRuns")["dag_runs"]
        if runs:
            return str(runs[0]["dag_run_id"])
        time.sleep(0.5)
    return airflow.trigger(DAG)


def run(airflow: AirflowProcesses, dag_run_id: str) -> bool:
    """Wait for a run; if it fails, print the end of the failed task's log."""
    started = time.monotonic()
    state = airflow.wait_for_run(DAG, dag_run_id, LONGEST_RUN_SECONDS)
    say(f"  {state} after {time.monotonic() - started:.0f} s")
    if state == "success":
        return True
    for instance in airflow.task_instances(DAG, dag_run_id):
        if instance["state"] == "failed":
            say(f"Task {instance['task_id']} failed:\n{airflow.task_log(DAG, dag_run_id, instance)[-3000:]}")
    return False


def summarize(database: Path) -> None:
    """Print what both runs loaded, read from the published database."""
    with duckdb.connect(str(database), read_only=True) as connection:

        def rows(query: str, **parameters: object) -> list[tuple[object, ...]]:
            return connection.execute(query, parameters or None).fetchall()

        for run_id, since, until in rows(
            "SELECT run_id, strftime(since_ts, '%Y-%m-%d %H:%M'), strftime(transaction_time, '%Y-%m-%d %H:%M') "
            "FROM ops.export_run ORDER BY finished_at"
        ):
            say(f"\nRun {run_id}\n  {f'changes since {since} UTC' if since else 'all data'}, up to {until} UTC")
            table(
                ("resource type", "files", "lines", "new", "changed", "unchanged", "quarantined"),
                rows(
                    "SELECT resource_type, files, lines, new_resources, changed, unchanged, quarantined "
                    "FROM ops.export_count WHERE run_id = $run_id ORDER BY ALL",
                    run_id=run_id,
                ),
            )
        say("\nClaims in the published database (current: not canceled or replaced), without Medicare Advantage")
        table(
            ("claim type", "claims", "current", "lines", "paid, current"),
            rows(
                """
                SELECT c.claim_type, count(*), count(*) FILTER (WHERE c.is_current), coalesce(sum(n.lines), 0)::BIGINT,
                  coalesce(format('{:,.2f}', (sum(c.paid_amount) FILTER (WHERE c.is_current))::DOUBLE), '-')
                FROM claim AS c
                LEFT JOIN (SELECT api_version, claim_id, count(*) AS lines FROM claim_line GROUP BY ALL) AS n
                  USING (api_version, claim_id)
                WHERE (c.nch_claim_type IN ('61', '62', '63') OR c.nch_claim_type LIKE '4___') IS NOT TRUE
                GROUP BY c.claim_type ORDER BY count(*) DESC
                """
            ),
        )
        say("\nLoad status (ops.data_status)")
        table(
            ("resource type", "complete to (UTC)", "attribution list", "on list", "with data", "missing"),
            rows(
                "SELECT resource_type, strftime(covered_until, '%Y-%m-%d %H:%M'), list_loaded::DATE, people_on_list, people_with_data, "
                "if(missing = '', 'nothing', missing) FROM ops.data_status ORDER BY ALL"
            ),
        )
    shown = database.relative_to(PROJECT)
    say(
        f"\nNext:\n  .venv/bin/python -c \"import duckdb; duckdb.connect('{shown}', read_only=True).sql('''{FIRST_QUERY}''').show()\"\n"
        "  make up    start Airflow with the simulator, to explore it in a browser\n"
    )


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Print rows in columns, numbers right-aligned."""
    cells = [head, *(tuple(f"{value:,}" if isinstance(value, int) else str(value) for value in row) for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(head))]
    for row in cells:
        first = row[0].ljust(widths[0])
        rest = "  ".join(value.rjust(width) for value, width in zip(row[1:], widths[1:], strict=True))
        say(f"  {first}  {rest}")


def say(text: str) -> None:
    """Print without buffering, so that a pipe shows progress too."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
