"""What an Airflow user sees of a load without the page: report, mail and chat, the run's note, links."""

import json
import socketserver
import threading
import time
import uuid
from datetime import UTC, datetime
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import duckdb
import pytest
from canaries import canaries, leaks

from bcda import warehouse
from bcda_simulator.world import World

WEEKLY = "bcda_weekly_export"
START = datetime(2026, 11, 10, 12, tzinfo=UTC)
SMTP = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
HTTP = "airflow.providers.http.notifications.http.HttpNotifier"


class Mailbox(socketserver.StreamRequestHandler):
    """Takes mail as RFC 5321 says, and keeps it."""

    def handle(self):
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self.server.kept.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            self.wfile.write({b"EHLO": b"250 here\r\n", b"QUIT": b"221 bye\r\n"}.get(verb, b"250 ok\r\n"))
            if verb == b"QUIT":
                return


class Chat(BaseHTTPRequestHandler):
    """Takes what a chat's webhook takes, and keeps it."""

    def do_POST(self):
        self.server.kept.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def sink():
    """Start a server that keeps what it is sent."""
    servers = []

    def start(server_class, handler):
        server = server_class(("127.0.0.1", 0), handler)
        server.kept = []
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        servers.append(server)
        return server.kept, server.server_address[1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def notifiers(sink, monkeypatch):
    """Mail for what is loaded, with the report, and chat for everything; return what each got."""
    mails, smtp_port = sink(socketserver.TCPServer, Mailbox)
    posts, http_port = sink(HTTPServer, Chat)
    mail = {"to": "team@example.org", "from_email": "airflow@example.org", "subject": "{{ bcda.subject }}"}
    mail |= {"html_content": "<pre>{{ bcda.text | e }}</pre>", "files": ["{{ bcda.html_file }}"]}
    chat = {
        "http_conn_id": "chat",
        "json": {"text": "{{ bcda.text }}"},
        "headers": {"Content-Type": "application/json"},
    }
    listed = [
        # One that does not answer keeps nobody else from being told.
        {"notifier": HTTP, "kwargs": {**chat, "http_conn_id": "nobody"}},
        {"notifier": SMTP, "on": ["success"], "kwargs": mail},
        {"notifier": HTTP, "kwargs": chat},
    ]
    monkeypatch.setenv("BCDA_NOTIFIERS", json.dumps(listed))
    options = "disable_ssl=true&disable_tls=true"
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", f"smtp://127.0.0.1:{smtp_port}/?{options}")
    monkeypatch.setenv("AIRFLOW_CONN_CHAT", f"http://127.0.0.1:{http_port}")
    monkeypatch.setenv("AIRFLOW_CONN_NOBODY", "http://127.0.0.1:9")
    return mails, posts


def note_of(dag_id, before=None):
    """Note that the DAG's newest run gets at its end: `dag.test` keeps runs away from the session that a scheduler has."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from bcda_provider import notes

    with create_session() as session:
        runs = select(DagRun).where(DagRun.dag_id == dag_id).order_by(DagRun.id.desc()).limit(1)
        dag_run = session.scalars(runs).one()
        dag_run.note = before
        notes.on_dag_run_success(dag_run, "")
        session.flush()
        session.expire(dag_run)
        return dag_run.note


@pytest.mark.complete
def test_who_wants_to_know_is_told_what_was_loaded(serve, connect, run_dag, places, notifiers, logged):
    world = World(people=6, seed=3, history_weeks=20)
    server = serve(world, start=START)
    connect(server)
    state, tasks = run_dag(WEEKLY)
    assert (state, tasks["report[-1]"]) == ("success", "success")
    (run_id,) = warehouse.merged_runs(places)
    text = (places.reports / f"{run_id}.txt").read_text()
    mails, posts = notifiers
    (mail,) = [message_from_bytes(content, policy=policy.default) for content in mails]
    headline = text.splitlines()[1]
    assert mail["subject"] == f"BCDA {headline}"
    assert [part.get_filename() for part in mail.iter_attachments()] == [f"{run_id}.html"]
    assert [json.loads(post)["text"].strip() for post in posts] == [text.strip()]
    assert note_of(WEEKLY) == f"BCDA {headline}"
    assert "Failed to run task callback" in logged()
    parts = [part.get_content() for part in mail.walk() if not part.is_multipart()]
    told = [
        *(part if isinstance(part, str) else part.decode() for part in parts),
        *map(bytes.decode, posts),
        note_of(WEEKLY),
    ]
    assert leaks(told, canaries(world, server, 6)) == []


def test_a_failure_says_which_task_why_and_what_to_do(serve, connect, run_dag, notifiers):
    server = serve(start=START)
    connect(server, password="wrong-secret")
    state, _ = run_dag(WEEKLY)
    assert state == "failed"
    mails, posts = notifiers
    assert mails == []
    (text,) = [json.loads(post)["text"] for post in posts]
    for said in (f"Task kick_off of {WEEKLY} failed", "CredentialsError: ", "Check client id (login)", "Its log: http"):
        assert said in text
    assert "wrong-secret" not in text
    assert note_of(WEEKLY).startswith("BCDA kick_off failed: CredentialsError: ")


@pytest.fixture
def process_dag_file(airflow_database, tmp_path):
    """Call a task's failure callback as the scheduler has it done for a task whose process died: by a real DAG processor."""
    import structlog
    from airflow.callbacks.callback_requests import TaskCallbackRequest
    from airflow.dag_processing.dagbag import DagBag
    from airflow.dag_processing.processor import DagFileProcessorProcess, in_process_api_server
    from airflow.sdk.api.client import Client

    def call(dag_id, task_id, seconds=30):
        path = Path(DagBag().dags[dag_id].fileloc)
        run = {"dag_id": dag_id, "run_id": "manual__1", "run_after": START, "run_type": "manual", "state": "running"}
        run |= dict.fromkeys(
            ("logical_date", "data_interval_start", "data_interval_end", "start_date", "end_date", "partition_key")
        )
        task = {"id": uuid.uuid4(), "task_id": task_id, "dag_id": dag_id, "run_id": "manual__1", "try_number": 1}
        request = TaskCallbackRequest(
            filepath=path.name,
            bundle_name="dags-folder",
            bundle_version=None,
            msg="no heartbeat",
            ti={**task, "dag_version_id": uuid.uuid4()},
            task_callback_type="failed",
            context_from_server={"dag_run": {**run, "consumed_asset_events": []}, "max_tries": 3},
        )
        client = Client(base_url=None, token="", dry_run=True, transport=in_process_api_server().transport)
        client.base_url = "http://in-process.invalid./"
        with (tmp_path / "processor.log").open("wb") as log:
            process = DagFileProcessorProcess.start(
                id=uuid.uuid4(),
                path=path,
                bundle_path=path.parent,
                bundle_name="dags-folder",
                dag_file_rel_path=path.name,
                callbacks=[request],
                logger=structlog.get_logger(),
                logger_filehandle=log,
                client=client,
            )
            deadline = time.monotonic() + seconds
            while not process.is_ready and time.monotonic() < deadline:
                process._service_subprocess(0.1)
            ended = process.is_ready
            process.kill()
            return ended

    return call


def test_a_task_whose_process_died_is_told_of_too(process_dag_file, notifiers):
    assert process_dag_file(WEEKLY, "merge"), "the DAG processor waits for an answer that never comes"
    (text,) = [json.loads(post)["text"] for post in notifiers[1]]
    for said in (f"Task merge of {WEEKLY} failed in its try 1", "its process died", "Its log: http"):
        assert said in text


@pytest.mark.complete
def test_a_report_that_cannot_be_written_is_red_and_the_load_stays_published(
    serve, connect, run_dag, places, ask, notifiers
):
    connect(serve(start=START))
    places.reports.parent.mkdir(parents=True)
    places.reports.write_text("a file where the folder should be")
    state, tasks = run_dag(WEEKLY, resource_types=["Patient"])
    assert (state, tasks["publish[-1]"], tasks["report[-1]"]) == ("failed", "success", "failed")
    assert ask("SELECT count(*) FROM ops.export_run") == [(1,)]
    (text,) = [json.loads(post)["text"] for post in notifiers[1]]
    assert "Task report" in text
    assert "Check the owner" in text


@pytest.mark.complete
def test_what_fails_its_checks_has_a_report_too(serve, connect, run_dag, places):
    connect(serve(World(people=12, seed=3, history_weeks=4), start=START))
    assert run_dag(WEEKLY, resource_types=["Patient"])[0] == "success"
    with duckdb.connect(str(places.warehouse)) as connection:
        connection.execute("INSERT INTO patient SELECT * FROM patient LIMIT 1")
    state, tasks = run_dag(WEEKLY, resource_types=["Patient"], full=True)
    assert (state, tasks["publish[-1]"]) == ("failed", "failed")
    assert tasks["report[-1]"] == "upstream_failed"
    text = max(places.reports.glob("*.txt"), key=lambda path: path.stat().st_mtime_ns).read_text()
    assert "Loaded, but not published: checks failed" in text
    assert "row_keys" in text
    assert note_of(WEEKLY).startswith("BCDA publish failed: DataQualityError")


def test_a_run_that_is_not_needed_says_so_in_its_note_and_a_note_of_a_person_stays(serve, connect, run_dag):
    connect(serve(start=START))
    state, tasks = run_dag("bcda_attribution_export", resource_types=["Patient"])
    assert (state, tasks["publish[-1]"], tasks["report[-1]"]) == ("success", "skipped", "skipped")
    note = note_of("bcda_attribution_export", "BCDA planned: ")
    assert note.startswith("BCDA not needed: Nothing is loaded yet")
    assert "the roster has brought it" in note
    assert note_of("bcda_attribution_export", "looked at it myself") == "looked at it myself"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("{", "must be a JSON list"),
        ('{"notifier": "x.Y"}', "must be a JSON list"),
        ('[{"notify": "x.Y"}]', "must be a JSON list"),
        (f'[{{"notifier": "{SMTP}", "on": ["sometimes"]}}]', "may hold success and failure only"),
    ],
)
def test_a_malformed_setting_is_refused_without_repeating_it(monkeypatch, setting, said):
    from bcda.errors import InvalidRequestError
    from bcda_provider.notifications import configured

    monkeypatch.setenv("BCDA_NOTIFIERS", setting)
    with pytest.raises(InvalidRequestError, match=said):
        configured()


def test_the_text_of_an_error_that_is_not_ours_stays_where_it_was():
    from bcda.errors import StorageError
    from bcda_provider.failures import reason_of

    assert (
        reason_of(StorageError("Cannot write X. Free some space.")) == "StorageError: Cannot write X. Free some space."
    )
    for error in (ValueError("1S00E00AA00"), KeyError("1S00E00AA00"), "1S00E00AA00", None):
        assert "1S00" not in reason_of(error)
        assert "its log" in reason_of(error) or "task's log" in reason_of(error)


@pytest.mark.parametrize(
    ("base", "address"),
    [
        ("https://airflow.example.org/", "https://airflow.example.org/bcda/?source=bcda_default&run=r1"),
        # Without one, an address on the host that shows the report.
        ("", "/bcda/?source=bcda_default&run=r1"),
    ],
)
def test_a_report_links_to_its_run_on_the_page(airflow_database, monkeypatch, base, address):
    from bcda_provider.links import page_address

    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base)
    assert page_address("bcda_default", "r1") == address
