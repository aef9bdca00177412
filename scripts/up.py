"""`make up` and `make airflow`: a local Airflow that runs until interrupted, with the simulator or for your own connection."""

import argparse
import os
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from airflow_processes import PROJECT, USER, AirflowProcesses
from simulator_process import POLL_SECONDS, SimulatorProcess, port_argument

SIMULATED = PROJECT / "var" / "up"
OWN = PROJECT / "var" / "airflow"


def main() -> int:
    """Start Airflow, say where it is, and wait for Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-simulator", action="store_true", help="start Airflow alone, as `make airflow` does")
    alone = parser.parse_args().without_simulator
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as running:
        home, environment, next_step = _alone() if alone else _simulated(running)
        port = int(os.environ.get("AIRFLOW_PORT", "0"))
        airflow = running.enter_context(AirflowProcesses(home, environment=environment, port=port))
        print(
            f"Airflow    {airflow.base_url}  user {USER}  password {airflow.password}\n"
            f"Data       {environment['BCDA_HOME']}\n{next_step} Press Ctrl-C to stop.",
            flush=True,
        )
        stop.wait()
    return 0


def _simulated(running: ExitStack) -> tuple[Path, dict[str, str], str]:
    """Start the simulator; return Airflow's home, its environment, and what to do next."""
    simulator = running.enter_context(SimulatorProcess(SIMULATED, "--people", "150", "--seed", "7", *port_argument()))
    environment = {
        "AIRFLOW_CONN_BCDA_DEFAULT": simulator.connection(poll_seconds=POLL_SECONDS, poll_max_seconds=3),
        "BCDA_HOME": os.environ.get("BCDA_HOME", str(SIMULATED / "data")),
    }
    print(f"BCDA       {simulator.facts['base_url']} (simulated)", flush=True)
    return SIMULATED / "airflow", environment, "Unpause bcda_weekly_export. Its first run loads everything."


def _alone() -> tuple[Path, dict[str, str], str]:
    """Return the home that `make env` uses too, its environment, and what to do next."""
    # AirflowProcesses leaves out what the shell sets for Airflow; a connection given there is what the user wants to use.
    connections = {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW_CONN_")}
    home = Path(os.environ.get("AIRFLOW_HOME") or OWN)
    data = os.environ.get("BCDA_HOME") or str(PROJECT / "data")
    return home, {**connections, "BCDA_HOME": data}, "Add your connection under Admin, Connections."


if __name__ == "__main__":
    sys.exit(main())
