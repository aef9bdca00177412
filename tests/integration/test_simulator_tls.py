"""The simulator on another machine: it speaks TLS, and a client trusts it through SSL_CERT_FILE as in the sandbox."""

import ssl
import stat

import pytest
from plain_export import run_export

from bcda.errors import UntrustedServerError
from bcda_simulator.certificate import make_certificate


@pytest.fixture
def certificate(tmp_path):
    return make_certificate(tmp_path, "localhost")


def test_an_export_over_tls(serve, settings_for, places, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
    server = serve(host="localhost", certificate=certificate)
    assert server.base_url.startswith("https://localhost:")
    assert run_export(settings_for(server), places).run_id


def test_a_client_that_does_not_trust_it_sends_nothing(serve, settings_for, places, certificate):
    server = serve(host="localhost", certificate=certificate)
    with pytest.raises(UntrustedServerError, match=r"certificate of https://localhost:.* is not trusted by"):
        run_export(settings_for(server), places)
    assert server.requests == []


def test_the_key_is_its_owners_and_the_certificate_names_the_host(certificate):
    assert stat.S_IMODE(certificate.key.stat().st_mode) == 0o600
    assert certificate.key.read_bytes() not in certificate.certificate.read_bytes()
    context = ssl.create_default_context(cafile=str(certificate.certificate))
    assert context.get_ca_certs()[0]["subjectAltName"] == (("DNS", "localhost"),)
