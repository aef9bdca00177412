"""Every endpoint of BCDA as a method that returns when it is answered."""

from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from bcda.api import protocol
from bcda.api.client import BcdaClient
from bcda.api.export_request import DEFAULT_RESOURCE_TYPES, Scope
from bcda.api.protocol import AttributionStatus, JobState, JobStatus, ListedJob
from bcda.by_hand.event_loop import complete
from bcda.by_hand.exporting import ClientOf, Tell, download_job, run_export
from bcda.by_hand.one_job import about_job
from bcda.by_hand.result import ExportResult
from bcda.errors import InvalidRequestError
from bcda.settings import ConnectionSettings

T = TypeVar("T")


class Bcda:
    """One BCDA. Each call opens connections of its own, and works inside a running event loop too.

    All raise `ActionNeededError` if a person must do something, such as correct the credentials, and `TransientError` if BCDA,
    or the way to it, does not work now.

    Args:
        settings: server, credentials and version.
        client_of: makes the client.
    """

    def __init__(self, settings: ConnectionSettings, *, client_of: ClientOf = BcdaClient) -> None:
        self.settings = settings
        self._client_of = client_of

    def export(
        self,
        folder: Path | str,
        scope: str = Scope.PATIENT,
        *,
        resource_types: Sequence[str] = DEFAULT_RESOURCE_TYPES,
        since: datetime | str | None = None,
        land: bool = True,
        on_progress: Tell | None = None,
    ) -> ExportResult:
        """Export to a folder; see `run_export`.

        Args:
            folder: new, empty, or the one in which the same export was begun.
            scope: `patient`, `group-all` or `group-runout`.
            resource_types: FHIR type names.
            since: only resources updated after it; None for everything.
            land: load the files into Parquet and a DuckDB database too.
            on_progress: called with a sentence at each step.
        """
        return run_export(
            folder,
            self.settings,
            scope,
            resource_types=resource_types,
            since=since,
            land=land,
            on_progress=on_progress,
            client_of=self._client_of,
        )

    def download(
        self, job_id: str, folder: Path | str, *, land: bool = True, on_progress: Tell | None = None
    ) -> ExportResult:
        """Download the files of a job that exists, waiting for it if it is running; see `download_job`.

        Args:
            job_id: BCDA's number.
            folder: new, empty, or the one in which the same download was begun.
            land: load the files into Parquet and a DuckDB database too.
            on_progress: called with a sentence at each step.
        """
        return download_job(
            job_id, folder, self.settings, land=land, on_progress=on_progress, client_of=self._client_of
        )

    def jobs(self, statuses: Sequence[str] = ()) -> list[ListedJob]:
        """Return the organization's jobs of every version, the newest first.

        Args:
            statuses: BCDA's names of states, such as `In Progress`; none for all. The list shows archived and expired jobs as
                completed; only this filter tells them apart.
        """
        jobs = self._ask(lambda client: client.jobs(statuses))
        return sorted(jobs, key=lambda job: int(job.job_id), reverse=True)

    def job(self, job_id: str) -> JobStatus:
        """Return where a job stands, with its manifest if it is complete.

        Args:
            job_id: BCDA's number.

        Raises:
            InvalidRequestError: it is no number, or BCDA has no such job for this organization.
        """
        number = protocol.check_job_id(str(job_id))
        status = self._ask(lambda client: about_job(client, number, client.status(number)))
        if status.state is JobState.UNKNOWN:
            raise InvalidRequestError(
                f"BCDA has no job {number} with files for this organization ({status.reason}). The job list shows which jobs "
                "there are."
            )
        return status

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; return False if it was over already.

        Args:
            job_id: BCDA's number.

        Raises:
            InvalidRequestError: it is no number, or BCDA has no such job for this organization.
        """
        number = protocol.check_job_id(str(job_id))
        if self._ask(lambda client: about_job(client, number, client.cancel(number))):
            return True
        self.job(number)
        return False

    def attribution(self) -> AttributionStatus:
        """Return the dates of the newest attribution lists. A date is None if BCDA has no such list."""
        return self._ask(lambda client: client.attribution_status())

    def metadata(self) -> dict[str, Any]:
        """Return the CapabilityStatement of the API version; needs no credentials."""
        return self._ask(lambda client: client.metadata())

    def version(self) -> str:
        """Return BCDA's release, such as `r297`; needs no credentials."""
        return self._ask(lambda client: client.version())

    def health(self) -> dict[str, str]:
        """Return BCDA's parts with their states, `ok` if well; needs no credentials."""
        return self._ask(lambda client: client.health())

    def _ask(self, question: Callable[[BcdaClient], Coroutine[Any, Any, T]]) -> T:
        async def ask() -> T:
            async with self._client_of(self.settings) as client:
                return await question(client)

        return complete(ask)
