"""Telling NDJSON in UTF-8 from other forms in which a server or a proxy could send a file."""

from bcda import budgets
from bcda.errors import FileFormatError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Of UTF-8; it says nothing, and is left out where a file is read."""

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_GZIP = b"\x1f\x8b"
_FIRST_BYTES = 4


class FormatCheck:
    """Looks at the content of one file, buffer after buffer.

    JSON has no control characters but in escaped form, so one of these in a file is not part of a text.
    """

    def __init__(self, file_name: str) -> None:
        self._name = file_name
        self._is_first = True
        self._ends_with_return = False

    def look(self, buffer: bytes | bytearray, stop: int) -> None:
        """Look at the next bytes.

        Args:
            buffer: holds them.
            stop: how many they are, at least one.

        Raises:
            FileFormatError: the file is not NDJSON in UTF-8.
        """
        if self._is_first:
            self._is_first = False
            check_beginning(self._name, bytes(buffer[:stop][: budgets.FIRST_BYTES]))
        if buffer.find(b"\x1e", 0, stop) >= 0:
            raise self._error("holds record separators, as a JSON text sequence does")
        self._look_for_lone_returns(buffer, stop)

    def end(self) -> None:
        """Say that nothing follows.

        Raises:
            FileFormatError: see `look`.
        """
        if self._ends_with_return:
            raise self._lone_return()

    def _look_for_lone_returns(self, buffer: bytes | bytearray, stop: int) -> None:
        if self._ends_with_return and buffer[0] != ord("\n"):
            raise self._lone_return()
        self._ends_with_return = buffer[stop - 1] == ord("\r")
        at = buffer.find(b"\r", 0, stop)
        while 0 <= at < stop - 1:
            if buffer[at + 1] != ord("\n"):
                raise self._lone_return()
            at = buffer.find(b"\r", at + 1, stop)

    def _lone_return(self) -> FileFormatError:
        return self._error("ends lines with a carriage return alone")

    def _error(self, what: str) -> FileFormatError:
        return _error(self._name, what)


def check_beginning(file_name: str, first: bytes) -> None:
    """Look at the first bytes of the content of a file.

    Args:
        file_name: of the file.
        first: `budgets.FIRST_BYTES` of them, or all there are.

    Raises:
        FileFormatError: no NDJSON in UTF-8 begins so.
    """
    if first.startswith(_GZIP):
        raise _error(file_name, "is compressed twice")
    if first.startswith(_UTF_16) or b"\0" in first[:_FIRST_BYTES]:
        raise _error(file_name, "is in UTF-16 or UTF-32 instead of UTF-8")
    text = first.removeprefix(BYTE_ORDER_MARK).lstrip()
    if text.startswith(b"["):
        raise _error(file_name, "is a JSON array")
    if text.startswith(b"<"):
        raise _error(file_name, "is a page of HTML or XML")


def _error(file_name: str, what: str) -> FileFormatError:
    return FileFormatError(
        f"{file_name}: the file {what}, so it is not NDJSON as BCDA sends it, and was not kept. Look for a proxy between this "
        "machine and BCDA that changes answers, then start a new run.",
        file_name=file_name,
    )
