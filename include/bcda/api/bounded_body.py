"""The body of an answer, unpacked piece by piece, never more of it than its budget."""

import zlib

from bcda.errors import ServerError

GZIP_ONLY = {"Accept-Encoding": "gzip"}
"""Sent with every request: what else could come cannot be unpacked within a budget."""

_GZIP = 31
_UNPACKED_BYTES = 1 << 16


class BoundedBody:
    """Takes pieces of a body as they come over the wire, and keeps what they hold.

    Args:
        most_bytes: budget, on the wire and unpacked alike.
        encoding: `Content-Encoding` of the answer; empty for none.
        what: was asked for, for the message.

    Attributes:
        is_over: whether the body is larger than its budget; what is beyond it is dropped.

    Raises:
        ServerError: the encoding is another one than gzip.
    """

    def __init__(self, most_bytes: int, encoding: str, what: str) -> None:
        encoding = encoding.strip().lower()
        if encoding not in {"", "identity", "gzip"}:
            raise ServerError(
                f"{what}: the answer came in an encoding that was not asked for; it was not read. Look for a proxy between this machine "
                "and BCDA that changes answers."
            )
        self.is_over = False
        self._most_bytes = most_bytes
        self._what = what
        self._unpacker = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
        self._wire_bytes = 0
        self._content = bytearray()

    def add(self, piece: bytes) -> bool:
        """Take a piece; return whether another one may come.

        Args:
            piece: as it came.

        Raises:
            ServerError: it is not gzip, although the answer says so.
        """
        self._wire_bytes += len(piece)
        if self._unpacker is None:
            self._keep(piece)
        else:
            self._unpack(piece)
        self.is_over = self.is_over or self._wire_bytes > self._most_bytes
        return not self.is_over

    def content(self) -> bytes:
        """Return what came, at most the budget."""
        return bytes(self._content)

    def _unpack(self, piece: bytes) -> None:
        assert self._unpacker is not None
        try:
            # A piece can unpack to a thousand times its size, so that it is not unpacked at once.
            while piece and not self.is_over and not self._unpacker.eof:
                self._keep(self._unpacker.decompress(piece, _UNPACKED_BYTES))
                piece = self._unpacker.unconsumed_tail
        except zlib.error as error:
            raise ServerError(
                f"{self._what}: the answer is damaged; it is not the gzip stream that it says it is. A later attempt may succeed."
            ) from error

    def _keep(self, content: bytes) -> None:
        left = self._most_bytes - len(self._content)
        self._content += content[:left]
        self.is_over = self.is_over or len(content) > left
