"""What Airflow reads from package metadata: the connection type `bcda` and its form."""

from typing import Any

from bcda.settings import Tuning

_TUNING_LABELS = {
    "request_timeout_seconds": ("Request timeout (s)", "Bound on one answer, and on each silence within a download."),
    "max_attempts": ("Attempts", "Tries of one request before its error is raised."),
    "backoff_initial_seconds": ("First back-off (s)", "First wait between tries; doubles, with jitter."),
    "backoff_max_seconds": ("Longest back-off (s)", "Longest own wait; a longer Retry-After is honoured."),
    "concurrent_downloads": ("Concurrent downloads", "Files that one batch fetches at the same time."),
    "requests_per_five_minutes": ("Requests per five minutes", "Budget of one run; BCDA allows 3,000 per address."),
    "poll_seconds": (
        "First poll interval (s)",
        "First wait for a job; under 8 Airflow can take the wait for a failure, and tries again.",
    ),
    "poll_max_seconds": ("Longest poll interval (s)", "Longest wait between two status requests."),
    "job_deadline_seconds": ("Job deadline (s)", "A job that is not done by then is cancelled."),
    "failed_grace_seconds": (
        "Grace for failed jobs (s)",
        "How long a job may answer 500; BCDA repeats for about an hour.",
    ),
    "file_attempts": ("Attempts per file", "Downloads of one file before it counts as damaged at the source."),
    "list_wait_seconds": ("Wait for a list (s)", "Wait before asking again when BCDA has no attribution list yet."),
    "parallel_jobs": ("Parallel jobs", "Whether jobs of disjoint resource types may run side by side."),
    "shared_system": ("Shared systems", "v3: ask for unfinished claims too; GUIDE entities may not."),
    "secret_made_on": (
        "Secret made on",
        "Day such as 2026-11-01; maintenance warns before the secret ends after 90 days.",
    ),
}


_KINDS = {int: "integer", float: "number", bool: "boolean", str: "string"}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata; the form's fields are those of `bcda.settings.Tuning` and the API version."""
    fields: dict[str, Any] = {
        "api_version": {
            "label": "API version",
            "schema": {"type": "string", "enum": ["v1", "v2", "v3"], "default": "v2"},
            "description": "v1 and v2 are switched off on 2027-07-30.",
        },
        "auth": {
            "label": "Authentication",
            "schema": {"type": "string", "enum": ["basic", "none"], "default": "basic"},
            "description": "none is for open test servers.",
        },
    }
    defaults = Tuning()
    for name, (label, description) in _TUNING_LABELS.items():
        value = getattr(defaults, name)
        kind = _KINDS[type(value)]
        fields[name] = {
            "label": label,
            "schema": {"type": [kind, "null"], "default": value},
            "description": description,
        }
    return {
        "package-name": "airflow-provider-bcda",
        "name": "BCDA",
        "description": "Exports of CMS's Beneficiary Claims Data API to Parquet and DuckDB.",
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
                    "relabeling": {"host": "Base URL", "login": "Client ID", "password": "Client secret"},
                    "placeholders": {"host": "https://sandbox.bcda.cms.gov"},
                },
                "conn-fields": fields,
            }
        ],
    }
