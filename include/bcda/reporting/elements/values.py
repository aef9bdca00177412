"""The values of a resource, the paths of their elements, and copies of it in which one value is another."""

import json
import re
from collections.abc import Iterator
from typing import Any

Place = tuple[str | int, ...]
"""The keys and positions that lead to a value of a resource."""

_VARIABLE = "https://bluebutton.cms.gov/resources/variables/"
_MONTH = re.compile(r"[0-9]{2}(/[0-9]{4}-[0-9]{1,2})?$")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LAST_NAME = re.compile(r"/([A-Za-z])([^/]*(?:/[0-9-]+)?)$")
_ROWS = ("0123456789", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def values_of(value: object, path: str = "", place: Place = ()) -> Iterator[tuple[str, Place]]:
    """Yield the path and the place of every value that is neither null nor an empty text.

    A path has `[]` after a list, and after `extension` the name of the extension: `extension[BENE-BUYIN-CD].valueCoding.code`.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from values_of(inner, f"{path}.{key}" if path else key, (*place, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            name = _extension_name(inner) if path.rpartition(".")[2] == "extension" else ""
            yield from values_of(inner, f"{path}[{name}]", (*place, number))
    elif value is not None and value != "":
        yield path, place


def _extension_name(value: object) -> str:
    """Return what the URL of an extension ends with; one name for all the months of a monthly one."""
    url = str(value.get("url", "")) if isinstance(value, dict) else ""
    if url.startswith(_VARIABLE):
        return _MONTH.sub("##", url.removeprefix(_VARIABLE))
    return url.rpartition("/")[2]


def value_at(resource: Any, place: Place) -> Any:
    """Return what stands in one place of a resource."""
    for key in place:
        resource = resource[key]
    return resource


def changed(resource: object, place: Place) -> object:
    """Return a copy of a resource with another value of the same form in one place."""
    copy = json.loads(json.dumps(resource))
    value_at(copy, place[:-1])[place[-1]] = _other(value_at(copy, place))
    return copy


def _other(value: object) -> object:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        # Elements number themselves from 1: a number that is taken already would count for nothing.
        return value + 1000
    text = str(value)
    if _DAY.match(text):
        return ("2002-03-04" if text.startswith("2001-02-03") else "2001-02-03") + text[10:]
    if text.startswith(("http://", "https://")):
        # The end of a URL may be a month; with another letter in front it is another name.
        return _LAST_NAME.sub(lambda found: f"/{_next(found[1])}{found[2]}", text)
    last = next((i for i in reversed(range(len(text))) if text[i].isascii() and text[i].isalnum()), None)
    return f"{text}0" if last is None else text[:last] + _next(text[last]) + text[last + 1 :]


def _next(character: str) -> str:
    row = next(row for row in _ROWS if character in row)
    return row[(row.index(character) + 1) % len(row)]
