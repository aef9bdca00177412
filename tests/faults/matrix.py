"""Every fault: where it strikes, what goes wrong, and the outcome it must have. A new fault is one line.

`python tests/faults/matrix.py` prints the table of docs/reference/faults.md.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby

import arrangements as a
from canaries import PLANTED

from bcda import errors
from bcda.api.export_request import Scope
from bcda_simulator import Fault, Quirks, SimulatorSettings
from bcda_simulator import FaultKind as K


class Outcome(StrEnum):
    """The outcome that a row requires."""

    LOADS = "recovers automatically; all data loads"
    GAP = "loads; missing beneficiaries are listed, and a later run fills the gap"
    DELETED = "loads; what the server deleted is listed and deletes nothing, and a later run requests everything again"
    UNLISTED = "loads; beneficiaries without data are counted, and a full run loads them"
    QUARANTINED = "loads; bad lines are quarantined with a reason, and a later run requests them again"
    SUSPECT = "loads; the claim is published, flagged, and listed with the reason, beside all others"
    CONFLICT = "loads; of two contents the same one always counts, and the ledger lists the resource"
    SHARED = "loads; two beneficiaries are one person until BCDA withdraws the MBI, and both changes are recorded"
    WAITS = "waits without holding a worker; no data changes; loads when a list is available"
    FAILS = "fails with a clear reason; no data changes; the next run loads everything"


@dataclass(frozen=True, slots=True)
class Row:
    """One fault in one phase.

    Attributes:
        fault: what goes wrong, as a noun phrase.
        phase: where.
        strikes: faults of the simulated server.
        outcome: the outcome it must have.
        error: of a failure.
        says: regular expression for the failure's sentence.
        waits: the longest wait must be at least this long, in seconds.
        source: what the server serves instead of the world as it is.
        arrange: what else is done before the export.
        before: stage → what is done before each of its tries.
        changes: of what is asked for.
        tuning: of the connection.
        api_version: of the connection.
        server: settings of the server.
        start: the server's clock at the beginning of the run.
        our_clock: how far this machine's clock is ahead of the server's.
    """

    fault: str
    phase: str
    strikes: tuple[Fault, ...] = ()
    outcome: Outcome = Outcome.LOADS
    error: type[Exception] | None = None
    says: str = ""
    waits: float = 0.0
    source: Callable[..., object] | None = None
    arrange: Callable[..., object] | None = None
    before: dict[str, Callable[..., None]] = field(default_factory=dict)
    changes: dict[str, object] = field(default_factory=dict)
    tuning: dict[str, object] = field(default_factory=dict)
    api_version: str = "v2"
    server: SimulatorSettings | None = None
    start: datetime = a.NEXT_WEEK
    our_clock: timedelta = timedelta()

    def __str__(self) -> str:
        return f"{self.phase}: {self.fault}"

    @property
    def wish(self) -> dict[str, object]:
        """What is asked for; what goes wrong before a file comes is the same for every type."""
        is_before_files = self.phase in (*ENDPOINTS, "cancel") and self.phase != "data"
        claims = "ExplanationOfBenefit"
        return {"resource_types": (claims,) if is_before_files else ("Patient", claims), **self.changes}


def fails(fault: str, phase: str, *strikes: Fault, error: type[Exception], says: str, **more: object) -> Row:
    """Return a row whose run has to fail."""
    return Row(fault, phase, strikes, Outcome.FAILS, error, says, **more)


def waits(fault: str, phase: str, strike: Fault, says: str) -> Row:
    """Return a row whose kick-off has to raise what Airflow's task waits for, deferred (tests/dags/test_weekly_export.py)."""
    return Row(fault, phase, (strike,), Outcome.WAITS, errors.AttributionMissingError, says)


DAY = 86_400.0
"""Seconds of the longest wait that a server can ask for."""

BACK_OFF = 0.02
"""Seconds of the shortest wait before another try (retried_export.FAST)."""

ENDPOINTS = ("token", "kick-off", "jobs", "attribution", "status", "data")
LOUD = "loud" * 750_000
MANY_FILES = "5,000 files"
TENTHS = tuple(n / 10 for n in range(10))


def _connection() -> Iterator[Row]:
    for phase in ENDPOINTS:
        yield Row("connection reset before the headers", phase, (Fault(K.DROP, phase, times=1),))
        if phase != "kick-off":
            yield Row("no answer within the timeout", phase, (Fault(K.DELAY, phase, seconds=1.5, times=1),))
        yield Row("503 for a while", phase, (Fault(K.ANSWER, phase, status=503, body="none", times=2),))
        yield Row("HTML maintenance page with 503", phase, (Fault(K.ANSWER, phase, status=503, body="html", times=1),))
        html = Fault(K.ANSWER, phase, status=200, body="html", times=1)
        yield Row("HTML maintenance page with 200", phase, (html,))
        redirect = Fault(K.ANSWER, phase, status=302, location="https://elsewhere.example/", body="none", times=9)
        if phase == "attribution":
            # The weekly export is made without the date of the list.
            yield Row("redirect to another host", phase, (redirect,))
            continue
        yield fails("redirect to another host", phase, redirect, error=errors.ManifestError, says="redirect")
    for phase in ("token", "jobs", "attribution", "status"):
        yield Row("connection reset after the headers", phase, (Fault(K.RESET, phase, fraction=0, times=1),))
        yield Row("connection reset in the body", phase, (Fault(K.RESET, phase, fraction=0.5, times=1),))
        yield Row("connection closed in the body", phase, (Fault(K.CUT, phase, fraction=0.5, times=1),))
        yield Row("short body with a clean end", phase, (Fault(K.SHORT, phase, fraction=0.5, times=1),))
    yield Row("no answer within the timeout", "kick-off", (Fault(K.DELAY, "kick-off", seconds=1.5, times=1),))
    yield Row("API process restarts", "status", before={"wait": a.restart_the_api})
    yield Row("API process restarts", "data", before={"fetch": a.restart_the_api}, tuning={"file_attempts": 20})
    yield fails(
        "no answer from the server (address not on the allow list)", "token", arrange=a.ask_where_nobody_answers,
        error=errors.NotAllowListedError, says="allow list",
    )  # fmt: skip


def _loud() -> Iterator[Row]:
    for phase in ENDPOINTS:
        strike = Fault(K.ANSWER, phase, status=503, text=LOUD, times=2)
        yield Row("503 with three megabytes of text", phase, (strike,))


def _rate_limits() -> Iterator[Row]:
    # By the server's clock, which is not ours: tests/faults runs it in another week.
    date = (a.NEXT_WEEK + timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    for phase in ENDPOINTS:
        for wish, waits, named in (
            ("0", BACK_OFF, "0"),
            ("2", 2.0, "2"),
            (date, 3000.0, "an HTTP date"),
            ("soon, maybe", BACK_OFF, "nonsense"),
            ("86400", DAY, "a day"),
            ("9" * 40, DAY, "more years than there are"),
        ):
            strike = Fault(K.ANSWER, phase, status=429, retry_after=wish, body="none", times=2)
            yield Row(f"429, Retry-After: {named}", phase, (strike,), waits=waits)
    edge = Fault(K.ANSWER, "data", status=429, body="html", times=2)
    yield Row("429 from the network edge, without Retry-After", "data", (edge,))


def _excess() -> Iterator[Row]:
    """Return rows of answers that take more bytes or more time than any answer should."""
    once, dripping, endless = {"times": 1}, Fault(K.DRIP, seconds=0.1), Fault(K.FLOOD)
    # Long enough that a slow machine too asks for the status of a job that is not complete.
    pending = SimulatorSettings(pending_seconds=2.0)
    for phase in (*ENDPOINTS[:-1], "manifest"):
        of = {"server": pending} if phase == "status" else {}
        yield Row("answer that never ends", phase, (replace(endless, endpoint=phase, **once),), **of)
        yield Row("compressed answer that never ends", phase, (Fault(K.BOMB, phase, **once),), **of)
        yield Row("answer that drips", phase, (replace(dripping, endpoint=phase, **once),), **of)
    for phase in ENDPOINTS:
        of = {"server": pending} if phase == "status" else {}
        yield Row("header block that drips", phase, (Fault(K.ENDLESS_HEADERS, phase, seconds=0.1, **once),), **of)
        yield Row("header block that never ends", phase, (Fault(K.ENDLESS_HEADERS, phase, seconds=0.0, **once),), **of)
        error = Fault(K.ANSWER, phase, status=503, **once)
        yield Row("503 with a body that never ends", phase, (error, replace(endless, endpoint=phase, **once)))
        yield Row("503 with a body that drips", phase, (error, replace(dripping, endpoint=phase, **once)))
    over = {"error": errors.ExportFailedError, "says": "deadline", "tuning": {"job_deadline_seconds": 0.5}}
    drips = replace(dripping, endpoint="status")
    over["tuning"]["max_attempts"] = 1
    yield fails("answer that drips, each time", "status", drips, Fault(K.STUCK), **over)
    large = {"error": errors.ManifestError, "says": "manifest_megabytes", "tuning": {"manifest_megabytes": 1.0}}
    yield fails("manifest that never ends, each time", "manifest", replace(endless, endpoint="manifest"), **large)
    values = Fault(K.MANIFEST, fields={"extension": [[]] * 1_000_001})
    yield fails(
        "manifest with a million values", "manifest", values, error=errors.ManifestError, says="more than 1,000,000"
    )


def _tokens() -> Iterator[Row]:
    for phase in ENDPOINTS[1:]:
        yield Row("401, token expired", phase, (Fault(K.EXPIRE_TOKENS, phase, times=1),))
        refused = Fault(K.ANSWER, phase, status=401, times=99)
        yield fails(
            "401 with every token",
            phase,
            refused,
            error=errors.BcdaError,
            says="401|deadline",
            tuning={"job_deadline_seconds": 4.0},
        )
    unknown = Fault(K.ANSWER, "token", status=401, body="text", text="Unauthorized\n")
    yield fails("401, wrong or expired client secret", "token", unknown, error=errors.CredentialsError, says="90 days")
    slow = Fault(K.ANSWER, "token", status=503, retry_after="1", body="text", text="Service Unavailable\n", times=2)
    yield Row("token service overloaded for a while", "token", (slow,), waits=1.0)
    failing = Fault(K.ANSWER, "token", status=500, body="text", text="Internal Server Error\n", times=2)
    yield Row("token service failing for a while", "token", (failing,))
    gone = Fault(K.ANSWER, "token", status=500, body="none")
    yield fails("token service down", "token", gone, error=errors.ServerError, says="Token request: 500")
    for hours in (-1, 1):
        skew = timedelta(hours=hours)
        yield Row(f"local clock one hour {'fast' if hours > 0 else 'slow'}", "plan", our_clock=skew)


TARGETS = {
    "kick-off": r"\$export",
    "jobs": r"/jobs(\?|$)",
    "attribution": "attribution_status",
    "status": r"/jobs/\d",
    "data": "^/data/",
}
STAGES = ("kick-off", "wait", "fetch")


def _connections() -> Iterator[Row]:
    """Return rows of connections that outlive a request (docs/bcda.md#connections), and of a token service in trouble (docs/bcda.md#token-check)."""
    text = {"body": "text", "text": "404 page not found\n", "status": 404}
    shared = {"arrange": a.share_connections}
    for phase in ENDPOINTS[1:]:
        expired = Fault(K.EXPIRE_TOKENS, phase, times=1)
        yield Row("401, token expired, behind a proxy that shares connections", phase, (expired,), **shared)
        gone = Fault(K.TOKEN_SERVICE_GONE, "check", TARGETS[phase], times=2)
        yield Row("500, token service gone for a while", phase, (gone,))
    for phase in ENDPOINTS:
        once = Fault(K.ANSWER, phase, times=1, **text)
        yield Row("plain 404, from another handler, once", phase, (once,))
    for phase in ENDPOINTS[:-1]:
        twice = Fault(K.ANSWER, phase, times=99, **text)
        if phase == "attribution":
            yield Row("plain 404, from another handler, for good", phase, (twice,))
            continue
        error, says = (errors.ServerError, "404 twice") if phase != "status" else (errors.ExportFailedError, "deadline")
        over = {"tuning": {"job_deadline_seconds": 0.5}}
        yield fails("plain 404, from another handler, for good", phase, twice, error=error, says=says, **over)
    strangers = dict.fromkeys(STAGES, a.let_strangers_be_refused)
    yield Row("refusals of others on shared connections", "token", before=strangers, **shared)
    other = {"status": 401, "text": "Invalid Token"}
    yield Row("401 from another handler, once", "token", (Fault(K.ANSWER, "token", times=1, **other),))
    for_good = Fault(K.ANSWER, "token", **other)
    yield fails(
        "401 from another handler, for good",
        "token",
        for_good,
        error=errors.ServerError,
        says="Token request: the answer was 401 twice",
    )
    yield Row("token service gone for a while", "token", (Fault(K.TOKEN_SERVICE_GONE, "token", times=2),))
    limit = Fault(K.ANSWER, "token", status=429, retry_after="300", body="text", text="exceeded\n", times=1)
    yield Row("429, token limit", "token", (limit,), waits=300.0)


def _jobs() -> Iterator[Row]:
    one = {"times": 1}
    yield Row("preparation fails, then recovers", "status", (Fault(K.ANSWER, "status", status=500, times=3),))
    at_once = {
        "error": errors.ExportFailedError,
        "says": "failed at BCDA",
        "tuning": {"failed_grace_seconds": 3600.0},
    }
    yield fails("job fails after it has begun", "status", Fault(K.JOB_FAILS, **one), **at_once)
    upstream = Fault(K.UPSTREAM_GONE, **one)
    yield Row("upstream outage while the job is prepared", "status", (upstream,))
    pending, soon = Fault(K.STUCK_PENDING, **one), {"pending_restart_seconds": 0.2}
    yield Row("job that stays Pending", "status", (pending,), tuning=soon)
    lost = Fault(K.CANCEL_LOST, "cancel", **one)
    yield Row("lost cancellation of a job that stays Pending", "cancel", (pending, lost), tuning=soon)
    text = "job was not cancelled due to internal server error"
    refused = Fault(K.ANSWER, "cancel", status=500, text=text, **one)
    yield Row("500 to the cancellation of a job that stays Pending", "cancel", (pending, refused), tuning=soon)
    returns = SimulatorSettings(pending_seconds=2.0, cancelled_jobs_return=True)
    back = {"arrange": a.leave_a_canceled_job_that_comes_back, "server": returns}
    yield Row("canceled job that comes back", "kick-off", **back)
    stuck = Fault(K.STUCK, **one)
    yield fails(
        "job that never finishes", "status", stuck, error=errors.ExportFailedError, says="deadline",
        tuning={"job_deadline_seconds": 1.0},
    )  # fmt: skip
    yield fails(
        "job canceled by someone else", "status", stuck, before={"wait": a.cancel_the_job},
        error=errors.ExportFailedError, says="canceled",
    )  # fmt: skip
    yield Row("500 that leaves a phantom job", "kick-off", (Fault(K.PHANTOM, **one),))
    yield Row("overlapping job of someone else", "kick-off", arrange=a.start_a_foreign_job)
    yield Row(
        "process killed after the request, before the job is recorded",
        "kick-off",
        before={"kick-off": a.ask_and_forget},
    )
    yield Row(
        "two kick-offs at the same instant",
        "kick-off",
        (Fault(K.SAME_INSTANT, "kick-off"),),
        before={"kick-off": a.ask_twice_and_forget},
    )
    for phase in ("kick-off", "jobs", "status"):
        named = Fault(K.ANSWER, phase, status=500, text=f"Database Error for MBI {PLANTED}", times=1)
        yield Row("error text that names a person", phase, (named,))
    for name, text in (
        ("in lower case", PLANTED.lower()),
        ("beside a letter", f"x{PLANTED}y"),
        ("with blanks", " ".join(PLANTED)),
    ):
        spelled = Fault(K.ANSWER, "jobs", status=500, text=f"Database Error for MBI {text}", times=1)
        yield Row(f"error text that names a person {name}", "jobs", (spelled,))
    progress = Fault(K.ANSWER, "status", status=202, body="none", progress=f"In Progress ({PLANTED})", times=1)
    yield Row("`X-Progress` that names a person", "status", (progress,))
    refused = Fault(K.ANSWER, "kick-off", status=400, text=f"bad request for {PLANTED}", times=9)
    yield fails("400", "kick-off", refused, error=errors.InvalidRequestError, says="will be refused again")
    no_list = Fault(K.NO_ATTRIBUTION, "kick-off")
    yield waits("no attribution list", "kick-off", no_list, says="not found")
    january = Fault(K.WRONG_YEAR, "kick-off")
    yield waits("January closure", "kick-off", january, says="about mid February")
    no_older = Fault(K.NO_OLDER_LIST)
    yield fails(
        "`since` when BCDA has only one attribution list", "kick-off", no_older, changes=a.GROUP_SINCE,
        error=errors.AttributionMissingError, says="given _since",
    )  # fmt: skip
    yield fails(
        "runout data expired", "kick-off", Fault(K.NO_ATTRIBUTION), changes={"scope": Scope.GROUP_RUNOUT},
        error=errors.AttributionMissingError, says="180 days",
    )  # fmt: skip


def _cancelling() -> Iterator[Row]:
    while_ = "while a stuck job is canceled"
    stuck = Fault(K.STUCK, times=1)
    over = {
        "error": errors.ExportFailedError,
        "says": "deadline",
        "tuning": {"job_deadline_seconds": 0.5},
    }
    for wish, named in (("0", "0"), ("2", "2"), ("soon, maybe", "nonsense")):
        strike = Fault(K.ANSWER, "cancel", status=429, retry_after=wish, body="none", times=2)
        yield fails(f"429, Retry-After: {named}, {while_}", "cancel", stuck, strike, **over)
    expired = Fault(K.EXPIRE_TOKENS, "cancel", times=1)
    yield fails(f"401, token expired, {while_}", "cancel", stuck, expired, **over)
    yield fails(
        f"connection reset before the headers, {while_}", "cancel", stuck, Fault(K.DROP, "cancel", times=1), **over
    )
    busy = Fault(K.ANSWER, "cancel", status=503, body="none", times=2)
    yield fails(f"503, {while_}", "cancel", stuck, busy, **over)
    for excess, fault in (
        ("answer that never ends", Fault(K.FLOOD, "cancel", times=1)),
        ("answer that drips", Fault(K.DRIP, "cancel", seconds=0.1, times=1)),
        ("header block that drips", Fault(K.ENDLESS_HEADERS, "cancel", seconds=0.1, times=1)),
        ("429, Retry-After: a day", Fault(K.ANSWER, "cancel", status=429, retry_after="86400", body="none", times=1)),
    ):
        yield fails(f"{excess}, {while_}", "cancel", stuck, fault, **over)


def _manifests() -> Iterator[Row]:
    def bad(fault: str, strike: Fault, says: str) -> Row:
        return fails(fault, "manifest", strike, error=errors.ManifestError, says=says)

    yield bad("file URLs on another host", Fault(K.FOREIGN, origin="http://localhost:9"), "not the configured server")
    yield bad(
        "file URLs with another scheme", Fault(K.FOREIGN, origin="https://127.0.0.1"), "not the configured server"
    )
    yield bad(
        "file URLs that contain a password",
        Fault(K.FOREIGN, origin="http://a:b@127.0.0.1"),
        "not plain scheme and host",
    )
    yield bad("blank resource types", Fault(K.BLANK_TYPE), "no FHIR type name")
    yield fails(
        "request whose parameter was lost on the way", "manifest", before={"wait": a.lose_a_parameter},
        error=errors.ManifestError, says="does not match the request of this run",
    )  # fmt: skip

    def other(**fields: object) -> Fault:
        return Fault(K.MANIFEST, fields=fields)

    yield bad("manifest of another job", other(JobID=4711), "the manifest of job 4711")
    yield bad(
        "manifest of another request", other(request="http://x/api/v2/Group/all/$export"), "does not match the request"
    )
    yield bad("manifest without a request", other(request=None), "names no request")
    yield bad(
        "manifest with a `transactionTime` before `_since`",
        other(transactionTime="2026-01-01T00:00:00Z"),
        "gone back in time",
    )
    yield bad(
        "manifest that names a further one in `link`",
        other(link=[{"relation": "next", "url": "http://x/2"}]),
        "further one in `link`",
    )
    yield bad("manifest with another `outputFormat`", other(outputFormat="application/parquet"), "other than NDJSON")
    yield Row("manifest with an unknown field", "manifest", (other(outputOrganizedBy="Patient"),))
    for phase, passes in (("manifest", 1), ("status", 0)):
        back = Fault(K.BACK_TO_RUNNING, "status", skip=passes, times=2)
        yield Row("job that was complete is running again", phase, (back,))
    elsewhere = [{"type": "Patient", "url": f"https://{LOUD}.example/a"}]
    for fault, fields, says in (
        ("timestamp of three megabytes", {"transactionTime": LOUD}, "cannot be read.*start a new run"),
        ("file address of three megabytes", {"output": elsewhere}, "not the configured server.*start a new run"),
    ):
        whole = {"transactionTime": "2026-11-10T00:00:00Z", "request": "x", "output": [], "error": [], "JobID": 1}
        strike = Fault(K.ANSWER, "status", status=200, body="text", text=json.dumps({**whole, **fields}))
        yield fails(fault, "manifest", strike, error=errors.ManifestError, says=says)
    yield Row("file listed twice", "manifest", (Fault(K.LISTED_TWICE),))
    many = SimulatorSettings(chunk_people={"ExplanationOfBenefit": 1, "Patient": 1}, parts_per_second=10_000)
    yield Row(
        MANY_FILES,
        "manifest",
        source=a.five_thousand_files,
        server=many,
        changes={"resource_types": ("Patient",), "full": True},
        # The server writes the files meanwhile, and five thousand requests are twice the budget of five minutes.
        tuning={"request_timeout_seconds": 10.0, "job_deadline_seconds": 60.0, "requests_per_five_minutes": 10_000},
    )
    yield Row("resource type without files", "manifest", changes={"resource_types": a.WITH_COVERAGE})


def _dates() -> Iterator[Row]:
    """Return rows of dates that BCDA's own clock has not reached."""
    far = "2099-01-01T00:00:00Z"
    strike = Fault(K.MANIFEST, fields={"transactionTime": far})
    yield fails(
        "manifest with a `transactionTime` in the future",
        "manifest",
        strike,
        error=errors.ManifestError,
        says="every later one empty",
    )
    for named, text in (("in the future", far), ("that is not a valid timestamp", "soon")):
        dated = Fault(K.LIST_DATE, "attribution", text=text)
        yield Row(f"attribution list with a date {named}", "attribution", (dated,))
        yield fails(
            f"attribution list with a date {named}, export of a Group", "plan", dated, error=errors.ServerError,
            says="dates the current list in the future", changes={"scope": Scope.GROUP_ALL, "full": True},
        )  # fmt: skip
    garbled = Fault(K.ANSWER, "attribution", status=200, body="html")
    yield Row("attribution status that cannot be read", "attribution", (garbled,))
    listed = Fault(K.JOB_DATE, "jobs", text=far)
    yield Row("job list that dates jobs in the future", "jobs", (listed,), arrange=a.start_a_foreign_job)


def _files() -> Iterator[Row]:
    for tenth in TENTHS:
        reset = Fault(K.RESET, "data", fraction=tenth, times=1)
        yield Row(f"connection reset after {tenth:.0%} of a file", "data", (reset,))
        closed = Fault(K.CUT, "data", fraction=tenth, times=1)
        yield Row(f"connection closed after {tenth:.0%} of a file", "data", (closed,))
        short = Fault(K.SHORT, "data", fraction=tenth, times=1)
        yield Row(f"short body with a clean end, gzip, {tenth:.0%}", "data", (short,))
        yield Row(f"flipped byte at {tenth:.0%}", "data", (Fault(K.CORRUPT, "data", fraction=tenth, times=1),))
        unpacked = Fault(K.UNPACKED, "data", fraction=tenth, times=1)
        yield Row(f"short body with a clean end, identity, {tenth:.0%}", "data", (unpacked,))
    inside = Fault(K.CUT, "data", fraction=1.5, times=1)
    yield Row("connection closed in the empty gzip member behind a file", "data", (inside,))
    yield Row("connection reset repeatedly", "data", (Fault(K.RESET, "data", fraction=0.3, times=2),))
    always = {"error": errors.IncompleteFileError, "says": "damaged|short"}
    yield fails("file damaged in every download", "data", Fault(K.CORRUPT, "data"), **always)
    yield fails("file short in every download", "data", Fault(K.SHORT, "data", fraction=0.7), **always)
    yield fails("response without a body", "data", Fault(K.EMPTY, "data"), **always)
    yield Row("empty file", "data", source=a.serve_an_empty_file, changes={"resource_types": a.WITH_COVERAGE})
    plain = Fault(K.UNCOMPRESSED, "data")
    yield fails(
        "uncompressed file without Content-Length", "data", plain, error=errors.ServerError, says="prove it whole"
    )
    yield Row("uncompressed file with Content-Length", "data", (Fault(K.UNPACKED, "data", fraction=1.0),))
    short_plain = Fault(K.UNCOMPRESSED, "data", times=1)
    yield Row("uncompressed file in the first download only", "data", (short_plain,))
    yield Row(
        "wrong content type with 200", "data", (Fault(K.ANSWER, "data", status=200, body="text", text="x", times=1),)
    )
    # A file of 11 kB takes longer than the time limit of a request, which is one between two pieces of it.
    yield Row("very slow download", "data", (Fault(K.SLOW, "data", bytes_per_second=4_000, times=1),))
    twice = SimulatorSettings(chunk_people={"ExplanationOfBenefit": a.PEOPLE, "Patient": a.PEOPLE})
    yield Row("same file at two URLs", "data", source=a.serve_everything_twice, server=twice)
    gone = {"error": errors.ExportExpiredError, "says": "start a new run"}
    yield fails(
        "files deleted at BCDA between two downloads",
        "data",
        Fault(K.CLEAN_UP, "data", skip=1, times=1),
        changes={"full": True},
        **gone,
    )
    yield fails(
        "files deleted at BCDA, answered with a second outcome",
        "data",
        Fault(K.CLEAN_UP, "data", skip=1, times=1),
        changes={"full": True},
        server=SimulatorSettings(quirks=Quirks(second_outcome_forbidden=True)),
        **gone,
    )
    missing = Fault(K.ANSWER, "data", status=404, body="text", text="Not Found\n")
    yield fails("404 for a file of a completed job", "data", missing, error=errors.ServerError, says="404, although")
    unread = Fault(K.ANSWER, "data", status=500, body="text", text="Internal Server Error\n")
    yield fails("500 for a file", "data", unread, error=errors.ServerError, says="500")
    yield fails(
        "gzip bomb", "data", source=a.serve_a_gzip_bomb, error=errors.OversizedFileError, says="larger than",
    )  # fmt: skip
    forms = {
        "file compressed twice": "compressed twice",
        "file in UTF-16": "UTF-16",
        "file that is a JSON array": "a JSON array",
        "file with record separators": "record separators",
        "file with lone carriage returns": "lone carriage returns",
    }
    for name, form in forms.items():
        changed = Fault(K.REWRITTEN, "data", text=form)
        yield fails(name, "data", changed, error=errors.FileFormatError, says="is not NDJSON")
    brotli = Fault(K.REWRITTEN, "data", text="Brotli")
    yield fails("file with another compression", "data", brotli, error=errors.ServerError, says="not asked for")
    yield Row("file with a byte order mark", "data", (Fault(K.REWRITTEN, "data", text="a byte order mark"),))
    half = Fault(K.PEOPLE_FAIL, people=tuple(range(6)), resource_type="ExplanationOfBenefit")
    yield Row("half of the beneficiaries not retrieved by BCDA", "publish", (half,), Outcome.GAP)
    people = Fault(K.PEOPLE_FAIL, people=(1,), resource_type="ExplanationOfBenefit")
    yield Row("some beneficiaries not retrieved, listed in an error file", "data", (people,), Outcome.GAP)
    deleted = Fault(K.DELETED, times=1)
    yield Row("file of resources that were deleted", "data", (deleted,), Outcome.DELETED)
    outage = Fault(K.SHORT_OUTAGE, resource_type="ExplanationOfBenefit", times=1)
    yield Row("short outage of BCDA's own source while one type is prepared", "wait", (outage,), Outcome.GAP)
    part = {"ExplanationOfBenefit": 50, "Patient": 5000, "Coverage": 4}
    yield Row(
        "some beneficiaries not retrieved, not listed",
        "data",
        (Fault(K.PEOPLE_FAIL, people=tuple(range(4)), resource_type="Coverage"),),
        Outcome.UNLISTED,
        server=SimulatorSettings(chunk_people=part, failure_threshold=2.0),
        arrange=a.begin_with_nothing,
        changes={"resource_types": a.WITH_COVERAGE},
    )


def _downloads() -> Iterator[Row]:
    """Return rows of downloads that take more bytes, disk or time than any should, or are none from their first bytes on."""
    # Measured over a tenth of a second instead of a minute.
    crawl, hasty = Fault(K.SLOW, "data", bytes_per_second=200), {"arrange": a.MeasureSpeedOver(0.1)}
    yield Row("download that drips", "data", (replace(crawl, times=1),), **hasty)
    late = {"error": errors.IncompleteFileError, "says": "came slower than 1024 bytes/s"}
    yield fails("download that drips, each time", "data", crawl, **late, **hasty)
    large, small = {"error": errors.OversizedFileError, "says": "file_megabytes"}, {"tuning": {"file_megabytes": 1.0}}
    yield fails("file that never ends", "data", Fault(K.FLOOD, "data"), **large, **small)
    long = Fault(K.UNPACKED, "data", fraction=1.0)
    yield fails("file with a length above its budget", "data", long, **large, tuning={"file_megabytes": 0.001})
    scarce = {
        "error": errors.StorageError,
        "says": "bytes free.*have to stay free",
        "tuning": {"free_disk_megabytes": 9e8},
    }
    yield fails("disk that is nearly full", "data", **scarce)
    for page in ("a page", "a page that is not compressed"):
        login, named = (
            Fault(K.REWRITTEN, "data", text=page),
            page.replace("a page", "login page in the place of a file", 1),
        )
        yield Row(named, "data", (replace(login, times=1),))
        yield fails(f"{named}, each time", "data", login, error=errors.ServerError, says="page of HTML")


def _lines() -> Iterator[Row]:
    for name, line in a.BAD_LINES.items():
        yield Row(f"line {name}", "land", (), Outcome.QUARANTINED, source=a.Serving(line))
    for name, source in a.BEYOND_BUDGETS.items():
        yield Row(f"line {name}", "land", (), Outcome.QUARANTINED, source=source)
    full, refused = {"changes": {"full": True}}, {"error": errors.UnlikelyExportError}
    yield fails("five million blank lines", "land", source=a.BLANK_LINES, says="BCDA_QUARANTINED_SHARE", **refused)
    everything = a.Spoiled(10**6)
    yield fails("every line of a type unreadable", "merge", source=everything, says="cannot be read", **refused)
    yield fails("ten unreadable lines", "merge", source=a.Spoiled(10), says="BCDA_QUARANTINED_SHARE", **refused, **full)
    nobody, nothing = a.Without("Patient"), a.Without("ExplanationOfBenefit")
    yield fails("full export without people", "merge", source=nobody, says="holds no people", **refused, **full)
    yield fails("full export without claims", "merge", source=nothing, says="holds no claims", **refused, **full)
    smaller = a.serve_less_than_half_of_the_people
    yield fails(
        "full export with half of the people", "merge", source=smaller, says="fewer than half", **refused, **full
    )


def _resources() -> Iterator[Row]:
    full = {"changes": {"full": True}}
    for flaw in ("swapped dates", "a diagnosis pointer to nothing", "no payment", "a new claim type"):
        fault = Fault(K.FLAWED_CLAIM, text=flaw, times=1)
        yield Row(f"claim with {flaw}", "publish", (fault,), Outcome.SUSPECT, **full)
    alike = Fault(K.FLAWED_CLAIM, text="lines of one number", times=1)
    yield Row("claim with lines of one number", "land", (alike,), **full)
    two = Fault(K.FLAWED_CLAIM, text="two contents", times=1)
    yield Row("claim with two contents and one lastUpdated in a run", "merge", (two,), Outcome.CONFLICT, **full)
    shared = Fault(K.SHARED_MBI, people=(0, 1), times=1)
    yield Row("MBI of two beneficiaries for a while", "merge", (shared,), Outcome.SHARED, **full)


def _own_side() -> Iterator[Row]:
    full = {"error": errors.StorageError, "says": "[Ss]pace|Cannot write"}
    for stage in ("plan", "kick-off", "wait", "fetch", "land", "merge", "publish"):
        yield fails("disk full", stage, before={stage: a.fill_the_disk}, **full)
    owner = {"error": errors.StorageError, "says": "owner|written|Check"}
    for stage, folder in (("plan", "raw"), ("fetch", "raw"), ("land", "lake"), ("merge", "warehouse"), ("publish", "")):
        yield fails("read-only folder", stage, before={stage: a.ReadOnly(folder)}, **owner)
    for stage in ("plan", "merge", "publish"):
        yield fails(
            "working database locked by another process", stage, before={stage: a.hold_the_warehouse},
            error=errors.WarehouseLockedError, says="held by process",
        )  # fmt: skip
    yield Row("two runs at once", "merge", before={"merge": a.merge_another_run_beside})
    yield Row("later run merged first", "merge", before={"merge": a.merge_another_run_first})
    for phase, stage in (("data", "fetch"), ("land", "land"), ("merge", "merge"), ("publish", "publish")):
        yield Row("another attempt at the same stage, still alive", phase, before={stage: a.AttemptBeside(stage)})
    yield Row("fetched file that differs from its receipt", "data", before={"fetch": a.change_a_fetched_file})
    for stage, folder in (
        ("plan", "raw"),
        ("fetch", "raw"),
        ("land", "lake"),
        ("merge", "warehouse"),
        ("publish", "."),
    ):
        yield fails(
            "folder that every account can write", "data" if stage == "fetch" else stage,
            before={stage: a.OpenToAll(folder)}, error=errors.StorageError, says="chmod o-w",
        )  # fmt: skip
    damaged = {"error": errors.ManifestError, "says": "does not match its receipt"}
    yield fails("raw file damaged on disk", "land", before={"land": a.damage_a_raw_file}, **damaged)
    yield fails(
        "lake file damaged on disk", "merge", before={"merge": a.damage_a_lake_file},
        error=errors.BcdaError, says="the land task of its batch",
    )  # fmt: skip


ROWS: tuple[Row, ...] = (
    *_connection(), *_loud(), *_rate_limits(), *_excess(), *_tokens(), *_connections(), *_jobs(), *_cancelling(), *_manifests(), *_dates(), *_files(), *_downloads(), *_lines(),
    *_resources(), *_own_side(),
)  # fmt: skip


def one_of_each_end() -> set[str]:
    """Return the names of one row for each way in which a request, a download, or a later step ends.

    `make test` runs these, `make test-faults` all others.
    """
    first: dict[tuple[str, Outcome, type[Exception] | None], str] = {}
    for row in ROWS:
        phase = "data" if row.phase == "data" else "request" if row.phase in ENDPOINTS else "step"
        first.setdefault((phase, row.outcome, row.error), str(row))
    return set(first.values())


def fresh(fault: Fault) -> Fault:
    """Return a fault that has not struck yet."""
    return replace(fault)


def has_struck(given: Fault, fault: Fault) -> bool:
    """Tell whether a fault struck as often as it was to; one that strikes until it is lifted, at least once."""
    few = 3
    return fault.struck >= (given.times if given.times is not None and given.times <= few else 1)


def matches(pattern: str, text: str) -> bool:
    """Tell whether a failure says what it has to."""
    return re.search(pattern, text) is not None


def table() -> str:
    """Return the matrix as Markdown, a line for each fault, its phases together."""
    lines = [f"| fault ({len(ROWS)} cases) | phase | outcome |", "|---|---|---|"]
    rows = sorted(
        ((_plain(row.fault), row.outcome, row.phase) for row in ROWS), key=lambda entry: (entry[0].casefold(), entry[1])
    )
    for (fault, outcome), group in groupby(rows, key=lambda entry: entry[:2]):
        phases = list(dict.fromkeys(entry[2] for entry in group))
        lines.append(f"| {fault} | {', '.join(phases)} | {outcome.value} |")
    return "\n".join(lines)


def _plain(fault: str) -> str:
    """Return a fault without the place in the file, which the table shows together."""
    return re.sub(r",? ?(after|at)? ?\d+%", " at each tenth", fault)


if __name__ == "__main__":
    print(table())
