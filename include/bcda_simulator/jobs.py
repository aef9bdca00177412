"""Jobs: accepted, prepared, in progress, complete, archived (docs/bcda.md#job-states), and the files they make."""

import gzip
import logging
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

from bcda_simulator import flaws, typefilter
from bcda_simulator.clock import Clock
from bcda_simulator.faults import Fault, FaultKind, Faults
from bcda_simulator.outcomes import go_json
from bcda_simulator.settings import Entity, SimulatorSettings
from bcda_simulator.source import Source

log = logging.getLogger(__name__)

PREPARATIONS = 8
"""Tries to prepare a job; when all have failed, it stays Pending (docs/bcda.md#stuck-and-returning-jobs)."""

_PREPARED_AFTER = tuple(timedelta(seconds=sum(n**4 for n in range(1, tries + 1))) for tries in range(PREPARATIONS))
"""When each try is, from the creation of the job on: the n-th pause is n to the power of four, in seconds."""

_LOOKING_NOBODY_UP = frozenset({"Claim", "ClaimResponse"})
"""Types whose parts ask with the MBI itself (docs/bcda.md#error-files)."""


@dataclass(frozen=True, slots=True)
class Part:
    """One type for one chunk of people.

    Attributes:
        resource_type: FHIR type.
        people: whose resources.
        after: exclusive lower bound on lastUpdated; None for everything.
    """

    resource_type: str
    people: tuple[str, ...]
    after: datetime | None


@dataclass(frozen=True, slots=True)
class JobFile:
    """A stored file: `kind` is output, error, warning or deleted; only listed ones stand in the manifest."""

    name: str
    kind: str
    resource_type: str
    is_listed: bool


@dataclass(slots=True)
class Job:
    """One job of one entity."""

    number: int
    entity: Entity
    version: str
    request_url: str
    path_and_query: str
    type_text: str
    created_at: datetime
    transaction_time: datetime
    up_to: datetime
    parts: tuple[Part, ...]
    resource_types: tuple[str, ...]
    service_capped: bool = False
    has_default_warning: bool = False
    type_filter: tuple[str, ...] = ()
    is_stuck: bool = False
    fails_after_seconds: float | None = None
    preparations: int = 0
    prepared_at: datetime | None = None
    cancelled_at: datetime | None = None
    files: list[JobFile] = field(default_factory=list)
    written: threading.Event = field(default_factory=threading.Event)
    write_failed: bool = False
    completed_at: datetime | None = None


class JobStore:
    """All jobs, their clockwork and their files."""

    def __init__(self, source: Source, settings: SimulatorSettings, clock: Clock, faults: Faults, folder: Path) -> None:
        self.source = source
        self.settings = settings
        self.clock = clock
        self.faults = faults
        self.folder = folder
        self.jobs: dict[int, Job] = {}
        self._archived: set[int] = set()
        self._lock = threading.Lock()

    def add(self, job: Job) -> Job:
        """Accept a job and begin to write its files in the background."""
        self.jobs[job.number] = job
        self._prepare(job, self.clock.now())
        return job

    def next_number(self) -> int:
        """Return the next number of the one sequence."""
        with self._lock:
            return max(self.jobs, default=0) + 1

    def state(self, job: Job) -> str:
        """Return the internal state at the present instant: one of the nine names that BCDA has (docs/bcda.md#job-states)."""
        now = self.clock.now()
        self._prepare(job, now)
        if job.cancelled_at:
            return "CancelledExpired" if now - job.cancelled_at > timedelta(hours=24) else "Cancelled"
        if job.prepared_at is None:
            return "Pending"
        started = job.prepared_at + timedelta(seconds=self.settings.pending_seconds)
        if now < started:
            return "Pending"
        if job.write_failed:
            return "Failed"
        if job.fails_after_seconds is not None:
            return "In Progress" if now < started + timedelta(seconds=job.fails_after_seconds) else "Failed"
        done = started + timedelta(seconds=len(job.parts) / self.settings.parts_per_second)
        if job.is_stuck or now < done or not job.written.is_set():
            return "In Progress"
        if job.completed_at is None:
            job.completed_at = now if now - done < timedelta(minutes=5) else done
        return self._age_state(job, job.completed_at, now)

    def _prepare(self, job: Job, now: datetime) -> None:
        """Do the tries to prepare a job that are due by now, in one thread at a time."""
        with self._lock:
            while job.prepared_at is None and job.preparations < PREPARATIONS:
                at = job.created_at + _PREPARED_AFTER[job.preparations]
                if at > now or (job.cancelled_at is not None and not self.settings.cancelled_jobs_return):
                    return
                job.preparations += 1
                # On v3 preparing asks nothing of the upstream; the job fails later instead (docs/bcda.md#stuck-and-returning-jobs).
                if job.version != "v3" and self.faults.strike(FaultKind.UPSTREAM_GONE, "kick-off", job.path_and_query):
                    continue
                # Of several tries that are due at once, the one of the present finds the upstream as it is.
                job.prepared_at = at if job.preparations == 1 else now
                if job.cancelled_at is not None:
                    log.info("job %d was canceled and comes back", job.number)
                    job.cancelled_at = None
                if not job.is_stuck and job.fails_after_seconds is None:
                    threading.Thread(target=self._write, args=(job,), daemon=True).start()

    def _age_state(self, job: Job, completed_at: datetime, now: datetime) -> str:
        lifetime = timedelta(hours=self.settings.file_hours)
        archived_at = self._first_cleanup(completed_at + lifetime)
        if job.number in self._archived:
            return "Archived"
        if now >= self._first_cleanup(archived_at + timedelta(hours=24)):
            return "Expired"
        return "Archived" if now >= archived_at else "Completed"

    def archive_finished(self) -> None:
        """Move the files of all completed jobs away at once, as a clean-up does."""
        self._archived |= {job.number for job in self.jobs.values() if self.state(job) == "Completed"}

    def progress(self, job: Job) -> str:
        """Return `X-Progress`, computed like the server does: not a progress."""
        if self.state(job) == "Pending":
            return "Pending"
        if not self.settings.quirks.meaningless_percentage:
            return "In Progress"
        return f"In Progress ({100 // max(1, len(job.parts)) if job.files else 0}%)"

    def overlapping(self, entity: Entity, version: str, path_and_query: str, types: Sequence[str]) -> Job | None:
        """Return a running job that makes the server refuse this request (docs/bcda.md#overlapping-jobs)."""
        for job in self.jobs.values():
            if job.entity != entity or job.version != version or self.state(job) not in {"Pending", "In Progress"}:
                continue
            if self.clock.now() - job.created_at > timedelta(hours=24):
                continue
            running = {job.type_text} if self.settings.quirks.unsplit_type else set(job.type_text.split(","))
            same = unquote(job.path_and_query) == unquote(path_and_query)
            if same or not types or not job.type_text or running & set(types):
                return job
        return None

    def _first_cleanup(self, after: datetime) -> datetime:
        day = after.replace(hour=0, minute=0, second=0, microsecond=0)
        times = [day + timedelta(days=d, hours=h) for d in (0, 1) for h in self.settings.cleanup_hours]
        return min(time for time in times if time >= after)

    def _write(self, job: Job) -> None:
        folder = self.folder / str(job.number)
        folder.mkdir(parents=True, exist_ok=True)
        failing = [f for f in self.faults.active if f.kind is FaultKind.PEOPLE_FAIL]
        try:
            if job.has_default_warning:
                self._write_warning(job, folder)
            if self.faults.strike(FaultKind.DELETED, "upstream"):
                self._write_deleted(job, folder)
            for place, part in enumerate(job.parts):
                self._write_part(job, part, place, folder, failing)
        except Exception:
            job.write_failed = True
            raise
        finally:
            job.written.set()

    def _write_part(self, job: Job, part: Part, place: int, folder: Path, failing: Sequence[Fault]) -> None:
        failed = self._failed(part, failing)
        if part.people and failed and len(failed) / len(part.people) >= self.settings.failure_threshold:
            job.write_failed = True
        name = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.settings.seed}/{job.number}/{place}")
        well = [person for person in part.people if person not in failed]
        lines = self.source.lines(
            job.version,
            part.resource_type,
            well,
            after=part.after,
            up_to=job.up_to,
            service_cap=self.settings.runout_cap if job.service_capped else None,
        )
        if job.version == "v3" and part.resource_type == "ExplanationOfBenefit":
            drops = self.settings.quirks.drops_service_date
            lines = (line for line in lines if typefilter.passes(line, job.type_filter, drops_service_date=drops))
        has_data = self._store(folder / f"{name}.ndjson", self._spoiled(lines, job, part))
        if has_data:
            job.files.append(JobFile(f"{name}.ndjson", "output", part.resource_type, is_listed=True))
        if failed:
            self._store(
                folder / f"{name}-error.ndjson",
                (self._failure(job, part, person, failed[person]) for person in sorted(failed)),
            )
            listed = has_data or not self.settings.quirks.unlisted_errors
            job.files.append(JobFile(f"{name}-error.ndjson", "error", "OperationOutcome", is_listed=listed))

    def _spoiled(self, lines: Iterator[bytes], job: Job, part: Part) -> Iterator[bytes]:
        """Return the lines of a part with the faults in force that are in the resources themselves."""
        if part.resource_type == "ExplanationOfBenefit" and (
            fault := self.faults.strike(FaultKind.FLAWED_CLAIM, "upstream")
        ):
            return flaws.flawed(lines, fault.text)
        if part.resource_type == "Patient" and (fault := self.faults.strike(FaultKind.SHARED_MBI, "upstream")):
            whose, given_to = (self.source.mbi(part.people[place], job.up_to) for place in fault.people)
            return flaws.sharing(lines, whose=whose, given_to=given_to)
        return lines

    def _failed(self, part: Part, failing: Sequence[Fault]) -> dict[str, Fault]:
        """Return the people of a part that cannot be retrieved, each with the fault that says so."""
        failed: dict[str, Fault] = {}
        for fault in failing:
            if part.people and fault.resource_type in {"", part.resource_type}:
                fault.struck += 1
                failed |= {part.people[number % len(part.people)]: fault for number in fault.people}
        for person in part.people:
            # The server sends a failed request again without its body, which cannot succeed (docs/bcda.md#error-files).
            outage = self.faults.strike(FaultKind.SHORT_OUTAGE, "upstream", resource_type=part.resource_type)
            if outage is not None:
                failed[person] = outage
        return failed

    def _store(self, path: Path, lines: Iterator[bytes]) -> bool:
        """Write lines compressed; return whether there were any."""
        first = next(lines, None)
        if first is None:
            return False
        # No time in the header: the same export gives the same bytes.
        with gzip.GzipFile(path, "wb", compresslevel=self.settings.gzip_level, mtime=0) as file:
            file.write(first)
            for line in lines:
                file.write(line)
        return True

    def _failure(self, job: Job, part: Part, person: str, fault: Fault) -> bytes:
        mbi, aco = self.source.mbi(person, job.up_to), uuid.uuid5(uuid.NAMESPACE_URL, job.entity.cms_id)
        if fault.look_up and part.resource_type not in _LOOKING_NOBODY_UP:
            text = f"Error retrieving BlueButton ID for cclfBeneficiary MBI {mbi}"
        else:
            text = f"Error retrieving {part.resource_type} for beneficiary MBI {mbi} in ACO {aco}"
        issue = {"severity": "error", "code": "not-found", "diagnostics": text}
        return go_json({"resourceType": "OperationOutcome", "issue": [issue]}) + b"\n"

    def _write_deleted(self, job: Job, folder: Path) -> None:
        """Say that a claim was deleted, as the Bulk Data specification has it: a Bundle of requests to delete."""
        entry = {"request": {"method": "DELETE", "url": f"ExplanationOfBenefit/{job.number}"}}
        (folder / "deleted.ndjson").write_bytes(
            go_json({"resourceType": "Bundle", "type": "transaction", "entry": [entry]}) + b"\n"
        )
        job.files.append(JobFile("deleted.ndjson", "deleted", "Bundle", is_listed=True))

    def _write_warning(self, job: Job, folder: Path) -> None:
        text = "Default System-Type behavior includes only claims from NCH and DDPS in this export."
        issue = {"severity": "warning", "code": "processing", "details": {"text": text}}
        (folder / "warnings-and-info.ndjson").write_bytes(
            go_json({"resourceType": "OperationOutcome", "issue": [issue]}) + b"\n"
        )
        job.files.append(JobFile("warnings-and-info.ndjson", "warning", "OperationOutcome", is_listed=True))
