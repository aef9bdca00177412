"""JSON documents, the server's and our own, read strictly: what cannot be trusted is an error, never a guess."""

import json
from collections.abc import Iterable
from dataclasses import fields
from enum import StrEnum
from functools import cache
from typing import Any, Never, TypeVar, get_type_hints

T = TypeVar("T")


def read_json(content: bytes, *, most_values: int | None = None) -> Any:
    """Return the value of a JSON document.

    Args:
        content: the document, in UTF-8.
        most_values: budget of values within it, counted by what stands before each, also within texts; None for none.

    Raises:
        ValueError: not JSON, nested too deeply, more values than the budget, or a name twice in one object, of which one would be
            lost. The text quotes nothing of the document.
    """
    if most_values is not None and content.count(b",") + content.count(b"[") + content.count(b"{") > most_values:
        raise ValueError(f"more than {most_values:,} values")
    try:
        return json.loads(content, object_pairs_hook=_names_once, parse_constant=_refuse)
    except RecursionError:
        pass
    raise ValueError("nested too deeply")


def _names_once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError("a name twice in one object")
        found[name] = value
    return found


def _refuse(_: str) -> Never:
    raise ValueError("not a valid number")


def read_fields(kind: type[T], document: Any) -> T:
    """Return a dataclass from a JSON object that has exactly its fields, each of its type.

    Args:
        kind: dataclass whose fields are text, whole numbers or members of a `StrEnum`.
        document: value as read from JSON.

    Raises:
        ValueError: no object, other fields, or one of another type.
    """
    hints = _hints(kind)  # type: ignore[arg-type]  # a class can be hashed
    if not isinstance(document, dict) or document.keys() != hints.keys():
        raise ValueError(f"a {kind.__name__} has the fields {', '.join(hints)}")
    return kind(**{name: _typed(name, document[name], hint) for name, hint in hints.items()})


def read_text(document: Any, name: str) -> str:
    """Return a member of a JSON object that has to be text.

    Raises:
        ValueError: there is no such member, or it is no text.
    """
    value = document.get(name) if isinstance(document, dict) else None
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")  # noqa: TRY004 - one error for all that is wrong with a document
    return value


def read_number(document: Any, name: str) -> int | None:
    """Return a member of a JSON object that has to be a whole number; None when it is null or absent.

    Raises:
        ValueError: it is something else.
    """
    value = document.get(name)
    return None if value is None else int(_typed(name, value, int))


@cache
def _hints(kind: Any) -> dict[str, type]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _typed(name: str, value: Any, hint: type) -> Any:
    wanted = str if issubclass(hint, StrEnum) else hint
    # bool is an int to isinstance, and true is no count.
    if type(value) is not wanted:
        raise ValueError(f"{name} is no {wanted.__name__}")
    if issubclass(hint, StrEnum) and value not in list(hint):
        raise ValueError(f"{name} is none of {', '.join(hint)}")
    return hint(value)
