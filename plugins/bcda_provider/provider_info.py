"""What Airflow reads from package metadata: the connection type `bcda` with its form, and which modules hold what."""

from importlib.metadata import version
from typing import Any

from bcda.settings import ApiVersion

DISTRIBUTION = "airflow-provider-bcda"

INTEGRATION = "Beneficiary Claims Data API (BCDA)"

ADVANCED = {
    "request_timeout_seconds": "Limit for one request up to the last byte of its answer, and for each silence during a download.",
    "max_attempts": "Attempts of one request before its error is raised.",
    "backoff_initial_seconds": "First wait between attempts. It doubles, with jitter.",
    "backoff_max_seconds": "Longest wait between attempts. A longer Retry-After of the server is obeyed.",
    "concurrent_downloads": "Files that one batch fetches at the same time.",
    "requests_per_five_minutes": "Request budget of one process. BCDA allows 3,000 for each address.",
    "poll_seconds": "First wait for a job. Below 8, Airflow can mistake the wait for a failure and start another attempt.",
    "poll_max_seconds": "Longest wait between two status requests.",
    "job_deadline_seconds": "A job that is not complete by then is canceled.",
    "failed_grace_seconds": "How long a job that was never In Progress may show as failed. BCDA repeats a failed preparation for about "
    "an hour.",
    "pending_restart_seconds": "A job that is still Pending by then is canceled and started again, once in a run.",
    "file_attempts": "Downloads of one file before it counts as damaged at BCDA.",
    "list_wait_seconds": "Wait before the next look for an attribution list that BCDA does not have yet.",
    "parallel_jobs": "Whether jobs of different resource types may run at the same time.",
    "shared_system": "v3 only: whether to request unfinished claims too. GUIDE entities may not.",
    "manifest_megabytes": "Largest answer to a status request. A file takes about 130 bytes of it.",
    "file_megabytes": "Largest file as it comes over the network.",
    "least_bytes_per_second": "Slower downloads are broken off and tried again. Measured over a minute.",
    "free_disk_megabytes": "Disk space that downloads leave free.",
    "auth": "`basic`, or `none` for an open test server.",
}
"""What the form's field Advanced may hold; each key may also stand in the extra itself, as in version 1.0."""

FIELDS: dict[str, dict[str, Any]] = {
    "api_version": {
        "label": "API version",
        "schema": {"type": "string", "enum": [version.value for version in ApiVersion], "default": "v2"},
        "description": "CMS switches v1 and v2 off on 2027-07-30.",
    },
    "credentials_made_on": {
        "label": "Credentials made on",
        "schema": {"type": ["string", "null"], "format": "date", "default": None},
        "description": "Day on which the client secret was made. Maintenance then warns before it expires after 90 days.",
    },
    "advanced": {
        "label": "Advanced",
        "schema": {"type": ["object", "null"], "default": None},
        "description": 'Tuning as a JSON object, such as {"concurrent_downloads": 8}. Usually empty.',
    },
}
"""Fields of the extra that the form shows. A name must hold no word that Airflow masks: it would be stored as `***`."""


OPERATORS = (
    "check_list",
    "end_of_gaps",
    "fetch",
    "kick_off",
    "land",
    "maintain",
    "merge",
    "plan",
    "publish",
    "report",
    "start_missed",
)
"""Modules of `bcda_provider.operators`."""


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata."""
    return {
        "package-name": DISTRIBUTION,
        "name": "BCDA",
        "description": "Exports of CMS's Beneficiary Claims Data API to Parquet and DuckDB.",
        "versions": [version(DISTRIBUTION)],
        "integrations": [
            {"integration-name": INTEGRATION, "external-doc-url": "https://bcda.cms.gov", "tags": ["service"]}
        ],
        "hooks": _modules("hooks"),
        "operators": _modules(*(f"operators.{name}" for name in OPERATORS)),
        "sensors": _modules("sensors"),
        "triggers": _modules("triggers"),
        "asset-uris": [{"schemes": ["bcda"], "handler": "bcda_provider.asset_uris.sanitize"}],
        "extra-links": [f"bcda_provider.links.{name}" for name in ("BcdaJobLink", "BcdaPageLink", "BcdaReportLink")],
        "cli": ["bcda_provider.cli.get_cli_commands"],
        "connection-types": [
            {
                "connection-type": "bcda",
                "hook-class-name": "bcda_provider.hooks.BcdaHook",
                "hook-name": "BCDA",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "port"],
                    "relabeling": {
                        "host": "Address",
                        "login": "Client ID",
                        "password": "Client secret",
                    },
                    "placeholders": {"host": "sandbox, production, or another URL"},
                },
                "conn-fields": FIELDS,
            }
        ],
    }


def _modules(*names: str) -> list[dict[str, Any]]:
    return [{"integration-name": INTEGRATION, "python-modules": [f"bcda_provider.{name}" for name in names]}]
