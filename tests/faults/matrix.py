"""Every fault: where it strikes, what goes wrong, what has to come of it. A new one is one line.

`python tests/faults/matrix.py` prints the table of the guide.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby

import arrangements as a
from canaries import PLANTED

from bcda import errors
from bcda.export_request import Scope
from bcda_simulator import Fault, SimulatorSettings
from bcda_simulator import FaultKind as K


class Outcome(StrEnum):
    """What a fault may come to."""

    LOADS = "the run goes on by itself and loads everything"
    GAP = "loads; who is missing is listed, and a later run closes it"
    UNLISTED = "loads; who has no data is counted, and a full run brings it"
    SET_ASIDE = "loads; the bad lines are in quarantine with their reason"
    WAITS = "the run waits without a worker and says why, nothing is changed; it loads when there is a list"
    FAILS = "the run fails and says why, nothing is changed; the next one loads everything"


@dataclass(frozen=True, slots=True)
class Row:
    """One fault in one phase.

    Attributes:
        fault: what goes wrong, as people would say it.
        phase: where.
        strikes: faults of the simulated server.
        outcome: what has to come of it.
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


BACK_OFF = 0.02
"""Seconds of the shortest wait before another try (driver.FAST)."""

ENDPOINTS = ("token", "kick-off", "jobs", "attribution", "status", "data")
MANY_FILES = "5,000 files"
TENTHS = tuple(n / 10 for n in range(10))


def _connection() -> Iterator[Row]:
    for phase in ENDPOINTS:
        yield Row("connection reset before the headers", phase, (Fault(K.DROP, phase, times=1),))
        if phase != "kick-off":
            yield Row("no answer within the time limit", phase, (Fault(K.DELAY, phase, seconds=1.5, times=1),))
        yield Row("503 for a while", phase, (Fault(K.ANSWER, phase, status=503, body="none", times=2),))
        yield Row("HTML maintenance page with 503", phase, (Fault(K.ANSWER, phase, status=503, body="html", times=1),))
        html = Fault(K.ANSWER, phase, status=200, body="html", times=1)
        yield Row("HTML maintenance page with 200", phase, (html,))
        redirect = Fault(K.ANSWER, phase, status=302, location="https://elsewhere.example/", body="none", times=9)
        yield fails("redirect to another host", phase, redirect, error=errors.ManifestError, says="redirect")
    for phase in ("token", "jobs", "attribution", "status"):
        yield Row("connection reset after the headers", phase, (Fault(K.RESET, phase, fraction=0, times=1),))
        yield Row("connection reset in the body", phase, (Fault(K.RESET, phase, fraction=0.5, times=1),))
        yield Row("connection closed in the body", phase, (Fault(K.CUT, phase, fraction=0.5, times=1),))
        yield Row("cleanly ended short body", phase, (Fault(K.SHORT, phase, fraction=0.5, times=1),))
    yield Row("no answer within the time limit", "kick-off", (Fault(K.DELAY, "kick-off", seconds=1.5, times=1),))
    yield Row("API process restarts", "status", before={"wait": a.restart_the_api})
    yield Row("API process restarts", "data", before={"fetch": a.restart_the_api}, tuning={"file_attempts": 20})
    yield fails(
        "nothing answers the address (allow list)", "token", arrange=a.ask_where_nobody_answers,
        error=errors.NotAllowListedError, says="allow list",
    )  # fmt: skip


def _rate_limits() -> Iterator[Row]:
    # By the server's clock, which is not ours: tests/faults runs it in another week.
    date = (a.NEXT_WEEK + timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    for phase in ENDPOINTS:
        for wish, waits, named in (
            ("0", BACK_OFF, "0"),
            ("2", 2.0, "2"),
            (date, 3000.0, "an HTTP date"),
            ("soon, maybe", BACK_OFF, "nonsense"),
        ):
            strike = Fault(K.ANSWER, phase, status=429, retry_after=wish, body="none", times=2)
            yield Row(f"429, Retry-After: {named}", phase, (strike,), waits=waits)
    edge = Fault(K.ANSWER, "data", status=429, body="html", times=2)
    yield Row("429 of the network edge, a page without Retry-After", "data", (edge,))


def _tokens() -> Iterator[Row]:
    for phase in ENDPOINTS[1:]:
        yield Row("401, the token has expired", phase, (Fault(K.EXPIRE_TOKENS, phase, times=1),))
        refused = Fault(K.ANSWER, phase, status=401, times=99)
        yield fails("401 with every token", phase, refused, error=errors.BcdaError, says="401|deadline")
    unknown = Fault(K.ANSWER, "token", status=401, body="text", text="Unauthorized\n")
    yield fails("401, wrong or expired secret", "token", unknown, error=errors.CredentialsError, says="90 days")
    slow = Fault(K.ANSWER, "token", status=503, retry_after="1", body="text", text="Service Unavailable\n", times=2)
    yield Row("token service slow", "token", (slow,), waits=1.0)
    failing = Fault(K.ANSWER, "token", status=500, body="text", text="Internal Server Error\n", times=2)
    yield Row("token service failing", "token", (failing,))
    gone = Fault(K.ANSWER, "token", status=500, body="none")
    yield fails("token service gone", "token", gone, error=errors.ServerError, says="Token request: 500")
    for hours in (-1, 1):
        skew = timedelta(hours=hours)
        yield Row(f"our clock is an hour {'fast' if hours > 0 else 'slow'}", "plan", our_clock=skew)


def _jobs() -> Iterator[Row]:
    one = {"times": 1}
    yield Row("preparation fails, then recovers", "status", (Fault(K.ANSWER, "status", status=500, times=3),))
    yield fails("job fails", "status", Fault(K.JOB_FAILS, **one), error=errors.ExportFailedError, says="failed at BCDA")
    stuck = Fault(K.STUCK, **one)
    yield fails(
        "job stuck for ever", "status", stuck, error=errors.ExportFailedError, says="deadline",
        tuning={"job_deadline_seconds": 1.0},
    )  # fmt: skip
    yield fails(
        "job cancelled by somebody", "status", stuck, before={"wait": a.cancel_the_job},
        error=errors.ExportFailedError, says="cancelled",
    )  # fmt: skip
    yield Row("500 that leaves a phantom job", "kick-off", (Fault(K.PHANTOM, **one),))
    yield Row("overlapping job of somebody else", "kick-off", arrange=a.start_a_foreign_job)
    yield Row("process dies after the request, before the record", "kick-off", before={"kick-off": a.ask_and_forget})
    for phase in ("kick-off", "jobs", "status"):
        named = Fault(K.ANSWER, phase, status=500, text=f"Database Error for MBI {PLANTED}", times=1)
        yield Row("an error text that names a person", phase, (named,))
    refused = Fault(K.ANSWER, "kick-off", status=400, text=f"bad request for {PLANTED}", times=9)
    yield fails("400", "kick-off", refused, error=errors.InvalidRequestError, says="will be refused again")
    no_list = Fault(K.NO_ATTRIBUTION, "kick-off")
    yield waits("no attribution list", "kick-off", no_list, says="not found")
    january = Fault(K.WRONG_YEAR, "kick-off")
    yield waits("January closure", "kick-off", january, says="Performance Year")
    no_older = Fault(K.NO_OLDER_LIST)
    yield fails(
        "single attribution list with `since`", "kick-off", no_older, changes=a.GROUP_SINCE,
        error=errors.AttributionMissingError, says="given _since",
    )  # fmt: skip
    yield fails(
        "runout data is gone", "kick-off", Fault(K.NO_ATTRIBUTION), changes={"scope": Scope.GROUP_RUNOUT},
        error=errors.AttributionMissingError, says="180 days",
    )  # fmt: skip


def _cancelling() -> Iterator[Row]:
    while_ = "while a stuck job is cancelled"
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
    yield fails(f"401, the token has expired, {while_}", "cancel", stuck, expired, **over)
    yield fails(
        f"connection reset before the headers, {while_}", "cancel", stuck, Fault(K.DROP, "cancel", times=1), **over
    )
    busy = Fault(K.ANSWER, "cancel", status=503, body="none", times=2)
    yield fails(f"503, {while_}", "cancel", stuck, busy, **over)


def _manifests() -> Iterator[Row]:
    def bad(fault: str, strike: Fault, says: str) -> Row:
        return fails(fault, "manifest", strike, error=errors.ManifestError, says=says)

    yield bad("files on another host", Fault(K.FOREIGN, origin="http://localhost:9"), "not the configured server")
    yield bad("files by another scheme", Fault(K.FOREIGN, origin="https://127.0.0.1"), "not the configured server")
    yield bad(
        "files at an address with a password",
        Fault(K.FOREIGN, origin="http://a:b@127.0.0.1"),
        "not plain scheme and host",
    )
    yield bad("blank types", Fault(K.BLANK_TYPE), "no FHIR type name")
    yield Row("a file listed twice", "manifest", (Fault(K.LISTED_TWICE),))
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
    yield Row("a type without any file", "manifest", changes={"resource_types": a.WITH_COVERAGE})


def _files() -> Iterator[Row]:
    for tenth in TENTHS:
        reset = Fault(K.RESET, "data", fraction=tenth, times=1)
        yield Row(f"connection reset after {tenth:.0%} of a file", "data", (reset,))
        closed = Fault(K.CUT, "data", fraction=tenth, times=1)
        yield Row(f"connection closed after {tenth:.0%} of a file", "data", (closed,))
        short = Fault(K.SHORT, "data", fraction=tenth, times=1)
        yield Row(f"cleanly ended short body, gzip, {tenth:.0%}", "data", (short,))
        yield Row(f"a flipped byte at {tenth:.0%}", "data", (Fault(K.CORRUPT, "data", fraction=tenth, times=1),))
        unpacked = Fault(K.UNPACKED, "data", fraction=tenth, times=1)
        yield Row(f"cleanly ended short body, identity, {tenth:.0%}", "data", (unpacked,))
    yield Row("connection reset again and again", "data", (Fault(K.RESET, "data", fraction=0.3, times=2),))
    always = {"error": errors.IncompleteFileError, "says": "damaged|short"}
    yield fails("a file that stays damaged", "data", Fault(K.CORRUPT, "data"), **always)
    yield fails("a file that stays short", "data", Fault(K.SHORT, "data", fraction=0.7), **always)
    yield fails("no bytes at all", "data", Fault(K.EMPTY, "data"), **always)
    yield Row("an empty file", "data", source=a.serve_an_empty_file, changes={"resource_types": a.WITH_COVERAGE})
    plain = Fault(K.UNCOMPRESSED, "data")
    yield fails("uncompressed, without a length", "data", plain, error=errors.ServerError, says="prove it whole")
    yield Row("uncompressed, with its length", "data", (Fault(K.UNPACKED, "data", fraction=1.0),))
    short_plain = Fault(K.UNCOMPRESSED, "data", times=1)
    yield Row("uncompressed once", "data", (short_plain,))
    yield Row(
        "wrong content type with 200", "data", (Fault(K.ANSWER, "data", status=200, body="text", text="x", times=1),)
    )
    # A file of 11 kB takes longer than the time limit of a request, which is one between two pieces of it.
    yield Row("slow drip", "data", (Fault(K.SLOW, "data", bytes_per_second=4_000, times=1),))
    twice = SimulatorSettings(chunk_people={"ExplanationOfBenefit": a.PEOPLE, "Patient": a.PEOPLE})
    yield Row("the same file under two addresses", "data", source=a.serve_everything_twice, server=twice)
    gone = {"error": errors.ExportExpiredError, "says": "start a new run"}
    yield fails(
        "clean-up between two files", "data", Fault(K.CLEAN_UP, "data", skip=1, times=1), changes={"full": True}, **gone
    )
    missing = Fault(K.ANSWER, "data", status=404, body="text", text="Not Found\n")
    yield fails("404 although the job is complete", "data", missing, error=errors.ServerError, says="404, although")
    unread = Fault(K.ANSWER, "data", status=500, body="text", text="Internal Server Error\n")
    yield fails("a file the server cannot read", "data", unread, error=errors.ServerError, says="500")
    yield fails(
        "a gzip bomb", "data", source=a.serve_a_gzip_bomb, error=errors.OversizedFileError, says="larger than",
    )  # fmt: skip
    half = Fault(K.PEOPLE_FAIL, people=tuple(range(6)), resource_type="ExplanationOfBenefit")
    yield fails(
        "half of the people cannot be retrieved", "publish", half, error=errors.DataQualityError, says="retrieval_gaps"
    )
    people = Fault(K.PEOPLE_FAIL, people=(1,), resource_type="ExplanationOfBenefit")
    yield Row("some people cannot be retrieved, listed", "data", (people,), Outcome.GAP)
    part = {"ExplanationOfBenefit": 50, "Patient": 5000, "Coverage": 4}
    yield Row(
        "some people cannot be retrieved, unlisted",
        "data",
        (Fault(K.PEOPLE_FAIL, people=tuple(range(4)), resource_type="Coverage"),),
        Outcome.UNLISTED,
        server=SimulatorSettings(chunk_people=part, failure_threshold=2.0),
        arrange=a.begin_with_nothing,
        changes={"resource_types": a.WITH_COVERAGE},
    )


def _lines() -> Iterator[Row]:
    for name, line in a.BAD_LINES.items():
        yield Row(f"a line {name}", "land", (), Outcome.SET_ASIDE, source=a.Serving(line))


def _own_side() -> Iterator[Row]:
    full = {"error": errors.StorageError, "says": "[Ss]pace|Cannot write"}
    for stage in ("plan", "kick-off", "wait", "fetch", "land", "merge", "publish"):
        yield fails("disk full", stage, before={stage: a.fill_the_disk}, **full)
    owner = {"error": errors.StorageError, "says": "owner|written|Check"}
    for stage, folder in (("plan", "raw"), ("fetch", "raw"), ("land", "lake"), ("merge", "warehouse"), ("publish", "")):
        yield fails("read-only folder", stage, before={stage: a.ReadOnly(folder)}, **owner)
    for stage in ("plan", "merge", "publish"):
        yield fails(
            "warehouse held by another process", stage, before={stage: a.hold_the_warehouse},
            error=errors.WarehouseLockedError, says="held by process",
        )  # fmt: skip
    yield Row("two runs at once", "merge", before={"merge": a.merge_another_run_beside})
    yield Row("a later run overtakes", "merge", before={"merge": a.merge_another_run_first})
    damaged = {"error": errors.IncompleteFileError, "says": "damaged on disk"}
    yield fails("a raw file is damaged on disk", "land", before={"land": a.damage_a_raw_file}, **damaged)
    yield fails(
        "a lake file is damaged on disk", "merge", before={"merge": a.damage_a_lake_file},
        error=errors.BcdaError, says="the land task of its batch",
    )  # fmt: skip


ROWS: tuple[Row, ...] = (
    *_connection(), *_rate_limits(), *_tokens(), *_jobs(), *_cancelling(), *_manifests(), *_files(), *_lines(), *_own_side(),
)  # fmt: skip


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
    lines = [f"| fault ({len(ROWS)} cases) | phase | what comes of it |", "|---|---|---|"]
    rows = sorted(((_plain(row.fault), row.outcome, row.phase) for row in ROWS), key=lambda entry: entry[:2])
    for (fault, outcome), group in groupby(rows, key=lambda entry: entry[:2]):
        phases = list(dict.fromkeys(entry[2] for entry in group))
        lines.append(f"| {fault} | {', '.join(phases)} | {outcome.value} |")
    return "\n".join(lines)


def _plain(fault: str) -> str:
    """Return a fault without the place in the file, which the table shows together."""
    return re.sub(r",? ?(after|at)? ?\d+%", " at each tenth", fault)


if __name__ == "__main__":
    print(table())
