"""Sending stored files: compressed as they lie, Range on the compressed form (docs/bcda.md#downloads)."""

import email.utils
import gzip
import re
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from starlette.responses import Response, StreamingResponse

from bcda_simulator.faults import Fault

EMPTY_MEMBER = bytes.fromhex("1f8b08000000000000ff010000ffff0000000000000000")
"""What the real server's compressor adds to an already compressed body."""

_NO_OVERLAP = b"invalid range: failed to overlap\n"
_LENGTH_BELOW = 2048
"""The server's language gives a shorter answer a length by itself, the empty member included (docs/bcda.md#downloads)."""

_CHUNK = 1 << 20
_SHARED_CHUNK = 1 << 18


class BodyCutError(Exception):
    """Raised inside a body to break the connection off: closed, or reset with `is_reset`."""

    def __init__(self, *, is_reset: bool) -> None:
        super().__init__(is_reset)
        self.is_reset = is_reset


class Bandwidth:
    """What all bodies share: at most so many bytes in a second leave the server.

    Args:
        bytes_per_second: None for no limit.
    """

    def __init__(self, bytes_per_second: float | None) -> None:
        self.bytes_per_second = bytes_per_second
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Return when so many bytes may be sent."""
        if self.bytes_per_second is None:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + size / self.bytes_per_second
        time.sleep(start - now)


def send_file(
    path: Path,
    *,
    range_header: str | None,
    if_range: str | None,
    gzip_asked: bool,
    extra_member: bool,
    damage: list[Fault],
    bandwidth: Bandwidth,
) -> Response:
    """Return the answer for a stored file.

    Args:
        path: the file; gzip unless it is the plain warnings file.
        range_header: `Range` of the request.
        if_range: `If-Range` of the request.
        gzip_asked: whether any Accept-Encoding contains gzip.
        extra_member: whether a full compressed body ends with the empty member.
        damage: faults of the body.
        bandwidth: limit on the bytes of all bodies.
    """
    with path.open("rb") as file:
        stored_gzip = file.read(2) == b"\x1f\x8b"
    modified = email.utils.formatdate(path.stat().st_mtime, usegmt=True)
    headers = {"Content-Type": "application/fhir+ndjson"}
    if not stored_gzip:
        headers |= {"Accept-Ranges": "bytes", "Last-Modified": modified}
        return _plain(path.read_bytes(), headers, range_header, is_packed=gzip_asked)
    if not gzip_asked:
        return StreamingResponse(_inflated(path), headers=headers)
    headers |= {"Content-Encoding": "gzip", "Accept-Ranges": "bytes", "Last-Modified": modified}
    size = path.stat().st_size
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", range_header or "")
    if wanted and (if_range is None or if_range == modified):
        start, end = int(wanted.group(1)), min(int(wanted.group(2) or size - 1), size - 1)
        if start >= size:
            text = _NO_OVERLAP + (EMPTY_MEMBER if extra_member else b"")
            return _text(text, 416, {"Content-Range": f"bytes */{size}"})
        headers |= {"Content-Range": f"bytes {start}-{end}/{size}", "Content-Length": str(end - start + 1)}
        return StreamingResponse(_body(path, start, end + 1, b"", damage, bandwidth), status_code=206, headers=headers)
    tail = EMPTY_MEMBER if extra_member else b""
    if size + len(tail) < _LENGTH_BELOW:
        headers["Content-Length"] = str(_sent_bytes(size, tail, damage))
    return StreamingResponse(_body(path, 0, size, tail, damage, bandwidth), headers=headers)


def _plain(content: bytes, headers: dict[str, str], range_header: str | None, *, is_packed: bool) -> Response:
    """Answer for a file that is stored plain: ranges count its plain bytes, and it is compressed on the way."""
    wanted = re.fullmatch(r"bytes=(\d+)-", range_header or "")
    start, status = int(wanted.group(1)) if wanted else 0, 206 if wanted else 200
    if start >= len(content):
        # Compressed like any answer, and without the header that says so (docs/bcda.md#downloads).
        text = gzip.compress(_NO_OVERLAP, mtime=0) if is_packed else _NO_OVERLAP
        return _text(text, 416, {"Content-Range": f"bytes */{len(content)}"})
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    if is_packed:
        return Response(gzip.compress(content[start:], mtime=0), status, headers | {"Content-Encoding": "gzip"})
    return Response(content[start:], status, headers)


def _text(content: bytes, status: int, headers: dict[str, str]) -> Response:
    return Response(content, status, headers | {"Content-Type": "text/plain; charset=utf-8"})


def _sent_bytes(size: int, tail: bytes, damage: list[Fault]) -> int:
    """Return the length that a short answer names: with the empty member, and of a body that ends early but properly, its own."""
    short = next((fault for fault in damage if fault.kind == "short"), None)
    return min(size, int(size * short.fraction)) if short else size + len(tail)


def _body(path: Path, start: int, stop: int, tail: bytes, damage: list[Fault], bandwidth: Bandwidth) -> Iterator[bytes]:
    size = path.stat().st_size
    cut = next((fault for fault in damage if fault.kind in {"cut", "reset", "short"}), None)
    end = min(stop, int(size * cut.fraction)) if cut else stop
    flip = next((int(size * fault.fraction) for fault in damage if fault.kind == "corrupt"), None)
    slow = next((fault for fault in damage if fault.kind == "slow"), None)
    # Small portions when bodies share a limit, so that they come side by side.
    chunk_size = _SHARED_CHUNK if bandwidth.bytes_per_second else _CHUNK
    if slow:
        chunk_size = max(64, slow.bytes_per_second // 10)
    with path.open("rb") as file:
        file.seek(start)
        position = start
        while position < end and (chunk := file.read(min(chunk_size, end - position))):
            if flip is not None and position <= flip < position + len(chunk):
                damaged = bytearray(chunk)
                damaged[flip - position] ^= 0xFF
                chunk = bytes(damaged)
            if slow:
                time.sleep(len(chunk) / slow.bytes_per_second)
            bandwidth.take(len(chunk))
            position += len(chunk)
            yield chunk
    if cut and cut.fraction > 1:
        yield tail[: int((cut.fraction - 1) * len(tail))]
    if cut and cut.kind != "short":
        raise BodyCutError(is_reset=cut.kind == "reset")
    if tail and not cut:
        yield tail


def _inflated(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        unpacker = zlib.decompressobj(31)
        while chunk := file.read(_CHUNK):
            yield unpacker.decompress(chunk)
        yield unpacker.flush()
