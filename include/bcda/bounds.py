"""How much text goes into Airflow's database, logs, notes and messages, whatever a server says: every bound is here.

Answers can hold megabytes. Nothing is cut before it is known to be text for a person; data is never cut.
"""

from collections.abc import Mapping
from typing import Any

LONGEST_MESSAGE = 4_000
"""Characters of an error, and of any other text for a log or an XCom."""

LONGEST_REASON = 1_000
"""Characters of a server's reason in an event of a trigger, which Airflow stores."""

LONGEST_PROGRESS = 200
"""Characters of a server's progress in a line of a log."""

LONGEST_QUOTE = 200
"""Characters of what a message quotes from an answer, so that what to do next still follows it."""

LONGEST_NOTE = 1_000
"""Characters of a run's note; Airflow's column has no room for more."""

LONGEST_SUBJECT = 200
"""Characters of the subject that notifiers get."""

LONGEST_TOLD = 20_000
"""Characters of the text that notifiers get."""

LONGEST_XCOM = 50_000
"""Characters of all texts and numbers in a result of a task."""

_CUT = "…"


def shortened(text: str, longest: int) -> str:
    """Return a text, cut where it is longer than it may be.

    Args:
        text: for a person.
        longest: characters that it may have, the mark of the cut included.
    """
    return text if len(text) <= longest else text[: longest - len(_CUT)] + _CUT


def within_xcom(value: Any) -> Any:
    """Return a result of a task with its texts, lists and mappings cut to what an XCom may hold.

    Args:
        value: as JSON has it.
    """
    return _within(value, [LONGEST_XCOM])


def _within(value: Any, left: list[int]) -> Any:
    """Return as much of a value as there is room for; `left` has the room, and gets less."""
    if isinstance(value, Mapping):
        return {key: _within(each, left) for key, each in value.items() if _takes(str(key), left)}
    if isinstance(value, list | tuple):
        return [_within(each, left) for each in value if left[0] > 0]
    if isinstance(value, str):
        value = shortened(value, max(1, min(LONGEST_MESSAGE, left[0])))
    _takes(str(value), left)
    return value


def _takes(text: str, left: list[int]) -> bool:
    left[0] -= len(text) + 1
    return left[0] >= 0
