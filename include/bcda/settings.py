"""How to reach BCDA and how hard to try. Frozen values that are handed in; nothing is read on import."""

import ipaddress
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from bcda import budgets
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


ADDRESSES = {"sandbox": "https://sandbox.bcda.cms.gov", "production": "https://api.bcda.cms.gov"}
"""BCDA's servers by the names that an address may have."""

_TOO_MUCH = 1e9
"""Thirty years in seconds: past that no wait ends and no clock can be set."""

_Closed = TypeVar("_Closed", bound=StrEnum)

_ADDRESS = re.compile(r"https?://[!-\[\]-~]+", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9._:\-]+")


@dataclass(frozen=True, slots=True)
class Tuning:
    """How hard to try. Every field can be set in the connection's extra under its own name.

    Attributes:
        request_timeout_seconds: bound on one request, from connecting, which may take half of it, to the last byte of the
            answer, the request for its token included. Of a download, on what comes before its first byte, and on each silence.
        max_attempts: tries of one request before its error is raised.
        backoff_initial_seconds: first wait between tries; doubles, with jitter.
        backoff_max_seconds: longest own wait between tries. A longer Retry-After of the server is honored, up to a day.
        concurrent_downloads: files fetched at the same time by one batch.
        requests_per_five_minutes: budget of one process. BCDA's edge allows 3,000 per address (docs/bcda.md#request-limit),
            token requests included, so processes that run side by side must share it.
        poll_seconds: first wait between two status requests; grows to `poll_max_seconds`.
        poll_max_seconds: longest wait between two status requests.
        job_deadline_seconds: a job that is not done by then is canceled. Nothing at BCDA ends a stuck job
            (docs/bcda.md#stuck-and-returning-jobs).
        failed_grace_seconds: how long a job may answer 500 before it counts as failed, if it was never In Progress. BCDA
            repeats a failed preparation for about an hour; a job that fails later never heals (docs/bcda.md#stuck-and-returning-jobs).
        pending_restart_seconds: a job that is still Pending by then is canceled and started again, once in a run. All of
            BCDA's tries to prepare it take 78 minutes, and nothing ends it after that (docs/bcda.md#stuck-and-returning-jobs).
        file_attempts: downloads of one file before it counts as damaged at the source.
        list_wait_seconds: wait before asking again when BCDA has no attribution list yet; lists come monthly.
        parallel_jobs: whether jobs of disjoint resource types may run side by side; BCDA allows it (docs/bcda.md#overlapping-jobs).
        shared_system: whether v3 asks for unfinished claims of the shared systems too; GUIDE entities may not
            (docs/bcda.md#resource-types).
        manifest_megabytes: largest answer to a status request; a file takes about 130 bytes of it (docs/bcda.md#manifest).
        file_megabytes: largest file as it comes over the network. Its content may be 20 times as large.
        least_bytes_per_second: a download that is slower on the average of a minute is broken off and tried again.
        free_disk_megabytes: what downloads leave free on the file system of the raw folder.
        credentials_made_on: day on which the client secret was made, YYYY-MM-DD; secrets end after 90 days (docs/bcda.md#token). Empty when
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
    pending_restart_seconds: float = 7_200.0
    file_attempts: int = 4
    list_wait_seconds: float = 86_400.0
    parallel_jobs: bool = False
    shared_system: bool = True
    manifest_megabytes: float = budgets.MANIFEST_MEGABYTES
    file_megabytes: float = budgets.FILE_MEGABYTES
    least_bytes_per_second: float = budgets.LEAST_BYTES_PER_SECOND
    free_disk_megabytes: float = budgets.FREE_DISK_MEGABYTES
    credentials_made_on: str = ""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InvalidRequestError: a count below one, a duration that is not positive, or an invalid date.
        """
        if self.credentials_made_on:
            try:
                date.fromisoformat(self.credentials_made_on)
            except (TypeError, ValueError) as error:
                raise InvalidRequestError(
                    "The connection's extra field credentials_made_on must be a day such as 2026-11-01."
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
        base_url: scheme, host and port, without a path; plain http only to a loopback address. A port that is the
            scheme's own is left out.
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
        object.__setattr__(self, "base_url", _without_default_port(self.base_url.rstrip("/")))
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

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, *, needs_credentials: bool = True
    ) -> "ConnectionSettings":
        """Return the settings that the environment names, for a notebook or a shell; Airflow has its connections.

        Args:
            environment: such as `os.environ`, which is the default. Reads BCDA_ADDRESS, BCDA_CLIENT_ID, BCDA_CLIENT_SECRET or
                BCDA_CLIENT_SECRET_FILE, BCDA_API_VERSION, and BCDA_ADVANCED; an empty value counts as not set.
            needs_credentials: False for endpoints that are open to everyone: credentials are not read.

        Raises:
            InvalidRequestError: a variable is missing or malformed, or the file with the secret cannot be read.
        """
        found = os.environ if environment is None else environment
        advanced = _advanced(found.get("BCDA_ADVANCED") or "{}")
        auth = (
            AuthMode.NONE
            if not needs_credentials
            else _member(AuthMode, advanced.pop("auth", "basic"), "BCDA_ADVANCED")
        )
        has_credentials = auth is AuthMode.BASIC
        return cls(
            base_url=_address(found.get("BCDA_ADDRESS") or ""),
            client_id=_wanted(found, "BCDA_CLIENT_ID") if has_credentials else "",
            client_secret=_secret(found) if has_credentials else "",
            api_version=_member(ApiVersion, found.get("BCDA_API_VERSION") or "v2", "BCDA_API_VERSION"),
            auth=auth,
            tuning=_tuning(advanced),
        )


def _address(text: str) -> str:
    if not text:
        raise InvalidRequestError(
            "BCDA_ADDRESS is not set. Set it to `sandbox`, `production`, or a URL with scheme and host."
        )
    address = ADDRESSES.get(text.strip().lower(), text.strip())
    return address if "://" in address else f"https://{address}"


def _wanted(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name) or ""
    if not value:
        raise InvalidRequestError(
            f"{name} is not set. Set BCDA_CLIENT_ID, and BCDA_CLIENT_SECRET or BCDA_CLIENT_SECRET_FILE."
        )
    return value


def _secret(environment: Mapping[str, str]) -> str:
    """Return the client secret of the environment, or of the file that it names, without white space around it."""
    path = environment.get("BCDA_CLIENT_SECRET_FILE") or ""
    if not path:
        return _wanted(environment, "BCDA_CLIENT_SECRET")
    if environment.get("BCDA_CLIENT_SECRET"):
        raise InvalidRequestError("Set either BCDA_CLIENT_SECRET or BCDA_CLIENT_SECRET_FILE, not both.")
    try:
        secret = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = (isinstance(error, OSError) and error.strerror) or "it is not UTF-8 text"
        raise InvalidRequestError(
            f"The client secret cannot be read from {path}: {why}. Correct BCDA_CLIENT_SECRET_FILE."
        ) from None
    if not secret:
        raise InvalidRequestError(
            f"The file {path} of BCDA_CLIENT_SECRET_FILE is empty. Write the client secret to it."
        )
    return secret


def _member(kind: type[_Closed], text: object, variable: str) -> _Closed:
    try:
        return kind(str(text).strip().lower())
    except ValueError:
        raise InvalidRequestError(f"{variable} must be one of {', '.join(kind)}. Got: {text}.") from None


def _advanced(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InvalidRequestError('BCDA_ADVANCED must be a JSON object, such as {"concurrent_downloads": 8}.')
    known = [*Tuning.__slots__, "auth"]
    if unknown := sorted(str(name)[:40] for name in values.keys() - set(known)):
        raise InvalidRequestError(
            f"BCDA_ADVANCED has unknown keys: {', '.join(unknown)}. Known are {', '.join(known)}."
        )
    return values


def _tuning(values: Mapping[str, Any]) -> Tuning:
    try:
        return Tuning(**values)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"BCDA_ADVANCED cannot be used. {error}") from None


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


def _without_default_port(base_url: str) -> str:
    """Return an address as its origin is written: https://host:443 is https://host."""
    scheme = base_url.partition("://")[0].lower()
    return base_url.removesuffix({"https": ":443", "http": ":80"}.get(scheme, ":"))


def server_of(base_url: str) -> str:
    """Return scheme, host and port of a base URL for comparison; `loopback` for this machine, where ports come and go."""
    if is_loopback(urlsplit(base_url).hostname or ""):
        return "loopback"
    return _without_default_port(base_url.rstrip("/")).lower()


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
