"""`airflow bcda doctor` and the connection's Test button, on connections from the environment and from Airflow's database."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb_cryptography
import pytest

from bcda.storage import duckdb_files
from bcda_simulator import SimulatorSettings


@pytest.fixture
def doctor(capsys, airflow_database):
    """Run the command as Airflow's command line does; return its exit code and what it printed."""
    from airflow.cli import cli_parser

    def run(*arguments):
        args = cli_parser.get_parser().parse_args(["bcda", "doctor", *arguments])
        try:
            args.func(args)
        except SystemExit as ended:
            return ended.code, "".join(capsys.readouterr())
        return 0, "".join(capsys.readouterr())

    return run


def test_the_command_answers_in_one_screen(serve, connect, places, airflow_database):
    server = serve()
    connect(server)
    airflow = Path(sys.executable).with_name("airflow")
    done = subprocess.run([airflow, "bcda", "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"ok       settings         The connection bcda_default is to {server.base_url}, API v2."
    # Sentences that are too long for a line go on below.
    assert [name for line in lines if (name := line[9:26].strip()) and line[0] != " "][:16] == [
        *(
            "settings",
            "proxy",
            "certificates",
            "name resolution",
            "connection",
            "TLS",
            "health",
            "clock",
            "token",
            "version",
            "attribution",
        ),
        *("job slots", "secret", "folders", "disk", "warehouse"),
    ]
    assert str(places.raw.parent) in done.stdout
    assert lines[-1].startswith(("All is well", "Nothing failed"))
    assert len(lines) <= 26
    for credential in (server.entity.client_id, server.entity.client_secret):
        assert credential not in done.stdout + done.stderr


def test_a_connection_in_airflows_database_is_found(serve, connect, doctor, monkeypatch, places):
    from airflow.models import Connection
    from airflow.utils.session import create_session

    server = serve(settings=SimulatorSettings(v3_entities=frozenset()))
    with create_session() as session:
        session.add(
            Connection(
                conn_id="kept_in_the_database",
                conn_type="bcda",
                host=server.base_url,
                login=server.entity.client_id,
                password=server.entity.client_secret,
            )
        )
    monkeypatch.setenv("BCDA_HOME", str(places.raw.parent))
    code, text = doctor("--conn-id", "kept_in_the_database")
    assert code == 0, text
    assert f"The connection kept_in_the_database is to {server.base_url}" in text
    # Each source has places of its own.
    assert f"{places.raw.parent}/sources/kept_in_the_database" in text
    code, text = doctor("--conn-id", "kept_in_the_database", "--api-version", "v3")
    assert (code, "BCDA refuses v3" in text) == (1, True)


def test_a_failure_is_exit_code_1(serve, connect, doctor):
    connect(serve(), password="not-the-secret")
    code, text = doctor()
    assert (code, text.splitlines()[-1]) == (1, "1 of 16 checks failed: token.")
    assert "not-the-secret" not in text


def test_a_warning_is_exit_code_0(serve, connect, doctor):
    connect(serve(start=datetime.now(UTC) - timedelta(hours=1)))
    code, text = doctor()
    assert code == 0
    assert text.splitlines()[-1].startswith("Nothing failed. Look at clock")


@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        ({}, ("--conn-id", "nobody_made_it"), "Airflow has no connection nobody_made_it."),
        ({"host": "http://api.bcda.cms.gov"}, (), "is plain http; use https"),
        ({"conn_type": "http"}, (), "The connection bcda_default is of type http."),
        ({"extra": {"poll_seconds": "soon"}}, (), "The connection's extra field poll_seconds must be a number."),
    ],
    ids=["no-connection", "plain-http", "another-type", "no-number"],
)
def test_a_connection_that_cannot_work_is_said_and_the_folders_are_looked_at(
    serve, connect, doctor, changes, arguments, said
):
    connect(serve(), **changes)
    code, text = doctor(*arguments)
    assert code == 1
    assert said in " ".join(text.split())
    assert "folders" in text


def test_an_unknown_key_is_a_warning(serve, connect, doctor):
    from bcda_provider.hooks import BcdaHook

    connect(serve(), extra={"pol_seconds": 2})
    said = "The connection's extra has unknown keys, which are ignored: pol_seconds."
    code, text = doctor()
    assert (code, said in " ".join(text.split())) == (0, True)
    is_well, text = BcdaHook().test_connection()
    assert (is_well, said in text) == (True, True)


def test_the_test_button_begins_with_what_matters(serve, connect):
    from bcda_provider.hooks import BcdaHook

    server = serve()
    connect(server)
    is_well, text = BcdaHook().test_connection()
    assert is_well is True
    lines = text.splitlines()
    assert lines[0] == "BCDA v2 (FHIR 4.0.1) accepts the credentials."
    assert "token: ok." in lines
    connect(server, password="not-the-secret")
    is_well, text = BcdaHook().test_connection()
    assert is_well is False
    assert text.startswith("The token endpoint answered 401. Check client id (login) and client secret")
    assert "token: failed." in text.splitlines()
    connect(server, host="http://api.bcda.cms.gov")
    is_well, text = BcdaHook().test_connection()
    assert (is_well, "is plain http" in text) == (False, True)


def test_a_key_in_airflows_database_is_found_and_one_that_is_missing_is_said(
    serve, connect, doctor, monkeypatch, places, request
):
    from airflow.models import Variable
    from airflow.utils.session import create_session

    monkeypatch.setattr(duckdb_files, "LOAD_CRYPTOGRAPHY", duckdb_cryptography.statement())
    connect(serve())
    monkeypatch.setenv("BCDA_ENCRYPTION_VARIABLE", "kept_in_the_database_secret")
    code, output = doctor()
    assert (code, "names the Airflow Variable kept_in_the_database_secret" in output) == (1, True)
    with create_session() as session:
        session.add(Variable(key="kept_in_the_database_secret", val=duckdb_cryptography.KEY.text))
    # Other tests of the same database look for this key in it.
    request.addfinalizer(lambda: Variable.delete("kept_in_the_database_secret"))
    code, output = doctor()
    assert (code, "encryption" in output) == (0, True), output
    assert duckdb_cryptography.KEY.text not in output
    monkeypatch.setattr(duckdb_files, "LOAD_CRYPTOGRAPHY", "LOAD '/nowhere/httpfs.duckdb_extension'")
    code, output = doctor()
    assert (code, "INSTALL httpfs" in output) == (1, True)
