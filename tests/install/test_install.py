"""The wheel in stock installations of Airflow, the oldest that it takes and the newest."""

import json
import shutil
from urllib.parse import quote

import duckdb
import pytest
from browsing import log_in
from native import wait_until
from playwright.sync_api import sync_playwright
from stock import build_wheel, install, lowest, run, stock_airflow

from airflow_processes import USER
from simulator_process import POLL_SECONDS, SimulatorProcess

pytestmark = pytest.mark.install

SOURCES = {"bcda_default": "", "second_aco": "__second_aco"}
"""Connections, and what their DAGs have behind their names."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module", params=["oldest", "newest"])
def installed(request, wheel, tmp_path_factory):
    """A stock environment, with the oldest releases of everything that the wheel takes, or the newest."""
    is_oldest = request.param == "oldest"
    airflow = f"apache-airflow[postgres]{'==3.3.0' if is_oldest else '>=3.3,<3.4'}"
    folder = install(tmp_path_factory.mktemp("stock"), wheel, airflow, list(lowest()) if is_oldest else ())
    yield folder
    shutil.rmtree(folder)


def as_uri(facts):
    """The connection as the documentation writes it for one line."""
    client_id, secret, host = (quote(facts[name], safe="") for name in ("client_id", "client_secret", "base_url"))
    advanced = quote(json.dumps({"poll_seconds": POLL_SECONDS}), safe="")
    return f"bcda://{client_id}:{secret}@{host}/?api_version=v2&advanced={advanced}"


@pytest.fixture(scope="module")
def stage(installed, tmp_path_factory):
    """A stock Airflow with two connections, and BCDA; nothing has run."""
    home = tmp_path_factory.mktemp("stage")
    with SimulatorProcess(home, "--people", "12", "--clock", "2026-11-10T12:00:00+00:00") as simulator:
        environment = {
            "AIRFLOW_CONN_BCDA_DEFAULT": simulator.connection(poll_seconds=POLL_SECONDS, poll_max_seconds=POLL_SECONDS),
            "AIRFLOW_CONN_SECOND_ACO": as_uri(simulator.facts),
            "BCDA_SOURCES": ",".join(SOURCES),
            "BCDA_HOME": str(home / "claims"),
        }
        with stock_airflow(home, installed, **environment) as airflow:
            yield airflow, simulator, home / "claims"


@pytest.fixture
def airflow(stage):
    return stage[0]


def test_without_a_home_nothing_is_sent_or_written(airflow, stage, installed):
    for command in (
        # This one ends well whatever becomes of the task.
        ("airflow", "tasks", "test", "bcda_weekly_export", "plan"),
        ("airflow", "bcda", "doctor"),
        ("python", "-m", "bcda", "status"),
    ):
        done = run(airflow, *command, without=["BCDA_HOME"])
        said = " ".join((done.stdout + done.stderr).split())
        assert done.returncode or "test" in command, said
        assert "BCDA_HOME is not set" in said, said
    asked = stage[1].control("GET", "state")["requests"]
    assert not [entry for entry in asked if entry["endpoint"] == "kick-off"]
    assert list(installed.rglob("*.duckdb")) == []


def runs_of(airflow, dag):
    return [found["dag_run_id"] for found in airflow.api("GET", f"/dags/{dag}/dagRuns")["dag_runs"]]


def test_the_weekly_dag_loads_both_sources(airflow, stage):
    dags = [f"bcda_weekly_export{suffix}" for suffix in SOURCES.values()]
    for dag in dags:
        # The schedule starts the run of the week that is due.
        airflow.unpause(dag)
    for dag in dags:
        wait_until(lambda dag=dag: runs_of(airflow, dag), f"a run of {dag}", 60)
        (dag_run,) = runs_of(airflow, dag)
        assert airflow.wait_for_run(dag, dag_run, 300) == "success", airflow.task_instances(dag, dag_run)
    for database in (stage[2] / "bcda.duckdb", stage[2] / "sources" / "second_aco" / "bcda.duckdb"):
        with duckdb.connect(str(database), read_only=True) as connection:
            assert connection.execute("SELECT count(*) > 0 FROM claim_current").fetchall() == [(True,)]


def test_an_own_dag_maps_an_operator(airflow):
    airflow.unpause("our_own_plan")
    dag_run = airflow.trigger("our_own_plan")
    state = airflow.wait_for_run("our_own_plan", dag_run)
    tasks = airflow.task_instances("our_own_plan", dag_run)
    assert state == "success", [airflow.task_log("our_own_plan", dag_run, task) for task in tasks]
    assert sorted(task["map_index"] for task in tasks) == [0, 1]


def test_the_doctor_is_content(airflow):
    done = run(airflow, "airflow", "bcda", "doctor", "--conn-id", "second_aco")
    assert done.returncode == 0, done.stdout


def test_page_menu_and_connection_type_are_there(airflow):
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=airflow.base_url).new_page()
        page.set_default_timeout(90_000)
        log_in(page, USER, airflow.password)
        assert "bcda_weekly_export" in page.content()
        page.goto("/")
        page.get_by_role("link", name="BCDA", exact=True).first.click()
        page.wait_for_url("**/plugin/bcda")
        page.frame_locator("iframe").get_by_text("bcda_weekly_export").first.wait_for()
        page.goto("/connections")
        page.get_by_role("button", name="Add Connection").click()
        page.get_by_role("dialog").get_by_role("combobox").first.click()
        page.keyboard.type("BCDA")
        page.keyboard.press("Enter")
        page.locator("input[name=host]").wait_for()
        assert page.get_by_role("dialog").get_by_text("Client secret").count() > 0
        browser.close()
