"""Answers that take too much: bodies and header blocks that never end, unpack without end, or come a byte at a time."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable

from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from bcda_simulator.faults import Fault, FaultKind

_PIECE = 1 << 16
_BLOCK = 1 << 20


def exceeding(response: Response, strike: Callable[[FaultKind], Fault | None]) -> Response:
    """Return an answer as it is, or so that its body takes too much.

    Args:
        response: as the server would give it.
        strike: returns the fault of a kind that strikes this request.
    """
    if fault := strike(FaultKind.FLOOD):
        return _instead(response, _flood(_body(response), fault))
    if fault := strike(FaultKind.BOMB):
        return _instead(response, _bomb(_body(response), fault), encoding="gzip")
    if fault := strike(FaultKind.DRIP):
        return _instead(response, _drip(_body(response), fault))
    return response


def endless_file(stored: bytes, fault: Fault) -> Response:
    """Return the answer with a stored file whose lines are repeated without end, in a gzip stream that is hardly compressed.

    Args:
        stored: the file, gzip.
        fault: has the size.
    """
    content = gzip.decompress(stored)

    async def body() -> AsyncIterator[bytes]:
        packer, sent = zlib.compressobj(0, zlib.DEFLATED, 31), 0
        while sent < fault.size_bytes:
            sent += len(content)
            yield packer.compress(content) + packer.flush(zlib.Z_SYNC_FLUSH)
            await asyncio.sleep(0)
        yield packer.flush()

    return StreamingResponse(
        body(),
        headers={"Content-Type": "application/fhir+ndjson", "Content-Encoding": "gzip", "Accept-Ranges": "bytes"},
    )


class EndlessHeaders(Response):
    """A header block that never ends; a line of it comes each `seconds`, or as fast as it is read."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self._fault = fault

    async def write(self, send: Send) -> None:
        """Write the lines below the framework, which has no answer without an end of its header block.

        Args:
            send: of the request; knows its connection.
        """
        transport = send.__self__.transport  # type: ignore[attr-defined]
        transport.write(b"HTTP/1.1 200 OK\r\n")
        written = 0
        while not transport.is_closing() and written < self._fault.size_bytes:
            if transport.get_write_buffer_size() < _PIECE:
                line = b"x-more: " + b"x" * (8 if self._fault.seconds else 1000) + b"\r\n"
                transport.write(line)
                written += len(line)
            await asyncio.sleep(self._fault.seconds or (0 if transport.get_write_buffer_size() < _PIECE else 0.001))
        transport.close()


def _body(response: Response) -> bytes:
    return bytes(getattr(response, "body", b""))


def _instead(response: Response, body: AsyncIterator[bytes], *, encoding: str = "") -> Response:
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    if encoding:
        headers["Content-Encoding"] = encoding
    return StreamingResponse(body, response.status_code, headers)


async def _flood(body: bytes, fault: Fault) -> AsyncIterator[bytes]:
    yield body
    piece = ((fault.text or " ") * _PIECE)[:_PIECE].encode()
    for _ in range(fault.size_bytes // _PIECE):
        yield piece
        # Who has gone away takes pieces without waiting.
        await asyncio.sleep(0)


async def _bomb(body: bytes, fault: Fault) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield packer.compress(body) + packer.flush(zlib.Z_FULL_FLUSH)
    block = ((fault.text or " ") * _BLOCK)[:_BLOCK].encode()
    # After a full flush a block is packed alike each time.
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(fault.size_bytes // _BLOCK):
        yield packed
        await asyncio.sleep(0)


async def _drip(body: bytes, fault: Fault) -> AsyncIterator[bytes]:
    for place in range(fault.size_bytes):
        yield body[place : place + 1] or b" "
        await asyncio.sleep(fault.seconds)
