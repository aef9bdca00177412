"""An installed package without BCDA_HOME: everything that needs a place for claims asks for one, and nothing is sent."""

import sys

import pytest

from bcda import __main__ as commands
from bcda.errors import InvalidRequestError
from bcda.storage import home

ASKS = "BCDA_HOME is not set. Set it to the folder for the claims in the environment of each Airflow process."


@pytest.fixture
def installed(connect, serve, monkeypatch, tmp_path):
    """A simulator that the connection leads to, and code that is in no checkout."""
    server = serve()
    connect(server)
    monkeypatch.delenv("BCDA_HOME")
    monkeypatch.setattr(home, "_THIS_FILE", tmp_path / "bcda" / "storage" / "home.py")
    return server


def test_a_run_is_refused_before_anything_is_sent(installed, airflow_database):
    from bcda_provider.operators import BcdaCheckListOperator, BcdaPlanOperator

    plan = BcdaPlanOperator(task_id="plan", scope="patient", bcda_conn_id="bcda_default")
    check = BcdaCheckListOperator(
        task_id="check",
        consumer_dag_id="x",
        source="bcda_default",
        resource_types=["Patient"],
        bcda_conn_id="bcda_default",
    )
    for operator in (plan, check):
        with pytest.raises(InvalidRequestError) as refused:
            operator.work({"params": {}})
        assert str(refused.value).startswith(ASKS)
    assert installed.requests == []


def test_the_doctor_says_so(installed, airflow_database, capsys):
    from airflow.cli import cli_parser

    args = cli_parser.get_parser().parse_args(["bcda", "doctor"])
    with pytest.raises(SystemExit) as ended:
        args.func(args)
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 1
    assert f"FAILED folders {ASKS}" in said
    assert said.endswith("checks failed: folders.")


def test_the_command_line_says_so(installed, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bcda", "status"])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(ASKS)
