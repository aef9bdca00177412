"""BCDA in both directions as pure functions: build a request, read an answer.

The wire's spelling stops here. Nothing in this module does I/O or looks at a clock.
"""

import email.utils
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from bcda.documents import read_json, read_text
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
from bcda.export_request import ExportRequest, Scope, format_instant, parse_instant
from bcda.manifest import FileKind, Manifest, OutputFile

EXPORT_HEADERS = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
"""Sent exactly so: releases before August 2026 compare the whole value (wire contract §6.1)."""

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
_FOREIGN_TOKEN = "Request Error"  # noqa: S105 - an answer, no secret
"""What BCDA says with 400 to a token that it did not issue (wire contract §5)."""

_BLOCKS_FOR = timedelta(hours=24)
"""Age from which on BCDA does not look at a job any more (wire contract §7), and nothing ends one that is stuck (§9)."""

_LONGEST_WAIT_SECONDS = 86_400.0
"""Files live a day, so a server that asks for a longer wait is mistaken."""

_TYPE_NAME = re.compile(r"[A-Za-z]{1,64}")
_TYPE_LIST = re.compile(r"[A-Za-z,]*")
_JOB_NUMBER = re.compile(r"[0-9]{1,18}")
# Addresses are ASCII without blanks; a backslash is read in two ways by the parsers of this world.
_URL = re.compile(r"[!-\[\]-~]+")
_TOKEN = re.compile(r"[!-~]+")
# An MBI is eleven letters and digits that begin with a digit from 1 to 9; no text of the server's goes on with one.
_MBI_LIKE = re.compile(r"(?<![A-Za-z0-9])[1-9][A-Za-z0-9]{3}-?[A-Za-z0-9]{3}-?[A-Za-z0-9]{4}(?![A-Za-z0-9])")


class JobState(StrEnum):
    """State of a job as far as a client can tell (wire contract §9, §10)."""

    PENDING = "pending"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


LIVE_STATES = frozenset({JobState.PENDING, JobState.IN_PROGRESS})

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
        progress: `X-Progress` as sent; its percentage says nothing (wire contract §10).
        manifest: of a completed job, else None.
        reason: the server's text of a failure, without anything that looks like an MBI.
    """

    state: JobState
    progress: str | None = None
    manifest: Manifest | None = None
    reason: str = ""


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


@dataclass(frozen=True, slots=True)
class AttributionStatus:
    """Dates of the newest attribution lists; None for a list that BCDA does not name.

    Attributes:
        current_at: of the monthly list.
        runout_at: of last year's people, for runout.
    """

    current_at: datetime | None = None
    runout_at: datetime | None = None

    def of(self, scope: Scope) -> datetime | None:
        """Return the date of the list that an export of a scope is made from."""
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


def is_in_force(job: ListedJob, now: datetime) -> bool:
    """Tell whether a job is live and younger than a day, or of unknown age; an older one that is still live is stuck.

    Args:
        job: of the list.
        now: by BCDA's clock.

    Source: wire contract §7, §9.
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

    Source: wire contract §7.
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
        ManifestError: it lies elsewhere; the bearer token must not go there (design §3, P6).
    """
    if origin(url) != origin(base_url):
        scheme, host, port = origin(url)
        raise ManifestError(
            f"BCDA named an address on {scheme}://{_without_mbi(host)}:{port}, which is not the configured server {base_url}. "
            "Nothing was sent there. Check the connection's base URL, then start a new run."
        )
    return url


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
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text):
        return min(float(text), _LONGEST_WAIT_SECONDS)
    at = _http_date(text)
    return min(max(0.0, (at - now).total_seconds()), _LONGEST_WAIT_SECONDS) if at else None


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
        Seconds, possibly negative, or None when either header cannot be read (wire contract §22, rule 10).
    """
    end, start = lenient_instant(expires), lenient_instant(date)
    return (end - start).total_seconds() if end and start else None


def token_of(body: bytes) -> tuple[str, float]:
    """Return token and lifetime in seconds from the token endpoint's answer; the lifetime may be text (§4).

    Raises:
        ServerError: the answer holds no token.
    """
    try:
        document = read_json(body)
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


def status_of(status: int, headers: Mapping[str, str], body: bytes, *, base_url: str) -> JobStatus | None:
    """Read a status answer.

    Returns:
        The job's state, or None when the answer says nothing about the job (401, 429, gateway errors).

    Raises:
        ManifestError: a completed job's manifest cannot be trusted.

    Source: wire contract §10.
    """
    reason = reason_of(body)
    if status == 202:  # noqa: PLR2004
        progress = _plain(headers.get("x-progress", ""))[:100] or None
        pending = progress is None or progress.lower().startswith("pending")
        return JobStatus(JobState.PENDING if pending else JobState.IN_PROGRESS, progress=progress)
    if status == 200:  # noqa: PLR2004
        left = expires_in_seconds(headers.get("expires"), headers.get("date"))
        return JobStatus(JobState.COMPLETED, manifest=manifest_of(body, base_url=base_url, expires_in=left))
    if status == 410:  # noqa: PLR2004
        return JobStatus(JobState.EXPIRED, reason=reason or "the files are older than a day")
    if status == 404:  # noqa: PLR2004
        if "cancelled" in reason.lower():
            return JobStatus(JobState.CANCELLED, reason=reason)
        return JobStatus(JobState.UNKNOWN, reason=reason or "archived, expired, or never there")
    if status == 500 and b"OperationOutcome" in body:  # noqa: PLR2004
        return JobStatus(JobState.FAILED, reason=reason)
    return None


def manifest_of(body: bytes, *, base_url: str, expires_in: float | None) -> Manifest:
    """Read a manifest.

    Every address is checked against the configured server; an address that is listed twice is one file.

    Raises:
        ServerError: not JSON, so cut short or not from BCDA; asked again it may be whole.
        ManifestError: a field is missing or of the wrong type, or an address lies elsewhere.

    Source: wire contract §11.
    """
    try:
        document = read_json(body)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ServerError(
            f"BCDA answered a finished job with {len(body)} bytes that are not JSON instead of its manifest; nothing was fetched. "
            "The answer was cut short, or something between here and BCDA answered in its place."
        ) from error
    except ValueError as error:
        raise ManifestError(f"BCDA's manifest cannot be read ({error}); nothing was fetched.") from error
    try:
        if not isinstance(document, dict) or document.get("output") is None:
            raise ValueError("no output")  # noqa: TRY301
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
            request_url=_plain(read_text(document, "request")) if "request" in document else "",
            expires_in_seconds=expires_in,
            files=tuple(files.values()),
        )
    except ValueError as error:
        raise ManifestError(
            f"BCDA's manifest cannot be read ({error}); nothing was fetched. Ask for the status again, then start a new run."
        ) from error


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
        raise ValueError("a job number that is none")
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
    raise ValueError("an instant that is none")


def jobs_of(body: bytes) -> list[ListedJob]:
    """Read the job list; entries that cannot be read are left out, since the list is advice, not truth.

    Raises:
        ServerError: the body is no job list at all.

    Source: wire contract §13.
    """
    try:
        document = read_json(body)
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
            number = _job_number(task["identifier"][0]["value"])
            jobs.append(ListedJob(number, _TASK_STATES[task["status"]], request, created))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            continue
    return jobs


def attribution_of(body: bytes) -> AttributionStatus:
    """Return the dates of the newest attribution lists.

    Raises:
        ServerError: the body cannot be read.

    Source: wire contract §14.
    """
    try:
        dates = {
            read_text(entry, "type"): _sent_instant(read_text(entry, "timestamp"))
            for entry in read_json(body)["ingestion_dates"]
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ServerError("BCDA's attribution status cannot be read; try again.") from error
    return AttributionStatus(dates.get("last_attribution_update"), dates.get("last_runout_update"))


def health_of(body: bytes) -> dict[str, str]:
    """Return BCDA's parts with their states, `ok` when well.

    Raises:
        ServerError: the body is not BCDA's, so something else answers for it.

    Source: wire contract §18.
    """
    parts = _open_answer(body, "Health")
    return {_plain(part): _plain(state) if isinstance(state, str) else "unreadable" for part, state in parts.items()}


def metadata_of(body: bytes) -> dict[str, Any]:
    """Return the CapabilityStatement.

    Raises:
        ServerError: the body is not BCDA's, so something else answers for it.

    Source: wire contract §18.
    """
    return _open_answer(body, "Metadata")


def _open_answer(body: bytes, what: str) -> dict[str, Any]:
    try:
        document = read_json(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ServerError(
            f"{what}: the answer is not one of BCDA's. Check the base URL, and whether a proxy or a maintenance page answers."
        )
    return document


def reason_of(body: bytes) -> str:
    """Return the server's reason from the first JSON value of an error body, or nothing when there is none.

    One line of at most 500 characters; whatever looks like an MBI is replaced. Only for answers of the API itself: texts of
    data and error files name people and are never read with this.

    Source: wire contract §3; two documents in one body occur (§10, §12, §13).
    """
    try:
        document, _ = json.JSONDecoder().raw_decode(body.decode("utf-8").lstrip())
        issue = document["issue"][0]
        text = issue.get("diagnostics") or (issue.get("details") or {}).get("text") or ""
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return ""
    return _plain(text)[:500] if isinstance(text, str) else ""


def _plain(text: str) -> str:
    """Return a text of the server as one line that can be logged: nothing that a terminal obeys, and no MBI."""
    return _without_mbi("".join(letter if letter.isprintable() else " " for letter in text).strip())


def _without_mbi(text: str) -> str:
    return _MBI_LIKE.sub("[MBI]", text)


def missing_list(reason: str) -> MissingList:
    """Return which case of a missing attribution list a kick-off's reason means (wire contract §6.3, rows 19 to 21)."""
    return next((case for start, case in _MISSING_LISTS if start in reason), MissingList.UNKNOWN)


def error_for(status: int, body: bytes, *, what: str, retry_after: float | None) -> BcdaError:
    """Return the error that an answer of the API means.

    Args:
        status: HTTP status, not the success that was expected.
        body: of the answer.
        what: what was being done, such as `kick-off`, for the message.
        retry_after: seconds the server asked to wait, or None.

    Source: wire contract §5, §6.3.
    """
    reason = reason_of(body)
    said = f'BCDA said "{reason}"' if reason else "BCDA gave no reason"
    if status == 429:  # noqa: PLR2004
        return RateLimitedError(
            f"{what}: 429, too many requests or an overlapping job is running.", retry_after_seconds=retry_after
        )
    if status < 300:  # noqa: PLR2004
        return ServerError(
            f"{what}: {status} without what belongs to it, so something between here and BCDA answered in its place.",
            retry_after_seconds=retry_after,
            status=status,
        )
    if status >= 500 or status == 408:  # noqa: PLR2004
        return ServerError(f"{what}: {status}, {said}.", retry_after_seconds=retry_after, status=status)
    if status in {401, 403} or (status, reason) == (400, _FOREIGN_TOKEN):
        return CredentialsError(f"{what}: {status}, {said}. {_access_step(reason)}", status=status, reason=reason)
    if status == 404:  # noqa: PLR2004
        case = missing_list(reason)
        return AttributionMissingError(f"{what}: 404, {said}. {_NEXT_STEPS[case]}", reason=reason, case=case)
    if 300 <= status < 400:  # noqa: PLR2004
        return ManifestError(
            f"{what}: {status}, a redirect, which BCDA never sends. Check the base URL; nothing was followed."
        )
    if "SharedSystem" in reason:
        return InvalidRequestError(f"{what}: {status}, {said}. Set shared_system to false on the connection.")
    return InvalidRequestError(f"{what}: {status}, {said}. Change the request; the same one will be refused again.")


def _access_step(reason: str) -> str:
    """Return what to do about a refusal of the organization, its token or its version (wire contract §5; §6.3 rows 2, 3)."""
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
