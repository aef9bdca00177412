"""Reading raw files line by line, in slices of a fixed buffer: memory does not grow with the file."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from isal import igzip, igzip_lib

from bcda.errors import IncompleteFileError

SLICE_BYTES = 32 << 20
"""Size of the buffer, and so the longest line. Each slice is planned once, which costs as much as parsing 2 MB."""


@dataclass(slots=True)
class Slice:
    """Whole lines of one file, valid until the next slice is taken: the memory behind it is used again.

    Attributes:
        buffer: begins with the lines one after the other, without their newlines.
        offsets: where each line begins in `buffer`, and where the last one ends; one more than there are lines.
        first_line: number of the first line in the file, from 1.
        is_unterminated: the last line has no newline, so it may have been cut.
        oversized: numbers and sizes in bytes of lines longer than the buffer; they are not in `buffer`.
    """

    buffer: bytearray
    offsets: "array[int]"
    first_line: int
    is_unterminated: bool = False
    oversized: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of lines in `buffer`."""
        return len(self.offsets) - 1

    def line(self, index: int) -> bytes:
        """Return a copy of one line by its place in the slice, from 0."""
        return bytes(memoryview(self.buffer)[self.offsets[index] : self.offsets[index + 1]])


class LineReader:
    """Reads files through one buffer that is allocated once, since fresh pages are what costs here."""

    def __init__(self, slice_bytes: int = SLICE_BYTES) -> None:
        self._size = slice_bytes
        self._buffer = bytearray(slice_bytes)

    def slices(self, path: Path) -> Iterator[Slice]:
        """Yield the lines of a gzip file in slices.

        Args:
            path: a raw file, any number of gzip members.

        Yields:
            Slices whose lines follow each other without gap; a line longer than the buffer is reported, not returned.

        Raises:
            IncompleteFileError: the gzip stream is damaged or ends early.
        """
        buffer = self._buffer
        view = memoryview(buffer)
        held, line_number = 0, 1
        with igzip.open(path, "rb") as file:
            while True:
                held, at_end = self._fill(file, view, held, path)
                end = buffer.rfind(b"\n", 0, held) + 1
                if at_end:
                    end = held
                elif end == 0:
                    length, held = self._skip_line(file, view, path)
                    yield Slice(buffer, array("i", [0]), line_number, oversized=[(line_number, length)])
                    line_number += 1
                    continue
                if end:
                    unterminated = at_end and buffer[end - 1] != ord("\n")
                    rest = bytes(view[end:held])
                    offsets = self._close_gaps(buffer, view, end)
                    yield Slice(buffer, offsets, line_number, is_unterminated=unterminated)
                    line_number += len(offsets) - 1
                    held = len(rest)
                    view[:held] = rest
                if at_end:
                    return

    @staticmethod
    def _fill(file: igzip.IGzipFile, view: memoryview, held: int, path: Path) -> tuple[int, bool]:
        """Read until the buffer is full; return how much is held and whether the file is at its end."""
        while held < len(view):
            got = _read_into(file, view[held:], path)
            if not got:
                return held, True
            held += got
        return held, False

    def _skip_line(self, file: igzip.IGzipFile, view: memoryview, path: Path) -> tuple[int, int]:
        """Read past a line that fills the whole buffer; return its length and how much after it is held."""
        length = self._size
        while True:
            got = _read_into(file, view, path)
            newline = self._buffer.find(b"\n", 0, got)
            if newline >= 0:
                rest = bytes(view[newline + 1 : got])
                view[: len(rest)] = rest
                return length + newline, len(rest)
            length += got
            if not got:
                return length, 0

    @staticmethod
    def _close_gaps(buffer: bytearray, view: memoryview, end: int) -> "array[int]":
        """Move the lines together over their newlines; return their offsets."""
        offsets = array("i", [0])
        start = target = 0
        while start < end:
            newline = buffer.find(b"\n", start, end)
            stop = end if newline < 0 else newline
            if start != target:
                view[target : target + stop - start] = view[start:stop]
            target += stop - start
            offsets.append(target)
            start = stop + 1
        return offsets


def _read_into(file: igzip.IGzipFile, view: memoryview, path: Path) -> int:
    try:
        return int(file.readinto(view))
    except (EOFError, igzip.BadGzipFile, igzip_lib.IsalError) as error:  # type: ignore[misc]  # the stub declares an instance
        raise IncompleteFileError(
            f"The raw file {path.name} is damaged on disk ({type(error).__name__}), although its receipt says it was "
            "whole. Delete it with its receipt and run the fetch task again.",
            file_name=path.name,
            bytes_received=path.stat().st_size,
        ) from error
