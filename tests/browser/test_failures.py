"""A task that is retried, as a person sees it: on the page, in Airflow's own log view, and the way back from the report."""

import re
import time

import pytest
from browsing import keep

WEEKLY = "bcda_weekly_export"
SENTENCE = re.compile(
    r"kick_off failed in try 1 of 10: ServerError: .*BCDA closed the connection without an answer \(\w+\), .*"
    r"Next try at \d\d:\d\d UTC\."
)
pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def run(stage):
    """A run whose kick-off waits for its next try, because the token service is down."""
    airflow, simulator, _ = stage
    simulator.control("POST", "faults", {"kind": "drop", "endpoint": "token"})
    airflow.unpause(WEEKLY)
    deadline = time.monotonic() + 60
    while not (runs := airflow.api("GET", f"/dags/{WEEKLY}/dagRuns")["dag_runs"]):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    run = runs[0]["dag_run_id"]
    airflow.wait_for_task(WEEKLY, run, "kick_off", ["up_for_retry"])
    return run


def test_the_page_says_why_a_task_waits_and_when_it_is_tried_again(page, run):
    page.goto("/bcda/")
    page.get_by_text(SENTENCE).first.wait_for()
    assert page.get_by_text("without holding a worker").count() >= 1
    keep(page, "page-retry", full=False)


def test_the_error_in_the_log_begins_and_ends_with_the_sentence(page, run):
    page.goto(f"/dags/{WEEKLY}/runs/{run}/tasks/kick_off?try_number=1")
    page.get_by_text(SENTENCE).first.wait_for()
    page.wait_for_timeout(1_000)
    keep(page, "log-retry", full=False)
    text = page.locator("[data-testid=virtualized-list]").inner_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.strip().isdigit()]
    said = [number for number, line in enumerate(lines) if "kick_off failed in try 1 of 10" in line]
    assert len(said) == 2
    assert "Traceback" not in lines[: said[0]]
    assert lines[said[0] + 1 :][0].endswith("Task failed with exception") or "Task failed" in lines[said[0] + 1]
    assert said[-1] == len(lines) - 1


def test_the_report_leads_back_to_the_run_on_the_page(page, stage, run):
    airflow, simulator, _ = stage
    simulator.control("DELETE", "faults")
    assert airflow.wait_for_run(WEEKLY, run, 300) == "success"
    page.goto("/bcda/")
    page.get_by_role("link", name="Report", exact=True).first.click()
    page.get_by_role("link", name="This run on the BCDA page").click()
    page.wait_for_url(re.compile(r".*/bcda/\?source=bcda_default&run=.*-patient-v2-.*"))
    page.locator(".run.wanted").wait_for()
