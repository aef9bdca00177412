"""Wrong proxies and trust stores: one sentence in a run, in the doctor and behind the Test button, and no password in any log.

The server's name is on no loopback address, so that the proxy counts.
"""

import asyncio
import os
import time
from pathlib import Path

import pytest
from canaries import leaks, leaks_below

SERVER = "https://bcda.test:8443"
CANARY = "CANARY-password"

WRONG = {
    "hash": (
        "HTTPS_PROXY",
        f"http://jane:{CANARY}#1@127.0.0.1:9",
        "HTTPS_PROXY has a user name or password with special characters.",
    ),
    "percent": (
        "https_proxy",
        f"http://jane:{CANARY}%@127.0.0.1:9",
        "https_proxy has a user name or password with special characters.",
    ),
    "socks": (
        "ALL_PROXY",
        f"socks5://jane:{CANARY}@127.0.0.1:9",
        "ALL_PROXY names a SOCKS proxy, which is not supported.",
    ),
    "scheme": ("HTTPS_PROXY", f"htp://jane:{CANARY}@127.0.0.1:9", "HTTPS_PROXY must begin with http:// or https://"),
    "address": ("HTTPS_PROXY", f"http://jane:{CANARY}@127.0.0.1:http", "HTTPS_PROXY is not the address of a proxy."),
    "missing": ("SSL_CERT_FILE", "/nowhere/ca.pem", "SSL_CERT_FILE names /nowhere/ca.pem, which does not exist."),
    "requests": (
        "REQUESTS_CA_BUNDLE",
        "/nowhere/ca.pem",
        "REQUESTS_CA_BUNDLE names /nowhere/ca.pem, which does not exist.",
    ),
}


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """Take away what the machine of whoever tests says of proxies and certificates."""
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name in {
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
        }:
            monkeypatch.delenv(name)


@pytest.fixture(params=WRONG)
def wrong(request, monkeypatch, serve, connect):
    """Set one variable wrong; return the sentence for it."""
    variable, value, sentence = WRONG[request.param]
    connect(serve(), host=SERVER)
    monkeypatch.setenv(variable, value)
    return sentence


LONG = [
    "missing",
    *(pytest.param(name, marks=pytest.mark.complete) for name in WRONG if name != "missing"),
]


@pytest.mark.parametrize("wrong", LONG, indirect=True)
def test_a_run_fails_with_the_sentence(wrong, run_dag, logged):
    state, tasks = run_dag("bcda_weekly_export")
    text = logged()
    assert state == "failed"
    assert [name for name, of in tasks.items() if of == "failed"] == ["plan[-1]"]
    assert wrong in text
    assert leaks([text], (CANARY,)) == []
    # Airflow keeps its database and logs there.
    searched, found = leaks_below(Path(os.environ["AIRFLOW_HOME"]), (CANARY,))
    assert (searched > 0, found) == (True, [])


def test_doctor_and_test_button_say_the_sentence(wrong, airflow_database, logged):
    from airflow.cli import cli_parser

    from bcda_provider.hooks import BcdaHook

    args = cli_parser.get_parser().parse_args(["bcda", "doctor"])
    with pytest.raises(SystemExit) as ended:
        args.func(args)
    printed = " ".join(logged().split())
    assert ended.value.code == 1
    assert wrong in printed
    is_well, text = BcdaHook().test_connection()
    assert not is_well
    assert text.startswith(wrong)
    assert leaks([printed, text, logged()], (CANARY,)) == []


def test_later_tasks_and_the_triggerer_say_the_sentence_too(wrong, logged):
    from bcda.errors import InvalidRequestError
    from bcda_provider.clients import client_of
    from bcda_provider.hooks import BcdaHook
    from bcda_provider.triggers import BcdaJobTrigger

    settings = BcdaHook().settings()
    # What kick_off, wait_for_job and fetch do first.
    with pytest.raises(InvalidRequestError) as caught:
        client_of(settings, "bcda_default")
    assert wrong in str(caught.value)
    assert caught.value.__cause__ is None
    trigger = BcdaJobTrigger(
        bcda_conn_id="bcda_default", api_version="v2", job_id="1", deadline_epoch_seconds=time.time() + 60
    )

    async def first():
        return await anext(aiter(trigger.run()))

    event = asyncio.run(first())
    assert wrong in str(event.payload)
    assert leaks([str(event.payload), logged()], (CANARY,)) == []


def test_exemptions_that_match_nothing_are_a_warning(serve, connect, monkeypatch):
    from bcda_provider.hooks import BcdaHook

    connect(serve())
    monkeypatch.setenv("NO_PROXY", "[::1],http://bcda.test")
    is_well, text = BcdaHook().test_connection()
    assert is_well
    assert "proxy: warning: NO_PROXY has entries that match no host and have no effect: http://bcda.test." in text


def test_the_password_of_a_proxy_is_masked_in_every_form(serve, settings_for, monkeypatch):
    from airflow.sdk._shared.secrets_masker import redact

    from bcda_provider.clients import client_of

    # Not that of the other tests: what is masked stays so for a process.
    monkeypatch.setenv("HTTPS_PROXY", "http://jane:OTHER-canary%23%25@127.0.0.1:9")
    client_of(settings_for(serve()), "bcda_default")
    for text in ("OTHER-canary#%", "OTHER-canary%23%25", "amFuZTpPVEhFUi1jYW5hcnkjJQ=="):
        assert redact(f"a proxy said {text} once") == "a proxy said *** once"
