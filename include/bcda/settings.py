"""How to reach BCDA and how hard to try. Frozen values that are handed in; nothing is read on import."""

import ipaddress
import re
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from bcda.errors import InvalidRequestError


class ApiVersion(StrEnum):
    """Version of the API; it is also the first part of every key in the warehouse."""

    V1 = "v1"
    V2 = "v2"
    V3 = "v3"


class AuthMode(StrEnum):
    """How the token endpoint is used: BCDA wants `basic`; `none` is for open test servers."""

    BASIC = "basic"
    NONE = "none"


_TOO_MUCH = 1e9
"""Thirty years in seconds: past that no wait ends and no clock can be set."""

_ADDRESS = re.compile(r"https?://[!-\[\]-~]+", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9._:\-]+")


@dataclass(frozen=True, slots=True)
class Tuning:
    """How hard to try. Every field can be set in the connection's extra under its own name.

    Attributes:
        request_timeout_seconds: bound on one API answer, and on each silence within a download.
        max_attempts: tries of one request before its error is raised.
        backoff_initial_seconds: first wait between tries; doubles, with jitter.
        backoff_max_seconds: longest own wait between tries. A longer Retry-After of the server is honoured, up to a day.
        concurrent_downloads: files fetched at the same time by one batch.
        requests_per_five_minutes: budget of one process. BCDA's edge allows 3,000 per address (wire contract §7),
            token requests included, so processes that run side by side must share it.
        poll_seconds: first wait between two status requests; grows to `poll_max_seconds`.
        poll_max_seconds: longest wait between two status requests.
        job_deadline_seconds: a job that is not done by then is cancelled. Nothing at BCDA ends a stuck job (§9).
        failed_grace_seconds: how long a job may answer 500 before it counts as failed. BCDA repeats a failed
            preparation for about an hour (§9).
        file_attempts: downloads of one file before it counts as damaged at the source.
        list_wait_seconds: wait before asking again when BCDA has no attribution list yet; lists come monthly.
        parallel_jobs: whether jobs of disjoint resource types may run side by side; BCDA allows it (§7).
        shared_system: whether v3 asks for unfinished claims of the shared systems too; GUIDE entities may not (§6.3).
        secret_made_on: day on which the client secret was made, YYYY-MM-DD; secrets end after 90 days (§4). Empty when
            not known.
    """

    request_timeout_seconds: float = 60.0
    max_attempts: int = 6
    backoff_initial_seconds: float = 1.0
    backoff_max_seconds: float = 60.0
    concurrent_downloads: int = 4
    requests_per_five_minutes: int = 2400
    poll_seconds: float = 5.0
    poll_max_seconds: float = 60.0
    job_deadline_seconds: float = 86_400.0
    failed_grace_seconds: float = 4_500.0
    file_attempts: int = 4
    list_wait_seconds: float = 86_400.0
    parallel_jobs: bool = False
    shared_system: bool = True
    secret_made_on: str = ""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InvalidRequestError: a count below one, a duration that is not positive, or a day that is none.
        """
        if self.secret_made_on:
            try:
                date.fromisoformat(self.secret_made_on)
            except (TypeError, ValueError) as error:
                raise InvalidRequestError(
                    "The connection's extra field secret_made_on must be a day such as 2026-11-01."
                ) from error
        for name in self.__slots__:
            value, default = getattr(self, name), Tuning.__dataclass_fields__[name].default
            if isinstance(default, bool | str):
                if type(value) is not type(default):
                    wanted = "true or false" if isinstance(default, bool) else "text"
                    raise InvalidRequestError(f"The connection's extra field {name} must be {wanted}.")
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _TOO_MUCH:
                raise InvalidRequestError(
                    f"The connection's extra field {name} must be a number greater than 0 and not endless."
                )


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """One BCDA server and the credentials for it.

    Attributes:
        base_url: scheme, host and port, without a path; plain http only to a loopback address.
        client_id: client id of the credential set.
        client_secret: its secret; never shown by `repr`.
        api_version: version of the API to export from.
        auth: `basic`, or `none` for an open test server.
        tuning: how hard to try.
    """

    base_url: str
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    api_version: ApiVersion = ApiVersion.V2
    auth: AuthMode = AuthMode.BASIC
    tuning: Tuning = field(default_factory=Tuning)

    def __post_init__(self) -> None:
        """Refuse what could never work or would send a token in the clear.

        Raises:
            InvalidRequestError: the address has no host, carries a path or credentials, or is plain http to a
                host that is not loopback; or the client id or secret is missing for `basic`.
        """
        object.__setattr__(self, "base_url", self.base_url.rstrip("/"))
        parts, host = _parts(self.base_url)
        if parts.username or parts.password or parts.path or parts.query or parts.fragment:
            raise InvalidRequestError(
                "The base URL must hold scheme, host and port only; put credentials into login and password."
            )
        if parts.scheme == "http" and not is_loopback(host):
            raise InvalidRequestError(
                f"The base URL {self.base_url!r} is plain http; use https, tokens must not travel in the clear."
            )
        if self.auth is AuthMode.BASIC and not (self.client_id and self.client_secret):
            raise InvalidRequestError(
                "Client id (login) and client secret (password) are both needed; fill them in on the connection."
            )


def _parts(base_url: str) -> tuple[SplitResult, str]:
    """Return the parts of an address, and its host."""
    try:
        parts = urlsplit(base_url)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host = None
    if not host or not _HOST.fullmatch(host) or not _ADDRESS.fullmatch(base_url):
        # What cannot be read may hold a password, so it is not shown.
        raise InvalidRequestError("The base URL must be scheme and host, such as https://sandbox.bcda.cms.gov.")
    return parts, host


def server_of(base_url: str) -> str:
    """Return scheme, host and port of a base URL for comparison; `loopback` for this machine, where ports come and go."""
    return "loopback" if is_loopback(urlsplit(base_url).hostname or "") else base_url.rstrip("/").lower()


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
