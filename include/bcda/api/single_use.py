"""A connection of its own for each request, and one more request where a proxy shares connections.

BCDA chooses between its API, its data and its token handlers once per connection, by the first request on it. When it refuses
a token it leaves the connection open, so whatever comes next on it meets the same handler: a token request is refused, a file
is not found (docs/bcda.md#connections). A client that closes each connection never sees this, unless a proxy between here and
BCDA keeps connections and shares them among requests.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx

from bcda.api import protocol
from bcda.api.bounded_transport import extensions_of_the_same
from bcda.errors import TransientError

CLOSING = {"Connection": "close"}
"""Sent with every request. BCDA closes after good answers anyway, so that it costs nothing."""

LIMITS = httpx.Limits(max_keepalive_connections=0)
"""No connection is kept, whatever the other side wants."""


class SingleUseTransport(httpx.AsyncBaseTransport):
    """Sends each request on a new connection, and once more when the answer is another handler's.

    Args:
        inner: sends one request, and gives on what is there to its last byte (`bounded_transport`); keeps no connection (`LIMITS`).
        on_discard: called with each answer that is not given on, before the request is sent again; may wait.
    """

    def __init__(
        self, inner: httpx.AsyncBaseTransport, *, on_discard: Callable[[httpx.Response], Awaitable[None]]
    ) -> None:
        self._inner = inner
        self._on_discard = on_discard

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer; one that is another handler's has come twice then."""
        request.headers.update(CLOSING)
        response = await self._inner.handle_async_request(request)
        if not await is_misrouted(request, response):
            return response
        await self._discard(request, response)
        response = await self._inner.handle_async_request(request)
        if await is_misrouted(request, response):
            await self._let_go(request, response)
        return response

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()

    async def _discard(self, request: httpx.Request, response: httpx.Response) -> None:
        await response.aclose()
        await self._on_discard(response)
        await self._let_go(request, response)

    async def _let_go(self, request: httpx.Request, response: httpx.Response) -> None:
        """Make a proxy drop the connection on which a 401 came: BCDA left it open, so the next request would meet it again.

        Every handler closes after a request without a token, whatever it answers.
        """
        if response.status_code != 401:  # noqa: PLR2004
            return
        asking = httpx.Request("GET", request.url.copy_with(path="/_health", query=None), headers=CLOSING)
        asking.extensions = extensions_of_the_same(request)
        # What it brings is of no interest; when it fails, so does the request that comes next, with an error of its own.
        with suppress(httpx.HTTPError, TransientError):
            answer = await self._inner.handle_async_request(asking)
            await answer.aclose()


async def is_misrouted(request: httpx.Request, response: httpx.Response) -> bool:
    """Tell whether an answer is not that of the handler that was asked; reads the body of a refused token request only."""
    path = request.url.path
    is_refused_token = path == protocol.TOKEN_PATH and response.status_code == 401  # noqa: PLR2004
    body = await response.aread() if is_refused_token else b""
    return protocol.is_misrouted(path, response.status_code, response.headers, body)
