"""`airflow bcda doctor`: the library's checks for a connection, wherever Airflow keeps it."""

from argparse import Namespace
from datetime import UTC, datetime

import typer
from airflow.models import Connection, Variable
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret
from airflow.utils.cli import suppress_logs_and_warning
from airflow.utils.providers_configuration_loader import providers_configuration_loaded

from bcda.doctor import Check, Status, check_connection, check_storage, has_failed, table
from bcda.errors import InvalidRequestError, TransientError
from bcda_provider.hooks import places, settings_of


@suppress_logs_and_warning
@providers_configuration_loaded
def doctor(args: Namespace) -> None:
    """Print what was found; exit with 1 when a check failed."""
    checks = [*_connection(args.conn_id, args.api_version), *_storage(args.conn_id)]
    typer.echo(table(checks))
    if has_failed(checks):
        raise SystemExit(1)


def _storage(conn_id: str) -> list[Check]:
    try:
        # The command line has no supervisor to ask; this also finds what is in Airflow's database.
        return check_storage(places(conn_id, variable=lambda name: Variable.get(name, default_var=None)))
    except (InvalidRequestError, TransientError) as error:
        return [Check("encryption", Status.FAILED, str(error))]


def _connection(conn_id: str, api_version: str | None) -> list[Check]:
    try:
        settings = settings_of(Connection.get_connection_from_secrets(conn_id), api_version)
    except AirflowNotFoundException:
        text = f"Airflow has no connection {conn_id}. Make one of type bcda, or name another with --conn-id."
        return [Check("settings", Status.FAILED, text)]
    except InvalidRequestError as error:
        return [Check("settings", Status.FAILED, str(error))]
    of = Check(
        "settings", Status.OK, f"The connection {conn_id} is to {settings.base_url}, API {settings.api_version}."
    )
    return [of, *check_connection(settings, clock=lambda: datetime.now(UTC), on_token=mask_secret)]
