"""Sending stored files: compressed as they lie, Range on the compressed form (wire contract §15)."""

import email.utils
import re
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from starlette.responses import Response, StreamingResponse

from bcda_simulator.faults import Fault

EMPTY_MEMBER = bytes.fromhex("1f8b08000000000000ff010000ffff0000000000000000")
"""What the real server's compressor adds to an already compressed body."""

_CHUNK = 1 << 20


class BodyCutError(Exception):
    """Raised inside a body to break the connection off."""


def send_file(
    path: Path,
    *,
    range_header: str | None,
    if_range: str | None,
    gzip_asked: bool,
    extra_member: bool,
    damage: list[Fault],
) -> Response:
    """Return the answer for a stored file.

    Args:
        path: the file; gzip unless it is the plain warnings file.
        range_header: `Range` of the request.
        if_range: `If-Range` of the request.
        gzip_asked: whether any Accept-Encoding contains gzip.
        extra_member: whether a full compressed body ends with the empty member.
        damage: faults of the body.
    """
    with path.open("rb") as file:
        stored_gzip = file.read(2) == b"\x1f\x8b"
    modified = email.utils.formatdate(path.stat().st_mtime, usegmt=True)
    headers = {"Content-Type": "application/fhir+ndjson"}
    if not stored_gzip:
        return Response(path.read_bytes(), headers=headers | {"Accept-Ranges": "bytes", "Last-Modified": modified})
    if not gzip_asked:
        return StreamingResponse(_inflated(path), headers=headers)
    headers |= {"Content-Encoding": "gzip", "Accept-Ranges": "bytes", "Last-Modified": modified}
    size = path.stat().st_size
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", range_header or "")
    if wanted and (if_range is None or if_range == modified):
        start, end = int(wanted.group(1)), min(int(wanted.group(2) or size - 1), size - 1)
        if start >= size:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        headers |= {"Content-Range": f"bytes {start}-{end}/{size}", "Content-Length": str(end - start + 1)}
        return StreamingResponse(_body(path, start, end + 1, b"", damage), status_code=206, headers=headers)
    return StreamingResponse(_body(path, 0, size, EMPTY_MEMBER if extra_member else b"", damage), headers=headers)


def _body(path: Path, start: int, stop: int, tail: bytes, damage: list[Fault]) -> Iterator[bytes]:
    size = path.stat().st_size
    cut = next((fault for fault in damage if fault.kind in {"cut", "short"}), None)
    end = min(stop, int(size * cut.fraction)) if cut else stop
    flip = next((int(size * fault.fraction) for fault in damage if fault.kind == "corrupt"), None)
    slow = next((fault for fault in damage if fault.kind == "slow"), None)
    chunk_size = max(1024, slow.bytes_per_second // 10) if slow else _CHUNK
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
            position += len(chunk)
            yield chunk
    if cut and cut.kind == "cut":
        raise BodyCutError
    if tail and not cut:
        yield tail


def _inflated(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        unpacker = zlib.decompressobj(31)
        while chunk := file.read(_CHUNK):
            yield unpacker.decompress(chunk)
        yield unpacker.flush()
