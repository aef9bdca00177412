"""Damage for valid JSON: wrong kinds at any path, odd numbers, dates and texts, repeated names, and damaged bytes.

Everything is drawn from a `random.Random` that is handed in, so that a seed gives the same damage again. What JSON's own
writer cannot say, such as a number too large for a float or a name twice in one object, is written as a mark first and
put into the text afterwards.
"""

import json
import random
import re
from collections.abc import Callable
from typing import Any

CANARY = "1S00E00CA01"
"""MBI of nobody; CMS never gives out the letter S. It must not turn up in a text of ours."""

NUMBERS = [
    "1e400",
    "-1e400",
    "10000000000000000000000000000000000000000",
    "-0",
    "-0.0",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e-400",
    "0.1",
    "100.00",
    "1E+2",
    "12.345",
    "1.005",
    "9223372036854775808",
    "-9223372036854775809",
    "1.7976931348623157e308",
    "99999999999999.99",
    "9999999999999999.99",
    "0",
    "-1",
    "1e2",
]
DATES = [
    "0000-00-00",
    "99999-01-01",
    "-0044-03-15",
    "2026-02-30",
    "2026-13-01",
    "epoch",
    "infinity",
    "-infinity",
    "now",
    "today",
    "2026/01/02",
    "20260102",
    "2026",
    "2026-01",
    "0001-01-01",
    "9999-12-31",
    "2026-01-02T25:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-01-02T03:04:05+99:99",
    "2026-01-02T24:00:00Z",
    "99999-01-01T00:00:00Z",
    "294247-01-10T04:00:54.775806Z",
    "2026-1-2",
]
TEXTS = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\n",
    "\r\n",
    "\t",
    "\x1b[2J",
    "'; DROP TABLE claim; --",
    "{x}",
    "$name",
    "../../etc/passwd",
    "\u202etxt",
    "é",
    "💊",
    "null",
    "[",
    '"',
    "\\",
    "٣",
    f"MBI {CANARY}",
    f"Error retrieving Patient for beneficiary MBI {CANARY} in ACO 1",
    "1e5",
    "1_000",
    "0x1F",
    "12abc",
)
DEEPEST = 12_000

_NUMBER, _AGAIN, _DEEP, _LONG = "\ue000number:", "\ue000again", "\ue000deep:", "\ue000long:"
_MARK = re.compile(f'"(?:{_NUMBER}([^"]*)|{_DEEP}(\\w)([0-9]+)|{_LONG}([0-9]+))"|{_AGAIN}')


def odd_value(draw: random.Random) -> Any:
    """Return a JSON value of any kind, mostly an unlikely one."""
    return draw.choice(
        (
            lambda: _NUMBER + draw.choice(NUMBERS),
            lambda: draw.choice(DATES),
            lambda: draw.choice(TEXTS),
            lambda: f"{_DEEP}{draw.choice('ao')}{draw.choice((5, 60, 127, 300, 1100, DEEPEST))}",
            lambda: f"{_LONG}{draw.choice((300, 5_000, 100_000))}",
            lambda: draw.choice((None, True, False, [], {}, [[]], [None], {"": None}, 0, 1, -1, 10**40)),
            lambda: draw.randint(-(10**6), 10**6),
            lambda: [{"value": _NUMBER + draw.choice(NUMBERS)}, draw.choice(TEXTS)],
        )
    )()


def _wrong_kind(container: Any, key: Any, draw: random.Random) -> None:
    container[key] = odd_value(draw)


def _missing(container: Any, key: Any, draw: random.Random) -> None:
    del container[key]


def _null(container: Any, key: Any, draw: random.Random) -> None:
    container[key] = None


def _into_list(container: Any, key: Any, draw: random.Random) -> None:
    container[key] = [container[key]] * draw.randint(1, 3)


def _into_object(container: Any, key: Any, draw: random.Random) -> None:
    container[key] = {draw.choice(("value", "coding", "unheard-of")): container[key]}


def _as_text(container: Any, key: Any, draw: random.Random) -> None:
    container[key] = container[key] if isinstance(container[key], str) else json.dumps(container[key])


def _unwrapped(container: Any, key: Any, draw: random.Random) -> None:
    inner = container[key]
    if isinstance(inner, list) and inner:
        container[key] = inner[0]
    elif isinstance(inner, dict) and inner:
        container[key] = draw.choice(list(inner.values()))


def _beside(container: Any, key: Any, draw: random.Random) -> None:
    """Add an element: a name never heard of, a name that is there already, or one more in the list."""
    if isinstance(container, dict):
        new = (
            f"{key}{_AGAIN}" if draw.random() < 0.5 else draw.choice(("unheardOf", "a b", "", "x.y", "é", "$[0]", '"'))
        )
        items = [*container.items()]
        items.insert(draw.randint(0, len(items)), (new, draw.choice((container[key], odd_value(draw)))))
        container.clear()
        container.update(items)
    else:
        container.insert(key, draw.choice((container[key], odd_value(draw))))


_OPERATIONS: tuple[Callable[[Any, Any, random.Random], None], ...] = (
    _wrong_kind,
    _wrong_kind,
    _wrong_kind,
    _missing,
    _null,
    _into_list,
    _into_object,
    _as_text,
    _unwrapped,
    _beside,
    _beside,
)


def mutated(value: Any, draw: random.Random) -> Any:
    """Return a JSON value with one to three places of it damaged; the value itself may be changed on the way."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        places = [(container, key) for container in _containers(value) for key in _keys(container)]
        if not places or draw.random() < 0.01:
            return odd_value(draw)
        # The higher an element stands, the more hangs on it; so half of the damage is done near the top.
        container, key = draw.choice(places[:12] if draw.random() < 0.5 else places)
        draw.choice(_OPERATIONS)(container, key, draw)
    return value


def _containers(value: Any) -> list[Any]:
    found, waiting = [], [value]
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, dict | list):
            found.append(part)
            waiting.extend(part.values() if isinstance(part, dict) else part)
    return found


def _keys(container: Any) -> list[Any]:
    return list(container) if isinstance(container, dict) else list(range(len(container)))


def to_text(value: Any, draw: random.Random) -> bytes:
    """Write a value that may hold marks; compact as BCDA writes it, or with blanks and escapes."""
    compact = draw.random() < 0.8
    text = json.dumps(value, separators=(",", ":") if compact else None, ensure_ascii=not compact, sort_keys=False)
    return _MARK.sub(_unmarked, text.replace(json.dumps("\ue000")[1:-1], "\ue000")).encode("utf-8", "surrogatepass")


def _unmarked(found: re.Match[str]) -> str:
    number, kind, depth, length = found.groups()
    if number is not None:
        return number
    if depth is not None:
        opening, closing = ("[", "]") if kind == "a" else ('{"a":', "}")
        return opening * int(depth) + "1" + closing * int(depth)
    return f'"{"x" * int(length)}"' if length is not None else ""


def damaged(text: bytes, draw: random.Random) -> bytes:
    """Return text with its bytes damaged in one place; newlines are left to whoever writes lines."""
    at = draw.randint(0, len(text))
    odd = (
        b"\x00",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\r",
        b"\t",
        b" ",
        b",",
        b'"',
        b"\\ud800",
        b"\\u0000",
        b"}",
        b"]",
    )
    return draw.choice(
        (
            lambda: text[:at],
            lambda: text[at:],
            lambda: text[:at] + draw.choice(odd) + text[at:],
            lambda: text[:at] + draw.choice(odd) + text[at + 1 :],
            lambda: b"\xef\xbb\xbf" + text,
            lambda: text + draw.choice((b"\r", b" ", b"\t", b"\x00", b"x", b",", text)),
            lambda: text.replace(
                b'":"', draw.choice((b'":"\\ud800', b'":"\\u0000', b'":"\\udc00\\ud800', b'":"\xff')), 1
            ),
            lambda: text.replace(b"}", b",}", 1),
            lambda: b"",
            lambda: b" " * draw.randint(1, 50),
            lambda: draw.randbytes(draw.randint(1, 40)).replace(b"\n", b"."),
            lambda: draw.choice(
                (b"[]", b"{}", b"null", b"true", b'"x"', b"1e400", b"NaN", b"[1]", b"[" * 5000, b'{"a":' * 300)
            ),
        )
    )()
