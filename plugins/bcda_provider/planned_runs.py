"""What the id of a planned run tells a task: the API version to use, and whether the run exports runout data."""

from typing import Any

from bcda.api.export_request import Scope
from bcda.runs.run import scope_and_version
from bcda.settings import ConnectionSettings
from bcda_provider import arguments
from bcda_provider.hooks import BcdaHook


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
