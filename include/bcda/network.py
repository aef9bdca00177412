"""How requests leave this machine: one proxy rule and one trust store for every request of the product.

The environment names both. Values are read here and nowhere else, because the HTTP libraries disagree on the rules, raise
errors of their own on a malformed value, and send plain http to loopback through a proxy, credentials included.
"""

import base64
import ipaddress
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import certifi

from bcda.errors import BcdaError, InvalidRequestError, ProxyRefusedError, ServerError, UntrustedServerError
from bcda.settings import is_loopback

PROXY_VARIABLES = ("HTTPS_PROXY", "ALL_PROXY")
"""The first that is set wins. HTTP_PROXY is not among them: plain http goes to loopback only, which needs no proxy."""

TRUST_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""The first that is set wins."""

VARIABLES = (*PROXY_VARIABLES, "NO_PROXY", *TRUST_VARIABLES)
"""All that are read here."""

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?/?")
_NOT_ENCODED = re.compile(r"[/?#\\\s\x00-\x1f]|%(?![0-9A-Fa-f]{2})")
_EXEMPT_NAME = re.compile(r"(?:\*?\.)?([A-Za-z0-9_-][A-Za-z0-9._-]*)(?::([0-9]{1,5}))?")
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")
_TUNNEL_STATUS = re.compile(r"(?:Tunnel connection failed: |^)([1-5][0-9]{2})\b")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that tunnels TLS (`CONNECT`).

    Attributes:
        variable: where it was read, as it is spelled in the environment.
        scheme: how the proxy itself is reached, `http` or `https`.
        host: name or address; an IPv6 address without brackets.
        port: 1 to 65535.
        username: decoded; empty for none.
        password: decoded; never shown by `repr`.
    """

    variable: str
    scheme: str
    host: str
    port: int
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """Return what a person reads: host, port, and the variable."""
        return f"{self._address} ({self.variable})"

    @property
    def url(self) -> str:
        """Return its URL without credentials."""
        return f"{self.scheme}://{self._address}"

    @property
    def url_with_credentials(self) -> str:
        """Return its URL with percent-encoded credentials, for the requests library, which takes nothing else.

        That library decodes them and sends them as Latin-1. They are encoded so that it sends the bytes of UTF-8, as the client does.
        """
        if not self.username and not self.password:
            return self.url
        credentials = ":".join(
            quote(text.encode().decode("latin-1"), safe="") for text in (self.username, self.password)
        )
        return f"{self.scheme}://{credentials}@{self._address}"

    @property
    def _address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Trust:
    """Which authorities vouch for a server.

    Attributes:
        variable: that names them; empty for those of this machine.
        path: PEM file, or folder of PEM files under their hashes.
        is_folder: which of the two.
    """

    variable: str
    path: str
    is_folder: bool

    def context(self) -> ssl.SSLContext:
        """Return a TLS context for a client. It is made once for each path in a process: that takes 36 ms."""
        return _context(self.path, self.is_folder)


@dataclass(frozen=True, slots=True)
class Network:
    """How requests to one server leave this machine.

    Attributes:
        proxy: that they go through, or None.
        trust: what the server's certificate is checked against, and that of a proxy that speaks TLS.
    """

    proxy: Proxy | None
    trust: Trust

    @classmethod
    def to(cls, url: str, environment: Mapping[str, str] = os.environ) -> "Network":
        """Return the way to a server.

        Args:
            url: of the server.
            environment: variables; names in lower case go before those in upper case.

        Raises:
            InvalidRequestError: a variable that counts cannot be used; names it, and never shows a password.
        """
        return cls(proxy_to(url, environment), trust_of(environment))


def proxy_to(url: str, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """Return the proxy for requests to a server; None for loopback, plain http, and what NO_PROXY lists.

    Args:
        url: of the server.
        environment: variables; names in lower case go before those in upper case.

    Raises:
        InvalidRequestError: the variable that names the proxy cannot be used.
    """
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    if parts.scheme != "https" or is_loopback(host) or _is_exempt(host, port, environment):
        return None
    for name in PROXY_VARIABLES:
        variable, text = _lookup(name, environment)
        if text:
            return _parse(variable, text)
    return None


def trust_of(environment: Mapping[str, str] = os.environ) -> Trust:
    """Return the trust store: what the first variable of `TRUST_VARIABLES` names, else that of this machine.

    Raises:
        InvalidRequestError: nothing there can be used.
    """
    for variable in TRUST_VARIABLES:
        path = environment.get(variable, "").strip()
        if path:
            return _named(variable, path)
    machine = ssl.get_default_verify_paths()
    if Path(machine.openssl_cafile).is_file():
        return Trust("", machine.openssl_cafile, is_folder=False)
    if _has_hashed_names(Path(machine.openssl_capath)):
        return Trust("", machine.openssl_capath, is_folder=True)
    return Trust("", certifi.where(), is_folder=False)


def unreadable_exemptions(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the entries of NO_PROXY that can match no host, such as a URL; without credentials. They have no effect."""
    unreadable = (entry for entry in _exemptions(environment) if entry != "*" and _exemption(entry) is None)
    return [entry.rpartition("@")[2] for entry in unreadable]


def proxy_passwords(environment: Mapping[str, str] = os.environ) -> set[str]:
    """Return every form in which a proxy's password can turn up in a log: as written, decoded, encoded, and in a header.

    Reads all proxy variables, also those that the product does not use and those that cannot be parsed.
    """
    found: set[str] = set()
    for variable, text in environment.items():
        if variable.upper() not in {*PROXY_VARIABLES, "HTTP_PROXY"} or "@" not in text:
            continue
        credentials = text.rpartition("@")[0].partition("://")[2] or text.rpartition("@")[0]
        username, _, password = credentials.partition(":")
        # Some proxies take a token as the user name, without a password.
        secret = password or username
        pair = f"{unquote(username)}:{unquote(password)}".encode()
        found |= {secret, unquote(secret), quote(unquote(secret), safe=""), base64.b64encode(pair).decode()}
    return found - {""}


def through(proxy: Proxy | None) -> str:
    """Return the words that name a proxy in a message, with a blank before them; nothing without one."""
    return f" through the proxy {proxy.name}" if proxy else ""


def tunnel_status(error: BaseException) -> int | None:
    """Return the HTTP status with which a proxy refused a tunnel, from the text that the HTTP library makes of it."""
    found = _TUNNEL_STATUS.search(str(error))
    return int(found.group(1)) if found else None


def tunnel_error(proxy: Proxy, status: int, *, base_url: str, what: str) -> BcdaError:
    """Return the error that a proxy's answer to CONNECT means.

    Args:
        proxy: that answered.
        status: of the answer, not a success.
        base_url: of the server that was wanted.
        what: what was being done, for the message.
    """
    if status == 407:  # noqa: PLR2004
        return ProxyRefusedError(
            f"{what}: the proxy {proxy.name} answered 407: it does not accept the user name and password. Correct them in "
            f"{proxy.variable}, percent-encoded.",
            status=status,
        )
    if status >= 500:  # noqa: PLR2004
        return ServerError(
            f"{what}: the proxy {proxy.name} answered {status}: it cannot reach {base_url} now. If this persists, check the proxy; "
            "in production, check that BCDA's allow list has the address from which the proxy connects.",
            status=status,
        )
    return ProxyRefusedError(
        f"{what}: the proxy {proxy.name} answered {status}: it does not let requests to {base_url} pass. Ask its administrator to "
        "allow CONNECT to that host, or list the host in NO_PROXY.",
        status=status,
    )


def untrusted(problem: ssl.SSLCertVerificationError, network: Network, *, base_url: str) -> UntrustedServerError:
    """Return the error of a certificate that is not trusted.

    Args:
        problem: what the TLS library says.
        network: that the request took.
        base_url: of the server.
    """
    source = network.trust.variable or "this machine's trust store"
    proxy = network.proxy
    relation = "or of" if proxy and proxy.scheme == "https" else "behind"
    through = f" {relation} the proxy {proxy.name}" if proxy else ""
    return UntrustedServerError(
        f"The certificate of {base_url}{through} is not trusted by {source}: {problem.verify_message}. If a proxy opens TLS, "
        "point SSL_CERT_FILE to a PEM file with its authority. Otherwise this may not be BCDA; do not go on."
    )


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Walk from an error to what it came from: causes, contexts, members of groups, and errors held as arguments."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = current.exceptions if isinstance(current, BaseExceptionGroup) else ()
        # The requests library keeps the cause in the arguments, urllib3 in `reason`.
        held = [item for item in (*current.args, getattr(current, "reason", None)) if isinstance(item, BaseException)]
        waiting += [*inner, *held, current.__cause__ or current.__context__]


def _lookup(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return a variable's spelling and value; lower case wins, and may be empty to switch the other off."""
    variable = name.lower() if name.lower() in environment else name
    return variable, environment.get(variable, "").strip()


def _parse(variable: str, text: str) -> Proxy:
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    scheme = scheme.lower()
    if scheme.startswith("socks"):
        raise InvalidRequestError(
            f"{variable} names a SOCKS proxy, which is not supported. Name an HTTP proxy, such as http://proxy.example.org:3128."
        )
    if scheme not in _DEFAULT_PORTS:
        # The value can hold a password, so no part of it is shown.
        raise InvalidRequestError(
            f"{variable} must begin with http:// or https://, such as http://proxy.example.org:3128. Its value is not shown."
        )
    credentials, _, address = rest.rpartition("@")
    if _NOT_ENCODED.search(credentials):
        raise InvalidRequestError(
            f"{variable} has a user name or password with special characters. Percent-encode them: # as %23, % as %25, / as %2F, "
            "? as %3F. Its value is not shown."
        )
    found = _HOST_AND_PORT.fullmatch(address)
    host, port = (found.group(1), int(found.group(2) or _DEFAULT_PORTS[scheme])) if found else ("", 0)
    if not host or not 0 < port < 65536 or (host.startswith("[") and _address(host) is None):  # noqa: PLR2004
        raise InvalidRequestError(
            f"{variable} is not the address of a proxy. Use a form such as http://proxy.example.org:3128. Its value is not shown."
        )
    username, _, password = credentials.partition(":")
    return Proxy(variable, scheme, host.strip("[]"), port, unquote(username), unquote(password))


def _exemptions(environment: Mapping[str, str]) -> list[str]:
    return [entry for entry in re.split(r"[,\s]+", _lookup("NO_PROXY", environment)[1]) if entry]


def _is_exempt(host: str, port: int, environment: Mapping[str, str]) -> bool:
    address = _address(host)
    for entry in _exemptions(environment):
        if entry == "*":
            return True
        wanted = _exemption(entry)
        if wanted is None:
            continue
        name, only_port = wanted
        if only_port not in {None, port}:
            continue
        if isinstance(name, str):
            if host == name or host.endswith(f".{name}"):
                return True
        elif address is not None and address in name:
            return True
    return False


def _exemption(entry: str) -> tuple[str | ipaddress.IPv4Network | ipaddress.IPv6Network, int | None] | None:
    """Return the host name or network of an entry, and its port if it names one; None when it cannot be read."""
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::([0-9]{1,5}))?", entry)
    text, port = bracketed.groups() if bracketed else (entry, None)
    try:
        return ipaddress.ip_network(text, strict=False), int(port) if port else None
    except ValueError:
        found = None if bracketed else _EXEMPT_NAME.fullmatch(entry)
    if found is None:
        return None
    name, port = found.groups()
    address = _address(name)
    return (ipaddress.ip_network(address) if address else name.lower().rstrip(".")), int(port) if port else None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _named(variable: str, text: str) -> Trust:
    path = Path(text)
    wants_folder = variable == "SSL_CERT_DIR"
    try:
        is_folder = path.is_dir()
        if not is_folder and not path.exists():
            raise _unusable(variable, text, "does not exist")
        if is_folder != wants_folder and variable.startswith("SSL_"):
            raise _unusable(variable, text, "is a folder" if is_folder else "is not a folder")
        if is_folder:
            if not _has_hashed_names(path):
                raise _unusable(variable, text, "has no certificates under their hashes; run `openssl rehash` on it")
        elif not _context(text, False).cert_store_stats()["x509"]:
            raise _unusable(variable, text, "has no certificates")
    except ssl.SSLError:
        raise _unusable(variable, text, "is not a PEM file with certificates") from None
    except OSError as error:
        raise _unusable(variable, text, f"cannot be read ({error.strerror})") from None
    return Trust(variable, text, is_folder)


def _unusable(variable: str, path: str, why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{variable} names {path}, which {why}. Name {'a folder' if variable == 'SSL_CERT_DIR' else 'a PEM file'} with the "
        "certificates of the authorities to trust, or unset the variable."
    )


def _has_hashed_names(folder: Path) -> bool:
    return folder.is_dir() and any(_HASHED_NAME.fullmatch(entry.name) for entry in folder.iterdir())


@lru_cache(maxsize=8)
def _context(path: str, is_folder: bool) -> ssl.SSLContext:
    return ssl.create_default_context(capath=path) if is_folder else ssl.create_default_context(cafile=path)
