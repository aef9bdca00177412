"""A run behind a real proxy that keeps its connections to BCDA and shares them (docs/bcda.md#connections)."""

import asyncio

import pytest
from plain_export import every_phase

from bcda.api import protocol
from bcda.errors import CredentialsError
from bcda_simulator import Fault, FaultKind

PHASES = ("attribution", "jobs", "kick-off", "status", "data")


@pytest.fixture
def behind(serve, settings_for, run_reverse_squid):
    """A server whose tokens are refused once in every phase, and settings to reach it through the proxy."""
    server = serve()
    for phase in PHASES:
        server.faults.add(Fault(FaultKind.EXPIRE_TOKENS, phase, times=1))
    proxy = run_reverse_squid(server.base_url)
    return server, settings_for(server, base_url=f"http://127.0.0.1:{proxy.port}")


def test_a_run_whose_token_is_refused_in_every_phase_goes_on(behind, places):
    server, settings = behind
    assert asyncio.run(every_phase(settings, places))
    assert all(fault.struck == 1 for fault in server.faults.active)
    # Squid did share: another handler answered some of the requests.
    assert any(not entry.endpoint for entry in server.requests)


def test_a_client_that_does_not_ask_again_blames_the_secret(behind, places, monkeypatch):
    _, settings = behind
    monkeypatch.setattr(protocol, "is_misrouted", lambda *_: False)
    with pytest.raises(CredentialsError, match="secret"):
        asyncio.run(every_phase(settings, places))
