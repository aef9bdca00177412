"""`airflow bcda doctor`: the library's checks for a connection, wherever Airflow keeps it."""

import os
from argparse import Namespace
from datetime import UTC, datetime

import typer
from airflow.models import Connection, Variable
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret
from airflow.utils.cli import suppress_logs_and_warning
from airflow.utils.providers_configuration_loader import providers_configuration_loaded
from sqlalchemy.exc import SQLAlchemyError

from bcda.doctor import Check, Status, check_connection, check_storage, has_failed, table
from bcda.errors import InvalidRequestError, TransientError
from bcda.storage.places import paths_in
from bcda_provider.connections import remark_on, settings_of, unknown
from bcda_provider.data_home import places
from bcda_provider.masking import mask_proxy_passwords
from bcda_provider.shadowed import shadowed
from bcda_provider.variables import remarks


@suppress_logs_and_warning
@providers_configuration_loaded
def doctor(args: Namespace) -> None:
    """Print what was found; exit with 1 when a check failed."""
    mask_proxy_passwords()
    checks = [*_connection(args.conn_id, args.api_version), *_variables(), *_storage(args.conn_id)]
    typer.echo(table(checks))
    if has_failed(checks):
        raise SystemExit(1)


def _storage(conn_id: str) -> list[Check]:
    try:
        paths_in(os.environ)
    except InvalidRequestError as error:
        return [Check("folders", Status.FAILED, str(error))]
    try:
        # The command line has no supervisor to ask; this also finds what is in Airflow's database.
        return check_storage(places(conn_id, variable=lambda name: Variable.get(name, default_var=None)))
    except (InvalidRequestError, TransientError) as error:
        return [Check("encryption", Status.FAILED, str(error))]


def _connection(conn_id: str, api_version: str | None) -> list[Check]:
    try:
        connection = Connection.get_connection_from_secrets(conn_id)
    except AirflowNotFoundException:
        return [Check("settings", Status.FAILED, str(unknown(conn_id)))]
    shadow = _shadowed(connection)
    try:
        settings, remark = settings_of(connection, api_version), remark_on(connection)
    except InvalidRequestError as error:
        return [Check("settings", Status.FAILED, str(error)), *shadow]
    text = f"The connection {conn_id} is to {settings.base_url}, API {settings.api_version}."
    remarks = [Check("settings", Status.WARNING, remark)] if remark else []
    return [
        Check("settings", Status.OK, text),
        *shadow,
        *remarks,
        *check_connection(settings, clock=lambda: datetime.now(UTC), on_token=mask_secret),
    ]


def _variables() -> list[Check]:
    try:
        return [Check("variables", Status.WARNING, text) for text in remarks()]
    except SQLAlchemyError as error:
        return [
            Check(
                "variables",
                Status.SKIPPED,
                f"Airflow's database does not answer here ({type(error).__name__}), so its Variables were not looked at.",
            )
        ]


def _shadowed(connection: Connection) -> list[Check]:
    try:
        text = shadowed(connection)
    except SQLAlchemyError as error:
        return [
            Check(
                "settings",
                Status.SKIPPED,
                f"Airflow's database does not answer here ({type(error).__name__}). If this connection is saved there too, "
                "that one is not used.",
            )
        ]
    return [Check("settings", Status.WARNING, text)] if text else []
