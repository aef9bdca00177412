"""A real Airflow as processes on one machine: scheduler, dag-processor, triggerer, api-server, SQLite, LocalExecutor.

`airflow standalone` leaves its children behind when it is terminated, so each component is started in a session of its
own and stopped by name.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from cryptography.fernet import Fernet

PROJECT = Path(__file__).resolve().parents[1]
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
USER = "admin"
SECRET_FILES = frozenset({"secrets.json", "passwords.json"})
"""Files below Airflow's home that hold secrets on purpose."""


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def loopback_without_proxy() -> dict[str, str]:
    """Return NO_PROXY and no_proxy as they are, with the addresses of this machine added.

    The parts of an Airflow on one machine talk to each other by HTTP; with HTTP_PROXY alone they would ask the proxy for themselves.
    """
    names = ("no_proxy", "NO_PROXY")  # the small one counts where both are set
    given = next((os.environ[name] for name in names if os.environ.get(name)), "")
    hosts = [host.strip() for host in given.split(",") if host.strip()]
    value = "*" if "*" in hosts else ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost", "::1"]))
    return dict.fromkeys(names, value)


def airflow_environment(home: Path, *, port: int) -> dict[str, str]:
    """Return the settings of a local Airflow below `home`; secrets are made once and kept there."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    secret_file = home / "secrets.json"
    if not secret_file.exists():
        made = {"fernet": _fernet_key(), "jwt": secrets.token_hex(32), "api": secrets.token_hex(32)}
        secret_file.touch(mode=0o600)
        secret_file.write_text(json.dumps(made))
        password_file = home / "passwords.json"
        password_file.touch(mode=0o600)
        password_file.write_text(json.dumps({USER: secrets.token_urlsafe(9)}))
    kept = json.loads(secret_file.read_text())
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__FERNET_KEY": kept["fernet"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API_AUTH__JWT_SECRET": kept["jwt"],
        "AIRFLOW__API__SECRET_KEY": kept["api"],
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


READ_SELDOM = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30"}
"""For tests, whose DAG files nobody edits: to read all of them every ten seconds takes an eighth of a processor."""


class AirflowProcesses:
    """Starts Airflow's components, talks to its API, and leaves nothing running.

    Args:
        home: folder of this Airflow: database, logs, secrets.
        environment: further variables, such as the connection and BCDA_HOME.
        port: of the api-server; 0 for a free one.
        settings: of Airflow; those of a small local one by default.
    """

    def __init__(
        self,
        home: Path,
        *,
        environment: Mapping[str, str],
        port: int = 0,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home
        self.port = port or free_port()
        inherited = {
            key: value
            for key, value in os.environ.items()
            # Without bytecode each start of Airflow takes seconds longer.
            if not key.startswith("AIRFLOW") and key != "PYTHONDONTWRITEBYTECODE"
        }
        self.environment = {
            **inherited,
            **loopback_without_proxy(),
            **(airflow_environment(home, port=self.port) if settings is None else settings),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            **environment,
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._http = httpx.Client(base_url=self.base_url, timeout=60, trust_env=False)

    @property
    def password(self) -> str:
        """Of the user; Airflow makes one when it starts, where none was made before."""
        return str(json.loads((self.home / "passwords.json").read_text())[USER])

    @property
    def base_url(self) -> str:
        """Address of the user interface."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Migrate the database, start everything and wait until it is healthy."""
        try:
            subprocess.run(["airflow", "db", "migrate"], env=self.environment, check=True, capture_output=True)
            for component in COMPONENTS:
                self.start(component)
            self.wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything."""
        self.stop()

    def start(self, component: str, command: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        """Start one component in a session of its own; its output goes to `home/{component}.log`.

        Args:
            component: its name here.
            command: `airflow {component}` by default.
            environment: further variables of this one.
        """
        with (self.home / f"{component}.log").open("ab") as log:
            self._running[component] = subprocess.Popen(
                list(command) or ["airflow", component],
                env={**self.environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_again_what_ended(self) -> None:
        """Start components again that ended by themselves, as a service manager does."""
        for component in [name for name, process in self._running.items() if process.poll() is not None]:
            self.start(component)

    def kill(self, component: str) -> None:
        """Kill one component and all its children without warning."""
        process = self._running.pop(component)
        _signal_group(process, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Stop all components, at last by force; return when they are gone."""
        for process in self._running.values():
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + 20
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            # Children in the same session may outlive their parent.
            _signal_group(process, signal.SIGKILL)
            process.wait()
        self._running.clear()
        self._http.close()

    def api(self, method: str, path: str, body: object = None) -> Any:
        """Call Airflow's REST API below `/api/v2` and return its JSON.

        Raises:
            httpx.HTTPStatusError: not a success.
        """
        if "Authorization" not in self._http.headers:
            answer = self._http.post("/auth/token", json={"username": USER, "password": self.password})
            answer.raise_for_status()
            self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        response = self._http.request(method, f"/api/v2{path}", json=body)
        response.raise_for_status()
        return response.json() if response.content else None

    def unpause(self, dag_id: str, timeout_seconds: float = 60) -> None:
        """Wait until a DAG has been read, then switch it on."""
        self._until(lambda: dag_id in self._dag_ids(), timeout_seconds, f"DAG {dag_id} was not read")
        self.api("PATCH", f"/dags/{dag_id}", {"is_paused": False})

    def trigger(self, dag_id: str, conf: Mapping[str, object] | None = None) -> str:
        """Trigger a run and return its id."""
        return str(
            self.api("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": dict(conf or {})})["dag_run_id"]
        )

    def wait_for_run(self, dag_id: str, dag_run_id: str, timeout_seconds: float = 400) -> str:
        """Wait until a run ends and return its state."""
        state = ""

        def ended() -> bool:
            nonlocal state
            state = self.api("GET", f"/dags/{dag_id}/dagRuns/{dag_run_id}")["state"]
            return state in {"success", "failed"}

        self._until(ended, timeout_seconds, f"run {dag_run_id} did not end")
        return state

    def wait_for_task(
        self, dag_id: str, dag_run_id: str, task_id: str, states: Sequence[str], timeout_seconds: float = 90
    ) -> dict[str, Any]:
        """Wait until a task instance is in one of some states and return it."""
        found: dict[str, Any] = {}

        def reached() -> bool:
            nonlocal found
            found = self.api("GET", f"/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}")
            return found["state"] in states

        self._until(reached, timeout_seconds, f"task {task_id} did not become {' or '.join(states)}")
        return found

    def task_instances(self, dag_id: str, dag_run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run."""
        found: list[dict[str, Any]] = self.api("GET", f"/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances")[
            "task_instances"
        ]
        return found

    def task_log(self, dag_id: str, dag_run_id: str, instance: Mapping[str, Any]) -> str:
        """Return the log of a task instance's last try, messages only."""
        path = f"/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{instance['task_id']}/logs/{instance['try_number']}"
        answer = self.api("GET", f"{path}?map_index={instance['map_index']}&full_content=true")
        lines = [entry.get("event", "") if isinstance(entry, dict) else str(entry) for entry in answer["content"]]
        errors = [
            f"{cause.get('exc_type')}: {cause.get('exc_value')}"
            for entry in answer["content"]
            if isinstance(entry, dict)
            for cause in entry.get("error_detail") or []
        ]
        return "\n".join(lines + errors)

    def _dag_ids(self) -> set[str]:
        return {dag["dag_id"] for dag in self.api("GET", "/dags")["dags"]}

    def wait_until_healthy(self) -> None:
        """Wait until every component says that it is well."""

        def healthy() -> bool:
            try:
                answer = self._http.get("/api/v2/monitor/health", timeout=5)
            except httpx.HTTPError:
                return False
            return answer.is_success and all(part.get("status") == "healthy" for part in answer.json().values())

        self._until(healthy, 120, "Airflow did not become healthy")

    def _until(self, condition: Any, timeout_seconds: float, failure: str) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            dead = [name for name, process in self._running.items() if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                name = dead[0] if dead else "scheduler"
                tail = (self.home / f"{name}.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{f'{name} ended' if dead else failure}. The end of its log:\n{tail}")
            time.sleep(0.3)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _fernet_key() -> str:
    return Fernet.generate_key().decode()
