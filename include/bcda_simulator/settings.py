"""Settings and quirk switches of the simulated server (docs/bcda.md#simulated-server), with the defaults of that page."""

from dataclasses import dataclass, field
from datetime import date


@dataclass(frozen=True, slots=True)
class Entity:
    """One organization with its credentials.

    Attributes:
        cms_id: such as `A9999`; its form decides the model (docs/bcda.md#resource-types).
        client_id: for the token endpoint.
        client_secret: for the token endpoint.
        has_partially_adjudicated: whether v2 Claim and ClaimResponse are exported.
        is_exempt: test entities are exempt from the refusal of overlapping jobs (docs/bcda.md#overlapping-jobs).
        has_adjudicated: whether Patient, Coverage and ExplanationOfBenefit are exported when no type is named. Without them a
            job on v1 or v3 that names no type has no parts and stays Pending (docs/bcda.md#resource-types).
    """

    cms_id: str = "A9999"
    client_id: str = "simulated-client"
    client_secret: str = "simulated-secret"  # noqa: S105 - a made-up secret of a local test server
    has_partially_adjudicated: bool = True
    is_exempt: bool = False
    has_adjudicated: bool = True


@dataclass(frozen=True, slots=True)
class Quirks:
    """Odd habits of the real server, on but where it says otherwise, so that clients meet them.

    Attributes:
        double_bodies: two documents in one body (docs/bcda.md#error-bodies).
        meaningless_percentage: `X-Progress` as the real server computes it (docs/bcda.md#job-status).
        extra_gzip_member: an empty gzip member at the end of a full compressed body (docs/bcda.md#downloads).
        archived_is_404: archived jobs answer 404 instead of 410 (docs/bcda.md#job-status).
        unsplit_type: `_type` of a running job is compared unsplit (docs/bcda.md#overlapping-jobs).
        unlisted_errors: an error file without a data file stands in no manifest (docs/bcda.md#manifest).
        odd_expires: `Expires` in a private format (docs/bcda.md#job-status).
        text_expires_in: `expires_in` as text (docs/bcda.md#token).
        drops_service_date: service dates with a time of day are accepted and dropped (docs/bcda.md#type-filter).
        refusals_keep_connections: a refused token leaves the connection open, and each connection has one handler, chosen by
            its first request (docs/bcda.md#connections).
        second_outcome_forbidden: what follows the answer for an archived or foreign job is an outcome of code `forbidden`
            (docs/bcda.md#job-status); off.
    """

    double_bodies: bool = True
    meaningless_percentage: bool = True
    extra_gzip_member: bool = True
    archived_is_404: bool = True
    unsplit_type: bool = True
    unlisted_errors: bool = True
    odd_expires: bool = True
    text_expires_in: bool = True
    drops_service_date: bool = True
    refusals_keep_connections: bool = True
    second_outcome_forbidden: bool = False


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """Everything that differs between deployments (docs/bcda.md#simulated-server).

    Attributes:
        token_seconds: lifetime of a token.
        token_limit: token requests per entity in `token_window_seconds`.
        token_window_seconds: fixed window of that limit.
        file_hours: hours after completion until files may be cleaned up.
        cleanup_hours: hours of the day, UTC, at which clean-up runs.
        refuse_duplicates: whether overlapping jobs are refused (docs/bcda.md#overlapping-jobs).
        kick_off_retry_after: `Retry-After` of that refusal.
        attribution_days: age at which the newest attribution list is too old.
        runout_days: the same for the runout list.
        runout_cap: runout claims with a later service date are left out.
        chunk_people: people per part, by type (docs/bcda.md#job-states).
        failure_threshold: share of failed people of a part that fails the job.
        v3_entities: entities that may use v3; None for all.
        pending_seconds: how long a job stays Pending.
        cancelled_jobs_return: whether a job that was canceled while its preparation fails is prepared at the next try, and so
            comes back (docs/bcda.md#stuck-and-returning-jobs).
        parts_per_second: how fast parts are done after that.
        seed: makes file names repeatable.
        gzip_level: of the stored files.
        bytes_per_second: limit on the bodies of all files together; None for as fast as it can.
    """

    token_seconds: int = 1200
    token_limit: int = 1000
    token_window_seconds: int = 300
    file_hours: float = 24.0
    cleanup_hours: tuple[int, ...] = (11, 23)
    refuse_duplicates: bool = True
    kick_off_retry_after: str = "0"
    attribution_days: int = 50
    runout_days: int = 180
    runout_cap: date = date(2025, 12, 31)
    chunk_people: dict[str, int] = field(
        default_factory=lambda: {
            "ExplanationOfBenefit": 50,
            "Patient": 5000,
            "Coverage": 4000,
            "Claim": 4000,
            "ClaimResponse": 4000,
        }
    )
    failure_threshold: float = 1.0
    v3_entities: frozenset[str] | None = None
    pending_seconds: float = 0.2
    cancelled_jobs_return: bool = False
    parts_per_second: float = 200.0
    seed: int = 1
    gzip_level: int = 1
    bytes_per_second: float | None = None
    quirks: Quirks = field(default_factory=Quirks)
