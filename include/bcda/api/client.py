"""The BCDA client: sends what `protocol` builds, each request on a connection of its own, with one token and request budget."""

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import tenacity

from bcda import budgets, network
from bcda.api import protocol, single_use
from bcda.api.auth import BcdaAuth
from bcda.api.bounded_body import GZIP_ONLY
from bcda.api.bounded_transport import Bound, BoundedTransport
from bcda.api.export_request import ExportRequest
from bcda.api.governor import Governor
from bcda.api.protocol import AttributionStatus, JobState, JobStatus, ListedJob
from bcda.api.single_use import SingleUseTransport
from bcda.errors import (
    BcdaError,
    ManifestError,
    NotAllowListedError,
    OversizedAnswerError,
    RateLimitedError,
    ServerError,
    TransientError,
)
from bcda.network import Network
from bcda.privacy import server_text
from bcda.privacy.server_text import KeptTexts
from bcda.settings import ConnectionSettings

log = logging.getLogger(__name__)

# They write addresses, the server's own words for a status, and whole headers of its answers, all of which can be anything.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

T = TypeVar("T")


class BcdaClient:
    """One BCDA server. Use as an asynchronous context manager.

    A connection that is not made in time is `NotAllowListedError` only while nothing has ever answered this client, and only
    after `tuning.max_attempts` tries (a kick-off is sent once); later it is `ServerError`, since an address that is on the
    allow list meets it too, in a wait of hours or among thousands of files.

    Args:
        settings: server, credentials and tuning.
        on_token: called with every new token before it is used, so that logs can mask it.
        on_answer: called with the HTTP status of every answer, those of the token endpoint included.
        on_retry: called with the seconds of each wait before something that failed is retried.
        sleep: waits between tries; replaced in tests.

    Raises:
        InvalidRequestError: the environment names a proxy or a trust store that cannot be used.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        on_token: Callable[[str], None] | None = None,
        on_answer: Callable[[int], None] | None = None,
        on_retry: Callable[[float], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self._sleep = sleep
        self._on_answer = on_answer
        self._on_retry = on_retry
        self._governor = Governor(settings.tuning.requests_per_five_minutes, clock=time.monotonic, sleep=sleep)
        self._auth = BcdaAuth(settings, clock=time.monotonic, on_token=on_token)
        self._server_date: datetime | None = None
        self._server_date_read_at = 0.0
        self._has_answered = False
        self._texts: KeptTexts | None = None
        self._network = Network.to(settings.base_url)
        seconds = settings.tuning.request_timeout_seconds
        bounded = BoundedTransport(_transport(self._network), seconds=seconds)
        self._http = httpx.AsyncClient(
            auth=self._auth,
            # The library's own reading of the environment is another one, and raises errors of its own.
            trust_env=False,
            transport=SingleUseTransport(bounded, on_discard=self._discarded),
            # Within the time of the whole request: what never connects is told from what does not answer.
            timeout=httpx.Timeout(seconds, connect=seconds * budgets.CONNECT_SHARE),
            follow_redirects=False,
            headers={"User-Agent": "airflow-provider-bcda", **GZIP_ONLY},
            event_hooks={"response": [self._answered]},
        )

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close its connections."""
        await self._http.aclose()

    def keep_texts_in(self, folder: Path) -> None:
        """Keep answers that no message shows in a run's raw folder from now on, so that messages can name their files.

        Args:
            folder: of the run; nothing is kept while it is not there.
        """
        self._texts = KeptTexts(folder)

    @property
    def server_date(self) -> datetime | None:
        """BCDA's clock at its last answer, to the second, UTC; None when it never said."""
        return self._server_date

    @property
    def server_now(self) -> datetime | None:
        """BCDA's clock as it must be by now, by its last answer and the time that has passed since; None when it never said."""
        if self._server_date is None:
            return None
        return self._server_date + timedelta(seconds=time.monotonic() - self._server_date_read_at)

    @property
    def server_time(self) -> datetime:
        """BCDA's clock at its last answer, to the second, UTC; ours when it never said."""
        return self._server_date or datetime.now(UTC)

    async def kick_off(self, request: ExportRequest) -> str:
        """Start an export.

        Sent once: after a 429 the caller waits without holding a worker, and after a 500 the job may exist
        anyway, so the caller looks at the job list before it asks again (docs/bcda.md#kick-off-refusals).

        Returns:
            BCDA's job number, as text.

        Raises:
            RateLimitedError: 429; an overlapping job is running, or requests or tokens are limited.
            ServerError: 5xx, a broken connection, or an answer that is not BCDA's.
            InvalidRequestError: 400.
            AttributionMissingError: 404, with the server's reason.
            CredentialsError: 401 after a renewal, or 403.
            ManifestError: the answer names no job of the configured server.
        """
        path = protocol.kick_off_path(request)
        response = await self._send("GET", path, headers=protocol.EXPORT_HEADERS)
        if response.status_code == 429 and not response.content:  # noqa: PLR2004
            raise RateLimitedError(
                "Kick-off: 429, an overlapping job of this organization is running.",
                retry_after_seconds=protocol.wished_wait_seconds(response.headers, datetime.now(UTC)),
            )
        if response.status_code != 202:  # noqa: PLR2004
            raise await self._error(response, "Kick-off")
        return protocol.job_id_of(response.headers.get("Content-Location"), self.settings.base_url)

    async def live_jobs(self) -> list[ListedJob]:
        """Return the entity's jobs of every version that are pending or in progress, the newest first."""
        return [job for job in await self.usable_jobs() if job.state in protocol.LIVE_STATES]

    async def usable_jobs(self) -> list[ListedJob]:
        """Return those jobs, and the completed ones whose files are still there, the newest first."""
        jobs = await self.jobs(states=("Pending", "In Progress", "Completed"))
        return sorted(jobs, key=lambda job: int(job.job_id), reverse=True)

    async def jobs(self, states: Sequence[str] = ()) -> list[ListedJob]:
        """Return the entity's jobs of every version.

        Args:
            states: BCDA's own names of states (docs/bcda.md#job-list), such as `In Progress`; none for all.

        Raises:
            InvalidRequestError: a name is not one of them; nothing was sent.
        """
        query = {"_status": ",".join(protocol.status_names(states))} if states else None

        async def ask() -> list[ListedJob]:
            response = await self._send(
                "GET",
                f"/api/{self.settings.api_version}/jobs",
                headers=protocol.EXPORT_HEADERS,
                params=query,
                most_bytes=budgets.JOB_LIST_BYTES,
            )
            if response.status_code == 404:  # noqa: PLR2004
                reason = protocol.reason_of(response.content)
                if reason.startswith("no Jobs found"):
                    return []
                if not reason:
                    raise ServerError("Job list: 404 with an answer that was cut short.", status=404)
            if response.status_code != 200:  # noqa: PLR2004
                raise await self._error(response, "Job list")
            return protocol.jobs_of(response.content, as_of=self.server_time)

        return await self._patiently(ask)

    async def status(self, job_id: str) -> JobStatus:
        """Return where a job stands.

        A failed job is a state, not an error: BCDA may heal it for about an hour (docs/bcda.md#stuck-and-returning-jobs).

        Raises:
            CredentialsError: 401 after a renewal.
            TransientError: no usable answer within `tuning.max_attempts` tries.
            ManifestError: the manifest cannot be trusted, or each of these answers was larger than `tuning.manifest_megabytes`.
        """

        async def ask() -> JobStatus:
            return await self._status_once(job_id)

        try:
            return await self._patiently(ask)
        except OversizedAnswerError as error:
            # Who waits for the job would go on asking until the files are gone.
            raise ManifestError(f"{error} Nothing was fetched.") from error

    async def _status_once(self, job_id: str) -> JobStatus:
        most_bytes = int(self.settings.tuning.manifest_megabytes * budgets.MEGABYTE)
        response = await self._send("GET", self._job_path(job_id), most_bytes=most_bytes, setting="manifest_megabytes")
        kept = await self._kept(response)
        try:
            status = protocol.status_of(
                response.status_code, response.headers, response.content, base_url=self.settings.base_url, kept=kept
            )
        except ManifestError as error:
            kept = await asyncio.to_thread(self._texts.keep, response.content) if self._texts else ""
            where = f" {server_text.where(kept)}" if kept else ""
            raise ManifestError(f"{error}{where}") from error
        if status is None:
            raise await self._error(response, f"Status of job {job_id}")
        return status

    async def cancel(self, job_id: str) -> bool:
        """Cancel a job; return False when it was over already or is not there.

        A canceled job is not gone for good: it can complete anyway, or come back.

        Source: docs/bcda.md#cancellation, docs/bcda.md#stuck-and-returning-jobs.

        Raises:
            ServerError: BCDA cannot cancel it now, and it is not over.
        """

        async def ask() -> bool:
            response = await self._send("DELETE", self._job_path(job_id))
            is_gone = response.status_code == 404 and protocol.is_outcome(response.content)  # noqa: PLR2004
            if response.status_code in {202, 410} or is_gone:
                return response.status_code == 202  # noqa: PLR2004
            if response.status_code == 500 and (state := await self._ended_as(job_id)):  # noqa: PLR2004
                return state is JobState.CANCELLED
            raise await self._error(response, f"Canceling job {job_id}")

        return await self._patiently(ask)

    async def _ended_as(self, job_id: str) -> JobState | None:
        """Return the state of a job that is over; None when it is not, or BCDA does not say so."""
        try:
            status = await self._status_once(job_id)
        except TransientError:
            # The cancellation failed too, and its error says more.
            return None
        if status.state in {JobState.PENDING, JobState.IN_PROGRESS}:
            return None
        return None if status.state is JobState.FAILED and not status.says_that_the_job_failed else status.state

    async def attribution_status(self) -> AttributionStatus:
        """Return the dates of the newest lists; each can be missing (docs/bcda.md#attribution-status)."""

        async def ask() -> AttributionStatus:
            response = await self._send("GET", f"/api/{self.settings.api_version}/attribution_status")
            if response.status_code == 404 and protocol.is_outcome(response.content):  # noqa: PLR2004
                return AttributionStatus()
            if response.status_code != 200:  # noqa: PLR2004
                raise await self._error(response, "Attribution status")
            return protocol.attribution_of(response.content, as_of=self.server_time)

        return await self._patiently(ask)

    async def health(self) -> dict[str, str]:
        """Return BCDA's parts with their states, `ok` when well; sent without a token (docs/bcda.md#open-endpoints).

        Raises:
            ServerError: the connection failed, or something else than BCDA answers.
        """

        async def ask() -> dict[str, str]:
            response = await self._send("GET", "/_health", with_token=False)
            # 502 is how BCDA says that a part of it is not well; a status that it never sends here is another server's.
            if response.status_code in {429, 500, 503, 504}:
                raise await self._error(response, "Health")
            return protocol.health_of(response.content)

        return await self._patiently(ask)

    async def version(self) -> str:
        """Return BCDA's release, such as `r297`; sent without a token (docs/bcda.md#open-endpoints).

        Raises:
            ServerError: the connection failed, or something else than BCDA answers.
        """

        async def ask() -> str:
            response = await self._send("GET", "/_version", with_token=False)
            if response.status_code != 200:  # noqa: PLR2004
                raise await self._error(response, "Version")
            return protocol.version_of(response.content)

        return await self._patiently(ask)

    async def welcome(self) -> None:
        """Ask for nothing but whether the token is accepted (docs/bcda.md#token-check).

        Raises:
            CredentialsError: the token endpoint refuses the credentials, or BCDA the token.
        """

        async def ask() -> None:
            response = await self._send("GET", "/auth/welcome")
            if response.status_code != 200:  # noqa: PLR2004
                raise await self._error(response, "Welcome")

        await self._patiently(ask)

    async def metadata(self) -> dict[str, Any]:
        """Return the CapabilityStatement; sent without a token (docs/bcda.md#endpoints).

        Raises:
            ServerError: the connection failed, or something else than BCDA answers.
        """

        async def ask() -> dict[str, Any]:
            response = await self._send("GET", f"/api/{self.settings.api_version}/metadata", with_token=False)
            if response.status_code != 200:  # noqa: PLR2004
                raise await self._error(response, "Metadata")
            return protocol.metadata_of(response.content)

        return await self._patiently(ask)

    @asynccontextmanager
    async def stream(self, url: str, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        """Open a download; the body is read by the caller.

        Raises:
            ManifestError: the URL is not on the configured server.
            NotAllowListedError: nothing has ever answered, nor within `tuning.max_attempts` tries.
            TransientError: the connection failed before the headers came.
        """
        protocol.check_origin(url, self.settings.base_url)

        async def begin() -> httpx.Response:
            await self._governor.acquire()
            with self._transport_errors("Download"):
                bound = Bound.within(self.settings.tuning.request_timeout_seconds, is_file=True)
                request = self._http.build_request("GET", url, headers=headers, extensions=bound.as_extensions())
                return await self._http.send(request, stream=True)

        # Other errors are the caller's to retry, who knows how much of the file is there.
        response = await self._patiently(begin, on=(NotAllowListedError,))
        try:
            yield response
        finally:
            await response.aclose()

    def error_of(self, response: httpx.Response, what: str) -> Exception:
        """Return the error that a download's answer means; its body is not read, since it may name people."""
        after = protocol.wished_wait_seconds(response.headers, datetime.now(UTC))
        return protocol.error_for(response.status_code, b"", what=what, retry_after=after)

    async def wait_before_retry(self, attempt: int, error: TransientError) -> None:
        """Sleep before another try: the larger of the server's wish and a jittered, growing back-off.

        Args:
            attempt: tries so far, from 1.
            error: of the last try.
        """
        seconds = _back_off(self.settings, attempt, error)
        if self._on_retry is not None:
            self._on_retry(seconds)
        await self._sleep(seconds)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        with_token: bool = True,
        most_bytes: int = budgets.ANSWER_BYTES,
        setting: str = "",
    ) -> httpx.Response:
        await self._governor.acquire()
        bound = Bound.within(self.settings.tuning.request_timeout_seconds, most_bytes=most_bytes, setting=setting)
        with self._transport_errors(f"{method} {path.partition('?')[0]}"):
            response = await self._http.request(
                method,
                self.settings.base_url + path,
                headers=headers,
                params=params,
                auth=self._auth if with_token else None,
                extensions=bound.as_extensions(),
            )
        if date := protocol.lenient_instant(response.headers.get("Date")):
            self._server_date, self._server_date_read_at = date, time.monotonic()
        if protocol.is_misrouted(path, response.status_code, response.headers, response.content):
            raise protocol.misrouted_error(response.status_code, what=f"{method} {path.partition('?')[0]}")
        return response

    async def _patiently(
        self,
        ask: Callable[[], Awaitable[T]],
        *,
        on: tuple[type[BcdaError], ...] = (TransientError, NotAllowListedError),
    ) -> T:
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(on),
            stop=tenacity.stop_after_attempt(self.settings.tuning.max_attempts)
            | tenacity.stop_before_delay(budgets.HELD_SECONDS),
            wait=self._wait_of,
            sleep=self._sleep,
            before_sleep=self._retried,
            reraise=True,
        )
        return await retrying(ask)

    async def _answered(self, response: httpx.Response) -> None:
        self._has_answered = True
        if self._on_answer is not None:
            self._on_answer(response.status_code)

    async def _discarded(self, response: httpx.Response) -> None:
        """Account for an answer that another handler gave, and for the request that is sent again."""
        await self._answered(response)
        log.info("an answer of %d came from another handler of BCDA; asking on a new connection", response.status_code)
        if self._on_retry is not None:
            self._on_retry(0.0)
        await self._governor.acquire()

    def _retried(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        seconds = state.next_action.sleep if state.next_action else 0.0
        log.info("try %d failed, next in %.1f s: %s", state.attempt_number, seconds, error)
        if self._on_retry is not None:
            self._on_retry(seconds)

    def _wait_of(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return _back_off(self.settings, state.attempt_number, error)

    async def _error(self, response: httpx.Response, what: str) -> Exception:
        after, kept = protocol.wished_wait_seconds(response.headers, datetime.now(UTC)), await self._kept(response)
        return protocol.error_for(response.status_code, response.content, what=what, retry_after=after, kept=kept)

    async def _kept(self, response: httpx.Response) -> str:
        """Keep what no message shows of an answer, and return the name of its file; empty when there is nothing, or no run."""
        unknown = protocol.unknown_text(response.status_code, response.headers, response.content)
        return await asyncio.to_thread(self._texts.keep, unknown) if unknown and self._texts else ""

    @contextmanager
    def _transport_errors(self, what: str) -> Iterator[None]:
        """Turn every error of the HTTP library into one of ours."""
        base_url = self.settings.base_url
        try:
            yield
        except httpx.ProxyError as error:
            raise self._tunnel_error(error, what) from error
        except httpx.ConnectTimeout as error:
            raise self._connect_timeout(what) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise ServerError(f"{what}: the address cannot be used ({type(error).__name__}).") from error
        except httpx.HTTPError as error:
            if _is_of_token_endpoint(error):
                what = "Token request"
                # With a proxy in between, it is unknown which of the two closed it.
                if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError) and self._network.proxy is None:
                    raise ServerError(
                        f"{what}: BCDA closed the connection without an answer ({type(error).__name__}), as it does when its token "
                        "service is slow or down. Jobs continue meanwhile, and the credentials are not the cause."
                    ) from error
            for cause in network.causes_of(error):
                if isinstance(cause, ssl.SSLCertVerificationError):
                    raise network.untrusted(cause, self._network, base_url=base_url) from error
            raise ServerError(
                f"{what}: connection to {base_url}{network.through(self._network.proxy)} failed ({type(error).__name__})."
            ) from error

    def _tunnel_error(self, error: httpx.ProxyError, what: str) -> BcdaError:
        proxy, status = self._network.proxy, network.tunnel_status(error)
        base_url = self.settings.base_url
        if proxy is None or status is None:
            return ServerError(f"{what}: connection to {base_url}{network.through(proxy)} failed (ProxyError).")
        return network.tunnel_error(proxy, status, base_url=base_url, what=what)

    def _connect_timeout(self, what: str) -> BcdaError:
        base_url, proxy = self.settings.base_url, self._network.proxy
        if proxy is not None:
            return ServerError(
                f"{what}: no connection to {base_url} in time{network.through(proxy)}. Check that the proxy answers; in production, "
                "check that BCDA's allow list has the address from which the proxy connects."
            )
        if self._has_answered:
            return ServerError(
                f"{what}: no connection to {base_url} in time, although it has answered before. If it stays so, see whether "
                "this address is still on the allow list, off which an expired secret takes it; then look at the network."
            )
        return NotAllowListedError(
            f"{what}: no connection to {base_url} in time. In production this is what an address that is "
            "not on the allow list sees, and an expired secret takes addresses off it. Check both, then the network."
        )

    def _job_path(self, job_id: str) -> str:
        return f"/api/{self.settings.api_version}/jobs/{int(job_id)}"


def _back_off(settings: ConnectionSettings, attempt: int, error: BaseException | None) -> float:
    tuning = settings.tuning
    # Not wait_exponential_jitter, whose first argument has another name before tenacity 9.2.
    wait = tenacity.wait_exponential(multiplier=tuning.backoff_initial_seconds) + tenacity.wait_random(
        0, tuning.backoff_initial_seconds
    )
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = attempt
    wished = error.retry_after_seconds if isinstance(error, TransientError) else None
    return max(wished or 0.0, min(wait(state), tuning.backoff_max_seconds))


def _is_of_token_endpoint(error: httpx.HTTPError) -> bool:
    """Tell whether the connection failed during the token request, and not during the request that needs the token."""
    try:
        return error.request.url.path == protocol.TOKEN_PATH
    except RuntimeError:
        # The library knows of no request, so none was sent.
        return False


def _transport(way: Network) -> httpx.AsyncBaseTransport:
    return httpx.AsyncHTTPTransport(
        verify=way.trust.context(), trust_env=False, limits=single_use.LIMITS, proxy=_proxy(way)
    )


def _proxy(way: Network) -> httpx.Proxy | None:
    if way.proxy is None:
        return None
    has_credentials = way.proxy.username or way.proxy.password
    return httpx.Proxy(
        way.proxy.url,
        auth=(way.proxy.username, way.proxy.password) if has_credentials else None,
        ssl_context=way.trust.context() if way.proxy.scheme == "https" else None,
    )


__all__ = ["BcdaClient", "JobState"]
