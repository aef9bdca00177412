"""The switchboard of faults: what goes wrong, where, how often. One entry a fault; a new one is a new `FaultKind`."""

import re
import threading
from dataclasses import dataclass, field
from enum import StrEnum


class FaultKind(StrEnum):
    """Everything that can be made to go wrong (docs/bcda.md#simulated-server)."""

    ANSWER = "answer"  # answer with `status`, `retry_after`, `location`, `progress`, `text`; `body` outcome, text, html or none
    DROP = "drop"  # reset the connection without an answer
    DELAY = "delay"  # wait `seconds` before answering
    EXPIRE_TOKENS = "expire-tokens"  # every token given so far is refused from now on
    # No token endpoint, no token check, ill health; its places are token, check and open.
    TOKEN_SERVICE_GONE = "token-service-gone"  # noqa: S105 - a name, no secret
    STUCK = "stuck"  # new jobs stay In Progress
    STUCK_PENDING = "stuck-pending"  # new jobs stay Pending: all tries to prepare them have failed
    JOB_FAILS = "job-fails"  # new jobs are In Progress for `seconds`, then fail for good
    UPSTREAM_GONE = (
        "upstream-gone"  # on v1 and v2 no try to prepare a job succeeds; on v3 new jobs fail as with `job-fails`
    )
    PEOPLE_FAIL = "people-fail"  # `people` of `resource_type` cannot be retrieved
    SHORT_OUTAGE = (
        "short-outage"  # `times` requests upstream fail while parts of `resource_type` are made: a person each
    )
    FLAWED_CLAIM = "flawed-claim"  # a claim of each file made meanwhile has the flaw `text` (`flaws.FLAWS`)
    SHARED_MBI = "shared-mbi"  # of two `people`, the second one's Patient has the first one's MBI too
    CUT = "cut"  # the body breaks off after `fraction` of it, the connection is closed
    RESET = "reset"  # the same, but the connection is reset
    SHORT = "short"  # the body ends early after `fraction`, but properly
    CORRUPT = "corrupt"  # one byte at `fraction` is flipped
    SLOW = "slow"  # the body comes at `bytes_per_second`
    EMPTY = "empty"  # the file has no bytes at all
    UNCOMPRESSED = "uncompressed"  # the file comes without compression and without a length
    UNPACKED = "unpacked"  # the file comes without compression, with its length, and ends after `fraction` of it
    REWRITTEN = "rewritten"  # the file comes in another form, named by `text`: see rewriting.py
    FLOOD = "flood"  # the body of an answer goes on with `text`, blanks if empty, to `size_bytes`; of a file with its own lines
    BOMB = "bomb"  # the same, in a gzip stream of a thousandth of that
    DRIP = "drip"  # the body comes a byte each `seconds` and goes on with blanks
    ENDLESS_HEADERS = (
        "endless-headers"  # the header block has a line each `seconds`, or as fast as it is read, and no end
    )
    FOREIGN = "foreign"  # the manifest names files on `origin`
    LISTED_TWICE = "listed-twice"  # the manifest names each file twice
    DELETED = "deleted"  # a new job has a file of resources that were deleted, which the manifest lists apart
    BLANK_TYPE = "blank-type"  # the manifest gives its files the empty type
    MANIFEST = "manifest"  # the manifest has `fields` in place of its own; a field of None is left out
    BACK_TO_RUNNING = "back-to-running"  # a completed job is In Progress again
    LIST_DATE = "list-date"  # the attribution status dates every list as `text` says
    JOB_DATE = "job-date"  # the job list says that every job was accepted when `text` says
    CANCEL_LOST = "cancel-lost"  # a cancellation is answered with 202, and the job goes on
    CLEAN_UP = "clean-up"  # all finished jobs are archived first
    NO_ATTRIBUTION = "no-attribution"  # no list is young enough
    WRONG_YEAR = "wrong-year"  # the newest list is of last year: the January closure
    NO_OLDER_LIST = "no-older-list"  # no list is dated before `_since`
    SAME_INSTANT = (
        "same-instant"  # the kick-off does not see jobs that are running, as of two requests at the same instant
    )
    PHANTOM = "phantom"  # the kick-off answers 500, the job exists as Pending anyway


@dataclass(slots=True)
class Fault:
    """One fault.

    Attributes:
        kind: what goes wrong.
        endpoint: where: token, kick-off, status, cancel, jobs, attribution, data, metadata; empty for everywhere. Of faults of a body
            also manifest, for the status of a completed job.
        match: regular expression that path and query must hold; empty for any.
        skip: how many matching requests pass before it strikes.
        times: how often it strikes; None for always.
        status: of an `answer`.
        retry_after: `Retry-After` of an `answer`; None for none.
        location: `Location` of an `answer`; None for none.
        progress: `X-Progress` of an `answer`; None for none.
        body: of an `answer`: outcome, text, html or none.
        text: the reason in it; of a `flawed-claim` the flaw.
        fraction: place in the body, 0 to 1; above 1 in the empty gzip member that follows a file, 1.5 in its middle.
        seconds: of a `delay`; how long a job that will fail is In Progress; between two bytes or header lines.
        size_bytes: of a body or header block that goes on.
        bytes_per_second: of `slow`.
        origin: of `foreign`.
        people: place numbers of the people on the list who fail, or who share an MBI.
        resource_type: of the failing people; empty for all types.
        fields: of `manifest`.
        look_up: what fails is the look-up of the person, whose text names no type; Claim and ClaimResponse look nobody up.
        struck: how often it has struck so far.
    """

    kind: FaultKind
    endpoint: str = ""
    match: str = ""
    skip: int = 0
    times: int | None = None
    status: int = 500
    retry_after: str | None = None
    location: str | None = None
    progress: str | None = None
    body: str = "outcome"
    text: str = ""
    fraction: float = 0.5
    seconds: float = 1.0
    size_bytes: int = 1_500_000_000
    bytes_per_second: int = 65536
    origin: str = "http://localhost:9"
    people: tuple[int, ...] = ()
    resource_type: str = ""
    fields: dict[str, object] = field(default_factory=dict)
    look_up: bool = True
    struck: int = 0


@dataclass(slots=True)
class Faults:
    """The faults in force."""

    active: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: Fault) -> None:
        """Put a fault in force."""
        with self._lock:
            self.active.append(fault)

    def clear(self) -> None:
        """Lift all faults."""
        with self._lock:
            self.active.clear()

    def strike(self, kind: FaultKind, endpoint: str, target: str = "", *, resource_type: str = "") -> Fault | None:
        """Return a fault of one kind that strikes this request, and count it; None when none does.

        Args:
            kind: kind to look for.
            endpoint: where the request goes.
            target: its path and query.
            resource_type: of the part that is made; empty for a request.
        """
        with self._lock:
            for fault in self.active:
                if fault.kind is not kind or (fault.endpoint and fault.endpoint != endpoint):
                    continue
                if resource_type and fault.resource_type not in {"", resource_type}:
                    continue
                if fault.match and not re.search(fault.match, target):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                if fault.times == 0:
                    continue
                if fault.times is not None:
                    fault.times -= 1
                fault.struck += 1
                return fault
        return None
