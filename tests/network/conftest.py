"""Proxies and authorities for the tests; without Squid they are skipped, in CI they fail."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from squid import NAME, Squid, is_installed, reverse_squid, squid

from bcda_simulator import SimulatorServer
from bcda_simulator.certificate import Certificate, make_certificate

# Before the first import of Airflow, so that no test reads the home of whoever tests.
_HOME = tempfile.TemporaryDirectory(prefix="bcda-airflow-", ignore_cleanup_errors=True)
os.environ.setdefault("AIRFLOW_HOME", _HOME.name)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the machine of whoever tests says of proxies and certificates."""
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name in {
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
        }:
            monkeypatch.delenv(name)


@pytest.fixture
def run_squid() -> Iterator[Callable[..., Squid]]:
    """Start proxies that are stopped at the end of the test."""
    with _stack() as stack:
        yield lambda **options: stack.enter_context(squid(**options))


@pytest.fixture
def run_reverse_squid() -> Iterator[Callable[[str], Squid]]:
    """Start proxies in front of a server, which are stopped at the end of the test."""
    with _stack() as stack:
        yield lambda base_url: stack.enter_context(reverse_squid(base_url))


def _stack() -> ExitStack:
    if not is_installed():
        assert not os.environ.get("CI"), "install Debian's package squid-openssl"
        pytest.skip("no Squid with TLS; install Debian's package squid-openssl")
    return ExitStack()


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """BCDA's certificate, which vouches for itself."""
    return make_certificate(tmp_path, NAME)


@pytest.fixture
def bcda(serve: Callable[..., SimulatorServer], certificate: Certificate) -> SimulatorServer:
    """BCDA with TLS, under a name that only the proxy knows."""
    return serve(host="127.0.0.1", certificate=certificate)
