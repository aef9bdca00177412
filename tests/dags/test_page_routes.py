"""The BCDA page without a browser: who may see what, what a run at work says of itself, what is kept between two loads."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from exporting import run_export

from bcda.places import Places

NOW = datetime(2026, 11, 25, tzinfo=UTC)
WEEKLY = "bcda_weekly_export"


class Guard:
    """An auth manager that lets somebody do what is listed, by method and DAG."""

    def __init__(self):
        self.allowed = set()

    def is_authorized_dag(self, *, method, access_entity, details, user):
        assert (access_entity.value, user) == ("RUN", "somebody")
        return (method, details.id) in self.allowed


@pytest.fixture
def guard(monkeypatch):
    """Who may do what; nobody anything at first."""
    from bcda_provider.page import app as page

    guard = Guard()
    monkeypatch.setattr(page, "get_auth_manager", lambda: guard)
    return guard


@pytest.fixture
def get(airflow_database, monkeypatch, tmp_path, guard):
    """Ask the app as somebody who has logged in; there are two sources, both empty."""
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi.testclient import TestClient

    from bcda_provider.page.app import app

    monkeypatch.setenv("BCDA_SOURCES", "bcda_default,bcda_second")
    monkeypatch.setenv("BCDA_HOME", str(tmp_path / "home"))
    for name in ("BCDA_DEFAULT", "BCDA_SECOND"):
        connection = {
            "conn_type": "bcda",
            "host": "https://bcda.example.org",
            "login": "a",
            "password": "CANARY-secret",
        }
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(connection))
    monkeypatch.setitem(app.dependency_overrides, get_user, lambda: "somebody")
    with TestClient(app) as client:
        yield client.get


def paths():
    """Every address of the app but those with nothing to hide."""
    from fastapi.routing import APIRoute

    from bcda_provider.page.app import app

    found = [route.path.replace("{run_id}", "r1") for route in app.routes if isinstance(route, APIRoute)]
    assert {"/", "/runs", "/data", "/reports/r1"} <= set(found)
    return [path for path in found if path != "/colours.css"]


def test_who_may_see_no_run_sees_nothing(get):
    for path in paths():
        for query in ("", "?source=bcda_default", "?source=bcda_second"):
            answer = get(path + query)
            assert (answer.status_code, "You may not see the runs of" in answer.text) == (403, True), path + query
            assert answer.headers["Cache-Control"] == "no-store"
        assert get(f"{path}?source=bcda_third").status_code == 404, path


def test_who_may_see_one_source_sees_no_other(get, guard):
    guard.allowed = {("GET", f"{WEEKLY}__bcda_second")}
    for path in ("/", "/runs", "/data"):
        shown = get(path)
        assert shown.status_code == 200, shown.text
        assert "bcda_default" not in shown.text
        assert get(f"{path}?source=bcda_second").status_code == 200
    for path in paths():
        assert get(f"{path}?source=bcda_default").status_code == 403, path
        assert get(f"{path}?source=bcda_third").status_code == 404, path
    assert "CANARY" not in get("/").text
    assert "You may look and not start runs" in get("/").text
    guard.allowed |= {("POST", f"{WEEKLY}__bcda_second")}
    assert "You may look and not start runs" not in get("/").text


def test_a_report_comes_as_it_was_written_and_may_load_nothing(get, guard, tmp_path):
    guard.allowed = {("GET", f"{WEEKLY}__bcda_second")}
    reports = Places.below(tmp_path / "home").of_source("bcda_second").reports
    reports.mkdir(parents=True)
    (reports / "20261110T060000Z-patient-v2-abcdef.html").write_text("<p>34 files</p>")
    shown = get("/reports/20261110T060000Z-patient-v2-abcdef")
    assert (shown.status_code, shown.text) == (200, "<p>34 files</p>")
    policy = shown.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert "script-src" not in policy
    assert shown.headers["Cache-Control"] == "no-store"
    (reports.parent / "secret.html").write_text("not a report")
    for run_id in ("20261110T060000Z-patient-v2-000000", "a b", "%2e%2e%2fsecret", "..%2Fsecret", "x" * 300):
        answer = get(f"/reports/{run_id}")
        assert answer.status_code == 404, run_id
        assert "not a report" not in answer.text


@pytest.mark.parametrize(
    ("at_work", "said"),
    [
        ({"wait_for_job": "deferred"}, "wait_for_job is at work"),
        (
            {"batch.fetch[0]": "running", "batch.fetch[1]": "queued", "batch.land[2]": "running"},
            "batch.fetch, batch.land are",
        ),
        ({"history.plan": "scheduled"}, "history.plan is at work"),
        ({"publish": "running"}, "Publishes what was loaded."),
        ({"report": "queued"}, "Publishes what was loaded."),
        ({}, "Goes on with its next task"),
    ],
    ids=["waits", "fetches", "next half", "publishes", "reports", "between"],
)
@pytest.mark.parametrize("problem", ["", "raw/r1/manifest.json cannot be read"], ids=["elsewhere", "unreadable"])
def test_a_run_whose_raw_folder_says_nothing_is_where_airflow_says(at_work, said, problem):
    from bcda_provider.page.airflow_runs import AirflowRun
    from bcda_provider.page.runs_shown import Export, _doing

    run = AirflowRun(WEEKLY, "x", "running", None, None, ("r1",), (), at_work)
    assert _doing(run, (Export("r1", None, None, problem, has_report=False),)).startswith(said)


def test_the_charts_of_the_newest_load_are_kept_and_no_others(serve, settings_for, places):
    from bcda.overview import read_overview
    from bcda.overview.pictures import CHARTS
    from bcda_provider.page import app as page

    page._drawn.clear()
    server = serve()
    drawn = []
    for _ in range(3):
        run_export(settings_for(server), places)
        overview = read_overview(places)
        drawn.append(page._pictures("bcda_default", overview, NOW, CHARTS))
        assert page._pictures("bcda_default", overview, NOW, CHARTS) is drawn[-1]
        server.clock.advance(7 * 86_400)
    assert page._pictures("bcda_second", overview, NOW, CHARTS) is not drawn[-1]
    assert page._pictures("bcda_default", overview, NOW + timedelta(days=1), CHARTS) is not drawn[-1]
    assert set(page._drawn) == {("bcda_default", CHARTS), ("bcda_second", CHARTS)}
