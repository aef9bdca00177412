"""The BCDA page without a browser: who may see what, what a run at work says of itself, what is kept between two loads."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from plain_export import run_export

from bcda.storage import home
from bcda.storage.places import Places

NOW = datetime(2026, 11, 25, tzinfo=UTC)
WEEKLY = "bcda_weekly_export"
SECOND = "BCDA_SECOND"


class Guard:
    """An auth manager that lets someone do what is listed, by method and DAG."""

    def __init__(self):
        self.allowed = set()
        self.teams = {}
        self.connections = set()

    def is_authorized_dag(self, *, method, access_entity, details, user):
        assert (access_entity.value, user) == ("RUN", "someone")
        # A manager that knows teams refuses whoever asks without the right one.
        return (method, details.id) in self.allowed and details.team_name == self.teams.get(details.id)

    def is_authorized_connection(self, *, method, details, user):
        assert (method, user) == ("GET", "someone")
        return details.conn_id in self.connections


@pytest.fixture
def guard(monkeypatch):
    """Who may do what; nobody anything at first."""
    from bcda_provider.page import app as page

    guard = Guard()
    monkeypatch.setattr(page, "get_auth_manager", lambda: guard)
    return guard


@pytest.fixture
def get(airflow_database, monkeypatch, tmp_path, guard):
    """Ask the app as someone who has logged in; there are two sources, both empty."""
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
    monkeypatch.setitem(app.dependency_overrides, get_user, lambda: "someone")
    with TestClient(app) as client:
        yield client.get


def paths():
    """Every address of the app but those with nothing to hide."""
    from fastapi.routing import APIRoute

    from bcda_provider.page.app import app

    found = [route.path.replace("{run_id}", "r1") for route in app.routes if isinstance(route, APIRoute)]
    assert {"/", "/runs", "/data", "/reports/r1"} <= set(found)
    return [path for path in found if path != "/colors.css"]


def test_who_may_see_no_run_sees_nothing(get):
    for path in paths():
        for query in ("", "?source=bcda_default", "?source=bcda_second"):
            answer = get(path + query)
            assert (answer.status_code, "You may not see the runs of" in answer.text) == (403, True), path + query
            assert answer.headers["Cache-Control"] == "no-store"
        # Nobody learns which sources there are.
        assert get(f"{path}?source=bcda_third").text == get(f"{path}?source=bcda_default").text, path


def test_who_may_see_one_source_sees_no_other(get, guard):
    guard.allowed = {("GET", f"{WEEKLY}__bcda_second")}
    for path in ("/", "/runs", "/data"):
        shown = get(path)
        assert shown.status_code == 200, shown.text
        assert "bcda_default" not in shown.text
        assert get(f"{path}?source=bcda_second").status_code == 200
    for path in paths():
        assert get(f"{path}?source=bcda_default").status_code == 403, path
        assert get(f"{path}?source=bcda_third").text == get(f"{path}?source=bcda_default").text, path
    assert "CANARY" not in get("/").text
    assert "You have view-only access" in get("/").text
    guard.allowed |= {("POST", f"{WEEKLY}__bcda_second")}
    assert "You have view-only access" not in get("/").text


def test_a_dag_of_a_team_is_asked_for_with_its_team(get, guard, monkeypatch):
    from airflow.models.dag import DagModel

    guard.allowed = {("GET", WEEKLY), ("POST", WEEKLY)}
    guard.teams = {WEEKLY: "claims"}
    assert get("/").status_code == 403
    monkeypatch.setattr(DagModel, "get_dag_id_to_team_name_mapping", lambda dags: {WEEKLY: "claims"})
    assert get("/").status_code == 200
    assert "You have view-only access" not in get("/").text


def test_each_export_dag_needs_its_own_right(get, guard, monkeypatch, tmp_path):
    from bcda_provider.page import app as page

    asked = []
    monkeypatch.setattr(page, "shown_runs", lambda dags, *_: asked.append(dags) or [])
    monkeypatch.setattr(page, "paused_dags", lambda dags: asked.append(dags) or {})
    guard.allowed = {("GET", WEEKLY), ("POST", "bcda_runout_export")}
    reports = Places.below(tmp_path / "home").reports
    reports.mkdir(parents=True)
    scopes = {"patient": WEEKLY, "group-all": "bcda_attribution_export", "group-runout": "bcda_runout_export"}
    for scope in scopes:
        (reports / f"20261110T060000Z-{scope}-v2-abcdef.html").write_text("<p>34 files</p>")

    def readable():
        codes = {scope: get(f"/reports/20261110T060000Z-{scope}-v2-abcdef").status_code for scope in scopes}
        assert set(codes.values()) <= {200, 403}
        return {scopes[scope] for scope, code in codes.items() if code == 200}

    text = get("/").text
    assert ("Runout claims" in text, "Weekly export</a>" in text, "New attribution list</a>" in text) == (
        True,
        False,
        False,
    )
    assert get("/runs").status_code == 200
    assert set(asked) == {(WEEKLY,)}
    assert readable() == {WEEKLY}
    guard.allowed |= {("GET", "bcda_attribution_export")}
    asked.clear()
    assert get("/").status_code == 200
    assert set(asked) == {(WEEKLY, "bcda_attribution_export")}
    assert readable() == {WEEKLY, "bcda_attribution_export"}


@pytest.fixture
def edit(serve, connect, run_dag):
    """Let a run fail, then edit what its tasks left, as whoever may edit XComs of the DAG."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import update

    connect(serve(), password="wrong-secret")
    state, _ = run_dag(WEEKLY)
    assert state == "failed"

    def edit(key, value):
        with create_session() as session:
            edited = session.execute(update(XComModel).where(XComModel.key == key).values(value=value))
            assert edited.rowcount

    return edit


@pytest.mark.complete
def test_an_edited_xcom_does_not_take_the_page_away(edit, get, guard):
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from bcda_provider import notes

    guard.allowed = {("GET", WEEKLY)}
    made = {"__classname__": "pathlib.Path", "__version__": 1, "__data__": "/"}
    values = [
        None,
        7,
        [],
        {},
        made,
        json.dumps(made),
        "../../etc/passwd",
        "/etc/passwd",
        "x" * 300,
        "a\x00b",
        '"',
        "[" * 2000,
    ]
    for key in ("return_value", "bcda_failure", "bcda_note"):
        for value in [*values, *([{"text": 7}, {"passes": True}, {"text": None}] if key == "bcda_failure" else [])]:
            edit(key, value)
            for path in ("/", "/runs"):
                answer = get(path)
                assert answer.status_code == 200, (key, value)
                assert WEEKLY in answer.text
            # The scheduler reads the sentence for the note at the end of the run.
            with create_session() as session:
                dag_run = session.scalars(select(DagRun).where(DagRun.dag_id == WEEKLY)).first()
                notes.on_dag_run_failed(dag_run, "")


def test_only_who_may_see_the_connection_sees_the_server_and_the_age_of_the_secret(get, guard, monkeypatch):
    guard.allowed = {("GET", f"{WEEKLY}__bcda_second")}
    made_on = {"tuning": {"credentials_made_on": "2026-01-02"}}
    connection = {
        "conn_type": "bcda",
        "host": "https://bcda.example.org",
        "login": "a",
        "password": "b",
        "extra": made_on,
    }
    monkeypatch.setenv(f"AIRFLOW_CONN_{SECOND}", json.dumps(connection))
    told = "kick_off failed: connection to https://bcda.example.org failed; see bcda.example.org:443"
    monkeypatch.setattr("bcda_provider.page.app._read", lambda source: (None, None, told))
    for path in ("/", "/runs", "/data"):
        assert "bcda.example.org" not in get(path).text, path
    hidden = get("/").text
    assert "Client secret" not in hidden
    assert "connection to [server] failed" in hidden
    guard.connections = {"bcda_second"}
    shown = get("/").text
    assert "bcda.example.org" in shown
    assert "Client secret" in shown


def test_what_is_wrong_with_a_connection_is_for_who_may_see_it(get, guard, monkeypatch):
    guard.allowed = {("GET", f"{WEEKLY}__bcda_second")}
    monkeypatch.setenv(f"AIRFLOW_CONN_{SECOND}", json.dumps({"conn_type": "bcda", "host": "ftp://hidden.example.org"}))
    assert "hidden.example.org" not in get("/").text
    assert "The connection cannot be used." in get("/").text


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
        ({"wait_for_job": "deferred"}, "wait_for_job is running"),
        (
            {"batch.fetch[0]": "running", "batch.fetch[1]": "queued", "batch.land[2]": "running"},
            "batch.fetch, batch.land are",
        ),
        ({"history.plan": "scheduled"}, "history.plan is running"),
        ({"publish": "running"}, "Publishing the loaded data."),
        ({"report": "queued"}, "Publishing the loaded data."),
        ({}, "The next task starts"),
    ],
    ids=["waits", "fetches", "next half", "publishes", "reports", "between"],
)
@pytest.mark.parametrize("problem", ["", "raw/r1/manifest.json cannot be read"], ids=["elsewhere", "unreadable"])
def test_a_run_whose_raw_folder_says_nothing_is_where_airflow_says(at_work, said, problem):
    from bcda_provider.page.airflow_runs import AirflowRun
    from bcda_provider.page.runs_shown import Export, _doing

    run = AirflowRun(WEEKLY, "x", "running", None, None, ("r1",), (), at_work)
    assert _doing(run, (Export("r1", None, None, problem, has_report=False),)).startswith(said)


def test_a_run_whose_job_for_gaps_failed_is_published_all_the_same():
    from bcda_provider.page.airflow_runs import AirflowRun
    from bcda_provider.page.runs_shown import _doing

    run = AirflowRun(WEEKLY, "x", "success", None, None, ("r1",), ("gaps.kick_off",))
    assert _doing(run, ()).startswith("gaps.kick_off failed. The rest is published")


FAILED = "kick_off failed: CredentialsError: The token endpoint answered 401."
TRIED = "batch.fetch of batch 0 failed in try 2 of 10: ServerError: 503. Next try at 06:40 UTC."


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"state": "failed", "failed_tasks": ("kick_off",), "failures": {"kick_off": FAILED}}, [("kick_off", FAILED)]),
        (
            {"at_work": {"batch.fetch[0]": "up_for_retry"}, "failures": {"batch.fetch[0]": TRIED}},
            [("batch.fetch[0]", TRIED)],
        ),
        # While the next try runs, only the note tells of the one before.
        ({"at_work": {"batch.fetch[0]": "running"}, "note": f"BCDA {TRIED}"}, [("", TRIED)]),
        ({"at_work": {"merge": "running"}, "note": "BCDA planned: Everything."}, []),
        # As version 1.0 left it.
        ({"state": "failed", "failed_tasks": ("kick_off",), "note": f"BCDA {FAILED}"}, [("", FAILED)]),
        ({"state": "failed", "failed_tasks": ("kick_off",), "note": "I look at it."}, []),
        (
            {"state": "success", "failed_tasks": ("gaps.kick_off",), "failures": {"gaps.kick_off": FAILED}},
            [("gaps.kick_off", FAILED)],
        ),
        ({"state": "success", "failures": {"kick_off": TRIED}, "note": "BCDA v2, since 2026-11-03: 3 files"}, []),
    ],
)
def test_what_failed_is_said_on_the_page(facts, said):
    from bcda_provider.page.airflow_runs import AirflowRun
    from bcda_provider.page.runs_shown import _said

    given = {"state": "running", "begun_at": None, "ended_at": None} | facts
    assert list(_said(AirflowRun(WEEKLY, "x", **given))) == said


@pytest.mark.complete
def test_the_charts_of_the_newest_load_are_kept_and_no_others(serve, settings_for, places):
    from bcda.reporting.overview import read_overview
    from bcda.reporting.overview.pictures import CHARTS
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


def test_a_package_without_a_home_says_so_on_the_page(get, guard, monkeypatch, tmp_path):
    monkeypatch.delenv("BCDA_HOME")
    monkeypatch.setattr(home, "_THIS_FILE", tmp_path / "bcda" / "storage" / "home.py")
    guard.allowed.add(("GET", WEEKLY))
    for path in ("/", "/data"):
        answer = get(path)
        assert (answer.status_code, "BCDA_HOME is not set" in answer.text) == (200, True), path
