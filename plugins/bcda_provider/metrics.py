"""Every metric of this project, and the only way to emit one: through Airflow's own metrics, wherever it sends them.

No metric counts people, and no tag has a value of its own for each run or file: a monitoring system keeps every combination
of tags for ever.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from airflow.sdk.observability import stats

from bcda.runs.run import scope_and_version
from bcda.storage.places import Places


class Kind(StrEnum):
    """How values of a metric are put together: added up, replaced by the newest, or collected as a distribution."""

    COUNTER = "counter"
    GAUGE = "gauge"
    TIMER = "timer"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: without the prefix that Airflow puts before it (`airflow.` by default).
        kind: how its values are put together.
        unit: of its values.
        description: when it is emitted and what it means.
        tags: names of its tags; every value has all of them.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    tags: tuple[str, ...]


_SOURCE = ("source",)
_RUN = ("source", "api_version", "scope")

FILES_FETCHED = Metric(
    "bcda.files_fetched", Kind.COUNTER, "files", "Files that came from BCDA and were proved whole, as they come.", _RUN
)
BYTES_FETCHED = Metric("bcda.bytes_fetched", Kind.COUNTER, "bytes", "Bytes of those files, as received.", _RUN)
LINES_READ = Metric(
    "bcda.lines_read",
    Kind.COUNTER,
    "lines",
    "Lines read at the end of each `land` task: those landed and those quarantined. A cleared task counts again.",
    _RUN,
)
LINES_LANDED = Metric("bcda.lines_landed", Kind.COUNTER, "lines", "Lines of them that became a resource.", _RUN)
LINES_QUARANTINED = Metric(
    "bcda.lines_quarantined", Kind.COUNTER, "lines", "Lines of them that were quarantined with a reason.", _RUN
)
RUNS_LOADED = Metric("bcda.runs_loaded", Kind.COUNTER, "runs", "Export runs whose rows and ledger were merged.", _RUN)
REQUESTS = Metric(
    "bcda.requests",
    Kind.COUNTER,
    "answers",
    "Answers of BCDA to whatever was asked, tokens included. BCDA allows 3,000 in five minutes for each address.",
    _SOURCE,
)
RATE_LIMITED = Metric("bcda.rate_limited", Kind.COUNTER, "answers", "Answers of them that were 429.", _SOURCE)
REQUEST_RETRIES = Metric(
    "bcda.request_retries", Kind.COUNTER, "retries", "Requests and downloads that failed and are retried.", _SOURCE
)
RETRY_WAIT = Metric(
    "bcda.retry_wait", Kind.TIMER, "milliseconds", "Wait before each of those, Retry-After included.", _SOURCE
)
JOB_WAIT = Metric(
    "bcda.job_wait", Kind.TIMER, "milliseconds", "How long a job took at BCDA, from the first look to its end.", _RUN
)
SLOT_WAIT = Metric(
    "bcda.slot_wait",
    Kind.TIMER,
    "milliseconds",
    "Each time `kick_off` defers because another job is in the way: how long until it looks again.",
    _RUN,
)
LIST_WAIT = Metric(
    "bcda.list_wait",
    Kind.TIMER,
    "milliseconds",
    "Each time `kick_off` defers because BCDA has no attribution list, as in January: how long until it asks again.",
    _RUN,
)
PLAN_DURATION = Metric(
    "bcda.plan_duration", Kind.TIMER, "milliseconds", "Phase `plan`, when it ended well with a run to do.", _RUN
)
KICK_OFF_DURATION = Metric(
    "bcda.kick_off_duration",
    Kind.TIMER,
    "milliseconds",
    "Phase `kick_off` without its waits, when it ended well.",
    _RUN,
)
FETCH_DURATION = Metric(
    "bcda.fetch_duration", Kind.TIMER, "milliseconds", "Phase `fetch`, for each batch that ended well.", _RUN
)
LAND_DURATION = Metric(
    "bcda.land_duration", Kind.TIMER, "milliseconds", "Phase `land`, for each batch that ended well.", _RUN
)
MERGE_DURATION = Metric(
    "bcda.merge_duration",
    Kind.TIMER,
    "milliseconds",
    "Phase `merge`, when it ended well; waiting for another load included.",
    _RUN,
)
PUBLISH_DURATION = Metric(
    "bcda.publish_duration",
    Kind.TIMER,
    "milliseconds",
    "Phase `publish`, when it ended well, checks included.",
    _SOURCE,
)
FRESHNESS = Metric(
    "bcda.freshness",
    Kind.GAUGE,
    "seconds",
    "Age of the instant up to which the published data of a type is complete; told by `publish` and each night by "
    "`check_freshness`, not at all while a type is not loaded from the beginning.",
    (*_SOURCE, "api_version", "resource_type"),
)
GAPS_OPEN = Metric(
    "bcda.gaps_open",
    Kind.GAUGE,
    "intervals",
    "Intervals of a type for which BCDA could not deliver someone and no later run has; told with the freshness.",
    (*_SOURCE, "api_version", "resource_type"),
)
RUNS_LATE = Metric(
    "bcda.runs_late",
    Kind.COUNTER,
    "runs",
    "Runs that were not done `BCDA_LATE_HOURS` after they were queued.",
    (*_SOURCE, "dag_id"),
)

METRICS = (
    FILES_FETCHED,
    BYTES_FETCHED,
    LINES_READ,
    LINES_LANDED,
    LINES_QUARANTINED,
    RUNS_LOADED,
    REQUESTS,
    RATE_LIMITED,
    REQUEST_RETRIES,
    RETRY_WAIT,
    JOB_WAIT,
    SLOT_WAIT,
    LIST_WAIT,
    PLAN_DURATION,
    KICK_OFF_DURATION,
    FETCH_DURATION,
    LAND_DURATION,
    MERGE_DURATION,
    PUBLISH_DURATION,
    FRESHNESS,
    GAPS_OPEN,
    RUNS_LATE,
)
"""All of them; the reference in the documentation is made from it."""


def emit(metric: Metric, value: float | timedelta, **tags: str) -> None:
    """Emit one value.

    Args:
        metric: one of `METRICS`.
        value: in the metric's unit; of a timer a time.
        tags: a value for each of the metric's tags.

    Raises:
        ValueError: the tags are not those declared, or the value is not of the metric's kind.
    """
    if tags.keys() != set(metric.tags):
        raise ValueError(f"{metric.name} has the tags {', '.join(metric.tags)}.")
    if isinstance(value, timedelta) is not (metric.kind is Kind.TIMER):
        raise ValueError(f"{metric.name} is a {metric.kind}; only timers take times.")
    if isinstance(value, timedelta):
        stats.timing(metric.name, value, tags=tags)
    elif metric.kind is Kind.GAUGE:
        stats.gauge(metric.name, value, tags=tags)
    else:
        stats.incr(metric.name, int(value), tags=tags)


@contextmanager
def timed(metric: Metric, **tags: str) -> Iterator[None]:
    """Emit how long a block took, if it ends well."""
    started = time.monotonic()
    yield
    emit(metric, timedelta(seconds=time.monotonic() - started), **tags)


def of_run(places: Places, run_id: str) -> dict[str, str]:
    """Return the tags of an export run.

    Raises:
        ManifestError: that is no run's id.
    """
    scope, api_version = scope_and_version(run_id)
    return {"source": places.source_id, "api_version": api_version, "scope": scope}


def answered(source: str, status: int) -> None:
    """Count an answer of BCDA; a client calls it."""
    emit(REQUESTS, 1, source=source)
    if status == 429:  # noqa: PLR2004
        emit(RATE_LIMITED, 1, source=source)


def retried(source: str, wait_seconds: float) -> None:
    """Count a request that is retried after a wait; a client calls it."""
    emit(REQUEST_RETRIES, 1, source=source)
    emit(RETRY_WAIT, timedelta(seconds=wait_seconds), source=source)


def tell_status(places: Places) -> None:
    """Emit how fresh the published data is and what it lacks."""
    from bcda import warehouse

    if not places.published.exists():
        return
    now = datetime.now(UTC)
    for row in warehouse.read_published_status(places):
        if row.population != "current":
            continue
        tags = {"source": places.source_id, "api_version": row.api_version, "resource_type": row.resource_type}
        emit(GAPS_OPEN, row.gap_intervals, **tags)
        if row.covered_until is not None:
            emit(FRESHNESS, (now - row.covered_until).total_seconds(), **tags)
