"""Reading raw files line by line, in slices of a fixed buffer: memory does not grow with the files.

Files follow each other in a slice without a gap, since what is done for each slice costs the same whether it holds one
line or thousands.
"""

from array import array
from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from isal import igzip, igzip_lib

from bcda.errors import IncompleteFileError
from bcda.file_format import BYTE_ORDER_MARK

SLICE_BYTES = 32 << 20
"""Size of the buffer, and so the longest line. Each slice is planned once, which costs as much as parsing 2 MB."""


@dataclass(frozen=True, slots=True)
class Part:
    """Lines of one file that follow each other in a slice.

    Attributes:
        file_name: name of the raw file.
        first_row: number of the first row.
        first_line: number of the same line in its file, from 1.
        rows: how many lines.
    """

    file_name: str
    first_row: int
    first_line: int
    rows: int


@dataclass(slots=True)
class Slice:
    """Whole lines of one or more files, valid until the next slice is taken: the memory behind it is used again.

    Attributes:
        buffer: begins with the lines one after the other, without their newlines.
        first_row: number of the first line among all that the reader has ever given, from 0; this is what tells lines
            of different files apart.
        offsets: where each line begins in `buffer`, and where the last one ends; one more than there are lines.
        parts: which lines are of which file, in order.
        unterminated: rows without newline, which are last in their file, so they may have been cut.
        oversized: file name, line number and size in bytes of lines longer than the buffer; they are not in `buffer`.
    """

    buffer: bytearray
    first_row: int
    offsets: "array[int]" = field(default_factory=lambda: array("i", [0]))
    parts: list[Part] = field(default_factory=list)
    unterminated: set[int] = field(default_factory=set)
    oversized: list[tuple[str, int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of lines in `buffer`."""
        return len(self.offsets) - 1

    def span(self, row: int) -> tuple[int, int]:
        """Return where a line begins and ends in `buffer`, by its row number."""
        index = row - self.first_row
        return self.offsets[index], self.offsets[index + 1]

    def line(self, row: int) -> bytes:
        """Return a copy of one line by its row number."""
        start, stop = self.span(row)
        return bytes(memoryview(self.buffer)[start:stop])

    def origin(self, row: int) -> tuple[str, int]:
        """Return the file name and line number of a row."""
        part = self.parts[bisect_right(self.parts, row, key=lambda part: part.first_row) - 1]
        return part.file_name, part.first_line + row - part.first_row


class LineReader:
    """Reads files through one buffer that is allocated once, since fresh pages are what costs here."""

    def __init__(self, slice_bytes: int = SLICE_BYTES) -> None:
        self._size = slice_bytes
        self._buffer = bytearray(slice_bytes)
        self._next_row = 0

    def slices(self, paths: Iterable[Path]) -> Iterator[Slice]:
        """Yield the lines of gzip files in slices.

        Args:
            paths: raw files, any number of gzip members each.

        Yields:
            Slices whose lines follow each other without gap, file after file; a line longer than the buffer is
            reported, not returned.

        Raises:
            IncompleteFileError: a gzip stream is damaged or ends early.
        """
        gathered = Slice(self._buffer, self._next_row)
        for path in paths:
            gathered = yield from self._add_file(path, gathered)
        if len(gathered) or gathered.oversized:
            self._next_row += len(gathered)
            yield gathered

    def _add_file(self, path: Path, gathered: Slice) -> Generator[Slice, None, Slice]:
        """Add the lines of one file to a slice; yield it when the buffer is full, return the one that is not."""
        buffer = self._buffer
        view = memoryview(buffer)
        line_number, held = 1, gathered.offsets[-1]
        with igzip.open(path, "rb") as file:
            while True:
                start = gathered.offsets[-1]
                held, at_end = self._fill(file, view, held, path)
                if line_number == 1 and buffer.startswith(BYTE_ORDER_MARK, start):
                    view[start : held - len(BYTE_ORDER_MARK)] = view[start + len(BYTE_ORDER_MARK) : held]
                    held -= len(BYTE_ORDER_MARK)
                # Between `start` and `held` lies text; the lines before it are in the slice already.
                end = held if at_end else max(start, buffer.rfind(b"\n", start, held) + 1)
                if end > start:
                    is_cut = buffer[end - 1] != ord("\n")
                    added = self._close_gaps(gathered, view, end)
                    row = gathered.first_row + len(gathered)
                    gathered.parts.append(Part(path.name, row - added, line_number, added))
                    line_number += added
                    if is_cut:
                        gathered.unterminated.add(row - 1)
                if at_end:
                    return gathered
                if len(gathered):
                    self._next_row += len(gathered)
                    yield gathered
                    view[: held - end] = view[end:held]
                    gathered, held = Slice(buffer, self._next_row), held - end
                else:
                    length, held = self._skip_line(file, view, path)
                    gathered.oversized.append((path.name, line_number, length))
                    line_number += 1

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
    def _close_gaps(gathered: Slice, view: memoryview, end: int) -> int:
        """Move lines together over their newlines, behind those that the slice has; return how many they are."""
        buffer, offsets = gathered.buffer, gathered.offsets
        before = len(offsets)
        start = target = offsets[-1]
        while start < end:
            newline = buffer.find(b"\n", start, end)
            stop = end if newline < 0 else newline
            if start != target:
                view[target : target + stop - start] = view[start:stop]
            target += stop - start
            offsets.append(target)
            start = stop + 1
        return len(offsets) - before


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
