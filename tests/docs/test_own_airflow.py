"""`make airflow` as the README and the start page use it: it starts empty, takes a connection, and shares it with `make env`."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from bcda_simulator import Entity

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.processes


@pytest.fixture
def started(tmp_path):
    """What `make airflow` says, its environment, and its process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "BCDA"))}
    environment |= {"AIRFLOW_HOME": str(tmp_path / "airflow"), "BCDA_HOME": str(tmp_path / "data")}
    command = [sys.executable, "scripts/up.py", "--without-simulator"]
    with subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = [process.stdout.readline() for _ in range(3)]
            yield "".join(said), environment, process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def test_a_connection_added_there_is_the_one_that_the_doctor_of_the_shell_checks(started, serve):
    said, environment, process = started
    address, user, password = re.search(r"Airflow +(\S+)  user (\S+)  password (\S+)", said).groups()
    assert f"Data       {environment['BCDA_HOME']}\n" in said
    with httpx.Client(base_url=address, timeout=30) as airflow:
        token = airflow.post("/auth/token", json={"username": user, "password": password}).json()["access_token"]
        airflow.headers["Authorization"] = f"Bearer {token}"
        assert airflow.get("/api/v2/connections").json()["total_entries"] == 0
        server, entity = serve(), Entity()
        added = {
            "connection_id": "bcda_default",
            "conn_type": "bcda",
            "host": server.base_url,
            "login": entity.client_id,
            "password": entity.client_secret,
            "extra": json.dumps({"api_version": "v2"}),
        }
        assert airflow.post("/api/v2/connections", json=added).status_code == 201
    exports = subprocess.run(
        [sys.executable, "scripts/env.py"], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    script = f"{exports}\nairflow bcda doctor"
    doctor = subprocess.run(
        ["bash", "-c", script], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr[-2000:]
    assert server.base_url in doctor.stdout
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)
