"""Every request of the product through a real proxy, and one sentence for each way in which that fails.

Squid wants a user name and a password with `#`, `%`, `/` and `@`. Only it knows the name of the server.
"""

import asyncio
import base64
import logging
import socket
import struct
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from canaries import leaks, texts_of, texts_of_records
from plain_export import run_export
from squid import NAME, PASSWORD, USER, free_port

from bcda import doctor
from bcda.api.client import BcdaClient
from bcda.doctor import Status
from bcda.errors import BcdaError, ProxyRefusedError, ServerError, UntrustedServerError
from bcda.storage.places import Places
from bcda_simulator.certificate import make_certificate

CANARIES = (PASSWORD, quote(PASSWORD, safe=""), base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(), "CANARY")
VARIABLE = "HTTPS_PROXY"


@pytest.fixture
def settings(bcda, settings_for):
    """BCDA under the name that only the proxy knows."""
    return settings_for(bcda, base_url=bcda.base_url.replace("127.0.0.1", NAME))


@pytest.fixture
def trusting(monkeypatch, certificate):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))


def of_client(settings):
    """Ask as the tasks do that carry the token."""

    async def ask():
        async with BcdaClient(settings) as client:
            await client.welcome()

    asyncio.run(ask())


def of_hook(settings):
    """Ask as `plan` does first, with the http provider."""
    from bcda_provider.hooks import BcdaHook

    BcdaHook().check_open_endpoints(settings)


ASKING = pytest.mark.parametrize("ask", [of_client, of_hook], ids=["client", "http-provider"])


def refusal(ask, settings, kind, *said):
    """Return the message of the error; it names the proxy, and nothing that comes with it holds the password."""
    with pytest.raises(kind) as caught:
        ask(settings)
    for text in said:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert leaks(texts_of(caught.value), CANARIES) == []
    return str(caught.value)


def examined(settings, name):
    """Return what the doctor says of one check, the first that failed."""
    checks = doctor.check_connection(settings, clock=lambda: datetime.now(UTC))
    assert leaks([doctor.table(checks), doctor.in_short(checks)], CANARIES) == []
    failed = [check for check in checks if check.status is Status.FAILED]
    assert failed[0].name == name, doctor.table(checks)
    return failed[0].text


@pytest.fixture(autouse=True)
def nothing_leaks(caplog):
    """No log of any level holds the password."""
    with caplog.at_level(logging.DEBUG):
        yield
    assert leaks(texts_of_records(caplog.records), CANARIES) == []


# A proxy that passes TLS through


def test_an_export_goes_through_the_proxy_as_tunnels_only(run_squid, bcda, settings, places, trusting, monkeypatch):
    proxy = run_squid()
    monkeypatch.setenv(VARIABLE, proxy.url)
    of_hook(settings)
    assert run_export(settings, places).run_id
    asked = proxy.log.splitlines()
    wanted = f"CONNECT {settings.base_url.removeprefix('https://')} 200"
    assert len(asked) == len(bcda.requests) > 10
    assert set(asked) == {wanted}
    checks = doctor.check_connection(settings, clock=lambda: datetime.now(UTC))
    assert not doctor.has_failed(checks), doctor.table(checks)
    assert checks[0].text == f"Requests go through the proxy 127.0.0.1:{proxy.port} (HTTPS_PROXY)."
    assert checks[2].text == f"{NAME} is resolved by the proxy 127.0.0.1:{proxy.port} (HTTPS_PROXY)."


@ASKING
@pytest.mark.parametrize("password", ["CANARY-wrong", ""], ids=["wrong", "none"])
def test_a_proxy_that_refuses_the_password(run_squid, bcda, settings, trusting, monkeypatch, ask, password):
    proxy = run_squid()
    monkeypatch.setenv(VARIABLE, proxy.url_with(password) if password else f"http://127.0.0.1:{proxy.port}")
    said = (f"the proxy 127.0.0.1:{proxy.port} (HTTPS_PROXY) answered 407", "Correct them in HTTPS_PROXY")
    refusal(ask, settings, ProxyRefusedError, *said)
    assert said[0] in examined(settings, "connection")
    assert bcda.requests == []


@ASKING
def test_a_proxy_that_refuses_the_way(run_squid, bcda, settings, trusting, monkeypatch, ask):
    proxy = run_squid(denies=True)
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    said = f"the proxy 127.0.0.1:{proxy.port} (ALL_PROXY) answered 403: it does not let requests to {settings.base_url} pass."
    refusal(ask, settings, ProxyRefusedError, said)
    assert said in examined(settings, "connection")
    assert bcda.requests == []


@ASKING
def test_a_proxy_that_cannot_reach_the_server(run_squid, settings_for, bcda, trusting, monkeypatch, ask):
    proxy = run_squid()
    monkeypatch.setenv("https_proxy", proxy.url)
    settings = settings_for(bcda, base_url=f"https://{NAME}:{free_port()}")
    said = f"the proxy 127.0.0.1:{proxy.port} (https_proxy) answered 503: it cannot reach {settings.base_url} now"
    refusal(ask, settings, ServerError, said, "BCDA's allow list has the address from which the proxy connects")
    assert said in examined(settings, "connection")


@ASKING
def test_a_proxy_that_does_not_listen(settings, trusting, monkeypatch, ask):
    port = free_port()
    monkeypatch.setenv(VARIABLE, f"http://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}")
    refusal(ask, settings, ServerError, f"through the proxy 127.0.0.1:{port} (HTTPS_PROXY)")
    assert f"Nobody listens on the proxy 127.0.0.1:{port} (HTTPS_PROXY)" in examined(settings, "connection")


@ASKING
def test_a_proxy_whose_name_nobody_knows(settings, trusting, monkeypatch, ask):
    monkeypatch.setenv(VARIABLE, f"http://{USER}:{quote(PASSWORD, safe='')}@proxy.invalid:3128")
    refusal(ask, settings, ServerError, "through the proxy proxy.invalid:3128 (HTTPS_PROXY)")
    assert "No connection to the proxy proxy.invalid:3128 (HTTPS_PROXY)" in examined(settings, "connection")


@contextmanager
def listener(answer):
    """Something that takes connections and answers whatever comes with some bytes; with none it resets the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)
                    if not answer:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@ASKING
@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n"], ids=["resets", "no-proxy"])
def test_something_that_is_no_proxy(settings, trusting, monkeypatch, ask, answer):
    with listener(answer) as port:
        monkeypatch.setenv(VARIABLE, f"http://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}")
        refusal(ask, settings, ServerError, f"through the proxy 127.0.0.1:{port} (HTTPS_PROXY)")
        assert f"127.0.0.1:{port} (HTTPS_PROXY)" in examined(settings, "health")


@ASKING
def test_a_proxy_that_is_not_reached_over_tls(run_squid, settings, trusting, monkeypatch, ask):
    proxy = run_squid()
    monkeypatch.setenv(VARIABLE, proxy.url.replace("http:", "https:"))
    refusal(ask, settings, ServerError, f"through the proxy 127.0.0.1:{proxy.port} (HTTPS_PROXY)")
    assert "begin the value of HTTPS_PROXY with http://" in examined(settings, "TLS")


# A proxy that opens TLS


@pytest.fixture
def authority(tmp_path):
    """The proxy's own authority: its certificate, and a file with certificate and key."""
    folder = tmp_path / "authority"
    folder.mkdir()
    made = make_certificate(folder, "proxy.test")
    both = folder / "both.pem"
    both.write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    both.chmod(0o644)
    return made.certificate, both


@ASKING
def test_a_proxy_that_opens_tls_is_not_taken_for_bcda(
    run_squid, bcda, settings, trusting, certificate, authority, monkeypatch, ask
):
    proxy = run_squid(opens_tls_with=authority[1], trusts=certificate.certificate)
    monkeypatch.setenv(VARIABLE, proxy.url)
    said = f"The certificate of {settings.base_url} behind the proxy 127.0.0.1:{proxy.port} (HTTPS_PROXY) is not trusted by SSL_CERT_FILE"
    refusal(ask, settings, UntrustedServerError, said, "point SSL_CERT_FILE to a PEM file with its authority")
    assert said in examined(settings, "TLS")
    assert bcda.requests == []


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_one_setting_is_enough_for_a_proxy_that_opens_tls(
    run_squid, bcda, settings, places, certificate, authority, monkeypatch, variable
):
    proxy = run_squid(opens_tls_with=authority[1], trusts=certificate.certificate)
    monkeypatch.setenv(VARIABLE, proxy.url)
    monkeypatch.setenv(variable, str(authority[0]))
    of_hook(settings)
    assert run_export(settings, places).run_id
    checks = doctor.check_connection(settings, clock=lambda: datetime.now(UTC))
    assert not doctor.has_failed(checks), doctor.table(checks)
    assert f"GET {settings.base_url}/_health 200" in proxy.log


# No proxy


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"])
def test_loopback_never_meets_a_proxy(run_squid, serve, settings_for, places, monkeypatch, variable):
    proxy = run_squid()
    monkeypatch.setenv(variable, proxy.url)
    server = serve()
    settings = settings_for(server)
    of_hook(settings)
    assert run_export(settings, places).run_id
    checks = doctor.check_connection(settings, clock=lambda: datetime.now(UTC))
    assert (checks[0].text, doctor.has_failed(checks)) == ("None is used.", False)
    assert proxy.log == ""


@ASKING
@pytest.mark.parametrize("exempt", ["127.0.0.0/8", "*", NAME])
def test_what_no_proxy_lists_is_reached_directly(run_squid, bcda, settings_for, trusting, monkeypatch, ask, exempt):
    proxy = run_squid()
    monkeypatch.setenv(VARIABLE, proxy.url)
    monkeypatch.setenv("NO_PROXY", exempt)
    settings = settings_for(bcda, base_url=bcda.base_url.replace("127.0.0.1", NAME))
    # Nobody but the proxy knows the name, so that going straight to it fails; `127.0.0.0/8` lists addresses, not names.
    if exempt == "127.0.0.0/8":
        ask(settings)
        return
    with pytest.raises(BcdaError):
        ask(settings)
    assert "CONNECT" not in proxy.log


# Object storage


def test_object_storage_goes_through_the_same_proxy_with_the_same_trust(run_squid, certificate, monkeypatch, tmp_path):
    from werkzeug.serving import make_server

    moto = pytest.importorskip("moto.server")
    application = moto.DomainDispatcherApplication(moto.create_backend_app)
    server = make_server(
        "127.0.0.1", 0, application, threaded=True, ssl_context=(str(certificate.certificate), str(certificate.key))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        from bcda.storage.object_store import ObjectStore
        from bcda.storage.store_address import StoreAddress

        proxy = run_squid()
        monkeypatch.setenv(VARIABLE, proxy.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
        text = (
            f"s3://claims/x?region=us-east-1&endpoint_override={NAME}:{server.port}&connect_timeout=5&request_timeout=5"
        )
        with pytest.raises(BcdaError, match="There is no bucket for s3://claims"):
            ObjectStore(StoreAddress.from_text(text)).read("nothing")
        assert f"CONNECT {NAME}:{server.port} 200" in proxy.log
        monkeypatch.setenv(VARIABLE, f"socks5://{USER}:{PASSWORD}@127.0.0.1:1")
        places = replace(Places.below(tmp_path / "home"), store=StoreAddress.from_text(text.replace("/x?", "/y?")))
        found = {check.name: check.text for check in doctor.check_storage(places)}
        assert found["object store"].startswith("HTTPS_PROXY names a SOCKS proxy, which is not supported.")
    finally:
        server.shutdown()
