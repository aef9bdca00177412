"""The Test button of a saved connection that has no port, in the versions of Airflow that refuse it.

Airflow's page sends port 0 for a connection without a port, and Airflow 3.3.2 takes that for another destination than the
stored one: it answers 400 "The host or port to test differs" whatever the address is (apache/airflow#73298, which makes the
API read 0 as no port). This does the same for connections of type `bcda`, and goes when that fix is in the pinned version.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

PATH = "/api/v2/connections/test"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class PortlessTest:
    """Sends a test of a `bcda` connection with port 0 on as one without a port, and everything else as it is.

    Args:
        app: Airflow's API server.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one request."""
        is_test = scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith(PATH)
        if not is_test:
            await self._app(scope, receive, send)
            return
        first = await receive()
        # A form is one message; what comes in parts is none of ours, and passes.
        if first["type"] == "http.request" and not first.get("more_body"):
            first = {**first, "body": without_port(first.get("body", b""))}
            scope = {**scope, "headers": _headers(scope["headers"], len(first["body"]))}
        await self._app(scope, _after(first, receive), send)


def without_port(body: bytes) -> bytes:
    """Return the body of a test, with no port instead of port 0 where the connection is of type `bcda`.

    Args:
        body: JSON as Airflow's page sends it; anything else comes back as it is.
    """
    try:
        asked = json.loads(body)
    except ValueError:
        return body
    if not isinstance(asked, dict) or asked.get("conn_type") != "bcda" or asked.get("port") != 0:
        return body
    return json.dumps({**asked, "port": None}).encode()


def _headers(headers: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    return [(name, str(length).encode() if name.lower() == b"content-length" else value) for name, value in headers]


def _after(first: Message, receive: Receive) -> Receive:
    waiting = [first]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message
