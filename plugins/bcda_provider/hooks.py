"""From the Airflow connection to the library's settings and client, and the Test button."""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, Variable
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret
from requests import ConnectionError as RequestsConnectionError
from requests import RequestException, Timeout

from bcda import budgets, network
from bcda.api import protocol
from bcda.api.client import BcdaClient
from bcda.api.export_request import DEFAULT_RESOURCE_TYPES, Scope
from bcda.api.protocol import AttributionStatus, JobStatus, ListedJob
from bcda.errors import ActionNeededError, BcdaError, ServerError, TransientError
from bcda.network import Network
from bcda.runs.plan import ListDates
from bcda.runs.run import scope_and_version
from bcda.settings import ConnectionSettings
from bcda.storage.documents import read_json
from bcda.storage.encryption import EncryptionKey
from bcda.storage.places import DEFAULT_SOURCE, Places
from bcda_provider import arguments, metrics
from bcda_provider.connections import CONN_TYPE, remark_on, settings_of, unknown
from bcda_provider.masking import mask_proxy_passwords
from bcda_provider.open_endpoints import OpenAnswer, OpenEndpointsHook

if TYPE_CHECKING:
    from bcda.by_hand import Bcda, ExportResult

# One line per request is noise in a task log that counts files.
logging.getLogger("httpx").setLevel(logging.WARNING)

log = logging.getLogger(__name__)

HEALTH_SECONDS = 10.0
"""How long the health check may take; the run goes on without it then."""


class BcdaHook(BaseHook):
    """One BCDA connection.

    Args:
        bcda_conn_id: connection of type `bcda`.
        api_version: overrides the connection's version.
    """

    conn_name_attr = "bcda_conn_id"
    default_conn_name = DEFAULT_SOURCE
    conn_type = CONN_TYPE
    hook_name = "BCDA"

    def __init__(self, bcda_conn_id: str = default_conn_name, *, api_version: str | None = None) -> None:
        super().__init__()
        self.bcda_conn_id = bcda_conn_id
        self._api_version = api_version

    def settings(self) -> ConnectionSettings:
        """Return the connection as the library's settings.

        Raises:
            InvalidRequestError: the connection has another type, or a field is missing or malformed.
            UnknownConnectionError: there is no such connection.
        """
        return settings_of(self._connection(), self._api_version)

    async def asettings(self) -> ConnectionSettings:
        """Return the same from inside an event loop."""
        try:
            connection = await self.aget_connection(self.bcda_conn_id)
        except AirflowNotFoundException as error:
            raise unknown(self.bcda_conn_id) from error
        return settings_of(connection, self._api_version)

    def _connection(self) -> Any:
        try:
            return self.get_connection(self.bcda_conn_id)
        except AirflowNotFoundException as error:
            raise unknown(self.bcda_conn_id) from error

    def check_open_endpoints(self, settings: ConnectionSettings) -> str:
        """Ask `/_health` and the version's metadata, which need no token; return the FHIR version.

        What `/_health` answers counts only if BCDA itself says there that it is not well. A server without it, or one that
        redirects it or hangs, can export anyway.

        Raises:
            InvalidRequestError: the environment names a proxy or a trust store that cannot be used.
            ProxyRefusedError: the proxy refuses its credentials, or the way to BCDA.
            UntrustedServerError: the server's certificate is not trusted.
            ServerError: the server cannot be reached, is not healthy, or does not know the version.
        """
        mask_proxy_passwords()
        way = Network.to(settings.base_url)
        open_hook = OpenEndpointsHook(settings.base_url, way, settings.tuning.request_timeout_seconds)
        try:
            _check_health(open_hook)
            metadata = open_hook.ask(f"/api/{settings.api_version}/metadata")
            _check_answer(settings, metadata)
            return str(read_json(metadata.content, most_values=budgets.MOST_JSON_VALUES)["fhirVersion"])
        except (RequestException, ValueError, KeyError, TypeError) as error:
            raise _open_error(settings, way, error) from error

    def test_connection(self) -> tuple[bool, str]:
        """Look at everything between this process and an export, as `airflow bcda doctor` does.

        Returns:
            Whether no check failed, and the text that the Test button shows: what failed first, then a line for each check.
        """
        from bcda import doctor

        mask_proxy_passwords()
        try:
            settings, remark = self.settings(), remark_on(self._connection())
        except ActionNeededError as error:
            return False, str(error)
        checks = doctor.check_connection(settings, clock=lambda: datetime.now(UTC), on_token=mask_secret)
        return not doctor.has_failed(checks), "\n".join(filter(None, (doctor.in_short(checks), remark)))

    def by_hand(self) -> "Bcda":
        """Return BCDA with this connection: every endpoint as a method. Airflow masks the tokens.

        Raises:
            InvalidRequestError, UnknownConnectionError: as of `settings`.
        """
        from bcda.by_hand import Bcda

        return Bcda(self.settings(), client_of=partial(client_of, source_id=self.bcda_conn_id))

    def export(
        self,
        folder: Path | str,
        scope: str = Scope.PATIENT,
        *,
        resource_types: Sequence[str] = DEFAULT_RESOURCE_TYPES,
        since: datetime | str | None = None,
        land: bool = True,
    ) -> "ExportResult":
        """Export to a folder of its own, outside of BCDA_HOME and its ledger; see `bcda.run_export`.

        Args:
            folder: new, empty, or the one in which the same export was begun.
            scope: `patient`, `group-all` or `group-runout`.
            resource_types: FHIR type names.
            since: only resources updated after it; None for everything.
            land: load the files into Parquet and a DuckDB database too.
        """
        return self.by_hand().export(folder, scope, resource_types=resource_types, since=since, land=land)

    def download(self, job_id: str, folder: Path | str, *, land: bool = True) -> "ExportResult":
        """Download the files of a job that exists, waiting for it if it is running.

        Args:
            job_id: BCDA's number.
            folder: new, empty, or the one in which the same download was begun.
            land: load the files into Parquet and a DuckDB database too.
        """
        return self.by_hand().download(job_id, folder, land=land)

    def jobs(self, statuses: Sequence[str] = ()) -> list[ListedJob]:
        """Return the organization's jobs of every version, the newest first.

        Args:
            statuses: BCDA's names of states, such as `In Progress`; none for all.
        """
        return self.by_hand().jobs(statuses)

    def job(self, job_id: str) -> JobStatus:
        """Return where a job stands, with its manifest if it is complete.

        Args:
            job_id: BCDA's number.
        """
        return self.by_hand().job(job_id)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; return False if it was over already.

        Args:
            job_id: BCDA's number.
        """
        return self.by_hand().cancel(job_id)

    def attribution(self) -> AttributionStatus:
        """Return the dates of the newest attribution lists."""
        return self.by_hand().attribution()

    def metadata(self) -> dict[str, Any]:
        """Return the CapabilityStatement of the API version."""
        return self.by_hand().metadata()

    def version(self) -> str:
        """Return BCDA's release, such as `r297`."""
        return self.by_hand().version()

    def health(self) -> dict[str, str]:
        """Return BCDA's parts with their states, `ok` if well."""
        return self.by_hand().health()


def _open_error(settings: ConnectionSettings, way: Network, error: Exception) -> BcdaError:
    """Return what an error of the HTTP library means."""
    for cause in network.causes_of(error):
        if isinstance(cause, SSLCertVerificationError):
            return network.untrusted(cause, way, base_url=settings.base_url)
        status = network.tunnel_status(cause) if way.proxy and isinstance(cause, OSError) else None
        if way.proxy and status:
            return network.tunnel_error(way.proxy, status, base_url=settings.base_url, what="First check")
    if way.proxy and isinstance(error, RequestsConnectionError | Timeout):
        return ServerError(
            f"{settings.base_url} does not answer{network.through(way.proxy)} ({type(error).__name__}). Check that the proxy answers; "
            "in production, check that BCDA's allow list has the address from which the proxy connects."
        )
    return ServerError(
        f"{settings.base_url} does not answer as BCDA {settings.api_version} does ({type(error).__name__}). "
        "Check the base URL and the network; in production, whether this address is on the allow list."
    )


def _check_health(open_hook: OpenEndpointsHook) -> None:
    """Raise what BCDA says of itself when it is not well (wire contract §18).

    Raises:
        ServerError: with BCDA's own words of which part of it is not well.
    """
    try:
        answer = open_hook.ask("/_health", timeout_seconds=HEALTH_SECONDS)
        parts = protocol.health_of(answer.content)
    except (RequestException, ServerError) as error:
        log.warning("The health check gave no usable answer (%s); the run goes on without it.", type(error).__name__)
        return
    if answer.status_code == HTTPStatus.BAD_GATEWAY and (ill := protocol.unwell(parts)):
        raise ServerError(
            f"BCDA says that {ill}. Nothing was asked for. Wait; if it stays so for an hour, ask BCDA's help desk.",
            retry_after_seconds=protocol.wished_wait_seconds(answer.headers, datetime.now(UTC)),
            status=answer.status_code,
        )


def _check_answer(settings: ConnectionSettings, answer: OpenAnswer) -> None:
    """Raise what the answer of an open endpoint means when it is no success.

    Raises:
        ServerError: it is not one that BCDA gives when it is well.
    """
    if answer.ok:
        return
    raise ServerError(
        f"{settings.base_url} answers with {answer.status_code}, which BCDA {settings.api_version} does not when it is well. If it "
        "stays so, check the base URL and the API version, and whether a proxy or a maintenance page answers.",
        retry_after_seconds=protocol.wished_wait_seconds(answer.headers, datetime.now(UTC)),
        status=answer.status_code,
    )


def settings_of_run(conn_id: str, run_id: Any, api_version: str | None = None) -> ConnectionSettings:
    """Return the settings for a run that was planned: its version of the API is in its id, whatever the connection says now.

    Args:
        conn_id: connection id.
        run_id: of the export run.
        api_version: overrides the run's version; empty or None for none.

    Raises:
        InvalidRequestError: there is no run, as when its plan was skipped, or the connection is of another type or malformed.
        UnknownConnectionError: there is no such connection.
        ManifestError: that is no run's id.
    """
    _, version = scope_and_version(arguments.text("run_id", run_id))
    return BcdaHook(conn_id, api_version=api_version or version).settings()


def is_runout(run_id: Any) -> bool:
    """Tell whether a run that was planned exports runout data.

    Raises:
        InvalidRequestError: there is no run, as when its plan was skipped.
        ManifestError: that is no run's id.
    """
    scope, _ = scope_and_version(arguments.text("run_id", run_id))
    return scope == Scope.GROUP_RUNOUT


def list_dates(settings: ConnectionSettings, scope: Scope, source_id: str) -> ListDates:
    """Ask BCDA for the date of the newest attribution list of a scope.

    Args:
        settings: of the connection.
        scope: of the export.
        source_id: connection id, for the metrics.
    """

    async def ask() -> ListDates:
        async with client_of(settings, source_id) as client:
            dates = await client.attribution_status()
            return ListDates(dates.of(scope), client.server_time)

    return asyncio.run(ask())


def client_of(settings: ConnectionSettings, source_id: str) -> BcdaClient:
    """Return a client whose tokens Airflow masks in every log, and whose answers and retries are in its metrics.

    Args:
        settings: of the connection.
        source_id: connection id, for the metrics.

    Raises:
        InvalidRequestError: the environment names a proxy or a trust store that cannot be used.
    """
    mask_proxy_passwords()
    return BcdaClient(
        settings,
        on_token=mask_secret,
        on_answer=partial(metrics.answered, source_id),
        on_retry=partial(metrics.retried, source_id),
    )


def _variable(name: str) -> str | None:
    """Return an Airflow Variable as tasks see it: from any secrets backend, the last one being Airflow's database."""
    value: str | None = Variable.get(name, default=None)
    return value


def places(source_id: str = DEFAULT_SOURCE, *, variable: Callable[[str], str | None] = _variable) -> Places:
    """Return where a source's data lies, from BCDA_HOME and its overrides, with its key; in a checkout `data/` by default.

    The key is that of the environment variable BCDA_ENCRYPTION_KEY, or of the Airflow Variable that
    BCDA_ENCRYPTION_VARIABLE names, which Airflow looks up in its secrets backends. Without either nothing is encrypted.

    Args:
        source_id: connection id; each has places of its own.
        variable: looks an Airflow Variable up; Airflow has another way outside of tasks.

    Raises:
        InvalidRequestError: BCDA_HOME is not set, or a path or the key is malformed.
        TransientError: the Variable is named, and no secrets backend gives it.
    """
    found = raw_places(source_id)
    name = os.environ.get("BCDA_ENCRYPTION_VARIABLE")
    if found.key is None and name:
        text = variable(name)
        if not text:
            # Never without a key then: a backend that is away for a minute looks like this too.
            raise TransientError(
                f"BCDA_ENCRYPTION_VARIABLE names the Airflow Variable {name}, and no secrets backend has it now. Nothing was "
                "written. If this persists, create the Variable with the key, or unset BCDA_ENCRYPTION_VARIABLE."
            )
        mask_secret(text)
        found = replace(found, key=EncryptionKey.from_text(text))
    if found.key is not None:
        mask_secret(found.key.text)
    return found


def raw_places(source_id: str = DEFAULT_SOURCE) -> Places:
    """Return where a source's data lies, for those who need the raw folder only: the key is not looked up.

    Args:
        source_id: connection id; each has places of its own.

    Raises:
        InvalidRequestError: BCDA_HOME is not set, or a path is malformed.
    """
    return Places.from_environment(os.environ).of_source(source_id)
