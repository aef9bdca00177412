"""The services of docker-compose.yaml as processes of this machine: same commands, same settings, same health checks.

What a container would see is put in its place: folders for volumes and secrets, free ports of loopback for the names of
services. PostgreSQL and Redis are the machine's own.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from compose_tool import PROJECT, composed

import make_secrets
from airflow_processes import AirflowProcesses, free_port

WORKERS = ("worker-1", "worker-2")


def _postgresql_programs():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1] if found else None


def needs_programs():
    """Skip where PostgreSQL or Redis is not installed; fail where that must not be, in CI."""
    missing = [
        name
        for name, found in {"PostgreSQL": _postgresql_programs(), "redis-server": shutil.which("redis-server")}.items()
        if not found
    ]
    if not missing:
        return
    reason = f"{' and '.join(missing)} not installed; scripts/ci-system-packages.sh installs what the tests need"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def wait_until(condition, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.2)


@contextmanager
def postgresql(port, service, password):
    """A new PostgreSQL cluster with what the service's environment asks for. It refuses to run as root."""
    programs = _postgresql_programs()
    folder = Path(tempfile.mkdtemp(prefix="bcda-postgresql-"))
    another = ()
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
        another = ("runuser", "-u", "postgres", "--")
    (folder / "password").write_text(password)
    shutil.chown(folder / "password", pwd.getpwuid(folder.stat().st_uid).pw_name)
    user, database = service["environment"]["POSTGRES_USER"], service["environment"]["POSTGRES_DB"]
    initialize = [programs / "initdb", "-D", folder / "data", "-U", user, "-A", "scram-sha-256"]
    quick = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
    server = None
    try:
        subprocess.run(
            [*another, *initialize, "--pwfile", folder / "password"], cwd=folder, check=True, capture_output=True
        )
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [*another, programs / "postgres", "-D", folder / "data", "-p", str(port), *quick],
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        at = ("-h", "127.0.0.1", "-p", str(port), "-U", user)
        ready = [programs / "pg_isready", *at]
        wait_until(lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, "PostgreSQL")
        environment = {**os.environ, "PGPASSWORD": password}
        subprocess.run([programs / "createdb", *at, database], env=environment, check=True, capture_output=True)
        yield
    finally:
        if server is not None:
            server.terminate()
            server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis(port, service, secrets, folder):
    """Redis by the service's own command."""
    folder.mkdir()
    *shell, script = service["command"]
    script = script.replace("/run/secrets", str(secrets)).replace("--dir /data", f"--dir {folder}")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*shell, f"{script} --port {port} --bind 127.0.0.1"], stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until(lambda: b"Ready to accept connections" in (folder / "log").read_bytes(), "Redis")
        yield
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


class NativeServices:
    """All services but the simulator, with two workers.

    Args:
        home: for everything but PostgreSQL, which runs as another user.
        connection: address, client id and client secret of `bcda_default`.
        environment: further settings, as in a file .env.
        variables: of docker-compose.yaml.
    """

    def __init__(self, home, *, connection, environment, variables):
        self.home = home
        self.services = composed(home, **variables)["services"]
        self._secrets = home / "secrets"
        self._ports = {name: free_port() for name in ("postgres", "redis", "api-server", "scheduler", *WORKERS)}
        addresses = {name: f"127.0.0.1:{self._ports[name]}" for name in ("postgres", "redis")}
        self._files = make_secrets.contents(**addresses, connection=connection)
        make_secrets.write(self._secrets, self._files)
        self.data = home / "data"
        # What all of them have; each service is started with its own secrets on top, as in its container.
        names = ("init", "api-server", "scheduler", "dag-processor", "triggerer", "worker")
        common = set.intersection(*(set(self.services[name]["environment"]) for name in names))
        settings = {name: self._here(self.services["init"]["environment"][name]) for name in common}
        of_this_machine = {
            "AIRFLOW_HOME": str(home / "airflow"),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self._ports["api-server"]),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self._ports["scheduler"]),
            # Any callable will do: this one reads LOGNAME, so that each worker has a name on one machine, as in containers.
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "getpass.getuser",
        }
        self.airflow = AirflowProcesses(
            home, environment={**of_this_machine, **environment}, port=self._ports["api-server"], settings=settings
        )
        self._stack = ExitStack()

    def environment_of(self, service):
        """Return what a service has in its container."""
        own = {name: self._here(value) for name, value in self.services[service]["environment"].items()}
        return {**self.airflow.environment, **{name: own[name] for name in own if name not in self.airflow.environment}}

    def _here(self, value):
        for inside, outside in {
            "http://api-server:8080": f"http://127.0.0.1:{self._ports['api-server']}",
            "/run/secrets/": f"{self._secrets}/",
            "/project/": f"{PROJECT}/",
            "/users/": f"{self.home}/",
            "/logs": str(self.home / "logs"),
        }.items():
            value = value.replace(inside, outside)
        return str(self.data) if value == "/data" else value

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _start(self):
        password = self._files["postgres_password"]
        self._stack.enter_context(postgresql(self._ports["postgres"], self.services["postgres"], password))
        self._stack.enter_context(
            redis(self._ports["redis"], self.services["redis"], self._secrets, self.home / "redis")
        )
        self._stack.callback(self.airflow.stop)
        init = self.services["init"]["command"]
        done = subprocess.run(init, env=self.environment_of("init"), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        for name in ("api-server", "scheduler", "dag-processor", "triggerer"):
            self.airflow.start(name, self.services[name]["command"], self.environment_of(name))
        for name in WORKERS:
            self.start_worker(name)
        self.airflow.wait_until_healthy()
        wait_until(lambda: all(self.trouble("worker", name) == "" for name in WORKERS), "both workers well", 60)

    def start_worker(self, name):
        """Start a worker under a name of its own; in containers its host would give it one."""
        own = self.home / name
        own.mkdir(exist_ok=True)
        command = [part.replace("/tmp/", f"{own}/") for part in self.services["worker"]["command"]]
        self.airflow.start(
            name,
            [*command, "--celery-hostname", name],
            {
                **self.environment_of("worker"),
                "LOGNAME": name,
                "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(self._ports[name]),
            },
        )

    def trouble(self, service, worker=""):
        """Ask the service's own health check; return what it complains about, empty when all is well."""
        _, *check = self.services[service]["healthcheck"]["test"]
        command = [*check, f"celery@{worker}"] if worker else check
        done = subprocess.run(
            command, cwd=PROJECT, env=self.environment_of(service), capture_output=True, text=True, check=False
        )
        assert done.returncode in {0, 1}
        return done.stderr if done.returncode else ""
