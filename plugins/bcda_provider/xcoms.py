"""What we leave in XComs, read again: a person may have edited it since, so it can be anything."""

import json
from typing import Any

from bcda.storage.places import is_run_id


def plain(value: Any) -> Any:
    """Return an XCom's value as it is in Airflow's database; what the API server stores itself is JSON within a text.

    Nothing but JSON is read: Airflow's own way would make objects of classes that the value names.

    Args:
        value: of the row.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def run_id_in(value: Any) -> str:
    """Return the export run that a plan left; empty when it is none.

    Args:
        value: of the XCom.
    """
    found = plain(value)
    return found if isinstance(found, str) and is_run_id(found) else ""


def sentence_in(value: Any) -> str:
    """Return the sentence that a task left for the note of its run; empty when it is none.

    Args:
        value: of the XCom.
    """
    found = plain(value)
    return found if isinstance(found, str) else ""


def failure_in(value: Any) -> dict[str, Any] | None:
    """Return what a failed try left: `text`, and `passes`, whether a new run may work; None when it is something else.

    Args:
        value: of the XCom.
    """
    found = plain(value)
    if not isinstance(found, dict) or not isinstance(found.get("text"), str):
        return None
    return {"text": found["text"], "passes": found.get("passes") is True}
