"""Airflow Variables of ours: one that no longer has an effect, and a key that Airflow's interface shows in clear."""

import os

# What Airflow's interface itself calls before it shows a Variable; there is no public name for it.
from airflow._shared.secrets_masker import should_hide_value_for_key
from airflow.models import Variable
from airflow.utils.session import create_session
from sqlalchemy import select

NOTIFIERS = "bcda_notifiers"
"""Variable of earlier releases. Whoever may edit Variables could name any function in it, which a worker then called."""

KEY_SETTING = "BCDA_ENCRYPTION_VARIABLE"


def remarks() -> tuple[str, ...]:
    """Return a sentence for each Variable of ours that a person should look at.

    For processes that may read Airflow's database: the API server and the command line.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: Airflow's database does not answer.
    """
    return tuple(text for text in (_left_over(), _shown_in_clear()) if text)


def _left_over() -> str:
    if Variable.get_variable_from_secrets(NOTIFIERS) is None:
        return ""
    return (
        f"The Airflow Variable {NOTIFIERS} has no effect any more, and nobody is told because of it. Set the environment variable "
        "`BCDA_NOTIFIERS` of all Airflow processes to its value, and delete the Variable."
    )


def _shown_in_clear() -> str:
    name = os.environ.get(KEY_SETTING)
    if not name or should_hide_value_for_key(name):
        return ""
    with create_session() as session:
        saved = session.scalar(select(Variable.id).where(Variable.key == name))
    if saved is None:
        # The interface shows only what is in Airflow's database.
        return ""
    return (
        f"The encryption key is in the Airflow Variable {name}, which Airflow shows in clear to everyone who may read Variables. "
        f"Copy the same value to a Variable with a masked name, such as {name}_secret, set `{KEY_SETTING}` to that name for all "
        f"Airflow processes, restart them, and delete {name}. The data stays readable, because the key is the same."
    )
