"""The hook: a BCDA connection as the library's settings, every endpoint as a method, and the Test button."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from bcda.api.export_request import DEFAULT_RESOURCE_TYPES, Scope
from bcda.api.protocol import AttributionStatus, JobStatus, ListedJob
from bcda.errors import ActionNeededError
from bcda.settings import ConnectionSettings
from bcda.storage.places import DEFAULT_SOURCE
from bcda_provider.clients import client_of
from bcda_provider.connections import CONN_TYPE, remark_on, settings_of, unknown
from bcda_provider.masking import mask_proxy_passwords
from bcda_provider.open_checks import check_open_endpoints

if TYPE_CHECKING:
    from bcda.by_hand import Bcda, ExportResult

# One line per request is noise in a task log that counts files.
logging.getLogger("httpx").setLevel(logging.WARNING)

log = logging.getLogger(__name__)


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
        return check_open_endpoints(settings)

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
