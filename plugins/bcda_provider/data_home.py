"""Where the data of each connection is: from the environment, with the encryption key from a secrets backend."""

import os
from collections.abc import Callable
from dataclasses import replace

from airflow.sdk import Variable
from airflow.sdk.log import mask_secret

from bcda.errors import TransientError
from bcda.storage.encryption import EncryptionKey
from bcda.storage.places import DEFAULT_SOURCE, Places


def _variable(name: str) -> str | None:
    """Return an Airflow Variable as tasks see it: from any secrets backend, the last one being Airflow's database."""
    value: str | None = Variable.get(name, default=None)
    return value


def places(source_id: str = DEFAULT_SOURCE, *, variable: Callable[[str], str | None] = _variable) -> Places:
    """Return where a source's data lies, from BCDA_HOME and its overrides, with its key; in a checkout `data/` by default.

    The key is that of the environment variable BCDA_ENCRYPTION_KEY, or of the Airflow Variable that
    BCDA_ENCRYPTION_VARIABLE names, which Airflow looks up in its secrets backends. Without either nothing is encrypted.

    Args:
        source_id: connection id; each has places of its own.
        variable: looks an Airflow Variable up; Airflow has another way outside of tasks.

    Raises:
        InvalidRequestError: BCDA_HOME is not set, or a path or the key is malformed.
        TransientError: the Variable is named, and no secrets backend gives it.
    """
    found = raw_places(source_id)
    name = os.environ.get("BCDA_ENCRYPTION_VARIABLE")
    if found.key is None and name:
        text = variable(name)
        if not text:
            # Never without a key then: a backend that is away for a minute looks like this too.
            raise TransientError(
                f"BCDA_ENCRYPTION_VARIABLE names the Airflow Variable {name}, and no secrets backend has it now. Nothing was "
                "written. If this persists, create the Variable with the key, or unset BCDA_ENCRYPTION_VARIABLE."
            )
        mask_secret(text)
        found = replace(found, key=EncryptionKey.from_text(text))
    if found.key is not None:
        mask_secret(found.key.text)
    return found


def raw_places(source_id: str = DEFAULT_SOURCE) -> Places:
    """Return where a source's data lies, for those who need the raw folder only: the key is not looked up.

    Args:
        source_id: connection id; each has places of its own.

    Raises:
        InvalidRequestError: BCDA_HOME is not set, or a path is malformed.
    """
    return Places.from_environment(os.environ).of_source(source_id)
