"""Attacks of people who may use Airflow and may not do this: each is tried here as they would."""

import json
import textwrap
from contextlib import suppress
from types import SimpleNamespace

import pytest

from bcda.errors import InvalidRequestError, ServerError

START = "2026-11-10"
HTTP = "airflow.providers.http.notifications.http.HttpNotifier"
SECRET = "CANARY-client-secret"


@pytest.fixture
def failing():
    """What Airflow gives a failure callback; connections and Variables can be reached through it, as in a real task."""
    from airflow.sdk.execution_time.context import ConnectionAccessor, VariableAccessor

    ti = SimpleNamespace(task_id="kick_off", dag_id="bcda_weekly_export", run_id="r1", map_index=-1, try_number=1)
    return {
        "ti": ti,
        "exception": ServerError("BCDA answers with 503."),
        "conn": ConnectionAccessor(),
        "var": {"value": VariableAccessor(deserialize_json=False)},
    }


def setting(**entry):
    return json.dumps([entry])


def test_who_may_edit_variables_runs_nothing_on_a_worker(failing, monkeypatch, tmp_path, airflow_database):
    from bcda_provider.notifications import configured, notify_failed

    attack = setting(notifier="os.mkdir", kwargs={"path": str(tmp_path / "run-by-a-worker")})
    monkeypatch.setenv("AIRFLOW_VAR_BCDA_NOTIFIERS", attack)
    monkeypatch.delenv("BCDA_NOTIFIERS", raising=False)
    notify_failed(failing)
    assert configured() == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("named", ["os.mkdir", "pathlib.Path", "airflow.sdk.BaseNotifier.notify"])
def test_what_is_not_a_notifier_is_never_called(failing, monkeypatch, tmp_path, airflow_database, named):
    from bcda_provider.notifications import notify_failed

    monkeypatch.setenv("BCDA_NOTIFIERS", setting(notifier=named, kwargs={"path": str(tmp_path / "called")}))
    with pytest.raises(InvalidRequestError, match=r"not a notifier of Airflow\. It was not called|cannot be imported"):
        notify_failed(failing)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "template",
    [
        "{{ conn.bcda_default.password }}",
        "{{ var.value.bcda_encryption_secret }}",
        "{{ ti.get_template_context()['conn'].bcda_default.password }}",
        "{% if conn %}{{ bcda.text }}{% endif %}",
    ],
)
@pytest.mark.parametrize("place", ["text", "deep"])
def test_a_notifier_renders_the_message_and_no_secret(failing, monkeypatch, airflow_database, template, place):
    import told

    from bcda_provider.notifications import notify_failed

    told.messages.clear()
    told.rendered.clear()
    connection = {"conn_type": "bcda", "host": "https://bcda.example.org", "login": "a", "password": SECRET}
    monkeypatch.setenv("AIRFLOW_CONN_BCDA_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW_VAR_BCDA_ENCRYPTION_SECRET", SECRET)
    argument = template if place == "text" else {"a": [{"b": template}]}
    monkeypatch.setenv("BCDA_NOTIFIERS", setting(notifier="told.Renders", kwargs={"text": argument}))
    with pytest.raises(InvalidRequestError, match="only `bcda` is there"):
        notify_failed(failing)
    assert told.rendered == []


def test_a_notifier_gets_the_message_and_renders_it_once(failing, monkeypatch, airflow_database):
    """A server's text in the message is text, whatever is in it."""
    import told

    from bcda_provider.notifications import notify_failed

    told.rendered.clear()
    told.contexts.clear()
    failing["exception"] = ServerError("BCDA says {{ bcda.outcome }} and {{ conn.bcda_default.password }}.")
    monkeypatch.setenv(
        "BCDA_NOTIFIERS", setting(notifier="told.Renders", kwargs={"text": "{{ bcda.outcome }}: {{ bcda.text }}"})
    )
    notify_failed(failing)
    (text,) = told.rendered
    assert text.startswith("failure: Task kick_off of bcda_weekly_export failed in its try 1.")
    assert "BCDA says {{ bcda.outcome }} and {{ conn.bcda_default.password }}." in text
    assert [set(context) for context in told.contexts] == [{"bcda", "text"}]


@pytest.mark.parametrize("changed", ["{home}/secrets", "../secrets", "/etc/hostname"])
def test_an_edited_result_of_the_report_sends_no_other_file(monkeypatch, tmp_path, airflow_database, changed):
    import told

    from bcda_provider.notifications import notify_loaded

    told.messages.clear()
    monkeypatch.setenv("BCDA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BCDA_NOTIFIERS", setting(notifier="told.Told"))
    (tmp_path / "home").mkdir()
    for name in ("secrets", "secrets.txt"):
        (tmp_path / "home" / name).write_text(SECRET)
    named = changed.format(home=tmp_path / "home")
    run = {"run_id": named, "headline": "x", "text_file": named, "html_file": named}
    ti = SimpleNamespace(
        task_id="report",
        map_index=-1,
        task=SimpleNamespace(bcda_conn_id="bcda_default"),
        xcom_pull=lambda **_: {"reports": [run]},
    )
    with pytest.raises(InvalidRequestError):
        notify_loaded({"ti": ti})
    assert told.messages == []


@pytest.fixture
def doctor(capsys, airflow_database):
    """Return what `airflow bcda doctor` prints, in one line."""
    from airflow.cli import cli_parser

    def run():
        args = cli_parser.get_parser().parse_args(["bcda", "doctor"])
        with suppress(SystemExit):
            args.func(args)
        return " ".join("".join(capsys.readouterr()).split())

    return run


@pytest.fixture
def variable(airflow_database):
    """Save Variables in Airflow's database for a test."""
    from airflow.models import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    saved = []

    def save(key, value):
        saved.append(key)
        Variable.set(key, value)

    yield save
    with create_session() as session:
        session.execute(delete(Variable).where(Variable.key.in_(saved)))


def test_doctor_and_page_tell_of_a_variable_that_is_left_over(doctor, variable, serve, connect):
    from bcda_provider.variables import remarks

    connect(serve())
    assert remarks() == ()
    assert "bcda_notifiers" not in doctor()
    variable("bcda_notifiers", "[]")
    (text,) = remarks()
    for told in (text, doctor()):
        assert "The Airflow Variable bcda_notifiers has no effect any more" in told
        assert "`BCDA_NOTIFIERS`" in told


def test_doctor_and_page_tell_of_a_key_that_airflow_shows(doctor, variable, serve, connect, monkeypatch):
    import base64

    from bcda_provider.variables import remarks

    connect(serve())
    key = base64.b64encode(b"k" * 32).decode()
    monkeypatch.setenv("BCDA_ENCRYPTION_VARIABLE", "bcda_home_lock")
    monkeypatch.setenv("AIRFLOW_VAR_BCDA_HOME_LOCK", key)
    # Airflow's interface does not show what comes from the environment or a secrets backend.
    assert remarks() == ()
    monkeypatch.delenv("AIRFLOW_VAR_BCDA_HOME_LOCK")
    variable("bcda_home_lock", key)
    variable("bcda_home_lock_secret", key)
    (text,) = remarks()
    for told in (text, doctor()):
        assert "in the Airflow Variable bcda_home_lock, which Airflow shows in clear" in told
        assert "Copy the same value to a Variable with a masked name, such as bcda_home_lock_secret" in told
        assert key not in told
    monkeypatch.setenv("BCDA_ENCRYPTION_VARIABLE", "bcda_home_lock_secret")
    assert remarks() == ()
    assert "shows in clear" not in doctor()


THEIRS = textwrap.dedent(
    """
    from airflow.sdk import DAG, Param, task, task_group

    from bcda_provider.operators import BcdaMaintainOperator

    PURGE = {"step": "purge_raw", "raw_days": 1}

    with DAG("purges_by_param", schedule=None, params={"aco": "bcda_default"}):
        BcdaMaintainOperator(task_id="purge", bcda_conn_id="{{ params.aco }}", **PURGE)

    with DAG("purges_by_conf", schedule=None):
        BcdaMaintainOperator(task_id="purge", bcda_conn_id="{{ dag_run.conf.get('aco', 'bcda_default') }}", **PURGE)
        BcdaMaintainOperator(task_id="own", bcda_conn_id="bcda_default", **PURGE)

    with DAG("purges_by_choice", schedule=None, params={"aco": Param("bcda_default", enum=["bcda_default", "bcda_second"])}):
        BcdaMaintainOperator(task_id="purge", bcda_conn_id="{{ params.aco }}", **PURGE)

    with DAG("purges_mapped", schedule=None, params={"aco": "bcda_default"}):

        @task
        def acos(params):
            return [params["aco"]]

        BcdaMaintainOperator.partial(task_id="purge", **PURGE).expand(bcda_conn_id=acos())

    with DAG("purges_mapped_and_templated", schedule=None, params={"aco": "bcda_default"}):
        BcdaMaintainOperator.partial(task_id="purge", bcda_conn_id="{{ params.aco }}", raw_days=1).expand(step=["purge_raw"])

    with DAG("purges_in_a_group", schedule=None, params={"aco": "bcda_default"}):

        @task_group
        def each(bcda_conn_id):
            BcdaMaintainOperator(task_id="purge", bcda_conn_id=bcda_conn_id, **PURGE)

        @task
        def rows(params):
            return [{"bcda_conn_id": params["aco"]}]

        each.expand_kwargs(rows())
    """
)
"""DAGs of an author who means one organization, or who lets a run choose."""


@pytest.fixture
def raw_of_two(run_dag, monkeypatch, tmp_path, serve, connect, places):
    """Run a DAG of `THEIRS`, with old raw files of two organizations; return its tasks' states and whose files are left."""
    import os

    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "theirs.py").write_text(THEIRS)
    bundle = {"name": "theirs", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle"}
    monkeypatch.setenv(
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([{**bundle, "kwargs": {"path": str(folder)}}])
    )
    monkeypatch.setattr("airflow.settings.DAGS_FOLDER", str(folder))
    server = serve()
    for conn_id in ("bcda_default", "bcda_second"):
        connect(server, conn_id=conn_id)
    purged = []
    monkeypatch.setattr(
        "bcda.maintenance.purge_raw",
        lambda here, **_: purged.append(here.source_id) or SimpleNamespace(runs=0, files=0, bytes=0),
    )

    def run(dag_id, **conf):
        purged.clear()
        state, _ = run_dag(dag_id, **conf)
        return state, list(purged)

    assert os.environ["BCDA_HOME"] == str(places.raw.parent)
    return run


@pytest.mark.parametrize(
    "dag_id",
    [
        "purges_by_param",
        "purges_by_conf",
        "purges_mapped",
        "purges_mapped_and_templated",
        "purges_in_a_group",
    ],
)
def test_who_starts_a_run_cannot_choose_another_organization(raw_of_two, logged, dag_id):
    state, purged = raw_of_two(dag_id, aco="bcda_second")
    assert (state, "bcda_second" in purged) == ("failed", False)
    assert "`bcda_conn_id` is 'bcda_second', and this DAG names bcda_default" in logged()
    state, purged = raw_of_two(dag_id)
    assert (state, set(purged)) == ("success", {"bcda_default"})


def test_a_choice_that_the_author_gave_is_one(raw_of_two):
    assert raw_of_two("purges_by_choice", aco="bcda_second") == ("success", ["bcda_second"])


def test_allowed_connections_are_the_authors_and_no_row_brings_its_own(airflow_database):
    from airflow.sdk import DAG

    from bcda_provider.dag_connections import connections_of
    from bcda_provider.operators import BcdaMaintainOperator

    with DAG("theirs", schedule=None, default_args={"bcda_conn_id": "d"}) as dag:
        BcdaMaintainOperator.partial(task_id="all").expand(step=["vacuum"])
        BcdaMaintainOperator(task_id="one", step="vacuum", bcda_conn_id="{{ params.x }}", allowed_connections=["a"])
        BcdaMaintainOperator.partial(task_id="two", step="vacuum", allowed_connections=["b"]).expand(bcda_conn_id=["c"])
    assert connections_of(dag.task_dict.values()) == {"a", "b", "c", "d"}


def test_a_task_starts_no_weekly_export_of_another_organization(airflow_database):
    from bcda_provider.operators.start_missed import check_weekly

    check_weekly("bcda_weekly_export__bcda_second", "bcda_second")
    check_weekly("theirs", "bcda_second")
    for dag in ("bcda_weekly_export", "bcda_weekly_export__bcda_third", "bcda_maintenance"):
        with pytest.raises(InvalidRequestError, match="not a DAG of the connection bcda_second"):
            check_weekly(dag, "bcda_second")
