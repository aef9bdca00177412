"""The simulator as a process, for the demo and `make up`."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx


class SimulatorProcess:
    """Starts `python -m bcda_simulator` and stops it.

    Args:
        folder: for its ready file and log.
        arguments: of the command.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ready = folder / "simulator.json"
        self._log = folder / "simulator.log"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> Self:
        """Start it and wait until it listens."""
        self._ready.unlink(missing_ok=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bcda_simulator", *self._arguments, "--ready-file", str(self._ready)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + 30
        while not self._ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"the simulator did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.05)
        self.facts = json.loads(self._ready.read_text())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def stop(self) -> None:
        """Stop it, at last by force."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def control(self, method: str, path: str, body: object = None) -> Any:
        """Call the simulator's own endpoints below `/_sim/`."""
        url = f"{self.facts['base_url']}/_sim/{path}"
        answer = httpx.request(method, url, json=body, timeout=30, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def connection(self, **extra: object) -> str:
        """Return the value of AIRFLOW_CONN_BCDA_DEFAULT."""
        return json.dumps(
            {
                "conn_type": "bcda",
                "host": self.facts["base_url"],
                "login": self.facts["client_id"],
                "password": self.facts["client_secret"],
                "extra": extra,
            }
        )


POLL_SECONDS = 8
"""First wait for a job. Airflow's supervisor can notice up to five seconds late that a task has deferred, and its scheduler takes a
task that has been resumed before that for a failed one."""


def port_argument() -> tuple[str, str]:
    """Return the simulator's port option: BCDA_SIM_PORT, or a free port."""
    return "--port", os.environ.get("BCDA_SIM_PORT", "0")
