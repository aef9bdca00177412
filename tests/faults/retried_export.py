"""An export as Airflow drives it: stage by stage, each tried again where the retry policy would."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from plain_export import wish
from pooling_proxy import Pool

from bcda import export
from bcda.api.client import BcdaClient
from bcda.api.export_request import Scope
from bcda.api.job_watch import JobWatch, Verdict
from bcda.errors import ExportFailedError, RateLimitedError, TransientError
from bcda.runs import job_restart
from bcda.runs.plan import ListDates
from bcda.runs.run import ExportRun
from bcda.settings import ApiVersion, ConnectionSettings, Tuning
from bcda.storage.places import Places
from bcda_simulator import SimulatorServer

T = TypeVar("T")
TYPES = ("Patient", "ExplanationOfBenefit")
TRIES = 3
FAST = Tuning(
    request_timeout_seconds=0.8,
    max_attempts=4,
    backoff_initial_seconds=0.02,
    backoff_max_seconds=0.1,
    poll_seconds=0.05,
    poll_max_seconds=0.1,
    # A slow machine is not late: rows that mean a deadline set a short one.
    job_deadline_seconds=20.0,
    failed_grace_seconds=1.0,
    file_attempts=3,
)


@dataclass
class Export:
    """One export by one server into one home.

    Attributes:
        server: whom it asks.
        places: where it lands.
        changes: of the wish, such as `scope`.
        tuning: of the connection, besides `FAST`.
        api_version: of the connection.
        before: stage → what is arranged before each of its tries; it may return what undoes it.
        memo: what an arrangement has done already.
        base_url: another address than the server's.
        pool: connections that a proxy at that address shares among all who ask.
        our_clock: how far this machine's clock is ahead of the server's.
        waited: the longest wait that a server asked for, in seconds; no test sleeps that long.
    """

    server: SimulatorServer
    places: Places
    changes: dict[str, object]
    tuning: dict[str, object]
    api_version: str
    before: dict[str, Callable[["Export"], Callable[[], object] | None]]
    base_url: str = ""
    pool: Pool | None = None
    our_clock: timedelta = timedelta()
    memo: set[str] = field(default_factory=set)
    waited: float = 0.0
    run: ExportRun | None = None
    job_id: str = ""

    @property
    def settings(self) -> ConnectionSettings:
        """Connection to the server."""
        return ConnectionSettings(
            self.base_url or self.server.base_url,
            self.server.entity.client_id,
            self.server.entity.client_secret,
            ApiVersion(self.api_version),
            tuning=replace(FAST, **self.tuning),
        )

    def to_the_end(self) -> None:
        """Run every stage; raise what ends the run."""
        self.to_the_lake()
        self._stage("merge", lambda: export.merge(self.places, self.run.run_id, 1, now=self._now))
        self._stage("publish", lambda: export.publish(self.places))

    def to_the_lake(self) -> None:
        """Run the stages before the merge."""
        self.run = self._stage("plan", self._plan)
        self.job_id = self._stage("kick-off", lambda: self._with_client(self._kick_off))
        self._stage("wait", lambda: self._with_client(self._wait))
        for batch in export.plan_batches(self.places, self.run.run_id, 1):
            self._stage("fetch", lambda b=batch: self._with_client(lambda c: self._fetch(c, b)))
            self._stage("land", lambda b=batch: export.land_batch(self.places, self.run.run_id, b, 1))

    def _stage(self, name: str, work: Callable[[], T]) -> T:
        for attempt in range(1, TRIES + 1):
            undo = self.before.get(name, lambda _: None)(self)
            try:
                return work()
            except TransientError as error:
                # Airflow schedules the next try for when the server wants it; no worker waits that long.
                self.waited = max(self.waited, error.retry_after_seconds or 0.0)
                if attempt == TRIES:
                    raise
            finally:
                if undo is not None:
                    undo()
        raise AssertionError

    @property
    def _now(self) -> datetime:
        return self.server.clock.now() + self.our_clock

    def _plan(self) -> ExportRun:
        scope = self.changes.get("scope", Scope.PATIENT)
        lists = ListDates()
        if scope is not Scope.PATIENT:
            dates = self._with_client(lambda client: client.attribution_status())
            lists = ListDates(dates.of(scope), self._now)
        wanted = wish(self.settings, **{"resource_types": TYPES, **self.changes})
        planned = export.plan(self.places, wanted, now=self._now, lists=lists)
        assert isinstance(planned, ExportRun), planned
        return planned

    def _with_client(self, work: Callable[[BcdaClient], object]) -> object:
        async def in_loop() -> object:
            async with BcdaClient(self.settings, sleep=self._nap) as client:
                return await work(client)

        return asyncio.run(in_loop())

    async def _nap(self, seconds: float) -> None:
        self.waited = max(self.waited, seconds)
        await asyncio.sleep(min(seconds, 0.1))

    async def _kick_off(self, client: BcdaClient) -> str:
        for _ in range(40):
            try:
                return (await export.kick_off(client, self.places, self.run.run_id)).job_id
            except RateLimitedError as error:
                # The operator defers and looks again; it never counts as a failed try.
                await self._nap(error.retry_after_seconds or 0.05)
        raise AssertionError("429 for ever")

    async def _wait(self, client: BcdaClient) -> None:
        tuning, started = self.settings.tuning, time.monotonic()
        watch = JobWatch(tuning.failed_grace_seconds, started + tuning.pending_restart_seconds)
        while True:
            now, status = time.monotonic(), await self._status(client)
            verdict = watch.see(status, now) if status is not None else Verdict.WAIT
            if verdict is Verdict.COMPLETED:
                await export.save_manifest(client, self.places, self.run.run_id, self.job_id)
                return
            if verdict is Verdict.ENDED:
                raise export.job_error(self.job_id, status.state, status.reason)
            if verdict is Verdict.STUCK:
                self.job_id = await job_restart.restart_job(client, self.places, self.run.run_id, self.job_id)
                watch, started = JobWatch(tuning.failed_grace_seconds), time.monotonic()
            if now - started > tuning.job_deadline_seconds:
                await client.cancel(self.job_id)
                raise ExportFailedError("the job passed its deadline and was canceled", job_id=self.job_id)
            await asyncio.sleep(0.05)

    async def _status(self, client: BcdaClient) -> object:
        try:
            return await client.status(self.job_id)
        except TransientError as error:
            # The trigger waits as long as the server wants before it asks again.
            self.waited = max(self.waited, error.retry_after_seconds or 0.0)
            return None

    async def _fetch(self, client: BcdaClient, batch: int) -> None:
        await export.fetch_batch(client, self.places, self.run.run_id, batch, 1)
