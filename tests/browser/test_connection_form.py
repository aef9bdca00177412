"""The connection form of a stock Airflow with its Test button: type, save, test, edit, test again, run."""

import json

import pytest
from browsing import keep

from airflow_processes import READ_SELDOM, AirflowProcesses
from simulator_process import POLL_SECONDS, SimulatorProcess

pytestmark = pytest.mark.processes

OF_1_0 = {
    "api_version": "v2",
    "auth": "basic",
    "request_timeout_seconds": 60,
    "max_attempts": 6,
    "backoff_initial_seconds": 1,
    "backoff_max_seconds": 60,
    "concurrent_downloads": 4,
    "requests_per_five_minutes": 2400,
    "poll_seconds": POLL_SECONDS,
    "poll_max_seconds": 60,
    "job_deadline_seconds": 86400,
    "failed_grace_seconds": 4500,
    "file_attempts": 4,
    "list_wait_seconds": 86400,
    "parallel_jobs": False,
    "shared_system": True,
    "secret_made_on": "***",
}
"""The extra that the form of version 1.0 stored when nothing in it was changed but the first wait for a job."""

PASTE = """text => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", text);
    document.activeElement.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true}));
}"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """An Airflow without a connection, and BCDA; the second connection is one that version 1.0 saved."""
    home = tmp_path_factory.mktemp("form")
    with SimulatorProcess(home, "--people", "40", "--clock", "2026-11-10T12:00:00+00:00") as simulator:
        environment = {**READ_SELDOM, "BCDA_HOME": str(home / "data"), "BCDA_SOURCES": "bcda_default,saved_by_1_0"}
        with AirflowProcesses(home / "airflow", environment=environment) as airflow:
            yield airflow, simulator, home / "data"


def open_form(page):
    page.goto("/connections")
    page.get_by_role("button", name="Add Connection").click()
    page.locator("input[name=connection_id]").fill("bcda_default")
    page.get_by_role("dialog").get_by_role("combobox").first.click()
    page.keyboard.type("BCDA")
    page.keyboard.press("Enter")
    page.locator("input[name=host]").wait_for()


def labels(page):
    dialog = page.get_by_role("dialog")
    return [" ".join(text.split()) for text in dialog.locator("label").all_inner_texts()]


def test_button(page, conn_id):
    """Press Test in the row of a connection; return status and text."""
    page.goto("/connections")
    row = page.get_by_role("row").filter(has=page.get_by_text(conn_id, exact=True))
    with page.expect_response("**/connections/test") as answer:
        row.get_by_role("button", name="Test Connection").click()
    assert answer.value.status == 200, answer.value.text()
    found = answer.value.json()
    return found["status"], found["message"]


test_button.__test__ = False


def run_to_the_end(airflow, dag_id):
    airflow.unpause(dag_id)
    run = airflow.trigger(dag_id)
    assert airflow.wait_for_run(dag_id, run, 300) == "success", airflow.task_instances(dag_id, run)


def test_the_form_asks_for_four_things_and_stars_nothing_optional(page):
    open_form(page)
    keep(page, "connection-form", full=False)
    of_airflow, ours = labels(page)[:3], labels(page)[3:]
    assert of_airflow == ["Connection ID *", "Connection Type *", "Description"]
    assert ours == ["Address", "Client ID", "Client secret", "API version *", "Credentials made on", "Advanced"]
    assert page.locator("input[name=host]").get_attribute("placeholder") == "sandbox, production, or another URL"
    page.get_by_role("button", name="Extra Fields", exact=True).click()
    page.get_by_text("Credentials made on").wait_for()
    keep(page, "connection-form-extra", full=False)


def test_typed_saved_tested_edited_tested_again_and_run(page, airflow, simulator):
    open_form(page)
    page.locator("input[name=host]").fill(simulator.facts["base_url"])
    page.locator("input[name=login]").fill(simulator.facts["client_id"])
    page.locator("input[name=password]").fill(simulator.facts["client_secret"])
    page.get_by_role("button", name="Save").click()
    page.get_by_role("dialog").wait_for(state="detached")
    saved = airflow.api("GET", "/connections/bcda_default")
    assert (saved["host"], saved["port"]) == (simulator.facts["base_url"], None)
    assert "***" not in saved["extra"]
    is_well, text = test_button(page, "bcda_default")
    assert (is_well, text.splitlines()[0]) == (True, "BCDA v2 (FHIR 4.0.1) accepts the credentials.")

    page.get_by_role("button", name="Edit Connection").click()
    page.get_by_role("button", name="Extra Fields", exact=True).click()
    page.locator("input[type=date]").fill("2026-11-02")
    page.get_by_role("dialog").locator(".monaco-editor").first.click()
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    # Typed as fast as here, the brackets that the editor closes by itself stay behind.
    page.evaluate(PASTE, json.dumps({"poll_seconds": POLL_SECONDS, "poll_max_seconds": 10}))
    page.get_by_role("button", name="Standard Fields").click()
    page.locator("textarea[name=description]").fill("edited")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("dialog").wait_for(state="detached")
    saved = airflow.api("GET", "/connections/bcda_default")
    assert saved["description"] == "edited"
    assert json.loads(saved["extra"]) == {
        "api_version": "v2",
        "credentials_made_on": "2026-11-02",
        "advanced": {"poll_seconds": POLL_SECONDS, "poll_max_seconds": 10},
    }
    assert test_button(page, "bcda_default")[0] is True
    run_to_the_end(airflow, "bcda_weekly_export")


def test_one_that_version_1_0_saved_is_tested_edited_and_run(page, airflow, simulator):
    body = {
        "connection_id": "saved_by_1_0",
        "conn_type": "bcda",
        "host": simulator.facts["base_url"],
        "login": simulator.facts["client_id"],
        "password": simulator.facts["client_secret"],
        "extra": json.dumps(OF_1_0),
    }
    airflow.api("POST", "/connections", body)
    assert test_button(page, "saved_by_1_0")[0] is True
    row = page.get_by_role("row").filter(has=page.get_by_text("saved_by_1_0", exact=True))
    row.get_by_role("button", name="Edit Connection").click()
    page.locator("textarea[name=description]").fill("edited")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("dialog").wait_for(state="detached")
    assert airflow.api("GET", "/connections/saved_by_1_0")["description"] == "edited"
    assert test_button(page, "saved_by_1_0")[0] is True
    run_to_the_end(airflow, "bcda_weekly_export__saved_by_1_0")


def test_a_test_of_another_address_still_needs_the_credentials(airflow, simulator):
    body = {
        "connection_id": "bcda_default",
        "conn_type": "bcda",
        "host": "https://elsewhere.example.org",
        "login": simulator.facts["client_id"],
        "password": "***",
        "port": 0,
    }
    answer = airflow._http.post("/api/v2/connections/test", json=body)
    assert answer.status_code == 400
    assert "differs from the stored connection" in answer.text
