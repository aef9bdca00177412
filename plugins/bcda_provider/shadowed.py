"""Connections that are saved in Airflow and not used, since one of the same id comes first from somewhere else."""

import os

from airflow.models import Connection
from airflow.secrets.environment_variables import CONN_ENV_PREFIX
from airflow.utils.session import create_session
from sqlalchemy import select

from bcda_provider.connections import has_secrets_backend


def shadowed(used: Connection) -> str:
    """Return a sentence when Airflow's database has a connection of the same id that is not the one used, else an empty text.

    For processes that may read Airflow's database: the API server and the command line. They see their own environment;
    that of a worker can be another one.

    Args:
        used: the connection as Airflow finds it, from wherever it comes first.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: Airflow's database does not answer.
    """
    if used.id is not None:
        # Only a connection that was read from the database has a row's number.
        return ""
    with create_session() as session:
        saved = session.scalar(select(Connection.id).where(Connection.conn_id == used.conn_id))
    if saved is None:
        return ""
    return (
        f"The connection {used.conn_id} that is saved in Airflow is not used: {_first(used.conn_id)} has one of the same id, "
        "which comes first. Remove one of them."
    )


def _first(conn_id: str) -> str:
    """Return where the connection can come from before Airflow looks into its database, in Airflow's order."""
    variable = CONN_ENV_PREFIX + conn_id.upper()
    backend = ["the secrets backend"] if has_secrets_backend() else []
    return " or ".join([*backend, *([f"the environment variable {variable}"] if variable in os.environ else [])])
