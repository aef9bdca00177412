"""BCDA in both directions as pure functions: build a request, read an answer.

The wire's spelling stops here. Nothing in this module does I/O or looks at a clock.
"""

import email.utils
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from bcda import budgets
from bcda.api.export_request import ExportRequest, Scope, format_instant, parse_instant, scope_of
from bcda.api.manifest import FileKind, Manifest, OutputFile
from bcda.api.server_clock import is_future
from bcda.api.type_filter import TypeFilter
from bcda.bounds import LONGEST_QUOTE, shortened
from bcda.errors import (
    AttributionMissingError,
    BcdaError,
    CredentialsError,
    InvalidRequestError,
    ManifestError,
    MissingList,
    RateLimitedError,
    ServerError,
)
from bcda.privacy import server_text
from bcda.settings import ApiVersion
from bcda.storage.documents import read_json, read_text

EXPORT_HEADERS = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
"""Sent exactly so: releases before August 2026 compare the whole value (docs/bcda.md#kick-off-request)."""

_ENDPOINTS = {Scope.PATIENT: "Patient", Scope.GROUP_ALL: "Group/all", Scope.GROUP_RUNOUT: "Group/runout"}
_MISSING_LISTS = (
    ("attribution file not found for given _since", MissingList.NO_OLDER_LIST),
    ("attribution file not found", MissingList.NO_LIST),
    ("runout data is no longer available", MissingList.RUNOUT_GONE),
    ("No up-to-date attribution information", MissingList.WRONG_YEAR),
)
_NEXT_STEPS = {
    MissingList.NO_LIST: "BCDA has no attribution list of this organization from the last 50 days; wait for the next one, and "
    "ask the ACO's contact at CMS if none comes.",
    MissingList.RUNOUT_GONE: "Runout data is kept for 180 days after its last list; nothing can bring it back before next year.",
    MissingList.WRONG_YEAR: "At the beginning of a year BCDA closes until the year's first list comes, about mid February. "
    "Only `bcda_runout_export` works until then.",
    MissingList.NO_OLDER_LIST: "BCDA cannot tell who is new since then. Ask in full, or with a `since` after the date of its "
    "oldest list.",
    MissingList.UNKNOWN: "Look at the attribution status and the job list.",
}
_LISTS = {"last_attribution_update": "current", "last_runout_update": "runout"}
"""BCDA's names of the lists, and ours (docs/bcda.md#attribution-status)."""

TOKEN_PATH = "/auth/token"  # noqa: S105 - a path, no secret

_TOKEN_REFUSED = b"Unauthorized"
"""All that the token endpoint says with 401, as plain text (docs/bcda.md#token)."""

_TOKEN_SERVICE_DOWN = "Internal Error"  # noqa: S105 - an answer, no secret
"""What BCDA says with 500 or 503 when it cannot check a token (docs/bcda.md#token-check)."""

_NOT_OF_THE_JOB = frozenset({_TOKEN_SERVICE_DOWN, "Database Error"})
"""Reasons of a 500 that are BCDA's own trouble, whatever was asked for."""

_FOREIGN_TOKEN = "Request Error"  # noqa: S105 - an answer, no secret
"""What BCDA says with 400 to a token that it did not issue (docs/bcda.md#token-check)."""

_PARTS = frozenset({"database", "ssas", "ssas_introspect"})
"""Parts of BCDA that its health names (docs/bcda.md#open-endpoints)."""

_JOB_FAILED = "Service encountered numerous errors"

_BLOCKS_FOR = timedelta(hours=24)
"""Age from which on BCDA does not look at a job any more, and nothing ends one that is stuck.

Source: docs/bcda.md#overlapping-jobs, docs/bcda.md#stuck-and-returning-jobs.
"""

_PARAMETERS = ("_type", "_since", "_typeFilter")
"""What a kick-off asks with."""

_FIELDS = frozenset(
    {"transactionTime", "request", "requiresAccessToken", "outputFormat", "output", "deleted", "error", "link", "JobID"}
)
"""Fields of a manifest that are known: BCDA's, and those of the Bulk Data specification that change what it means.

Source: docs/bcda.md#manifest.
"""

_FORMATS = frozenset({"ndjson", "application/ndjson", "application/fhir+ndjson"})
"""Formats of files that can be read (docs/bcda.md#kick-off-request)."""

_ENTRY_FIELDS = frozenset({"type", "url"})

_FIELD_NAME = 80
_MOST_UNKNOWN_FIELDS = 50

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TYPE_NAME = re.compile(r"[A-Za-z]{1,40}")
_TYPE_LIST = re.compile(r"[A-Za-z,]*")
_JOB_NUMBER = re.compile(r"[0-9]{1,18}")
# Addresses are ASCII without blanks; a backslash is read in two ways by the parsers of this world.
_URL = re.compile(r"[!-\[\]-~]+")
_TOKEN = re.compile(r"[!-~]+")


class JobState(StrEnum):
    """State of a job as far as a client can tell (docs/bcda.md#job-states, docs/bcda.md#job-status)."""

    PENDING = "pending"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


LIVE_STATES = frozenset({JobState.PENDING, JobState.IN_PROGRESS})

JOB_STATUSES = (
    "Pending",
    "In Progress",
    "Completed",
    "Failed",
    "Cancelled",
    "Archived",
    "Expired",
    "FailedExpired",
    "CancelledExpired",
)
"""BCDA's own names of job states, by which its job list can be filtered (docs/bcda.md#job-list)."""

_TASK_STATES = {
    "accepted": JobState.PENDING,
    "in-progress": JobState.IN_PROGRESS,
    "completed": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class JobStatus:
    """Answer to a status request.

    Attributes:
        state: where the job stands.
        progress: `X-Progress` as it may be shown; its percentage says nothing (docs/bcda.md#job-status).
        manifest: of a completed job, else None.
        reason: the server's text of a failure, as it may be shown (`server_text`).
    """

    state: JobState
    progress: str | None = None
    manifest: Manifest | None = None
    reason: str = ""

    @property
    def says_that_the_job_failed(self) -> bool:
        """Whether the text is that of a failed job (docs/bcda.md#job-status); BCDA answers 500 for other reasons too."""
        return self.state is JobState.FAILED and self.reason.startswith(_JOB_FAILED)


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A job as the job list shows it.

    Attributes:
        job_id: BCDA's number, as text.
        state: where it stands; archived jobs show as completed.
        request_url: what started it.
        created_at: when it was accepted, by BCDA's clock; None when the list does not say.
    """

    job_id: str
    state: JobState
    request_url: str
    created_at: datetime | None = None

    @property
    def api_version(self) -> str:
        """Version of the API that it runs on; the list shows jobs of every version."""
        match = re.match(r"/api/([^/]+)/", urlsplit(self.request_url).path)
        return match.group(1) if match else ""

    @property
    def type_text(self) -> str:
        """Text of its `_type`, empty when it has none or none that could be one."""
        text = next(iter(parse_qs(urlsplit(self.request_url).query).get("_type", [])), "")
        return text if _TYPE_LIST.fullmatch(text) else ""

    @property
    def shown_types(self) -> str:
        """Its types as a message may name them."""
        return server_text.types(self.type_text)

    @property
    def shown_request(self) -> str:
        """Path and query of its request as they may be shown."""
        return server_text.request(self.request_url)


@dataclass(frozen=True, slots=True)
class AttributionStatus:
    """Dates of the newest attribution lists; None for a list that BCDA does not name, or whose date cannot be read.

    Attributes:
        current_at: of the monthly list.
        runout_at: of last year's people, for runout.
        unreadable: lists, `current` or `runout`, whose date is not a valid timestamp or lies in the future.
    """

    current_at: datetime | None = None
    runout_at: datetime | None = None
    unreadable: frozenset[str] = frozenset()

    def of(self, scope: Scope) -> datetime | None:
        """Return the date of the list that an export of a scope is made from.

        Raises:
            ServerError: BCDA names the list, and its date cannot be read.
        """
        name = "runout" if scope.is_runout else "current"
        if name in self.unreadable:
            raise ServerError(
                f"BCDA's attribution status dates the {name} list in the future, or with something that is not a timestamp. Nothing "
                "was asked for. If this persists, tell BCDA's help desk."
            )
        return self.runout_at if scope.is_runout else self.current_at


def kick_off_path(request: ExportRequest) -> str:
    """Return path and query of a kick-off: `$` literal, the instant in `Z`, so that nothing needs a `+`."""
    query = [f"_type={','.join(request.resource_types)}"]
    if request.since is not None:
        query.append(f"_since={quote(format_instant(request.since), safe=':')}")
    if request.type_filter is not None and "ExplanationOfBenefit" in request.resource_types:
        query.append(f"_typeFilter={request.type_filter.to_parameter()}")
    return f"/api/{request.api_version}/{_ENDPOINTS[request.scope]}/$export?{'&'.join(query)}"


def same_request(listed_url: str, path_and_query: str) -> bool:
    """Tell whether a listed job was started by this path and query, whatever host name it was asked under."""
    listed, wanted = urlsplit(listed_url), urlsplit(path_and_query)
    return (unquote(listed.path), unquote(listed.query)) == (unquote(wanted.path), unquote(wanted.query))


def differs(came: str, request: ExportRequest) -> str:
    """Return what of a request did not arrive at BCDA as it was sent, in words; nothing when all of it did.

    BCDA drops a parameter whole that it cannot decode, answers 202 anyway, and exports without it. The host is not
    compared, since a proxy may have another name for it, nor how a value is written, only what it means.

    Args:
        came: the kick-off URL as the manifest shows it; empty when it shows none.
        request: what was asked.

    Source: docs/bcda.md#manifest, docs/bcda.md#kick-off-request.
    """
    if not came:
        return "the manifest names no request"
    wanted_path, _, wanted_query = kick_off_path(request).partition("?")
    try:
        came_parts = urlsplit(came)
    except ValueError:
        return "an address that cannot be read"
    if unquote(came_parts.path) != unquote(wanted_path):
        return f"the path {server_text.path(unquote(came_parts.path))} instead of {unquote(wanted_path)}"
    wanted, found = _understood(wanted_query), _understood(came_parts.query)
    names = [name for name in _PARAMETERS if _meaning(name, wanted.get(name)) != _meaning(name, found.get(name))]
    differing = [
        f"{name} {server_text.parameter(name, found[name]) if name in found else 'missing'} instead of {wanted.get(name, 'none')}"
        for name in names
    ]
    if others := len(found.keys() - set(_PARAMETERS)):
        differing.append(f"{others} parameters that were not asked for")
    return ", ".join(differing)


def _meaning(name: str, value: str | None) -> object:
    """Return what a parameter asks for, however it is written: types in any order, a timestamp in any zone."""
    if value is None:
        return None
    if name == "_type":
        return frozenset(value.split(","))
    try:
        return parse_instant(value) if name == "_since" else value
    except InvalidRequestError:
        return value


def _understood(query: str) -> dict[str, str]:
    """Return the parameters that BCDA takes from a query: decoded, the first of each name, none that it cannot decode."""
    pairs = [pair for pair in query.split("&") if ";" not in pair and not _BAD_ESCAPE.search(pair)]
    return {name: values[0] for name, values in parse_qs("&".join(pairs), keep_blank_values=True).items()}


def is_in_force(job: ListedJob, now: datetime) -> bool:
    """Tell whether a job is live and younger than a day, or of unknown age; an older one that is still live is stuck.

    Args:
        job: of the list.
        now: by BCDA's clock.

    Source: docs/bcda.md#overlapping-jobs, docs/bcda.md#stuck-and-returning-jobs.
    """
    return job.state in LIVE_STATES and (job.created_at is None or now - job.created_at < _BLOCKS_FOR)


def refuses(running: ListedJob, request: ExportRequest, now: datetime) -> bool:
    """Tell whether BCDA would answer 429 to a request because of a running job.

    The rule is not symmetric: the running job's `_type` is compared as one text, so a running `Patient` refuses a new
    `Patient,Coverage`, but a running `Patient,Coverage` does not refuse a new `Patient`. Endpoint and `_since` do not
    matter, versions never block each other.

    Args:
        running: a job of the list.
        request: what is to be asked.
        now: by BCDA's clock; jobs older than a day do not count.

    Source: docs/bcda.md#overlapping-jobs.
    """
    if not is_in_force(running, now) or running.api_version != request.api_version:
        return False
    return (
        same_request(running.request_url, kick_off_path(request))
        or not running.type_text
        or running.type_text in request.resource_types
    )


def overlaps(running: ListedJob, request: ExportRequest, now: datetime) -> bool:
    """Tell whether a running job of the same version brings some of the requested types, whatever BCDA's rule says.

    Args:
        running: a job of the list.
        request: what is to be asked.
        now: by BCDA's clock; jobs older than a day do not count.
    """
    if not is_in_force(running, now) or running.api_version != request.api_version:
        return False
    return not running.type_text or bool(set(running.type_text.split(",")) & set(request.resource_types))


def in_the_way(running: ListedJob, request: ExportRequest, now: datetime, *, parallel_jobs: bool) -> str | None:
    """Return why a request waits for a running job, by BCDA's rule or by ours, which is symmetric; None when it need not.

    Args:
        running: a job of the list.
        request: what is to be asked.
        now: by BCDA's clock; jobs older than a day do not count.
        parallel_jobs: whether jobs of disjoint types may run side by side.
    """
    if refuses(running, request, now):
        return "BCDA refuses jobs that overlap"
    if overlaps(running, request, now):
        return "it brings some of the same resource types"
    if is_in_force(running, now) and running.api_version == request.api_version and not parallel_jobs:
        return "one job runs at a time; set parallel_jobs on the connection to allow disjoint types"
    return None


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL, in lower case, the port always given.

    Raises:
        ManifestError: the URL has no scheme or host, or carries credentials.
    """
    try:
        parts = urlsplit(url if _URL.fullmatch(url) else "")
        port = parts.port
    except ValueError:
        # Its text quotes the address, so it is not chained.
        parts, port = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
        raise ManifestError("BCDA sent an address that is not plain scheme and host; nothing was requested from it.")
    return parts.scheme, parts.hostname.lower(), (443 if parts.scheme == "https" else 80) if port is None else port


def check_origin(url: str, base_url: str) -> str:
    """Return a URL that lies on the configured server.

    Raises:
        ManifestError: it lies elsewhere; the bearer token must not go there (docs/guarantees.md#privacy-and-security).
    """
    if origin(url) != origin(base_url):
        scheme, host, port = origin(url)
        shown_host = server_text.host(host, origin(base_url)[1])
        raise ManifestError(
            f"BCDA named an address on {scheme}://{shown_host}:{port}, which is not the configured server {base_url}. "
            "Nothing was sent there. Check the connection's base URL, then start a new run."
        )
    return url


def request_of(manifest: Manifest) -> ExportRequest:
    """Return what was asked for with a job, as its manifest says; the types of its files when the request names none.

    Raises:
        InvalidRequestError: the manifest names no request that this library could have made.

    Source: docs/bcda.md#kick-off-request, docs/bcda.md#manifest.
    """
    parts = urlsplit(manifest.request_url)
    version, _, rest = parts.path.removeprefix("/api/").partition("/")
    query = parse_qs(parts.query)
    types = query.get("_type", [""])[0].split(",") if query.get("_type") else []
    types = (
        types or sorted({file.resource_type for file in manifest.files if file.kind is FileKind.OUTPUT}) or ["Patient"]
    )
    since, type_filter = query.get("_since"), query.get("_typeFilter")
    return ExportRequest(
        ApiVersion(version) if version in list(ApiVersion) else ApiVersion.V2,
        scope_of(rest),
        tuple(types),
        parse_instant(since[0]) if since else None,
        TypeFilter.from_parameter(type_filter[0]) if type_filter else None,
    )


def job_id_of(content_location: str | None, base_url: str) -> str:
    """Return the job number from a kick-off's `Content-Location`.

    Raises:
        ManifestError: the header is missing, foreign, or does not end in a number.
    """
    if not content_location:
        raise ManifestError("BCDA accepted the export but sent no Content-Location; look for the job in the job list.")
    _, _, number = urlsplit(check_origin(content_location, base_url)).path.rpartition("/jobs/")
    if not _JOB_NUMBER.fullmatch(number):
        raise ManifestError("BCDA accepted the export with a Content-Location that names no job number.")
    return number


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Read `Retry-After`: seconds or an HTTP date; None when absent or nonsense, never negative, at most a day."""
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        # However many digits there are: too many make infinity, which is too long as well.
        return min(float(text), budgets.LONGEST_WAIT_SECONDS)
    at = _http_date(text)
    return min(max(0.0, (at - now).total_seconds()), budgets.LONGEST_WAIT_SECONDS) if at else None


def wished_wait_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how long an answer asks to wait; a date in it is measured by the server's own clock.

    Args:
        headers: of the answer; names in any case.
        now: by our clock, for an answer without a `Date`.
    """
    return retry_after_seconds(headers.get("retry-after"), lenient_instant(headers.get("date")) or now)


def expires_in_seconds(expires: str | None, date: str | None) -> float | None:
    """Return how long the files of a job will last, by the server's own clock.

    Args:
        expires: `Expires` in BCDA's private format `2026-08-22 19:02:15.123456 +0000 UTC`, or an HTTP date.
        date: `Date` of the same answer.

    Returns:
        Seconds, possibly negative, or None when either header cannot be read (docs/bcda.md#rules-for-a-client, rule 10).
    """
    end, start = lenient_instant(expires), lenient_instant(date)
    return (end - start).total_seconds() if end and start else None


def token_of(body: bytes) -> tuple[str, float]:
    """Return token and lifetime in seconds from the token endpoint's answer; the lifetime may be text (docs/bcda.md#token).

    Raises:
        ServerError: the answer holds no token.
    """
    try:
        document = _read(body)
        token, seconds = read_text(document, "access_token"), _lifetime(document.get("expires_in", 1200))
    except ValueError as error:
        raise ServerError(
            "The token endpoint answered 200 without a token; try again, then tell BCDA's help desk."
        ) from error
    if not _TOKEN.fullmatch(token):
        raise ServerError("The token endpoint answered with a token that cannot be sent in a header.")
    return token, seconds


def _lifetime(value: object) -> float:
    try:
        seconds = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError("expires_in is no duration")
    return seconds


def is_misrouted(path: str, status: int, headers: Mapping[str, str], body: bytes) -> bool:
    """Tell whether an answer comes from another handler than the one that was asked, or from something in BCDA's place.

    The token endpoint refuses with the plain text `Unauthorized` and nothing else; a 404 of a path that BCDA knows is an
    OperationOutcome, but for a file that is gone, of which only the job's status tells.

    Args:
        path: that was asked for; BCDA knows all that this library asks for.
        status: of the answer.
        headers: of the answer; names in any case.
        body: of the answer; looked at only when the token endpoint answers 401.

    Source: docs/bcda.md#connections.
    """
    is_text = headers.get("content-type", "").partition(";")[0].strip().lower() == "text/plain"
    if path == TOKEN_PATH and status == 401:  # noqa: PLR2004
        return not is_text or body.strip() != _TOKEN_REFUSED
    return status == 404 and is_text  # noqa: PLR2004


def misrouted_error(status: int, *, what: str) -> ServerError:
    """Return the error of an answer that came from another handler, twice."""
    return ServerError(
        f"{what}: the answer was {status} twice, in a form that does not belong to this request. Most likely, a proxy "
        "between this machine and BCDA shares connections among requests. A later attempt may succeed. If not, check the "
        "base URL, then ask the proxy's administrator to turn off connection reuse for BCDA.",
        status=status,
    )


def status_of(
    status: int, headers: Mapping[str, str], body: bytes, *, base_url: str, kept: str = ""
) -> JobStatus | None:
    """Read a status answer.

    Args:
        status: HTTP status.
        headers: of the answer; names in any case.
        body: of the answer.
        base_url: of the configured server.
        kept: name of the file that keeps what `unknown_text` returns of the answer; empty for none.

    Returns:
        The job's state, or None when the answer says nothing about the job: 401, 429, gateway errors, a 404 that is no
        OperationOutcome, and a 500 that is of BCDA's token check or database.

    Raises:
        ManifestError: a completed job's manifest cannot be trusted.

    Source: docs/bcda.md#job-status, docs/bcda.md#connections, docs/bcda.md#token-check.
    """
    # A manifest is read once, within its budget.
    said = reason_of(body) if status != 200 else ""  # noqa: PLR2004
    reason = server_text.shown(said, kept=kept)
    if status == 202:  # noqa: PLR2004
        progress = server_text.progress(headers.get("x-progress", ""), kept=kept) or None
        pending = progress is None or progress.lower().startswith("pending")
        return JobStatus(JobState.PENDING if pending else JobState.IN_PROGRESS, progress=progress)
    if status == 200:  # noqa: PLR2004
        left = expires_in_seconds(headers.get("expires"), headers.get("date"))
        at = lenient_instant(headers.get("date"))
        manifest = manifest_of(body, base_url=base_url, expires_in=left, answered_at=at)
        return JobStatus(JobState.COMPLETED, manifest=manifest)
    if status == 410:  # noqa: PLR2004
        return JobStatus(JobState.EXPIRED, reason=reason or "the files are older than a day")
    if status == 404 and is_outcome(body):  # noqa: PLR2004
        if "cancelled" in said.lower():
            return JobStatus(JobState.CANCELLED, reason=reason)
        return JobStatus(JobState.UNKNOWN, reason=reason or "archived, expired, or never there")
    if status == 500 and is_outcome(body) and said not in _NOT_OF_THE_JOB:  # noqa: PLR2004
        return JobStatus(JobState.FAILED, reason=reason)
    return None


def manifest_of(
    body: bytes, *, base_url: str, expires_in: float | None, answered_at: datetime | None = None
) -> Manifest:
    """Read a manifest.

    Every address is checked against the configured server; an address that is listed twice is one file.

    Args:
        body: of the answer.
        base_url: of the configured server.
        expires_in: seconds that its files will last; None when BCDA did not say.
        answered_at: `Date` of the answer; None when it has none.

    Raises:
        ServerError: not JSON, so cut short or not from BCDA; asked again it may be whole.
        ManifestError: a field is missing or of the wrong type, or an address lies elsewhere.

    Source: docs/bcda.md#manifest.
    """
    try:
        document = _read(body)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ServerError(
            f"BCDA answered a finished job with {len(body)} bytes that are not JSON instead of its manifest; nothing was fetched. "
            "The answer was cut short, or something between here and BCDA answered in its place."
        ) from error
    except ValueError as error:
        raise ManifestError(
            f"BCDA's manifest cannot be read ({shortened(str(error), LONGEST_QUOTE)}); nothing was fetched."
        ) from error
    try:
        if not isinstance(document, dict) or document.get("output") is None:
            raise ValueError("no output")  # noqa: TRY301
        _check_one_whole(document)
        files: dict[str, OutputFile] = {}
        for kind in (FileKind.OUTPUT, FileKind.DELETED, FileKind.ERROR):
            for entry in _entries(document, kind.value):
                url, resource_type = check_origin(read_text(entry, "url"), base_url), read_text(entry, "type")
                if not _TYPE_NAME.fullmatch(resource_type):
                    raise ManifestError(
                        "BCDA's manifest names a resource type that is no FHIR type name; nothing was fetched."
                    )
                name = f"{len(files) + 1:05d}-{resource_type}.ndjson.gz"
                files.setdefault(url, OutputFile(name, kind, resource_type, url))
        return Manifest(
            job_id=_job_number(document.get("JobID")),
            transaction_time=_sent_instant(read_text(document, "transactionTime")),
            request_url=server_text.without_mbi(server_text.one_line(read_text(document, "request")))
            if "request" in document
            else "",
            expires_in_seconds=expires_in,
            files=tuple(files.values()),
            answered_at=answered_at,
            unknown_fields=_unknown_fields(document),
        )
    except ValueError as error:
        what = shortened(str(error), LONGEST_QUOTE)
        raise ManifestError(
            f"BCDA's manifest cannot be read ({what}); nothing was fetched. Ask for the status again, then start a new run."
        ) from error


def _check_one_whole(document: Mapping[str, Any]) -> None:
    """Refuse a manifest that is only a part of one, or whose files are of another format; BCDA sends neither.

    Raises:
        ManifestError: it names a further manifest, or a format that cannot be read.
    """
    if document.get("link"):
        raise ManifestError(
            "BCDA's manifest names a further one in `link`, so it does not list every file; nothing was fetched. This release "
            "cannot follow it. Update it, or tell its authors."
        )
    output_format = document.get("outputFormat")
    if output_format is not None and str(output_format).partition(";")[0].strip().lower() not in _FORMATS:
        raise ManifestError(
            "BCDA's manifest names an `outputFormat` other than NDJSON, which is what was asked for; nothing was fetched. Tell "
            "BCDA's help desk, then start a new run."
        )


def _field_name(name: str) -> str:
    return server_text.without_mbi(server_text.one_line(name))[:_FIELD_NAME]


def _unknown_fields(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names in a manifest that are not known, in order; those of a file's entry behind the list's name."""
    found = {_field_name(name) for name in document.keys() - _FIELDS}
    for kind in FileKind:
        names = {name for entry in _entries(document, kind.value) for name in entry.keys() - _ENTRY_FIELDS}
        found |= {f"{kind.value}[].{_field_name(name)}" for name in names}
    return tuple(sorted(found)[:_MOST_UNKNOWN_FIELDS])


def _entries(document: Any, name: str) -> list[Any]:
    """Return a list of a document; absent and null are an empty one.

    Raises:
        ValueError: it is something else, or the document is no object.
    """
    if not isinstance(document, dict):
        raise ValueError("no object")  # noqa: TRY004 - one error for all that is wrong with a document
    entries = document.get(name)
    if entries is not None and not isinstance(entries, list):
        raise ValueError(f"{name} is no list")
    return entries or []


def _job_number(value: object) -> str:
    """Return the number of a job as text; it may be sent as either.

    Raises:
        ValueError: it is no number, or too large for one.
    """
    text = "" if isinstance(value, bool) else str(value) if isinstance(value, str | int) else ""
    if not _JOB_NUMBER.fullmatch(text):
        raise ValueError("not a valid job number")
    return text


def _sent_instant(text: str) -> datetime:
    """Read an instant that the server sent.

    Raises:
        ValueError: it is none; unlike that of `parse_instant` the text does not repeat what was sent.
    """
    try:
        return parse_instant(text)
    except InvalidRequestError:
        pass
    raise ValueError("not a valid timestamp")


def status_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of job states as BCDA spells them, each once; upper case, blanks, and hyphens do not matter here.

    Raises:
        InvalidRequestError: one is not a state; BCDA would refuse it.

    Source: docs/bcda.md#job-list.
    """
    known = {_letters(name): name for name in JOB_STATUSES} | {
        "canceled": "Cancelled",
        "canceledexpired": "CancelledExpired",
    }
    for name in names:
        if _letters(name) not in known:
            raise InvalidRequestError(f"{name!r} is not a job status. Choose from {', '.join(JOB_STATUSES)}.")
    return tuple(dict.fromkeys(known[_letters(name)] for name in names))


def _letters(name: str) -> str:
    return "".join(filter(str.isalpha, name)).lower()


def check_job_id(text: str) -> str:
    """Return the number of a job as text.

    Raises:
        InvalidRequestError: it is not a number.
    """
    if not _JOB_NUMBER.fullmatch(text.strip()):
        raise InvalidRequestError(
            f"{text!r} is not a job number. Job numbers are digits, such as 42; see the job list."
        )
    return text.strip()


def jobs_of(body: bytes, *, as_of: datetime) -> list[ListedJob]:
    """Read the job list; entries that cannot be read are left out, since the list is advice, not truth.

    Args:
        body: of the answer.
        as_of: by BCDA's clock; of a job that was accepted after that the time is not known.

    Raises:
        ServerError: the body is no job list at all.

    Source: docs/bcda.md#job-list.
    """
    try:
        document = _read(body)
        entries = _entries(document, "entry")
    except ValueError as error:
        raise ServerError("BCDA's job list cannot be read; try again.") from error
    jobs = []
    for entry in entries:
        try:
            task = entry["resource"]
            request = read_text(task["input"][0], "valueString").removeprefix("GET ")
            urlsplit(request)
            created = lenient_instant((task.get("executionPeriod") or {}).get("start"))
            created = None if created is None or is_future(created, as_of) else created
            number = _job_number(task["identifier"][0]["value"])
            jobs.append(ListedJob(number, _TASK_STATES[task["status"]], request, created))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            continue
    return jobs


def attribution_of(body: bytes, *, as_of: datetime) -> AttributionStatus:
    """Return the dates of the newest attribution lists.

    Args:
        body: of the answer.
        as_of: by BCDA's clock.

    Raises:
        ServerError: the body cannot be read.

    Source: docs/bcda.md#attribution-status.
    """
    try:
        sent = {read_text(entry, "type"): entry.get("timestamp") for entry in _read(body)["ingestion_dates"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ServerError("BCDA's attribution status cannot be read; try again.") from error
    named = {name: sent[kind] for kind, name in _LISTS.items() if kind in sent}
    dates = {name: _list_date(value, as_of) for name, value in named.items()}
    unreadable = frozenset(name for name, at in dates.items() if at is None)
    return AttributionStatus(dates.get("current"), dates.get("runout"), unreadable)


def _list_date(value: object, as_of: datetime) -> datetime | None:
    """Return the date of an attribution list; None when it cannot be one."""
    try:
        at = _sent_instant(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if at is None or is_future(at, as_of) else at


def health_of(body: bytes) -> dict[str, str]:
    """Return BCDA's parts with their states, `ok` when well; other texts than BCDA's own as they may be shown.

    Raises:
        ServerError: the body is not BCDA's, so something else answers for it.

    Source: docs/bcda.md#open-endpoints.
    """
    parts = _open_answer(body, "Health")
    return {
        part if part in _PARTS else f"part {number}": server_text.shown(state)
        if isinstance(state, str)
        else "unreadable"
        for number, (part, state) in enumerate(parts.items(), 1)
    }


def unwell(parts: Mapping[str, str]) -> str:
    """Return what BCDA says is not well with it, in words; nothing when all is well.

    Args:
        parts: of `health_of`.

    Source: docs/bcda.md#open-endpoints, docs/bcda.md#token-check.
    """
    ill = {part: state for part, state in parts.items() if state != "ok"}
    if not ill:
        return ""
    who = "its token service" if all(part.startswith("ssas") for part in ill) else "something of its own"
    return f"{who} is not well ({', '.join(f'{part}: {state}' for part, state in ill.items())})"


def version_of(body: bytes) -> str:
    """Return BCDA's release, such as `r297`.

    Raises:
        ServerError: the body is not BCDA's, so something else answers for it.

    Source: docs/bcda.md#open-endpoints.
    """
    return server_text.version(_open_answer(body, "Version").get("version"))


def metadata_of(body: bytes) -> dict[str, Any]:
    """Return the CapabilityStatement.

    Raises:
        ServerError: the body is not BCDA's, so something else answers for it.

    Source: docs/bcda.md#open-endpoints.
    """
    return _open_answer(body, "Metadata")


def _open_answer(body: bytes, what: str) -> dict[str, Any]:
    try:
        document = _read(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ServerError(
            f"{what}: the answer is not one of BCDA's. Check the base URL, and whether a proxy or a maintenance page answers."
        )
    return document


def _read(body: bytes) -> Any:
    """Read the JSON document of an answer.

    Raises:
        ValueError: it is none, or holds more values than any answer of BCDA.
    """
    return read_json(body, most_values=budgets.MOST_JSON_VALUES)


def is_outcome(body: bytes) -> bool:
    """Tell whether a body is an OperationOutcome, as the errors of BCDA's API are, and not a page of something in its place."""
    return b"OperationOutcome" in body or bool(reason_of(body))


def reason_of(body: bytes) -> str:
    """Return the server's reason from the first JSON value of an error body, or nothing when there is none.

    It is what the server sent, in one line, and decides what an answer means; `server_text.shown` says what of it a message may
    hold. Only for answers of the API itself: texts of data and error files name people and are never read with this.

    Source: docs/bcda.md#error-bodies, also of the two documents that a body can hold.
    """
    try:
        document, _ = json.JSONDecoder().raw_decode(body.decode("utf-8").lstrip())
        issue = document["issue"][0]
        text = issue.get("diagnostics") or (issue.get("details") or {}).get("text") or ""
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return ""
    return server_text.one_line(text) if isinstance(text, str) else ""


def unknown_text(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return what the server said in an answer that no message shows as it is; nothing when all of it is shown.

    Args:
        status: HTTP status; the body of a success is data.
        headers: of the answer; names in any case.
        body: of the answer.
    """
    progress = headers.get("x-progress", "")
    if not server_text.is_known_progress(progress):
        return progress.encode("utf-8", "replace")
    if status < 300 or not body.strip():  # noqa: PLR2004
        return b""
    reason = reason_of(body)
    if reason or is_outcome(body):
        return b"" if server_text.is_known(reason) else body
    return b"" if server_text.is_known(body.decode("utf-8", "replace")) else body


def missing_list(reason: str) -> MissingList:
    """Return which case of a missing attribution list a kick-off's reason means (docs/bcda.md#kick-off-refusals)."""
    return next((case for start, case in _MISSING_LISTS if start in reason), MissingList.UNKNOWN)


def error_for(status: int, body: bytes, *, what: str, retry_after: float | None, kept: str = "") -> BcdaError:
    """Return the error that an answer of the API means.

    Args:
        status: HTTP status, not the success that was expected.
        body: of the answer.
        what: what was being done, such as `kick-off`, for the message.
        retry_after: seconds the server asked to wait, or None.
        kept: name of the file that keeps what `unknown_text` returns of the answer; empty for none.

    Source: docs/bcda.md#token-check, docs/bcda.md#kick-off-refusals.
    """
    reason = reason_of(body)
    shown = server_text.shown(reason, kept=kept)
    said = f'BCDA said "{shown}"' if shown else f"BCDA gave no reason{_instead(body, kept)}"
    if status == 429:  # noqa: PLR2004
        return RateLimitedError(
            f"{what}: 429, too many requests: about 3,000 pass in five minutes from one address. If other programs share it, lower "
            "requests_per_five_minutes on the connection.",
            retry_after_seconds=retry_after,
        )
    if status < 300 or (status == 404 and not is_outcome(body)):  # noqa: PLR2004
        return ServerError(
            f"{what}: {status} without what belongs to it, so something between here and BCDA answered in its place{_instead(body, kept)}.",
            retry_after_seconds=retry_after,
            status=status,
        )
    if status >= 500 or status == 408:  # noqa: PLR2004
        trouble = ServerError(f"{what}: {status}, {said}.", retry_after_seconds=retry_after, status=status)
        return _token_outage(trouble, what) if reason == _TOKEN_SERVICE_DOWN else trouble
    if status in {401, 403} or (status, reason) == (400, _FOREIGN_TOKEN):
        return CredentialsError(f"{what}: {status}, {said}. {_access_step(reason)}", status=status, reason=shown)
    if status == 404:  # noqa: PLR2004
        case = missing_list(reason)
        return AttributionMissingError(f"{what}: 404, {said}. {_NEXT_STEPS[case]}", reason=shown, case=case)
    if 300 <= status < 400:  # noqa: PLR2004
        return ManifestError(
            f"{what}: {status}, a redirect, which BCDA never sends. Check the base URL; nothing was followed."
        )
    if "SharedSystem" in reason:
        return InvalidRequestError(f"{what}: {status}, {said}. Set shared_system to false on the connection.")
    return InvalidRequestError(f"{what}: {status}, {said}. Change the request; the same one will be refused again.")


def _instead(body: bytes, kept: str) -> str:
    """Return what an answer holds in place of a reason; nothing when it is an outcome, or empty."""
    text = server_text.one_line(body.decode("utf-8", "replace"))
    return f", but {server_text.shown(text, kept=kept)}" if text and not is_outcome(body) else ""


def _token_outage(trouble: ServerError, what: str) -> ServerError:
    """Return what trouble of the token service is; no job has failed then (docs/bcda.md#token-check)."""
    return ServerError(
        f'{what}: {trouble.status}, BCDA said "Internal Error", as it does when its token service is slow or down. Jobs continue '
        "meanwhile, and the credentials are not the cause.",
        retry_after_seconds=trouble.retry_after_seconds,
        status=trouble.status,
    )


def _access_step(reason: str) -> str:
    """Return what to do about a refusal of the organization, its token or its version.

    Source: docs/bcda.md#token-check, docs/bcda.md#kick-off-refusals.
    """
    if reason == _FOREIGN_TOKEN:
        return "It does not take the token for one of its own: base URL and credentials must be of one environment."
    if "access not enabled" in reason:
        return "Set the connection's API version to one that is enabled for the organization, or ask BCDA's help desk for it."
    if "unauthorized" in reason.lower():
        return "The credentials are right, the organization is not admitted; only BCDA's help desk can change that."
    return (
        "Check client id and secret on the connection; secrets expire 90 days after they were made, and the organization's "
        "model has to be open at BCDA."
    )


def lenient_instant(text: object) -> datetime | None:
    """Read an instant in any of the forms BCDA writes: RFC 3339, an HTTP date, or its private one; None for others."""
    if not isinstance(text, str):
        return None
    odd = re.match(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d{1,6})?\d* ?(?:([+-]\d{4})|Z|UTC|$)", text.strip())
    if not odd:
        return _http_date(text)
    plain = f"{odd.group(1)} {odd.group(2)}{odd.group(3) or '.0'} {odd.group(4) or '+0000'}"
    try:
        return datetime.strptime(plain, "%Y-%m-%d %H:%M:%S.%f %z").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _http_date(text: str) -> datetime | None:
    try:
        at = email.utils.parsedate_to_datetime(text)
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
