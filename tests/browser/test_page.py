"""The BCDA page as people use it: empty, at work, failed, loaded; on a phone, in the dark, by keyboard, by permission."""

import gzip
import json
import re
import time

import duckdb
import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import keep, log_in

WEEKLY, RUNOUT = "bcda_weekly_export", "bcda_runout_export"
pytestmark = pytest.mark.processes


def without_serious_findings(page):
    found = Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in {"serious", "critical"}] == []


def first_run(airflow):
    deadline = time.monotonic() + 60
    while not (runs := airflow.api("GET", f"/dags/{WEEKLY}/dagRuns")["dag_runs"]):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return runs[0]["dag_run_id"]


def test_before_the_first_load_the_page_says_how_to_begin(page, airflow):
    page.goto("/")
    page.get_by_role("link", name="BCDA").click()
    page.wait_for_url("**/plugin/bcda**")
    framed = page.frame_locator("iframe")
    framed.get_by_role("heading", name="Nothing is loaded yet").wait_for()
    keep(page, "page-empty", full=False)
    page.goto("/bcda/")
    without_serious_findings(page)
    page.goto("/plugin/bcda")
    framed.get_by_role("link", name=WEEKLY, exact=True).click()
    page.wait_for_url(f"**/dags/{WEEKLY}")


def test_a_run_at_work_shows_its_phase_its_reason_and_its_progress(page, airflow, simulator):
    simulator.control("POST", "faults", {"kind": "stuck", "endpoint": "kick-off", "times": 1})
    airflow.unpause(WEEKLY)
    run = first_run(airflow)
    airflow.wait_for_task(WEEKLY, run, "wait_for_job", ["deferred"])
    page.goto("/bcda/")
    page.get_by_text("BCDA prepares the files of job 1.").wait_for()
    # Started again, the run gets its files, the last of them slowly: the page follows without being asked to.
    simulator.control("POST", "faults", {"kind": "delay", "endpoint": "data", "seconds": 16, "skip": 3, "times": 1})
    body = {
        "dry_run": False,
        "dag_run_id": run,
        "task_ids": ["kick_off"],
        "include_downstream": True,
        "only_failed": False,
    }
    airflow.api("POST", f"/dags/{WEEKLY}/clearTaskInstances", body)
    page.get_by_text(re.compile(r"[2-4] of 5 files, .*B, .*B/s, about .* left")).wait_for()
    keep(page, "page-running")
    without_serious_findings(page)
    # The end of the run brings what it loaded.
    page.get_by_role("heading", name="Complete to").wait_for()
    assert airflow.wait_for_run(WEEKLY, run) == "success"
    assert page.get_by_text(re.compile(r"5 files, .*B, [\d,]+ lines")).count() == 1


def test_a_failed_run_leads_to_the_log_that_says_why(page, airflow, simulator):
    refused = {"status": 401, "body": "text", "text": "Unauthorized\n"}
    simulator.control("POST", "faults", {"kind": "answer", "endpoint": "token", **refused})
    simulator.control("POST", "clock", {"advance_seconds": 7 * 86_400})
    run = airflow.trigger(WEEKLY)
    assert airflow.wait_for_run(WEEKLY, run) == "failed"
    page.goto("/plugin/bcda")
    framed = page.frame_locator("iframe")
    framed.get_by_text("kick_off failed: CredentialsError: The token endpoint answered 401.").wait_for()
    keep(page, "page-failed", full=False)
    page.goto("/bcda/")
    without_serious_findings(page)
    page.goto("/plugin/bcda")
    framed.get_by_role("link", name="Log of kick_off").click()
    page.wait_for_url("**/tasks/kick_off")
    page.get_by_text(re.compile("client secret")).first.wait_for()


def test_the_trigger_form_starts_the_run_that_was_asked_for(page, airflow):
    page.goto("/plugin/bcda")
    page.frame_locator("iframe").get_by_role("link", name="Runout claims").click()
    page.wait_for_url(f"**/dags/{RUNOUT}")
    airflow.unpause(RUNOUT)
    page.get_by_role("button", name="Trigger Dag").first.click()
    page.get_by_text("Export everything from the beginning.").wait_for()
    keep(page, "trigger-form", full=False)
    page.get_by_role("dialog").get_by_role("button", name="Trigger").last.click()
    deadline = time.monotonic() + 30
    while not (runs := airflow.api("GET", f"/dags/{RUNOUT}/dagRuns")["dag_runs"]):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert "conn_id" not in runs[0]["conf"]
    assert airflow.wait_for_run(RUNOUT, runs[0]["dag_run_id"]) == "success"


def test_the_loaded_page_for_operations_and_for_data(page, airflow):
    airflow.wait_for_run(WEEKLY, airflow.trigger(WEEKLY))
    page.goto("/bcda/")
    assert page.get_by_text("2026-11-05, loaded").count() == 1
    assert page.get_by_text("2026-07-10, loaded").count() == 1
    assert page.get_by_text(re.compile(r"\d+ days old, ends on 2026-11-30")).count() == 1
    assert page.get_by_role("row", name=re.compile("code_form .*warning")).count() == 1
    assert page.locator("code", has_text="Credentials made on").count() == 1
    assert not set("`<>") & set(page.inner_text("main"))
    keep(page, "page-loaded")
    # What the README shows: load status and the newest runs.
    page.set_viewport_size({"width": 1280, "height": 660})
    keep(page, "page-top", full=False)
    page.set_viewport_size({"width": 1280, "height": 900})
    without_serious_findings(page)
    page.get_by_role("link", name="Data", exact=True).click()
    page.get_by_role("heading", name="Claim lag").wait_for()
    page.get_by_text("Table").first.click()
    without_serious_findings(page)
    page.get_by_text("Table").first.click()
    keep(page, "page-analyst")
    for name in ("Operations", "Data"):
        assert page.get_by_role("link", name=name, exact=True).is_visible()


def test_a_loaded_run_leads_to_its_report_and_a_link_to_it_shows_which_it_is(page):
    page.goto("/bcda/")
    address = page.get_by_role("link", name="Report", exact=True).first.get_attribute("href")
    run_id = address.split("/reports/")[1].split("?")[0]
    page.goto(f"/bcda/?run={run_id}")
    assert page.locator("li.wanted").count() == 1
    page.locator("li.wanted").get_by_role("link", name="Report", exact=True).click()
    page.get_by_role("heading", level=1).wait_for()
    assert "What came" in page.inner_text("body")
    without_serious_findings(page)
    keep(page, "run-report", full=False)


@pytest.mark.parametrize("path", ["/bcda/", "/bcda/data"])
def test_on_a_phone_nothing_runs_over_the_edge(page, path):
    page.set_viewport_size({"width": 360, "height": 780})
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    without_serious_findings(page)
    keep(page, f"page-phone{'-data' if path.endswith('data') else ''}")


@pytest.mark.parametrize("path", ["/bcda/", "/bcda/data"])
def test_it_is_dark_where_airflow_is_dark(page, path):
    page.goto("/bcda/")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.evaluate("localStorage.setItem('theme', 'dark')")
    page.goto(path)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    without_serious_findings(page)
    keep(page, f"page-dark{'' if path.endswith('data') else '-operations'}")
    page.evaluate("localStorage.removeItem('theme')")


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("/bcda/", {"A ", "DIV Coverage by resource type", "DIV Checks that did not pass"}),
        ("/bcda/data", {"SUMMARY ", "DIV People by month", "DIV Claim lag by claim type"}),
    ],
    ids=["operations", "data"],
)
def test_the_keyboard_reaches_everything_and_first_the_content(page, path, places):
    page.goto(path)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.tagName + ' ' + (document.activeElement.getAttribute('aria-label') || '')"
            )
        )
    assert places <= reached


def test_who_may_look_sees_no_buttons_and_strangers_see_nothing(browser, airflow):
    with httpx.Client(base_url=airflow.base_url) as stranger:
        for path in ("/bcda/", "/bcda/data", "/bcda/runs", "/bcda/reports/x"):
            assert stranger.get(path).status_code == 401, path
        sent = stranger.get("/bcda/data", headers={"Accept": "text/html"})
        assert sent.headers["location"] == "/api/v2/auth/login?next=/bcda/data"
    context = browser.new_context(base_url=airflow.base_url)
    reader = json.loads((airflow.home / "passwords.json").read_text())["reader"]
    page = context.new_page()
    log_in(page, "reader", reader)
    assert page.get_by_role("link", name="Weekly export").count() == 0
    assert page.get_by_text("You have view-only access").count() == 1
    context.close()


def test_no_person_and_no_secret_is_on_any_page(stage, airflow):
    _, simulator, home = stage
    with duckdb.connect(str(home / "bcda.duckdb"), read_only=True) as connection:
        private = {
            row[0]
            for query in (
                "SELECT DISTINCT id_value FROM patient_identifier",
                "SELECT patient_id FROM patient",
                "SELECT DISTINCT last_name FROM patient WHERE length(last_name) > 5",
                "SELECT claim_id FROM claim LIMIT 500",
            )
            for row in connection.execute(query).fetchall()
        }
    assert len(private) > 500
    private |= {simulator.facts["client_secret"], simulator.facts["client_id"]}
    for path in ("/bcda/", "/bcda/data", "/bcda/runs"):
        words = set(re.findall(r"[\w-]+", ask(airflow, path).text))
        assert words & private == set(), path


def ask(airflow, path):
    airflow.api("GET", "/version")
    answer = airflow._http.get(path)
    assert answer.status_code == 200, answer.text
    return answer


def test_the_pages_are_small_and_lock_everything_else_out(airflow, capsys):
    measured = []
    for path in ("/bcda/", "/bcda/data", "/bcda/runs"):
        started = time.monotonic()
        answer = ask(airflow, path)
        measured.append(
            f"{path}: {len(answer.content):,} bytes, {len(gzip.compress(answer.content)):,} compressed, {(time.monotonic() - started) * 1000:.0f} ms"
        )
        assert len(answer.content) < 300_000
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
    with capsys.disabled():
        print("\n" + "\n".join(measured))
