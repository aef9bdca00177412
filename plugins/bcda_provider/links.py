"""Links that the UI shows on a task: the job at BCDA, the run on the BCDA page, its report."""

from typing import Any
from urllib.parse import quote, urlencode

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

from bcda_provider.data_home import raw_places
from bcda_provider.planned_runs import settings_of_run


class BcdaJobLink(BaseOperatorLink):
    """The status of the job at BCDA; it answers to the organization's token only."""

    name = "BCDA job"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - the interface's
        """Return the job's address, empty while there is no job.

        Args:
            operator: the task, with what it was rendered to; has the job's number once it is known.
            ti_key: not looked at.
        """
        job_id = getattr(operator, "job_id", None)
        if not job_id:
            return ""
        settings = settings_of_run(operator.bcda_conn_id, operator.run_id, operator.api_version)
        return f"{settings.base_url.rstrip('/')}/api/{settings.api_version}/jobs/{job_id}"


class BcdaPageLink(BaseOperatorLink):
    """The run on the BCDA page."""

    name = "BCDA page"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - the interface's
        """Return the page's address; it shows the source as a whole until there is a run.

        Args:
            operator: the task, with what it was rendered to.
            ti_key: not looked at.
        """
        return page_address(operator.bcda_conn_id, getattr(operator, "run_id", None) or "")


class BcdaReportLink(BaseOperatorLink):
    """The report of the run."""

    name = "Run report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - the interface's
        """Return the report's address, empty while it is not written.

        Args:
            operator: the task; has the run's number once there is a run to report.
            ti_key: not looked at.
        """
        run_id = getattr(operator, "run_id", None)
        if not run_id or not (raw_places(operator.bcda_conn_id).reports / f"{run_id}.html").exists():
            return ""
        return f"{_base()}/bcda/reports/{quote(run_id)}?{urlencode({'source': operator.bcda_conn_id})}"


def page_address(source: str, run_id: str = "") -> str:
    """Return the address of the BCDA page, at one run if there is one.

    Args:
        source: connection id.
        run_id: of the export run; empty for the source as a whole.
    """
    return f"{_base()}/bcda/?{urlencode({'source': source} | ({'run': run_id} if run_id else {}))}"


def _base() -> str:
    """Return where Airflow is reached; empty, for an address on the same host, when its configuration does not say."""
    return str(conf.get("api", "base_url", fallback="") or "").rstrip("/")
