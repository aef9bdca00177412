"""What must hold whatever comes in: our errors only, and texts that can be logged and name nobody."""

import re
import traceback

from mutations import CANARY

from bcda.errors import BcdaError

# As an MBI stands in a text: not as a part of a longer word.
_CANARY = re.compile(rf"(?<![A-Za-z0-9]){CANARY}(?![A-Za-z0-9])", re.IGNORECASE)


class FindingError(AssertionError):
    """A promise that an input broke."""


def holds(condition: object, promise: str) -> None:
    """Raise a finding when a promise does not hold."""
    if not condition:
        raise FindingError(promise)


def is_loggable(text: str) -> bool:
    """Tell whether a text is one line that can be written anywhere and names nobody."""
    return text.isprintable() and not names_canary(text)


def names_canary(text: str) -> bool:
    """Tell whether a text holds the canary's MBI."""
    return _CANARY.search(text) is not None


def check_error(error: BcdaError) -> None:
    """Check an error as it would stand in a log: its message, and the texts of all that led to it.

    Raises:
        FindingError: the message is empty or cannot be logged, or some text names the canary.
    """
    holds(str(error).isprintable() and str(error), "the message of an error is one printable line")
    # Python's own frames show source lines, not values; what is left are the messages of the whole chain.
    whole = "".join(traceback.format_exception(error))
    holds(not names_canary(whole), "no text of an error names a person")
