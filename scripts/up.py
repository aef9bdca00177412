"""`make up`: Airflow with the simulator, left running until interrupted."""

import os
import signal
import sys
import threading

from airflow_processes import PROJECT, USER, AirflowProcesses
from simulator_process import POLL_SECONDS, SimulatorProcess, port_argument

HOME = PROJECT / "var" / "up"


def main() -> int:
    """Start both, say where they are, and wait for Ctrl-C."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with SimulatorProcess(HOME, "--people", "150", "--seed", "7", *port_argument()) as simulator:
        environment = {
            "AIRFLOW_CONN_BCDA_DEFAULT": simulator.connection(poll_seconds=POLL_SECONDS, poll_max_seconds=3),
            "BCDA_HOME": os.environ.get("BCDA_HOME", str(HOME / "data")),
        }
        with AirflowProcesses(
            HOME / "airflow", environment=environment, port=int(os.environ.get("AIRFLOW_PORT", "0"))
        ) as airflow:
            print(
                f"Airflow    {airflow.base_url}  user {USER}  password {airflow.password}\n"
                f"BCDA       {simulator.facts['base_url']} (simulated)\n"
                f"Data       {environment['BCDA_HOME']}\n"
                "Switch the bcda DAGs on; bcda_weekly_export brings the first load. Ctrl-C stops everything.",
                flush=True,
            )
            stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
