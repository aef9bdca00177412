"""The three servers behind BCDA's one port: chosen once per connection, by its first request (docs/bcda.md#connections)."""

from enum import StrEnum
from typing import Any
from weakref import WeakKeyDictionary


class Handler(StrEnum):
    """One of the servers; each knows its own paths only."""

    API = "api"
    DATA = "data"
    TOKEN = "token"  # noqa: S105 - a name, no secret

    @property
    def checks_tokens_first(self) -> bool:
        """Whether an `Authorization` header is checked before the path is looked at."""
        return self is not Handler.TOKEN


def handler_of(path: str) -> Handler:
    """Return which server knows a path.

    Args:
        path: of the request, without its query.
    """
    if path.startswith("/auth/"):
        return Handler.TOKEN
    return Handler.DATA if path.startswith("/data/") else Handler.API


class Connections:
    """Remembers which server each open connection was given to."""

    def __init__(self) -> None:
        self._chosen: WeakKeyDictionary[Any, Handler] = WeakKeyDictionary()

    def choose(self, connection: Any, path: str) -> Handler:
        """Return the server of a connection, which the first request decides.

        Args:
            connection: an object that lives as long as it does.
            path: of the request.
        """
        return self._chosen.setdefault(connection, handler_of(path))
