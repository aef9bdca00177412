"""The one proxy rule and the one trust store: which variable counts, and a sentence for each that cannot be used."""

import base64
import ssl
from urllib.parse import quote

import pytest
from requests.adapters import HTTPAdapter

from bcda import network
from bcda.errors import InvalidRequestError, ProxyRefusedError, ServerError
from bcda.network import Network, Proxy, proxy_passwords, proxy_to, trust_of, unreadable_exemptions
from bcda_simulator.certificate import make_certificate

BCDA = "https://api.bcda.cms.gov"
PROXY = "http://proxy.example.org:3128"
SECRET = "CANARY-pass"


def parsed(text, variable="HTTPS_PROXY"):
    proxy = proxy_to(BCDA, {variable: text})
    return (proxy.scheme, proxy.host, proxy.port, proxy.username, proxy.password)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (PROXY, ("http", "proxy.example.org", 3128, "", "")),
        ("proxy.example.org:3128", ("http", "proxy.example.org", 3128, "", "")),
        ("  HTTP://proxy.example.org:3128/  ", ("http", "proxy.example.org", 3128, "", "")),
        ("http://proxy.example.org", ("http", "proxy.example.org", 80, "", "")),
        ("https://proxy.example.org", ("https", "proxy.example.org", 443, "", "")),
        ("http://[::1]:3128", ("http", "::1", 3128, "", "")),
        ("http://jane:a%23b%25c%40@10.0.0.1:3128", ("http", "10.0.0.1", 3128, "jane", "a#b%c@")),
        ("jane:p@ss@proxy:3128", ("http", "proxy", 3128, "jane", "p@ss")),
        ("http://token@proxy:3128", ("http", "proxy", 3128, "token", "")),
    ],
)
def test_a_proxys_address(text, found):
    assert parsed(text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"http://jane:{SECRET}#1@proxy:3128", "# as %23"),
        (f"http://jane:{SECRET}%1@proxy:3128", "% as %25"),
        (f"http://jane:{SECRET}%@proxy:3128", "% as %25"),
        (f"http://jane:{SECRET}/1@proxy:3128", "/ as %2F"),
        (f"http://jane:{SECRET}?1@proxy:3128", "? as %3F"),
        (f"http://jane:{SECRET} 1@proxy:3128", "special characters"),
        (f"socks5://jane:{SECRET}@proxy:1080", "SOCKS proxy, which is not supported. Name an HTTP proxy"),
        ("socks5h://proxy:1080", "SOCKS proxy"),
        (f"htp://jane:{SECRET}@proxy:3128", "must begin with http:// or https://"),
        (f"http:/jane:{SECRET}@proxy:3128", "special characters"),
        (f"http://jane:{SECRET}@proxy:31x8", "not the address of a proxy"),
        ("http://proxy:0", "not the address of a proxy"),
        ("http://proxy:65536", "not the address of a proxy"),
        ("http://proxy:3128/path", "not the address of a proxy"),
        ("http://[::x]:3128", "not the address of a proxy"),
        ("http://", "not the address of a proxy"),
        (f"http://jane:{SECRET}@", "not the address of a proxy"),
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
def test_an_address_that_cannot_be_used_is_one_sentence_with_the_variable_and_without_the_secret(text, said, variable):
    with pytest.raises(InvalidRequestError) as caught:
        proxy_to(BCDA, {variable: text})
    message = str(caught.value)
    assert message.startswith(f"{variable} ")
    assert said in message
    assert SECRET not in message
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({"HTTPS_PROXY": PROXY}, "HTTPS_PROXY"),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other"}, "https_proxy"),
        ({"ALL_PROXY": PROXY}, "ALL_PROXY"),
        ({"ALL_PROXY": "http://other", "HTTPS_PROXY": PROXY}, "HTTPS_PROXY"),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, None),
        ({"https_proxy": "", "HTTPS_PROXY": "http://other", "all_proxy": PROXY}, "all_proxy"),
        ({"HTTP_PROXY": "socks5://nonsense:1"}, None),
        ({}, None),
    ],
)
def test_which_variable_wins(environment, variable):
    proxy = proxy_to(BCDA, environment)
    assert (proxy.variable if proxy else None) == variable
    assert proxy is None or proxy.host == "proxy.example.org"


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8888",
        "http://127.0.0.1:8888",
        "http://[::1]:8888",
        "https://localhost:8888",
        "https://127.8.0.1",
        "https://[::1]",
    ],
)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_loopback_never_uses_a_proxy_whatever_is_set(url, variable):
    assert proxy_to(url, {variable: PROXY}) is None
    assert proxy_to(url, {variable: "socks5://nonsense"}) is None


@pytest.mark.parametrize(
    ("url", "exemptions", "is_exempt"),
    [
        (BCDA, "*", True),
        (BCDA, "a.example.org, *", True),
        (BCDA, "api.bcda.cms.gov", True),
        (BCDA, "API.BCDA.CMS.GOV", True),
        (BCDA, "cms.gov", True),
        (BCDA, ".cms.gov", True),
        (BCDA, "*.cms.gov", True),
        (BCDA, "a.example.org cms.gov", True),
        (BCDA, "api.bcda.cms.gov:443", True),
        (BCDA, "api.bcda.cms.gov:8443", False),
        (BCDA, "s.gov", False),
        (BCDA, "[::1]", False),
        (BCDA, "10.0.0.0/8,::1,<local>,http://api.bcda.cms.gov", False),
        (BCDA, "", False),
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://10.1.2.3", "10.1.2.3", True),
        ("https://10.1.2.3:8443", "10.1.2.3:8443", True),
        ("https://11.1.2.3", "10.0.0.0/8", False),
        ("https://[fd00::1]", "[fd00::1]", True),
        ("https://[fd00::1]", "fd00::1", True),
        ("https://[fd00::1]", "fd00::/8", True),
        ("https://[fd00::1]", "[fd00::1]:8443", False),
    ],
)
def test_no_proxy(url, exemptions, is_exempt):
    for variable in ("NO_PROXY", "no_proxy"):
        assert (proxy_to(url, {"HTTPS_PROXY": PROXY, variable: exemptions}) is None) is is_exempt


def test_entries_that_match_nothing_are_known_by_name():
    environment = {"NO_PROXY": "[::1], *, 10.0.0.0/99, http://api.example.org, .example.org, <local>, [::1, 10.*"}
    assert unreadable_exemptions(environment) == ["10.0.0.0/99", "http://api.example.org", "<local>", "[::1", "10.*"]
    pasted = f"http://jane:{SECRET}@proxy:3128,jane:{SECRET}@x"
    assert unreadable_exemptions({"NO_PROXY": pasted}) == ["proxy:3128", "x"]


def test_every_form_of_a_password_is_known_also_of_what_cannot_be_parsed():
    environment = {
        "https_proxy": "http://jane:se%23cret@proxy:3128",
        "HTTP_PROXY": "jane:raw#pass@proxy",
        "ALL_PROXY": "socks5://only-a-token@proxy",
        "PATH": "http://jane:other@proxy",
    }
    found = proxy_passwords(environment)
    assert {"se%23cret", "se#cret", "raw#pass", "raw%23pass", "only-a-token", "amFuZTpzZSNjcmV0"} <= found
    assert not any("other" in text for text in found)
    assert proxy_passwords({"HTTPS_PROXY": PROXY}) == set()


def test_no_secret_is_shown():
    proxy = proxy_to(BCDA, {"HTTPS_PROXY": f"http://jane:{SECRET}@proxy:3128"})
    for text in (repr(proxy), str(proxy), proxy.name, proxy.url):
        assert SECRET not in text
        assert "jane" not in text
    assert proxy.url_with_credentials == f"http://jane:{SECRET}@proxy:3128"


# The trust store


@pytest.fixture
def authority(tmp_path):
    return make_certificate(tmp_path, "bcda.test").certificate


@pytest.mark.parametrize("variable", network.TRUST_VARIABLES)
def test_a_trust_store_that_cannot_be_used_is_one_sentence_with_the_variable(tmp_path, variable):
    empty, text, key = tmp_path / "empty.pem", tmp_path / "text.pem", make_certificate(tmp_path, "x").key
    empty.touch()
    text.write_text("no certificate")
    folder = tmp_path / "folder"
    folder.mkdir()
    cases = {tmp_path / "missing.pem": "does not exist", folder: "has no certificates under their hashes"}
    if variable == "SSL_CERT_DIR":
        cases[text] = "is not a folder"
    else:
        cases |= dict.fromkeys((empty, text, key), "is not a PEM file with certificates")
    if variable == "SSL_CERT_FILE":
        cases[folder] = "is a folder"
    for path, said in cases.items():
        with pytest.raises(InvalidRequestError) as caught:
            trust_of({variable: str(path)})
        assert str(caught.value).startswith(f"{variable} names {path}, which {said}")
        assert "or unset the variable." in str(caught.value)


def test_a_file_that_may_not_be_read_is_said(authority, monkeypatch):
    # Tests can run as root, whom no mode keeps out.
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ssl, "create_default_context", refuse)
    with pytest.raises(InvalidRequestError, match=r"^SSL_CERT_FILE names .* cannot be read \(Permission denied\)"):
        trust_of({"SSL_CERT_FILE": str(authority)})


def test_which_trust_store_wins(authority, tmp_path):
    folder = tmp_path / "hashed"
    folder.mkdir()
    (folder / "0a1b2c3d.0").write_bytes(authority.read_bytes())
    environment = {"CURL_CA_BUNDLE": str(authority), "REQUESTS_CA_BUNDLE": str(folder)}
    assert (trust_of(environment).variable, trust_of(environment).is_folder) == ("REQUESTS_CA_BUNDLE", True)
    environment |= {"SSL_CERT_DIR": str(folder)}
    assert (trust_of(environment).variable, trust_of(environment).is_folder) == ("SSL_CERT_DIR", True)
    environment |= {"SSL_CERT_FILE": str(authority)}
    assert (trust_of(environment).variable, trust_of(environment).path) == ("SSL_CERT_FILE", str(authority))
    # It replaces what the machine trusts.
    assert trust_of(environment).context().cert_store_stats()["x509"] == 1
    assert trust_of({**environment, "SSL_CERT_FILE": ""}).variable == "SSL_CERT_DIR"


def test_without_a_variable_the_machine_is_asked(tmp_path, monkeypatch):
    usual = ssl.get_default_verify_paths()
    nowhere = usual._replace(openssl_cafile=str(tmp_path / "none"), openssl_capath=str(tmp_path / "none"))
    assert trust_of({}).variable == ""
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)
    assert trust_of({}).context().cert_store_stats()["x509_ca"] > 100


# A proxy's answers


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (407, ProxyRefusedError, "does not accept the user name and password. Correct them in HTTPS_PROXY"),
        (403, ProxyRefusedError, "does not let requests to https://api.bcda.cms.gov pass"),
        (502, ServerError, "cannot reach https://api.bcda.cms.gov now"),
        (503, ServerError, "BCDA's allow list has the address from which the proxy connects"),
    ],
)
def test_what_a_proxys_answer_means(status, kind, said):
    proxy = Proxy("HTTPS_PROXY", "http", "proxy.example.org", 3128, "jane", SECRET)
    error = network.tunnel_error(proxy, status, base_url=BCDA, what="Kick-off")
    assert type(error) is kind
    assert str(error).startswith(f"Kick-off: the proxy proxy.example.org:3128 (HTTPS_PROXY) answered {status}: ")
    assert said in str(error)
    assert SECRET not in str(error)


def test_the_way_to_a_server_holds_both(authority):
    way = Network.to(BCDA, {"HTTPS_PROXY": PROXY, "SSL_CERT_FILE": str(authority)})
    assert (way.proxy.url, way.trust.path) == (PROXY, str(authority))


@pytest.mark.parametrize("password", ["open-sesame", "a#b%c@/ d", "pässword", "5€"])
def test_both_http_libraries_send_a_proxy_the_same_credentials(password):
    proxy = proxy_to(BCDA, {"HTTPS_PROXY": f"http://jane:{quote(password, safe='')}@proxy.example.org:3128"})
    sent = HTTPAdapter().proxy_headers(proxy.url_with_credentials)["Proxy-Authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent) == f"jane:{password}".encode()
    assert sent in proxy_passwords({"HTTPS_PROXY": f"http://jane:{quote(password, safe='')}@proxy.example.org:3128"})
