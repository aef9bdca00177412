"""Connections in every form that Airflow knows, those of version 1.0, and those that are refused."""

import json
from datetime import timedelta
from urllib.parse import quote, urlencode, urlsplit

import pytest

OF_1_0 = {
    "api_version": "v2",
    "auth": "basic",
    "request_timeout_seconds": 60,
    "max_attempts": 6,
    "backoff_initial_seconds": 0.1,
    "backoff_max_seconds": 0.3,
    "concurrent_downloads": 4,
    "requests_per_five_minutes": 2400,
    "poll_seconds": 0.1,
    "poll_max_seconds": 0.2,
    "job_deadline_seconds": 86400,
    "failed_grace_seconds": 4500,
    "file_attempts": 4,
    "list_wait_seconds": 86400,
    "parallel_jobs": False,
    "shared_system": True,
    "secret_made_on": "***",
}
"""The extra that the form of version 1.0 stored, with short waits."""
FAST = {"poll_seconds": 0.1, "poll_max_seconds": 0.2, "backoff_initial_seconds": 0.1}


def connection(extra=None, **changes):
    from airflow.models import Connection

    given = {"conn_id": "x", "conn_type": "bcda", "host": "sandbox", "login": "me", "password": "open-sesame"}
    return Connection(**{**given, **changes}, extra=json.dumps(extra or {}))


def settings_of(*args, **kwargs):
    from bcda_provider.connections import settings_of

    return settings_of(connection(*args, **kwargs))


def as_uri(server, extra):
    parts = urlsplit(server.base_url)
    credentials = f"{quote(server.entity.client_id, safe='')}:{quote(server.entity.client_secret, safe='')}"
    return f"bcda://{credentials}@{parts.netloc}/http?{urlencode(extra)}"


def as_json(server, extra):
    given = {"conn_type": "bcda", "host": server.base_url, "login": server.entity.client_id}
    return json.dumps({**given, "password": server.entity.client_secret, "extra": extra})


@pytest.fixture
def backend(monkeypatch):
    """Let Airflow look connections up in a file first, as in a secrets backend; it keeps backends it has made."""
    from airflow.sdk.configuration import clear_secrets_backends_cache
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    def configure(file):
        monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", "airflow.secrets.local_filesystem.LocalFilesystemBackend")
        monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND_KWARGS", json.dumps({"connections_file_path": str(file)}))
        clear_secrets_backends_cache()
        assert type(ensure_secrets_backend_loaded()[0]).__name__ == "LocalFilesystemBackend"

    yield configure
    clear_secrets_backends_cache()


@pytest.mark.complete
@pytest.mark.parametrize("held", ["uri", "json", "json of 1.0", "backend"])
def test_a_weekly_run_succeeds_with_a_connection_in_each_form(
    serve, run_dag, places, monkeypatch, tmp_path, backend, held
):
    server = serve()
    monkeypatch.setenv("BCDA_HOME", str(places.raw.parent))
    if held == "backend":
        file = tmp_path / "connections.json"
        file.write_text(json.dumps({"bcda_default": json.loads(as_json(server, {"advanced": FAST}))}))
        backend(file)
    else:
        text = {
            "uri": as_uri(server, {"api_version": "v2", "advanced": json.dumps(FAST)}),
            "json": as_json(server, {"api_version": "v2", "credentials_made_on": "2026-11-01", "advanced": FAST}),
            "json of 1.0": as_json(server, OF_1_0),
        }[held]
        monkeypatch.setenv("AIRFLOW_CONN_BCDA_DEFAULT", text)
    state, tasks = run_dag("bcda_weekly_export")
    assert state == "success", tasks
    assert places.published.exists()


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({"host": "sandbox"}, "https://sandbox.bcda.cms.gov"),
        ({"host": " Production "}, "https://api.bcda.cms.gov"),
        ({"host": "https://api.bcda.cms.gov/"}, "https://api.bcda.cms.gov"),
        ({"host": "https://api.bcda.cms.gov", "port": 443}, "https://api.bcda.cms.gov"),
        ({"host": "sandbox", "port": 443}, "https://sandbox.bcda.cms.gov"),
        ({"host": "sandbox", "port": 0}, "https://sandbox.bcda.cms.gov"),
        ({"host": "bcda.example.org", "port": 8443}, "https://bcda.example.org:8443"),
        ({"host": "http://127.0.0.1:8080"}, "http://127.0.0.1:8080"),
        ({"host": "127.0.0.1", "port": 8080, "schema": "http"}, "http://127.0.0.1:8080"),
        ({"host": "http://127.0.0.1/", "port": 8080}, "http://127.0.0.1:8080"),
        ({"host": "production/"}, "https://api.bcda.cms.gov"),
        ({"host": "::1", "port": 8080, "schema": "http"}, "http://[::1]:8080"),
    ],
)
def test_an_address_is_a_name_or_a_url_in_any_form(changes, address):
    assert settings_of(**changes).base_url == address


@pytest.mark.parametrize("text", ["{bad", "[1]", '"v3"', "5"])
def test_an_extra_that_is_no_object_is_refused_where_a_task_reads_it(text):
    from airflow.sdk import Connection

    from bcda.errors import InvalidRequestError
    from bcda_provider.connections import settings_of

    read = Connection(conn_id="x", conn_type="bcda", host="sandbox", login="me", password="open-sesame", extra=text)
    with pytest.raises(InvalidRequestError, match="extra must be a JSON object"):
        settings_of(read)


def test_an_empty_key_of_advanced_leaves_the_flat_one_and_a_nested_one_is_remarked_on():
    from bcda_provider.connections import remark_on

    extra = {"concurrent_downloads": 3, "advanced": {"concurrent_downloads": None}}
    assert settings_of(extra).tuning.concurrent_downloads == 3
    assert "advanced" in remark_on(connection({"advanced": {"advanced": {"concurrent_downloads": 3}}}))


def test_both_servers_of_bcda_survive_the_form_and_the_uri_of_the_test_button():
    from airflow.models import Connection

    from bcda_provider.connections import ADDRESSES, settings_of

    extra = {"api_version": "v3", "credentials_made_on": None, "advanced": {"auth": "basic", "poll_seconds": 9}}
    for host in (*ADDRESSES, *ADDRESSES.values(), "http://127.0.0.1:8080"):
        saved = connection(extra, host=host, password="a/b:c@d%e #f")
        # The Test button hands the connection over as a URI in the environment.
        read = Connection(conn_id="x", uri=saved.get_uri())
        assert settings_of(read) == settings_of(saved)
        assert settings_of(read).client_secret == "a/b:c@d%e #f"


def test_no_name_in_the_form_is_one_that_airflow_masks():
    from airflow._shared.secrets_masker import redact, should_hide_value_for_key

    from bcda_provider.provider_info import ADVANCED, FIELDS

    assert should_hide_value_for_key("secret_made_on")
    names = {*FIELDS, *ADVANCED}
    assert [name for name in names if should_hide_value_for_key(name)] == []
    assert "***" not in json.dumps(redact(dict.fromkeys(names, "value")))


def test_the_form_and_the_library_name_the_same_settings():
    from dataclasses import fields

    from bcda.settings import Tuning
    from bcda_provider.provider_info import ADVANCED, FIELDS

    assert {*ADVANCED, "credentials_made_on"} == {field.name for field in fields(Tuning)} | {"auth"}
    starred = [name for name, field in FIELDS.items() if "null" not in field["schema"]["type"]]
    assert starred == ["api_version"]


def test_what_version_1_0_stored_reads_as_it_was_meant():
    settings = settings_of(OF_1_0)
    assert settings.tuning.credentials_made_on == ""
    assert settings.tuning.poll_seconds == 0.1
    assert settings.tuning.parallel_jobs is False
    assert settings_of({"secret_made_on": "2026-11-01"}).tuning.credentials_made_on == "2026-11-01"
    both = {"secret_made_on": "2026-08-01", "credentials_made_on": "2026-11-01"}
    assert settings_of(both).tuning.credentials_made_on == "2026-11-01"
    assert settings_of({"parallel_jobs": True, "shared_system": False}).tuning.shared_system is False


@pytest.mark.parametrize("advanced", [{"poll_seconds": 9}, '{"poll_seconds": 9}', '{"poll_seconds": "9"}'])
def test_advanced_is_an_object_or_json_text_and_comes_before_a_flat_key(advanced):
    settings = settings_of({"poll_seconds": 5, "max_attempts": 3, "advanced": advanced})
    assert (settings.tuning.poll_seconds, settings.tuning.max_attempts) == (9, 3)


@pytest.mark.parametrize("empty", [None, "", "***", {}, "{}"])
def test_advanced_may_be_empty(empty):
    from bcda.settings import Tuning

    assert settings_of({"advanced": empty}).tuning == Tuning()


@pytest.mark.parametrize("wrong", ["poll_seconds=9", "[1]", [1], 7])
def test_advanced_that_is_no_object_is_refused(wrong):
    from bcda.errors import InvalidRequestError

    with pytest.raises(InvalidRequestError, match="`advanced` must be a JSON object"):
        settings_of({"advanced": wrong})


def test_unknown_keys_are_a_warning_wherever_they_stand(caplog):
    from bcda_provider.connections import remark_on

    extra = {"pol_seconds": 2, "advanced": {"max_attempt": 3, "poll_seconds": 9}}
    assert settings_of(extra).tuning.poll_seconds == 9
    said = (
        "The connection's extra has unknown keys, which are ignored: max_attempt, pol_seconds. Correct or remove them."
    )
    assert said in caplog.text
    assert remark_on(connection(extra)) == said
    assert remark_on(connection(OF_1_0)) == ""


@pytest.mark.parametrize("field", ["login", "password"])
def test_a_masked_credential_is_one_that_is_missing(field):
    from bcda.errors import InvalidRequestError

    with pytest.raises(InvalidRequestError, match="are both needed"):
        settings_of(**{field: "***"})


def test_a_connection_of_another_type_is_refused_before_anything_is_sent(serve, connect):
    from bcda.errors import InvalidRequestError
    from bcda_provider.hooks import BcdaHook
    from bcda_provider.operators import BcdaPlanOperator

    server = serve()
    connect(server, conn_type="http")
    said = "The connection bcda_default is of type http. Nothing was sent."
    with pytest.raises(InvalidRequestError, match=said):
        BcdaHook().settings()
    with pytest.raises(InvalidRequestError, match=said):
        BcdaPlanOperator(task_id="plan", scope="patient", bcda_conn_id="bcda_default").execute({})
    assert BcdaHook().test_connection()[0] is False
    assert server.requests == []


def test_an_unknown_connection_names_those_that_are_configured(monkeypatch):
    from bcda.errors import UnknownConnectionError
    from bcda_provider.hooks import BcdaHook

    monkeypatch.setenv("BCDA_SOURCES", "bcda_north,bcda_south")
    with pytest.raises(UnknownConnectionError, match=r"no connection bcda_nort\..* which lists bcda_north, bcda_south"):
        BcdaHook("bcda_nort").settings()


@pytest.mark.parametrize(
    ("option", "value", "delays"),
    [
        ("AIRFLOW__UNRELATED", "", [None, None]),
        ("AIRFLOW__SECRETS__BACKEND", "some.Backend", [timedelta(minutes=1), None]),
        ("AIRFLOW__WORKERS__SECRETS_BACKEND", "some.Backend", [timedelta(minutes=1), None]),
    ],
)
def test_an_unknown_connection_is_final_and_with_a_secrets_backend_after_one_retry(monkeypatch, option, value, delays):
    from bcda.errors import UnknownConnectionError
    from bcda_provider.retry import BcdaRetryPolicy

    monkeypatch.setenv(option, value)
    decisions = [BcdaRetryPolicy().evaluate(UnknownConnectionError("x"), number, 3) for number in (1, 2)]
    assert [decision.retry_delay for decision in decisions] == delays
    assert decisions[1].action.value == "fail"


@pytest.mark.parametrize(
    "dag_id", ["bcda_weekly_export", "bcda_runout_export", "bcda_attribution_check", "bcda_maintenance"]
)
@pytest.mark.parametrize("key", ["conn_id", pytest.param("bcda_conn_id", marks=pytest.mark.complete)])
def test_a_run_that_names_another_connection_fails_before_anything_is_sent(
    serve, connect, run_dag, places, dag_id, key, logged
):
    server = serve()
    connect(server)
    connect(server, conn_id="another")
    state, tasks = run_dag(dag_id, **{key: "another"})
    assert state == "failed"
    assert "success" not in tasks.values()
    assert server.requests == []
    assert "names the connection 'another', and this DAG uses bcda_default" in logged()
    assert not places.raw.exists() or not any(places.raw.iterdir())


@pytest.mark.complete
def test_a_configuration_of_1_0_that_names_the_dags_own_connection_still_runs(serve, connect, run_dag):
    connect(serve(), extra=FAST)
    state, tasks = run_dag("bcda_weekly_export", conn_id="bcda_default")
    assert state == "success", tasks


def test_page_and_doctor_say_that_a_variable_hides_a_saved_connection(
    serve, connect, monkeypatch, places, airflow_database, capsys
):
    from datetime import UTC, datetime

    from airflow.cli import cli_parser
    from airflow.utils.session import create_session

    from bcda_provider.page.sources_shown import read_source

    server = serve()
    with create_session() as session:
        credentials = {"login": server.entity.client_id, "password": server.entity.client_secret}
        session.add(connection(conn_id="saved_and_hidden", host=server.base_url, **credentials))
    monkeypatch.setenv("BCDA_HOME", str(places.raw.parent))
    said = (
        "saved_and_hidden that is saved in Airflow is not used: the environment variable AIRFLOW_CONN_SAVED_AND_HIDDEN"
    )

    def told():
        shown = [
            finding.text
            for finding in read_source("saved_and_hidden", None, datetime.now(UTC), may_see_connection=True).findings
        ]
        args = cli_parser.get_parser().parse_args(["bcda", "doctor", "--conn-id", "saved_and_hidden"])
        args.func(args)
        return any(said in text for text in shown), said in " ".join(capsys.readouterr().out.split())

    assert told() == (False, False)
    connect(server, conn_id="saved_and_hidden")
    assert told() == (True, True)


def test_the_json_and_the_uri_of_the_documentation_are_one_connection():
    import re
    from pathlib import Path

    from airflow.models import Connection

    from bcda_provider.connections import settings_of

    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "configuration.md").read_text()
    (as_json,) = re.findall(r"```json\n(\{.*?)```", page, re.DOTALL)
    (as_uri,) = re.findall(r"```text\n(bcda://.*?)\n```", page, re.DOTALL)
    settings = settings_of(Connection.from_json(as_json))
    assert settings == settings_of(Connection(uri=as_uri))
    assert (settings.base_url, settings.client_secret) == ("https://sandbox.bcda.cms.gov", "CLIENT_SECRET")
    assert settings.tuning.concurrent_downloads == 8


def test_the_page_for_an_airflow_of_ones_own_shows_what_works():
    import re
    from pathlib import Path

    from airflow.models import Connection

    from bcda_provider.connections import settings_of

    project = Path(__file__).resolve().parents[2]
    page = (project / "docs" / "own-airflow.md").read_text()
    (as_json,) = re.findall(r"```json\n(\{.*?)```", page, re.DOTALL)
    (as_uri,) = re.findall(r"```text\n(bcda://.*?)\n```", page, re.DOTALL)
    assert settings_of(Connection.from_json(as_json)) == settings_of(Connection(uri=as_uri))
    (dag_file,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert dag_file == (project / "dags" / "bcda_weekly_export.py").read_text()
    set_to = dict(
        line.split("=", 1) for block in re.findall(r"```ini\n(.*?)```", page, re.DOTALL) for line in block.splitlines()
    )
    ids = set_to["BCDA_SOURCES"].split(",")
    both = [settings_of(Connection.from_json(set_to[f"AIRFLOW_CONN_{conn_id.upper()}"])) for conn_id in ids]
    assert sum(each.tuning.requests_per_five_minutes for each in both) < 3000
    assert {"BCDA_HOME", "BCDA_WAREHOUSE_POOL"} <= set(set_to)
