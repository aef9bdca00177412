"""From here to BCDA, step by step: proxy, trust store, name, connection, TLS, health, clock, token, version, list, running jobs.

The last check is the age of the secret.

Each step is asked once: whoever asks the doctor wants the first answer, not patience.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

import httpx

from bcda import budgets, network
from bcda.api import protocol
from bcda.api.client import BcdaClient
from bcda.api.deadlines import check_list, check_secret
from bcda.api.export_request import DEFAULT_RESOURCE_TYPES, ExportRequest, Scope, format_instant
from bcda.api.protocol import AttributionStatus, ListedJob
from bcda.doctor.check import Check, Status
from bcda.errors import (
    AttributionMissingError,
    BcdaError,
    CredentialsError,
    InvalidRequestError,
    NotAllowListedError,
    ServerError,
    TransientError,
    UntrustedServerError,
)
from bcda.network import Proxy, causes_of
from bcda.privacy import server_text
from bcda.runs.plan import RUNOUT_KEPT
from bcda.settings import ApiVersion, AuthMode, ConnectionSettings, Tuning

SILENCE_SECONDS = 8.0
"""Bound on one silence of the network. A connection is made within a second or not at all."""

STEP_SECONDS = 10.0
"""Bound on one step, which can be two requests."""

ALL_SECONDS = 20.0
"""Bound on all steps together; what comes after it is not asked."""

CLOCK_WARNING_SECONDS = 60.0
"""`Date` has whole seconds and an answer may take `SILENCE_SECONDS`, so less cannot be told from latency.

There is no failure: whatever is measured at BCDA (lists, expiry of files, running jobs) is measured by BCDA's own clock, so
an export works with any clock of ours. Schedules, deadlines and a `Retry-After` that is a date do not.
"""


_PROXY, _CERTIFICATES, _NAME = "proxy", "certificates", "name resolution"
_AGAIN = "Try again in some minutes; if it stays so, ask BCDA's help desk."
_ALLOW_LIST = (
    "In production an address that is not on the allow list is left without an answer, and an expired secret takes addresses "
    "off it: check both in ACO-MS or 4i, then your firewall."
)


@dataclass(slots=True)
class _Visit:
    """What the steps share."""

    client: BcdaClient
    settings: ConnectionSettings
    clock: Callable[[], datetime]
    proxy: Proxy | None
    jobs: list[ListedJob] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Step:
    """Asks one thing; left out unless the check `needs` went well."""

    names: tuple[str, ...]
    needs: str
    ask: Callable[[_Visit], Awaitable[list[Check]]]


def check_connection(
    settings: ConnectionSettings, *, clock: Callable[[], datetime], on_token: Callable[[str], None] | None = None
) -> list[Check]:
    """Look at everything between this process and an export, in the order in which one thing needs the other.

    Nothing is started or changed at BCDA. Answers within about 20 seconds, also when nothing answers. Runs an event loop of
    its own, so it is not for use inside one.

    Args:
        settings: the connection; its bounds and numbers of tries do not count here.
        clock: present instant of this machine.
        on_token: called with every new token before it is used, so that logs can mask it.
    """
    quick = replace(settings, tuning=Tuning(request_timeout_seconds=SILENCE_SECONDS, max_attempts=1))
    started = time.monotonic()
    proxy, found = _proxy(settings)
    done = {check.name: check for check in (found, _certificates())}
    if any(check.status is Status.FAILED for check in done.values()):
        failed = next(check.name for check in done.values() if check.status is Status.FAILED)
        names = [_NAME, *(name for step in _STEPS for name in step.names)]
        done |= {name: _not_asked(name, f"{failed} failed") for name in names}
    else:
        done[_NAME] = _name(settings, proxy)
        visit = _Visit(BcdaClient(quick, on_token=on_token), settings, clock, proxy)
        asyncio.run(_ask_all(visit, done, seconds=ALL_SECONDS - (time.monotonic() - started)))
    return [*done.values(), _secret(settings, clock())]


async def _ask_all(visit: _Visit, done: dict[str, Check], *, seconds: float) -> None:
    end = asyncio.get_running_loop().time() + seconds
    async with visit.client:
        for step in _STEPS:
            for check in await _take(step, visit, done, end):
                done[check.name] = check


async def _take(step: _Step, visit: _Visit, done: dict[str, Check], end: float) -> list[Check]:
    first, *others = step.names
    now = asyncio.get_running_loop().time()
    if done[step.needs].status in {Status.FAILED, Status.SKIPPED} or now >= end:
        failed = next((f"{check.name} failed" for check in done.values() if check.status is Status.FAILED), None)
        return [_not_asked(name, failed or "the time was up") for name in step.names]
    try:
        async with asyncio.timeout_at(min(now + STEP_SECONDS, end)):
            return await step.ask(visit)
    except BcdaError as error:
        text = _sentence(error, visit.proxy)
    except TimeoutError:
        text = _no_answer(visit.proxy)
    return [Check(first, Status.FAILED, text), *(_not_asked(name, f"{first} failed") for name in others)]


def _proxy(settings: ConnectionSettings) -> tuple[Proxy | None, Check]:
    """Read which proxy the environment names for BCDA, if any."""
    try:
        proxy = network.proxy_to(settings.base_url)
    except InvalidRequestError as error:
        return None, Check(_PROXY, Status.FAILED, str(error))
    if unreadable := network.unreadable_exemptions():
        text = (
            f"NO_PROXY has entries that match no host and have no effect: {', '.join(unreadable)}. Use host names, IP addresses "
            "or networks such as 10.0.0.0/8."
        )
        return proxy, Check(_PROXY, Status.WARNING, text)
    well = f"Requests go through the proxy {proxy.name}." if proxy else "None is used."
    return proxy, Check(_PROXY, Status.OK, well)


def _certificates() -> Check:
    """Read which trust store the environment names."""
    try:
        trust = network.trust_of()
    except InvalidRequestError as error:
        return Check(_CERTIFICATES, Status.FAILED, str(error))
    source = f"({trust.variable})" if trust.variable else "(this machine's trust store)"
    return Check(_CERTIFICATES, Status.OK, f"BCDA's certificate is checked against {trust.path} {source}.")


def _name(settings: ConnectionSettings, proxy: Proxy | None) -> Check:
    """Resolve the host's name, in a thread that is left behind when the resolver hangs: it has no bound of its own."""
    host, port = _host_and_port(settings)
    if proxy:
        return Check(_NAME, Status.OK, f"{host} is resolved by the proxy {proxy.name}.")
    found: list[str] = []
    problem: list[OSError] = []

    def resolve() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend(dict.fromkeys(str(entry[4][0]) for entry in entries))
        except OSError as error:
            problem.append(error)

    thread = threading.Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(SILENCE_SECONDS)
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return Check(_NAME, Status.OK, f"{host} is {found[0]}{more}.")
    why = problem[0].strerror if problem else f"no answer within {SILENCE_SECONDS:.0f} s"
    return Check(
        _NAME,
        Status.FAILED,
        f"The name {host} cannot be resolved ({why}). Check the base URL for a slip, then the DNS of this machine.",
    )


async def _reach(visit: _Visit) -> list[Check]:
    """Ask for BCDA's health; how that fails tells connection and TLS apart."""
    host, port = _host_and_port(visit.settings)
    where = f"The proxy {visit.proxy.name}" if visit.proxy else f"Port {port} of {host}"
    connected = Check("connection", Status.OK, f"{where} takes connections.")
    is_tls = visit.settings.base_url.startswith("https:")
    trusted = Check(
        "TLS", Status.OK, "The certificate is trusted." if is_tls else "Not needed on this machine's loopback."
    )
    try:
        parts = await visit.client.health()
    except BcdaError as error:
        untrusted = _tls_problem(error, visit)
        if untrusted is not None:
            return [connected, untrusted, _not_asked("health", "TLS failed")]
        if _is_unconnected(error):
            failed = Check("connection", Status.FAILED, _connection_problem(error, visit))
            return [failed, *(_not_asked(name, "connection failed") for name in ("TLS", "health"))]
        return [connected, trusted, Check("health", Status.FAILED, _sentence(error, visit.proxy))]
    return [connected, trusted, _health(parts)]


def _health(parts: dict[str, str]) -> Check:
    ill = protocol.unwell(parts)
    if not ill:
        return Check("health", Status.OK, f"BCDA says that it is well: {', '.join(parts)}.")
    return Check("health", Status.FAILED, f"BCDA says that {ill}. Wait, and try again in an hour.")


async def _clock(visit: _Visit) -> list[Check]:
    theirs = visit.client.server_date
    if theirs is None:
        return [Check("clock", Status.SKIPPED, "BCDA has not said what time it is.")]
    ahead = (visit.clock() - theirs).total_seconds()
    if abs(ahead) <= CLOCK_WARNING_SECONDS:
        return [Check("clock", Status.OK, "This machine's clock agrees with BCDA's within a minute.")]
    text = (
        f"This machine's clock is {_duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} BCDA's. Exports work "
        "anyway, schedules and deadlines are off; set the clock by NTP."
    )
    return [Check("clock", Status.WARNING, text)]


async def _token(visit: _Visit) -> list[Check]:
    if visit.settings.auth is AuthMode.NONE:
        return [Check("token", Status.OK, "None is used, as the connection says.")]
    await visit.client.welcome()
    return [Check("token", Status.OK, "BCDA gave a token for the client id and secret, and accepts it.")]


async def _version(visit: _Visit) -> list[Check]:
    """Ask what the version is, and for the job list, which is refused like a kick-off (docs/bcda.md#job-list)."""
    version = visit.settings.api_version
    try:
        fhir_version = server_text.version((await visit.client.metadata()).get("fhirVersion"))
        visit.jobs = await visit.client.live_jobs()
    except (AttributionMissingError, ServerError) as error:
        if isinstance(error, ServerError) and error.status != 404:  # noqa: PLR2004
            raise
        text = (
            f"{visit.settings.base_url} does not know {version} of the API, or a proxy between here and BCDA shares connections "
            "among requests. Check the base URL and the API version, then try again."
        )
        return [Check("version", Status.FAILED, text)]
    except CredentialsError as error:
        return [Check("version", Status.FAILED, _version_refused(version, error))]
    return [Check("version", Status.OK, f"BCDA {version} (FHIR {fhir_version}) accepts the credentials.")]


def _version_refused(version: ApiVersion, error: CredentialsError) -> str:
    said = f'"{error.reason}"' if error.reason else "no reason"
    if error.status == 401:  # noqa: PLR2004
        next_step = "The organization's model is off or not known there; ask BCDA's help desk."
    elif version is ApiVersion.V3:
        next_step = "Set the connection's API version to v2, or ask BCDA's help desk to enable v3."
    else:
        next_step = "Set the connection's API version to v3, the only one for some models, or ask BCDA's help desk."
    return f"BCDA refuses {version} to this organization with {error.status} and {said}. {next_step}"


async def _attribution(visit: _Visit) -> list[Check]:
    dates = await visit.client.attribution_status()
    as_of = visit.client.server_time
    if dates.unreadable:
        lists = " and ".join(sorted(dates.unreadable))
        text = (
            f"BCDA's attribution status dates the {lists} list in the future, or with something that is not a timestamp. Runs that "
            "need the date wait for another. If this persists, tell BCDA's help desk."
        )
        return [Check("attribution", Status.WARNING, text)]
    return [Check.of("attribution", check_list(dates.current_at, as_of=as_of), well=_lists(dates, as_of))]


def _lists(dates: AttributionStatus, as_of: datetime) -> str:
    newest = f"The newest attribution list is of {dates.current_at:%Y-%m-%d}" if dates.current_at else ""
    if dates.runout_at is None:
        return f"{newest}; there is no runout list."
    ends = dates.runout_at + RUNOUT_KEPT
    is_gone = ends < as_of
    return f"{newest}; runout data {'went' if is_gone else 'goes'} away on {ends:%Y-%m-%d}."


async def _slots(visit: _Visit) -> list[Check]:
    settings = visit.settings
    weekly = ExportRequest(settings.api_version, Scope.PATIENT, DEFAULT_RESOURCE_TYPES)
    for job in visit.jobs:
        parallel_jobs = settings.tuning.parallel_jobs
        why = protocol.in_the_way(job, weekly, visit.client.server_time, parallel_jobs=parallel_jobs)
        if why is not None:
            since = f" since {format_instant(job.created_at)}" if job.created_at else ""
            text = (
                f"Job {job.job_id} of this organization is {job.state} for {job.shown_types}{since}, and a new export "
                f"waits for it: {why}. Wait too, or cancel it when no run of yours belongs to it."
            )
            return [Check("job slots", Status.WARNING, text)]
    others = f", {len(visit.jobs)} running in nobody's way" if visit.jobs else ""
    return [Check("job slots", Status.OK, f"No job at BCDA blocks a new export{others}.")]


def _secret(settings: ConnectionSettings, now: datetime) -> Check:
    made_on = settings.tuning.credentials_made_on
    if settings.auth is AuthMode.NONE:
        return Check("secret", Status.SKIPPED, "None is used, as the connection says.")
    if not made_on:
        return Check(
            "secret", Status.SKIPPED, "Fill in `Credentials made on` on the connection to be warned before it ends."
        )
    well = f"The client secret of {made_on} lasts for more than two weeks."
    return Check.of("secret", check_secret(made_on, today=now.date()), well=well)


_STEPS = (
    _Step(("connection", "TLS", "health"), _NAME, _reach),
    _Step(("clock",), "TLS", _clock),
    _Step(("token",), "health", _token),
    _Step(("version",), "token", _version),
    _Step(("attribution",), "token", _attribution),
    _Step(("job slots",), "version", _slots),
)


def _not_asked(name: str, why: str) -> Check:
    return Check(name, Status.SKIPPED, f"Not asked, because {why}.")


def _no_answer(proxy: Proxy | None) -> str:
    if proxy:
        return f"Neither the proxy {proxy.name} nor BCDA behind it answered in time. {_AGAIN}"
    return f"BCDA took the request and did not answer in time. {_AGAIN}"


def _sentence(error: BcdaError, proxy: Proxy | None) -> str:
    if any(isinstance(cause, httpx.TimeoutException | TimeoutError) for cause in causes_of(error)):
        return _no_answer(proxy)
    return f"{error} {_AGAIN}" if isinstance(error, TransientError) else str(error)


def _tls_problem(error: BcdaError, visit: _Visit) -> Check | None:
    host, _ = _host_and_port(visit.settings)
    causes = list(causes_of(error))
    if isinstance(error, NotAllowListedError) and any(isinstance(cause, ssl.SSLWantReadError) for cause in causes):
        text = f"{host} takes connections and then says nothing: no TLS. {_ALLOW_LIST}"
        return Check("TLS", Status.FAILED, text)
    if isinstance(error, UntrustedServerError):
        return Check("TLS", Status.FAILED, str(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and visit.proxy and visit.proxy.scheme == "https":
            text = (
                f"TLS with the proxy {visit.proxy.name} or with {host} failed ({cause.reason}). Most proxies take plain http: then "
                f"begin the value of {visit.proxy.variable} with http://."
            )
            return Check("TLS", Status.FAILED, text)
        if isinstance(cause, ssl.SSLError):
            text = f"{host} does not speak TLS as it should ({cause.reason}). Check scheme and port of the base URL."
            return Check("TLS", Status.FAILED, text)
    return None


def _is_unconnected(error: BcdaError) -> bool:
    kinds = httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError
    return any(isinstance(cause, kinds) for cause in causes_of(error))


def _connection_problem(error: BcdaError, visit: _Visit) -> str:
    host, port = _host_and_port(visit.settings)
    causes = list(causes_of(error))
    if any(isinstance(cause, httpx.ProxyError) for cause in causes):
        return _sentence(error, visit.proxy)
    where = f"the proxy {visit.proxy.name}" if visit.proxy else f"{host} port {port}"
    setting = visit.proxy.variable if visit.proxy else "the base URL"
    if isinstance(error, NotAllowListedError):
        return f"No connection to {where} within {SILENCE_SECONDS * budgets.CONNECT_SHARE:.0f} s. {_ALLOW_LIST}"
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return f"Nobody listens on {where}: the connection is refused. Check {setting}, then your firewall."
    named = next((cause for cause in causes if isinstance(cause, OSError) and cause.strerror), None)
    why = named.strerror if named else type(error.__cause__).__name__
    return f"No connection to {where} ({why}). Check the network of this machine, then {setting}."


def _host_and_port(settings: ConnectionSettings) -> tuple[str, int]:
    _, host, port = protocol.origin(settings.base_url)
    return host, port


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes >= 48 * 60:
        return f"{minutes / 1440:.0f} days"
    return f"{minutes / 60:.1f} hours" if minutes >= 60 else f"{minutes} minutes"  # noqa: PLR2004
