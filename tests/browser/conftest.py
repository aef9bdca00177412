"""A real browser, and an Airflow with a simulated BCDA to look at."""

import os
import shutil

import pytest
from browsing import log_in
from playwright.sync_api import sync_playwright

from airflow_processes import READ_SELDOM, USER, AirflowProcesses
from simulator_process import POLL_SECONDS, SimulatorProcess

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser():
    """Chromium as the system has it; without one the tests are skipped, in CI they fail.

    Playwright holds this process's event loop as long as it is open, so it is closed with the module.
    """
    if CHROMIUM is None:
        text = "no Chromium is installed"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """Airflow and BCDA; nothing has run and all DAGs are switched off."""
    home = tmp_path_factory.mktemp("browser")
    with SimulatorProcess(home, "--people", "120", "--clock", "2026-11-10T12:00:00+00:00") as simulator:
        environment = {
            **READ_SELDOM,
            "AIRFLOW_CONN_BCDA_DEFAULT": simulator.connection(
                poll_seconds=POLL_SECONDS, poll_max_seconds=1, credentials_made_on="2026-09-01", concurrent_downloads=2
            ),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin,reader:viewer",
            "BCDA_HOME": str(home / "data"),
        }
        with AirflowProcesses(home / "airflow", environment=environment) as airflow:
            yield airflow, simulator, home / "data"


@pytest.fixture
def airflow(stage):
    return stage[0]


@pytest.fixture
def simulator(stage):
    yield stage[1]
    stage[1].control("DELETE", "faults")


@pytest.fixture(scope="module")
def session(browser, stage):
    """The browser of someone who has logged in as the admin."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=stage[0].base_url)
    context.set_default_timeout(90_000)
    log_in(context.new_page(), USER, stage[0].password)
    yield context
    context.close()


@pytest.fixture
def page(session):
    """A tab of that browser; what it loads from elsewhere, and what its scripts complain of, fails the test."""
    page = session.new_page()
    elsewhere, complaints = [], []
    origin = session.pages[0].url.split("/auth")[0].split("/bcda")[0]
    page.on(
        "request",
        lambda request: (
            elsewhere.append(request.url) if not request.url.startswith((origin, "data:", "blob:")) else None
        ),
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.close()
    assert elsewhere == []
    assert complaints == []
