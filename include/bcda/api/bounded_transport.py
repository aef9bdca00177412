"""Every answer within its budgets of bytes and of time, below whatever else looks at it.

Nothing above this module reads from the network but a download, which has budgets of its own. An answer is complete when it is given
on, so whoever asks for its body cannot be kept waiting, and finds no more in it than the budget.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import httpx

from bcda import budgets
from bcda.api import protocol
from bcda.api.bounded_body import BoundedBody
from bcda.errors import OversizedAnswerError, ServerError

_EXTENSION = "bcda_bound"
_NOT_OF_THE_BODY = ("Content-Encoding", "Content-Length", "Transfer-Encoding")


@dataclass(frozen=True, slots=True)
class Bound:
    """Budgets of one request, with the requests for its token and whatever is asked again on its way.

    Attributes:
        ends_at: time of the event loop by which everything has come; of a download, the header block.
        seconds: the same as a span, for the message.
        most_bytes: of the body of the answer.
        setting: which raises that; empty for none.
        is_file: the answer is a file, whose body is given on unread.
    """

    ends_at: float
    seconds: float
    most_bytes: int = budgets.ANSWER_BYTES
    setting: str = ""
    is_file: bool = False

    @classmethod
    def within(cls, seconds: float, **more: Any) -> "Bound":
        """Return budgets whose time begins now.

        Args:
            seconds: that everything may take.
            more: the other attributes.
        """
        return cls(asyncio.get_running_loop().time() + seconds, seconds, **more)

    def as_extensions(self) -> dict[str, Any]:
        """Return what hands these budgets to the transport with a request."""
        return {_EXTENSION: self}


def extensions_of_the_same(request: httpx.Request, *, most_bytes: int = budgets.ANSWER_BYTES) -> dict[str, Any]:
    """Return the extensions of a request that is sent on behalf of another one: its time limits, in the time that is left.

    Args:
        request: the other one.
        most_bytes: of the answer of the new one.
    """
    extensions: dict[str, Any] = {"timeout": request.extensions["timeout"]}
    bound = request.extensions.get(_EXTENSION)
    if isinstance(bound, Bound):
        extensions[_EXTENSION] = replace(bound, most_bytes=most_bytes, setting="", is_file=False)
    return extensions


class BoundedTransport(httpx.AsyncBaseTransport):
    """Gives on answers that are there to their last byte; of a file, the header block.

    Args:
        inner: sends one request.
        seconds: time for a request that has no `Bound`.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, *, seconds: float) -> None:
        self._inner = inner
        self._seconds = seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer.

        Raises:
            OversizedAnswerError: a success whose body is larger than its budget.
            ServerError: the answer did not end in time, or its encoding cannot be read.
        """
        bound = request.extensions.get(_EXTENSION)
        if not isinstance(bound, Bound):
            bound = Bound.within(self._seconds)
        try:
            async with asyncio.timeout_at(bound.ends_at) as limit:
                return await self._answer(request, bound)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ServerError(
                f"{_what(request)}: no complete answer came within {bound.seconds:g} s (request_timeout_seconds), the request for a token "
                "included. A later attempt may succeed. If not, look for a slow proxy between this machine and BCDA."
            ) from error

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()

    async def _answer(self, request: httpx.Request, bound: Bound) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if bound.is_file and response.status_code in {200, 206}:
            return response
        try:
            body = await _body(response, bound, _what(request))
        finally:
            # What was not read to its end closes the connection.
            await response.aclose()
        headers = httpx.Headers([pair for pair in response.headers.multi_items() if pair[0] not in _LOWER])
        return httpx.Response(
            response.status_code, headers=headers, content=body, request=request, extensions=response.extensions
        )


_LOWER = frozenset(name.lower() for name in _NOT_OF_THE_BODY)


async def _body(response: httpx.Response, bound: Bound, what: str) -> bytes:
    """Return the body of an answer; of one that is no success, as much as its budget allows.

    Raises:
        OversizedAnswerError: a success that is larger than its budget.
        ServerError: its encoding cannot be read.
    """
    is_success = response.status_code == 200  # noqa: PLR2004
    most_bytes = bound.most_bytes if is_success else min(bound.most_bytes, budgets.ANSWER_BYTES)
    try:
        body = BoundedBody(most_bytes, response.headers.get("Content-Encoding", ""), what)
    except ServerError:
        # What a refusal says of itself is of less weight than that it is one.
        if is_success:
            raise
        return b""
    async for piece in response.aiter_raw():
        if not body.add(piece):
            break
    if body.is_over and is_success:
        raise OversizedAnswerError(
            f"{what}: the answer is larger than {bound.most_bytes:,} bytes, so it was not read to its end. BCDA does not send such "
            f"answers. Look for something between this machine and BCDA that answers in its place{_or_raise(bound)}.",
            status=response.status_code,
        )
    return body.content()


def _or_raise(bound: Bound) -> str:
    return f", or raise {bound.setting} in `advanced` on the connection" if bound.setting else ""


def _what(request: httpx.Request) -> str:
    path = request.url.path
    if path == protocol.TOKEN_PATH:
        return "Token request"
    return "Download" if path.startswith("/data/") else f"{request.method} {path}"
