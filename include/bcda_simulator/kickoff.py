"""Starting an export: the refusals in the server's order, then the job (docs/bcda.md#kick-off-request, docs/bcda.md#attribution-lists)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote_plus

from bcda_simulator import typefilter
from bcda_simulator.faults import Fault, FaultKind
from bcda_simulator.jobs import PREPARATIONS, Job, JobStore, Part
from bcda_simulator.settings import Entity
from bcda_simulator.source import AttributionList

_FORMATS = ("ndjson", "application/fhir+ndjson", "application/ndjson")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BASE_TYPES = ("Patient", "ExplanationOfBenefit", "Coverage")


class Refusal(Exception):  # noqa: N818 - the word of docs/bcda.md#kick-off-refusals
    """An answer instead of a job."""

    def __init__(self, status: int, text: str = "", *, retry_after: str | None = None, has_body: bool = True) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.retry_after = retry_after
        self.has_body = has_body


@dataclass(frozen=True, slots=True)
class KickOff:
    """A kick-off as it arrived; of a repeated parameter only the first value counts."""

    entity: Entity
    version: str
    group: str | None
    accept: str
    prefer: str
    query: Sequence[tuple[str, str]]
    path_and_query: str
    url: str

    def first(self, name: str) -> str | None:
        """Return the first value of a parameter, or None."""
        return next((value for key, value in self.query if key == name), None)


def read_query(text: str) -> list[tuple[str, str]]:
    """Return the parameters of a query; one with a bad `%` escape or a `;` is dropped whole (docs/bcda.md#kick-off-request).

    Args:
        text: of the query, as it was received.
    """
    pairs = (pair for pair in text.split("&") if pair and ";" not in pair and not _BAD_ESCAPE.search(pair))
    return [(unquote_plus(name), unquote_plus(value)) for name, _, value in (pair.partition("=") for pair in pairs)]


def check_request(store: JobStore, asked: KickOff) -> tuple[tuple[str, ...], datetime | None]:
    """Apply rows 2 to 14, which the job list shares; return types (empty when not named) and since.

    Raises:
        Refusal: the first row that applies.
    """
    if (
        asked.version == "v3"
        and store.settings.v3_entities is not None
        and asked.entity.cms_id not in store.settings.v3_entities
    ):
        raise Refusal(403, "V3 access not enabled for this ACO")
    if asked.version != "v3" and re.match(r"IOTA|ACCES|GUIDE", asked.entity.cms_id):
        raise Refusal(403, "v1 nor v2 access not enabled for this ACO")
    output_format = asked.first("_outputFormat")
    if output_format is not None and output_format not in _FORMATS:
        raise Refusal(400, f"_outputFormat parameter must be one of [{' '.join(_FORMATS)}]")
    if asked.first("_elements") is not None:
        raise Refusal(400, "Invalid parameter: this server does not support the _elements parameter.")
    if any(key.startswith("?") for key, _ in asked.query):
        raise Refusal(400, "Invalid parameter: query parameters cannot start with ?")
    since = _since(store, asked.first("_since"))
    types = _types(asked.first("_type"))
    if asked.version == "v3":
        problem = typefilter.refusal([value for key, value in asked.query if key == "_typeFilter"])
        if problem:
            raise Refusal(400, problem)
    _check_headers(asked)
    return types, since


def start(store: JobStore, asked: KickOff) -> Job:
    """Apply all rows and start the job.

    Raises:
        Refusal: the first row that applies.
    """
    types, since = check_request(store, asked)
    if (
        store.settings.refuse_duplicates
        and not asked.entity.is_exempt
        and store.overlapping(asked.entity, asked.version, asked.path_and_query, types)
        and not _strikes(store, FaultKind.SAME_INSTANT, asked)
    ):
        raise Refusal(429, retry_after=store.settings.kick_off_retry_after, has_body=False)
    if asked.group not in {None, "all", "runout"}:
        raise Refusal(400, "Invalid group ID")
    types = _entitled(asked, types)
    current, older = _lists(store, asked, since)
    job = _job(store, asked, types, since, current, older)
    if _strikes(store, FaultKind.PHANTOM, asked):
        job.preparations = PREPARATIONS
        store.add(job)
        raise Refusal(500)
    return store.add(job)


def _since(store: JobStore, text: str | None) -> datetime | None:
    if text is None:
        return None
    malformed = "Invalid date format supplied in _since parameter.  Date must be in FHIR Instant format."
    if not _INSTANT.fullmatch(text):
        raise Refusal(400, malformed)
    try:
        since = datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise Refusal(400, malformed) from None
    if since > store.clock.now():
        raise Refusal(
            400, "Invalid date format supplied in _since parameter. Date must be a date that has already passed"
        )
    return since


def _types(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    types = tuple(text.split(","))
    repeated = [name for place, name in enumerate(types) if name in types[:place]]
    if repeated:
        raise Refusal(400, f"Repeated resource type {repeated[0]}")
    return types


def _check_headers(asked: KickOff) -> None:
    if not asked.accept:
        raise Refusal(400, "Accept header is required")
    if "application/fhir+json" not in asked.accept.lower():
        raise Refusal(400, "application/fhir+json is the only supported response format")
    if not asked.prefer:
        raise Refusal(400, "Prefer header is required")
    if "respond-async" not in asked.prefer.lower():
        raise Refusal(400, "Only asynchronous responses are supported")


def _entitled(asked: KickOff, types: tuple[str, ...]) -> tuple[str, ...]:
    partially = ("Claim", "ClaimResponse") if asked.version == "v2" else ()
    if not types:
        base = _BASE_TYPES if asked.entity.has_adjudicated else ()
        return base + (partially if asked.entity.has_partially_adjudicated else ())
    known = _BASE_TYPES + partially + (("Observation",) if asked.version == "v1" else ())
    for name in types:
        if name not in known:
            raise Refusal(400, f"invalid resource type {name}. Supported types [{' '.join(known)}]")
        if name in partially and not asked.entity.has_partially_adjudicated:
            raise Refusal(400, f"unauthorized resource type {name}")
    return types


def _lists(store: JobStore, asked: KickOff, since: datetime | None) -> tuple[AttributionList, AttributionList | None]:
    now, is_runout = store.clock.now(), asked.group == "runout"
    lists = store.source.attribution_lists(asked.entity.cms_id, "runout" if is_runout else "all", now)
    limit = timedelta(days=store.settings.runout_days if is_runout else store.settings.attribution_days)
    fresh = [entry for entry in lists if now - entry.dated_at <= limit]
    strike = store.faults.strike
    if not fresh or strike(FaultKind.NO_ATTRIBUTION, "kick-off", asked.path_and_query):
        if is_runout:
            raise Refusal(404, "runout data is no longer available. Runout data expires 180 days after ingestion")
        raise Refusal(404, "failed to start job; attribution file not found")
    current = fresh[-1]
    year = now.year - 1 if is_runout else now.year
    if current.performance_year != year or strike(FaultKind.WRONG_YEAR, "kick-off", asked.path_and_query):
        raise Refusal(
            404,
            "unable to perform export operations for this Group. No up-to-date attribution information is available "
            f"for ACOID '{asked.entity.cms_id}'. Usually this is due to awaiting new attribution information at the "
            "beginning of a Performance Year",
        )
    if asked.group != "all" or since is None:
        return current, None
    before = [entry for entry in lists if entry.dated_at <= since]
    if not before or strike(FaultKind.NO_OLDER_LIST, "kick-off", asked.path_and_query):
        raise Refusal(404, "failed to start job; attribution file not found for given _since parameter.")
    return current, before[-1]


def _job(
    store: JobStore,
    asked: KickOff,
    types: tuple[str, ...],
    since: datetime | None,
    current: AttributionList,
    older: AttributionList | None,
) -> Job:
    now = store.clock.now()
    # Who opted out is left out without a word (docs/bcda.md#attribution-lists).
    gone = store.source.opted_out(now)
    known_before = set(older.people) if older else set(current.people)
    known = [person for person in current.people if person in known_before and person not in gone]
    new = [person for person in current.people if person not in known_before and person not in gone]
    parts = []
    for name in types:
        size = store.settings.chunk_people.get(name, 4000)
        for people, after in ((known, since), (new, None)):
            parts += [Part(name, tuple(people[i : i + size]), after) for i in range(0, len(people), size)]
    loaded = now if asked.version == "v3" else store.source.last_load_at(now)
    filters = [value for key, value in asked.query if key == "_typeFilter"]
    # A job without parts is never begun, and nothing ends it (docs/bcda.md#resource-types).
    stays_pending = not types or _strikes(store, FaultKind.STUCK_PENDING, asked) is not None
    return Job(
        number=store.next_number(),
        entity=asked.entity,
        version=asked.version,
        request_url=asked.url,
        path_and_query=asked.path_and_query,
        type_text=asked.first("_type") or "",
        created_at=now,
        transaction_time=loaded,
        up_to=loaded,
        parts=tuple(parts),
        resource_types=types,
        service_capped=asked.group == "runout",
        type_filter=tuple(filters),
        has_default_warning=asked.version == "v3"
        and "ExplanationOfBenefit" in types
        and not typefilter.names_system_type(filters),
        is_stuck=_strikes(store, FaultKind.STUCK, asked) is not None,
        fails_after_seconds=_fails_after(store, asked, types),
        preparations=PREPARATIONS if stays_pending else 0,
    )


def _fails_after(store: JobStore, asked: KickOff, types: tuple[str, ...]) -> float | None:
    """Return how long the job is In Progress before it fails, which ends it for good (docs/bcda.md#stuck-and-returning-jobs)."""
    fault = _strikes(store, FaultKind.JOB_FAILS, asked)
    if fault is None and asked.version == "v3":
        fault = _strikes(store, FaultKind.UPSTREAM_GONE, asked)
    if fault is None and "Observation" in types:
        return 0.0
    return fault.seconds if fault else None


def _strikes(store: JobStore, kind: FaultKind, asked: KickOff) -> Fault | None:
    return store.faults.strike(kind, "kick-off", asked.path_and_query)
