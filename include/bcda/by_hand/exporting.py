"""One export to one folder, from the request to the database. If it is killed, the same call continues where it stopped."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import tenacity

from bcda import export
from bcda.api import protocol
from bcda.api.client import BcdaClient
from bcda.api.export_request import DEFAULT_RESOURCE_TYPES, ExportRequest, Scope, parse_instant, scope_of
from bcda.api.manifest import Manifest
from bcda.api.type_filter import SystemType, TypeFilter
from bcda.by_hand.event_loop import complete
from bcda.by_hand.folder import Asked, ExportFolder, held_folder
from bcda.by_hand.gaps import count_gaps
from bcda.by_hand.one_job import about_job
from bcda.by_hand.result import ExportedFile, ExportResult
from bcda.by_hand.waiting import Restart, again_after, wait_for_job
from bcda.errors import (
    BcdaError,
    ExportExpiredError,
    ExportFailedError,
    ExportInterrupted,
    JobNotCompleteError,
    ManifestError,
    RateLimitedError,
    TransientError,
)
from bcda.runs import job_restart
from bcda.runs.batches import MAX_BATCHES
from bcda.runs.folder import RunFolder
from bcda.runs.landed import LandedBatch
from bcda.runs.receipts import Receipt, read_receipt
from bcda.runs.run import ExportRun, write_run
from bcda.settings import ApiVersion, ConnectionSettings, server_of
from bcda.storage.files import private_folder

log = logging.getLogger(__name__)

BATCH_BYTES = 512 << 20
"""Compressed bytes that land together; a kill during landing loses at most this much work."""

_NEXT = "Run the same export again with the same folder: it starts another job."
_NEXT_OF_DOWNLOAD = "Look at the job list for another job, or export to another folder."

ClientOf = Callable[[ConnectionSettings], BcdaClient]
Tell = Callable[[str], None]


def run_export(
    folder: Path | str,
    settings: ConnectionSettings,
    scope: str = Scope.PATIENT,
    *,
    resource_types: Sequence[str] = DEFAULT_RESOURCE_TYPES,
    since: datetime | str | None = None,
    land: bool = True,
    on_progress: Tell | None = None,
    client_of: ClientOf = BcdaClient,
) -> ExportResult:
    """Export to a folder: start a job at BCDA, wait for it, download and prove its files, and load them into a database.

    Works in a script and in a notebook. It is complete or raises. Interrupted or killed, the same call with the same folder goes
    on where it stopped. A folder holds one export: another request, server or client id is refused. A call for a complete
    export returns its result and asks BCDA nothing.

    Args:
        folder: new, empty, or the one in which the same export was begun.
        settings: server and credentials.
        scope: `patient`, `group-all` or `group-runout`.
        resource_types: FHIR type names.
        since: only resources updated after it, as an aware datetime or text such as 2026-11-01T00:00:00Z; None for everything.
        land: load the files into Parquet and a DuckDB database too.
        on_progress: called with a sentence at each step, such as `print`.
        client_of: makes the client.

    Raises:
        InvalidRequestError: an argument is malformed, or the folder holds something else; nothing was sent or changed.
        ActionNeededError: BCDA refuses the request or the credentials.
        TransientError: BCDA, or the way to it, does not work now; the same call later goes on.
        ExportFailedError, ExportExpiredError: the job is over; the same call starts another.
        ExportInterrupted: the call was interrupted; the text says what remains at BCDA.
    """
    request = _request(settings, scope_of(scope), tuple(resource_types), since)
    asked = Asked.of(protocol.kick_off_path(request), settings)
    with held_folder(Path(folder), asked, f"{request.scope}-{request.api_version}") as held:
        return _Export(held, settings, client_of, on_progress).run(request, land=land)


def download_job(
    job_id: str,
    folder: Path | str,
    settings: ConnectionSettings,
    *,
    land: bool = True,
    on_progress: Tell | None = None,
    client_of: ClientOf = BcdaClient,
) -> ExportResult:
    """Download the files of a job that exists, whoever started it, waiting for it if it is running.

    Args:
        job_id: BCDA's number.
        folder: as of `run_export`.
        settings: server and credentials.
        land: as of `run_export`.
        on_progress: as of `run_export`.
        client_of: as of `run_export`.

    Raises:
        BcdaError: as of `run_export`; no other job is started.
    """
    number = protocol.check_job_id(str(job_id))
    with held_folder(Path(folder), Asked.of(f"job {number}", settings), f"job-{number}-{settings.api_version}") as held:
        held.keep_job(number)
        return _Export(held, settings, client_of, on_progress).run(None, land=land)


def _request(
    settings: ConnectionSettings, scope: Scope, resource_types: tuple[str, ...], since: datetime | str | None
) -> ExportRequest:
    narrow = None
    if settings.api_version is ApiVersion.V3 and "ExplanationOfBenefit" in resource_types:
        # Without a filter BCDA leaves the unfinished claims out (docs/bcda.md#type-filter).
        systems = [system for system in SystemType if settings.tuning.shared_system or system is not SystemType.SHARED]
        narrow = TypeFilter(tuple(systems))
    start = parse_instant(since) if isinstance(since, str) else since
    return ExportRequest(settings.api_version, scope, resource_types, start, narrow)


class _Export:
    """The steps of an export. Each one first checks what an earlier call has done."""

    def __init__(
        self, folder: ExportFolder, settings: ConnectionSettings, client_of: ClientOf, on_progress: Tell | None
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._client_of = client_of
        self._on_progress = on_progress
        self._run_id = folder.state.run_id

    def run(self, request: ExportRequest | None, *, land: bool) -> ExportResult:
        """Do what is left to do.

        Args:
            request: what to ask for; None for the job in the folder's state.
            land: whether to load.
        """
        with self._saying_what_remains():
            if not self._is_fetched():
                if request is not None:
                    self._write_run(request)
                complete(lambda: self._fetch(may_start=request is not None))
            manifest = export.read_manifest(self._folder.places, self._run_id)
            landed = self._land(manifest) if land else []
            result = self._result(manifest, landed, is_landed=land)
        self._folder.write(result.to_json())
        return result

    def _write_run(self, request: ExportRequest) -> None:
        if not RunFolder(self._folder.places, self._run_id).has_run():
            server = server_of(self._settings.base_url)
            run = ExportRun(self._run_id, request, datetime.now(UTC), server=server, reason="Asked for by hand.")
            write_run(private_folder(self._folder.files), run)

    async def _fetch(self, *, may_start: bool) -> None:
        async with self._client_of(self._settings) as client:
            client.keep_texts_in(self._folder.files)
            manifest: Manifest = await self._waiting_on()(self._complete_manifest, client, may_start=may_start)
            self._tell(f"Job {manifest.job_id} is complete. Files to download: {len(manifest.files)}.")
            await self._download(client, manifest)

    def _waiting_on(self) -> tenacity.AsyncRetrying:
        """Return the retries with which a job is waited for that was complete and is running again."""
        return tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(JobNotCompleteError),
            stop=tenacity.stop_after_delay(self._settings.tuning.job_deadline_seconds),
            wait=_Pause(self._settings),
            before_sleep=lambda state: self._tell(
                f"The job is running again; asking {_when(state)}. {_error_of(state)}"
            ),
            reraise=True,
        )

    async def _complete_manifest(self, client: BcdaClient, *, may_start: bool) -> Manifest:
        job_id = await self._complete_job(client, may_start=may_start)
        if not may_start:
            await self._write_run_of_job(client, job_id)
        return await export.save_manifest(client, self._folder.places, self._run_id, job_id, is_of_run=may_start)

    async def _complete_job(self, client: BcdaClient, *, may_start: bool) -> str:
        """Wait until a job is complete and return its number: the job of an earlier call, or a new job if that one has failed."""
        earlier = self._folder.state.job_id
        if earlier is not None:
            try:
                return await self._wait(client, earlier, may_start=may_start)
            except (ExportFailedError, ExportExpiredError) as error:
                if not may_start:
                    raise
                self._tell(f"{str(error).removesuffix(_NEXT)}Starting another job.")
        job_id = await self._start(client, stale=(earlier,) if earlier else ())
        try:
            return await self._wait(client, job_id, may_start=True)
        except (ExportFailedError, ExportExpiredError):
            # The next call then starts another job at once, instead of waiting for this one again.
            self._folder.keep_job(None)
            raise

    async def _wait(self, client: BcdaClient, job_id: str, *, may_start: bool) -> str:
        places, restart = self._folder.places, None
        if may_start:
            # A call that was killed while it replaced a job has written down how far it came.
            run = job_restart.run_of(places, self._run_id)
            job_id = job_restart.current_job(run, job_id)
            if job_restart.is_half_done(run, job_id):
                job_id = await self._restart(client, job_id)
            seconds = self._settings.tuning.pending_restart_seconds
            if run is not None and run.asked_at is not None:
                seconds -= (client.server_time - run.asked_at).total_seconds()
            restart = Restart(max(0.0, seconds), partial(self._restart, client))
        waiting = wait_for_job(
            client, job_id, self._tell, next_step=_NEXT if may_start else _NEXT_OF_DOWNLOAD, restart=restart
        )
        return await about_job(client, job_id, waiting)

    async def _restart(self, client: BcdaClient, job_id: str) -> str:
        """Replace a job that stays Pending, and record the new job."""
        started: str = await self._retrying()(
            job_restart.restart_job, client, self._folder.places, self._run_id, job_id
        )
        self._folder.keep_job(started)
        if started != job_id:
            self._tell(f"BCDA accepted the export as job {started}.")
        return started

    async def _start(self, client: BcdaClient, *, stale: tuple[str, ...]) -> str:
        kicked_off: export.KickedOff = await self._retrying()(
            export.kick_off, client, self._folder.places, self._run_id, stale_job_ids=stale
        )
        self._folder.keep_job(kicked_off.job_id)
        self._tell(
            f"Job {kicked_off.job_id} is already running at BCDA for the same request. This export uses it."
            if kicked_off.is_adopted
            else f"BCDA accepted the export as job {kicked_off.job_id}."
        )
        return kicked_off.job_id

    def _retrying(self) -> tenacity.AsyncRetrying:
        """Return the retries with which a job is started until BCDA accepts it."""
        return tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=_Patience(self._settings),
            wait=_Pause(self._settings),
            before_sleep=lambda state: self._tell(
                f"The job is not started yet; trying {_when(state)}. {_error_of(state)}"
            ),
            reraise=True,
        )

    async def _write_run_of_job(self, client: BcdaClient, job_id: str) -> None:
        """Record the request of a job, as its manifest states it."""
        status = await client.status(job_id)
        if status.manifest is None:
            raise export.job_error(job_id, status.state, status.reason)
        self._write_run(protocol.request_of(status.manifest))

    async def _download(self, client: BcdaClient, manifest: Manifest) -> None:
        done = sum(read_receipt(self._folder.files, file.name) is not None for file in manifest.files)
        said = done

        def count(_: Receipt) -> None:
            nonlocal done, said
            done += 1
            if done - said >= max(1, len(manifest.files) // 20) or done == len(manifest.files):
                said = done
                self._tell(f"{done} of {len(manifest.files)} files are here.")

        if manifest.files:
            await export.fetch_batch(client, self._folder.places, self._run_id, 0, 1, on_file=count)

    def _is_fetched(self) -> bool:
        try:
            manifest = export.read_manifest(self._folder.places, self._run_id)
        except ManifestError:
            return False
        return len(self._receipts(manifest)) == len(manifest.files)

    def _receipts(self, manifest: Manifest) -> list[Receipt]:
        found = [read_receipt(self._folder.files, file.name) for file in manifest.files]
        return [
            receipt
            for file, receipt in zip(manifest.files, found, strict=True)
            if receipt is not None and receipt.url == file.url
        ]

    def _land(self, manifest: Manifest) -> list[LandedBatch]:
        places, count, batches = self._folder.places, self._parts(manifest), []
        for number in export.plan_batches(places, self._run_id, count):
            batches.append(export.land_batch(places, self._run_id, number, count))
            if not places.published.exists():
                self._tell(f"Part {number + 1} of {count} is in Parquet.")
        export.merge(places, self._run_id, count, now=datetime.now(UTC))
        if not places.published.exists():
            self._tell("Writing the database.")
            export.publish(places)
        return batches

    def _parts(self, manifest: Manifest) -> int:
        """Return the number of parts in which the files land. It is recorded, because it must not change between calls."""
        if self._folder.state.parts is None:
            size = sum(receipt.wire_bytes for receipt in self._receipts(manifest))
            self._folder.keep_parts(min(MAX_BATCHES, max(1, math.ceil(size / BATCH_BYTES))))
        return self._folder.state.parts or 1

    def _result(self, manifest: Manifest, landed: Sequence[LandedBatch], *, is_landed: bool) -> ExportResult:
        places, files = self._folder.places, self._folder.files
        tables = {file.table for batch in landed for file in batch.lake_files}
        return ExportResult(
            folder=self._folder.path,
            job_id=manifest.job_id,
            run_id=self._run_id,
            request_url=manifest.request_url,
            transaction_time=manifest.transaction_time,
            files=tuple(
                ExportedFile(
                    files / receipt.name,
                    receipt.kind,
                    receipt.resource_type,
                    receipt.lines,
                    receipt.content_bytes,
                    receipt.wire_bytes,
                    receipt.wire_sha256,
                )
                for receipt in self._receipts(manifest)
            ),
            gaps=count_gaps(manifest, files),
            tables={table: str(places.lake / table / "**" / "*.parquet") for table in sorted(tables)},
            database=places.published if is_landed else None,
            lines_quarantined=sum(file.lines_quarantined for batch in landed for file in batch.files),
        )

    def _tell(self, text: str) -> None:
        log.info("%s", text)
        if self._on_progress is not None:
            self._on_progress(text)

    @contextmanager
    def _saying_what_remains(self) -> Iterator[None]:
        """Add to an interrupt what remains at BCDA, and to an interrupt or an error how to continue."""
        try:
            yield
        except KeyboardInterrupt:
            raise ExportInterrupted(f"Interrupted. {self._remains()}") from None
        except RuntimeError as error:
            # This is what DuckDB makes of an interrupt during a statement.
            if "Query interrupted" not in str(error):
                raise
            raise ExportInterrupted(f"Interrupted. {self._remains()}") from None
        except BcdaError as error:
            error.add_note(self._remains())
            raise

    def _remains(self) -> str:
        job_id = self._folder.state.job_id
        again = f"To go on, run the same export again with the folder {self._folder.path}."
        if self._is_fetched():
            return f"All files are here, and nothing is needed from BCDA any more. {again}"
        if job_id is None:
            return (
                f"No job is written down here; one that BCDA accepted in this very moment is found next time. {again}"
            )
        return (
            f"Job {job_id} stays at BCDA, and its files for a day after it completes. {again} To give a running job up: "
            f"python -m bcda cancel {job_id}"
        )


class _Patience(tenacity.stop.stop_base):
    """Wait for another job of the organization as long as for our own. Otherwise, try `max_attempts` times."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self._tuning = settings.tuning

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        """Tell whether it was the last try."""
        waited = (retry_state.seconds_since_start or 0.0) + retry_state.upcoming_sleep
        if waited >= self._tuning.job_deadline_seconds:
            return True
        is_limited = isinstance(_error_of(retry_state), RateLimitedError)
        return not is_limited and retry_state.attempt_number >= self._tuning.max_attempts


class _Pause(tenacity.wait.wait_base):
    """The pause between two tries: the server's Retry-After, or a growing pause if that is longer."""

    def __init__(self, settings: ConnectionSettings) -> None:
        tuning = settings.tuning
        self._own = tenacity.wait_exponential(
            multiplier=tuning.poll_seconds, max=tuning.poll_max_seconds
        ) + tenacity.wait_random(0, tuning.poll_seconds)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        """Return the seconds."""
        wished = getattr(_error_of(retry_state), "retry_after_seconds", None) or 0.0
        return max(float(wished), self._own(retry_state))


def _when(state: tenacity.RetryCallState) -> str:
    """Return when the next try is, in words."""
    return again_after(state.next_action.sleep if state.next_action else 0.0)


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
