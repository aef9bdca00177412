"""What an operator is asked: its argument, else the DAG's param of that name, else the default.

A template gives a text where a person gives a value, so each reader takes both, and nothing that could mean something else.
"""

import ast
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, TypeVar

from bcda.api.export_request import RESOURCE_TYPES, parse_instant
from bcda.errors import InvalidRequestError
from bcda.runs.batches import MAX_BATCHES
from bcda.runs.coverage import Interval
from bcda.settings import ApiVersion
from bcda_provider.sources import default_types

DEFAULT_BATCHES = 2
"""Batches of a run that does not say how many; right for one machine."""

_EMPTY = ("", "None")
"""What a template gives for something that is empty."""

_LONGEST = 80
_PAIR = 2

Kind = TypeVar("Kind", bound=StrEnum)


class Asked:
    """The arguments of a task at work, each with the DAG's param of the same name behind it.

    Args:
        task: operator, rendered.
        context: of the task; its params may lack any name.
    """

    def __init__(self, task: Any, context: Any) -> None:
        self._task, self._params = task, (context or {}).get("params") or {}

    def __getitem__(self, name: str) -> Any:
        """Return the argument; None stands for one that was not given, and then the param counts."""
        argument = getattr(self._task, name)
        return argument if argument is not None else self._params.get(name)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a boolean; `true` and `false` as a text.

        Raises:
            InvalidRequestError: it is neither.
        """
        return flag(name, self[name], default=default)

    def api_version(self) -> str | None:
        """Return the version of the API, None for that of the connection, which also checks it."""
        value = self["api_version"]
        return None if _is_empty(value) else text("api_version", value)

    def batches(self) -> int:
        """Return the most batches of a run.

        Raises:
            InvalidRequestError: it is no number from 1 to `MAX_BATCHES`.
        """
        return number("batches", self["batches"], default=DEFAULT_BATCHES, least=1, most=MAX_BATCHES)


def types_of(asked: Asked) -> tuple[str, ...]:
    """Return the resource types of a task; the version of the API may not have all of them, which the request tells.

    Args:
        asked: with `resource_types`.

    Raises:
        InvalidRequestError: they are no list of types that BCDA exports, or an empty one.
        ValueError: nothing is given, and `BCDA_RESOURCE_TYPES` is malformed.
    """
    value = asked["resource_types"]
    if value is None:
        return default_types()
    types = names("resource_types", value, RESOURCE_TYPES[ApiVersion.V2])
    if not types:
        raise InvalidRequestError("`resource_types` is empty. Name at least one type, or leave it out for the default.")
    return types


def batch_of(task: Any, context: Any) -> tuple[int, int]:
    """Return the number of the batch that a task works on, from 0, and the most batches of its run.

    Args:
        task: operator, rendered, with `batch` and `batches`.
        context: of the task.

    Raises:
        InvalidRequestError: one is no whole number, or the batch is not below the number of batches.
    """
    count = Asked(task, context).batches()
    return number("batch", task.batch, least=0, most=count - 1), count


def text(name: str, value: Any) -> str:
    """Return a text that has to be there.

    Raises:
        InvalidRequestError: it is empty or no text, as the result of a task that was skipped.
    """
    if not isinstance(value, str) or value.strip() in _EMPTY:
        raise InvalidRequestError(
            f"`{name}` must be a text that is not empty. Got: {_shown(value)}. The task that it comes from may have been skipped."
        )
    return value.strip()


def flag(name: str, value: Any, *, default: bool = False) -> bool:
    """Return a boolean; `true` and `false` as a text.

    Raises:
        InvalidRequestError: it is neither.
    """
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and (word := value.strip().lower()) in {"true", "false"}:
        return word == "true"
    raise InvalidRequestError(f"`{name}` must be true or false. Got: {_shown(value)}.")


def number(name: str, value: Any, *, default: int | None = None, least: int, most: int | None = None) -> int:
    """Return a whole number, which may be written as a text.

    Raises:
        InvalidRequestError: it is none, or out of range.
    """
    given = default if value is None else value
    if isinstance(given, str) and given.strip().isascii() and given.strip().isdigit():
        given = int(given)
    if not isinstance(given, int) or isinstance(given, bool) or given < least or (most is not None and given > most):
        wanted = f"from {least} to {most}" if most is not None else f"of at least {least}"
        raise InvalidRequestError(f"`{name}` must be a whole number {wanted}. Got: {_shown(value)}.")
    return given


def names(name: str, value: Any, known: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return a list of names: a list, or a text with a list in brackets or with commas.

    Args:
        name: of the argument.
        value: None, and what a template gives for nothing, are an empty list.
        known: what it may hold; None for anything.

    Raises:
        InvalidRequestError: it is no list of names, or one is not known.
    """
    listed = _listed(name, value)
    allowed = tuple(known) if known is not None else None
    for each in listed:
        if not isinstance(each, str) or not each or (allowed is not None and each not in allowed):
            choice = f" of {', '.join(allowed)}" if allowed is not None else ""
            raise InvalidRequestError(f"`{name}` must be a list of names{choice}. Got: {_shown(each)}.")
    return tuple(listed)


def member(name: str, value: Any, kind: type[Kind]) -> Kind:
    """Return a member of a closed set.

    Raises:
        InvalidRequestError: it is none.
    """
    if not isinstance(value, str) or value.strip() not in tuple(kind):
        raise InvalidRequestError(f"`{name}` must be one of {', '.join(kind)}. Got: {_shown(value)}.")
    return kind(value.strip())


def choice(name: str, value: Any, kind: type[Kind]) -> Kind | None:
    """Return a member of a closed set, or None where nothing is given.

    Raises:
        InvalidRequestError: it is no member.
    """
    return None if _is_empty(value) else member(name, value, kind)


def timestamp(name: str, value: Any) -> datetime | None:
    """Return an aware timestamp in UTC, or None where nothing is given: a `datetime`, or ISO 8601 with a time zone.

    Raises:
        InvalidRequestError: it is none, or has no time zone.
    """
    if _is_empty(value):
        return None
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return datetime.fromtimestamp(value.timestamp(), UTC)
    if isinstance(value, str):
        # Airflow writes a timestamp of its own, such as {{ data_interval_start }}, with a blank for the T.
        try:
            return parse_instant(value.strip().replace(" ", "T", 1))
        except InvalidRequestError:
            pass
    raise InvalidRequestError(
        f"`{name}` must be an ISO 8601 timestamp with a time zone, such as 2026-11-01T00:00:00Z. Got: {_shown(value)}."
    )


def day(name: str, value: Any) -> date | None:
    """Return a day, or None where nothing is given: a `date`, or a text such as 2026-03-31.

    Raises:
        InvalidRequestError: it is none; a timestamp is refused, since BCDA drops times of day (docs/bcda.md#type-filter).
    """
    if _is_empty(value):
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value.strip())
        except ValueError:
            pass
    raise InvalidRequestError(f"`{name}` must be a day, such as 2026-03-31. Got: {_shown(value)}.")


def interval(name: str, value: Any) -> Interval | None:
    """Return an interval, or None where nothing is given: two timestamps, in a list or with a slash between them.

    Raises:
        InvalidRequestError: it is none, or its end is not after its start.
    """
    if _is_empty(value):
        return None
    parts: Any = value.split("/") if isinstance(value, str) and "/" in value else _listed(name, value)
    ends = [timestamp(name, part) for part in parts]
    if len(ends) != _PAIR or ends[0] is None or ends[1] is None or ends[0] >= ends[1]:
        raise InvalidRequestError(
            f"`{name}` must be two timestamps, the earlier first, such as 2026-11-01T00:00:00Z/2026-11-08T00:00:00Z. "
            f"Got: {_shown(value)}."
        )
    return Interval(ends[0], ends[1])


def _is_empty(value: Any) -> bool:
    """Tell whether a value stands for nothing; one from an XCom can be of any type."""
    return value is None or (isinstance(value, str) and value.strip() in _EMPTY)


def _listed(name: str, value: Any) -> list[Any]:
    """Return the elements of a list, whatever it is written as."""
    if _is_empty(value):
        return []
    if isinstance(value, str) and not value.strip().startswith("["):
        return [part.strip() for part in value.split(",")]
    found = value
    if isinstance(value, str):
        # What {{ params.x }} and {{ params.x | tojson }} give for a list of texts; a literal of Python reads both.
        try:
            found = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            found = None
    if not isinstance(found, Iterable) or isinstance(found, str | bytes | Mapping):
        raise InvalidRequestError(f"`{name}` must be a list, or a text with commas. Got: {_shown(value)}.")
    return list(found)


def _shown(value: Any) -> str:
    """Return a value as it may stand in a message."""
    shown = repr(value)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
