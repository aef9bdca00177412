"""A real Airflow, four processes, whose only way to BCDA is a proxy that opens TLS and wants a password with `#` and `%`."""

import base64
import json
from urllib.parse import quote

from canaries import leaks_below
from squid import NAME, PASSWORD, USER

from airflow_processes import SECRET_FILES, AirflowProcesses
from bcda_simulator.certificate import make_certificate

DAG = "bcda_weekly_export"
CANARIES = (PASSWORD, quote(PASSWORD, safe=""), base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(), "CANARY")


def test_a_weekly_run_goes_through_the_proxy_and_nothing_that_airflow_keeps_holds_its_password(
    run_squid, bcda, certificate, tmp_path
):
    folder = tmp_path / "authority"
    folder.mkdir()
    authority = make_certificate(folder, "proxy.test")
    both = folder / "both.pem"
    both.write_bytes(authority.certificate.read_bytes() + authority.key.read_bytes())
    both.chmod(0o644)
    proxy = run_squid(opens_tls_with=both, trusts=certificate.certificate)
    connection = {
        "conn_type": "bcda",
        "host": bcda.base_url.replace("127.0.0.1", NAME),
        "login": bcda.entity.client_id,
        "password": bcda.entity.client_secret,
        "extra": {"poll_seconds": 0.2, "poll_max_seconds": 1},
    }
    environment = {
        "AIRFLOW_CONN_BCDA_DEFAULT": json.dumps(connection),
        "BCDA_HOME": str(tmp_path / "data"),
        "HTTPS_PROXY": proxy.url,
        "HTTP_PROXY": proxy.url,
        # Airflow's own processes talk to each other over plain http, and obey HTTP_PROXY.
        "NO_PROXY": "127.0.0.1,localhost",
        "SSL_CERT_FILE": str(authority.certificate),
    }
    with AirflowProcesses(tmp_path / "airflow", environment=environment) as airflow:
        airflow.unpause(DAG)
        airflow._until(lambda: airflow.api("GET", f"/dags/{DAG}/dagRuns")["dag_runs"], 120, "no run")
        run = airflow.api("GET", f"/dags/{DAG}/dagRuns")["dag_runs"][0]["dag_run_id"]
        state = airflow.wait_for_run(DAG, run, 400)
        failed = [one for one in airflow.task_instances(DAG, run) if one["state"] == "failed"]
        assert state == "success", [airflow.task_log(DAG, run, one)[-2000:] for one in failed]
    assert f"GET {connection['host']}/api/v2/metadata 200" in proxy.log
    assert "POST" in proxy.log
    searched, found = leaks_below(tmp_path / "airflow", CANARIES, but=SECRET_FILES)
    assert (searched > 10, found) == (True, [])
