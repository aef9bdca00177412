"""Reading raw files line by line, in slices of a fixed buffer: memory does not grow with the files.

Files follow each other in a slice without a gap, since what is done for each slice costs the same whether it holds one
line or thousands.
"""

import re
from array import array
from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from isal import igzip, igzip_lib

from bcda.budgets import LINE_BYTES, QUARANTINE_TEXT_BYTES, SLICE_BYTES, SLICE_LINES
from bcda.errors import IncompleteFileError
from bcda.storage.file_format import BYTE_ORDER_MARK

_BLANK = ord(" ")
_BLANKS = b" \t\r\n"
"""What JSON allows around a value."""
_BLANK_LINES = re.compile(rb"[ \t\r\n]*\n")


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
        oversized: file name, line number, size in bytes and first bytes of lines that are too long; they are not in `buffer`.
        blank: file name, number of the first line, and how many blank lines follow each other there; they are not in `buffer`.
    """

    buffer: bytearray
    first_row: int
    offsets: "array[int]" = field(default_factory=lambda: array("i", [0]))
    parts: list[Part] = field(default_factory=list)
    unterminated: set[int] = field(default_factory=set)
    oversized: list[tuple[str, int, int, bytes]] = field(default_factory=list)
    blank: list[tuple[str, int, int]] = field(default_factory=list)

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

    @property
    def entries(self) -> int:
        """Return how many things the slice tells of: lines, lines that are too long, and runs of blank ones."""
        return len(self) + len(self.oversized) + len(self.blank)

    def close_part(self, file_name: str, first_row: int, first_line: int) -> None:
        """Note of which file the rows from a number on are, and which line of it the first one is."""
        rows = self.first_row + len(self) - first_row
        if rows:
            self.parts.append(Part(file_name, first_row, first_line, rows))

    def add_blank(self, file_name: str, first_line: int, lines: int) -> None:
        """Note a run of blank lines, or what follows of one."""
        if self.blank and self.blank[-1][0] == file_name and sum(self.blank[-1][1:]) == first_line:
            _, first_line, before = self.blank.pop()
            lines += before
        self.blank.append((file_name, first_line, lines))


@dataclass(slots=True)
class _Cursor:
    """How far a file was read: its name, the next line, and where the text in the buffer that no slice has begins and ends."""

    file_name: str
    line: int
    at: int
    held: int


class LineReader:
    """Reads files through one buffer that is allocated once, since fresh pages are what costs here."""

    def __init__(
        self, slice_bytes: int = SLICE_BYTES, *, longest: int = LINE_BYTES, most_lines: int = SLICE_LINES
    ) -> None:
        self._size = slice_bytes
        self._longest = longest
        self._most = most_lines
        self._buffer = bytearray(slice_bytes)
        self._view = memoryview(self._buffer)
        self._next_row = 0

    def slices(self, paths: Iterable[Path]) -> Iterator[Slice]:
        """Yield the lines of gzip files in slices.

        Args:
            paths: raw files, any number of gzip members each.

        Yields:
            Slices whose lines follow each other, file after file. Blank lines, and lines that are longer than the buffer or
            than the longest that is read, are reported, not returned.

        Raises:
            IncompleteFileError: a gzip stream is damaged or ends early.
        """
        gathered = Slice(self._buffer, self._next_row)
        for path in paths:
            gathered = yield from self._add_file(path, gathered)
        if gathered.entries:
            self._next_row += len(gathered)
            yield gathered

    def _add_file(self, path: Path, gathered: Slice) -> Generator[Slice, None, Slice]:
        """Add the lines of one file to a slice; yield it when it is full, return the one that is not."""
        start = gathered.offsets[-1]
        cursor, is_first = _Cursor(path.name, 1, start, start), True
        with igzip.open(path, "rb") as file:
            while True:
                at_end = self._fill(file, cursor, path)
                if is_first and self._buffer.startswith(BYTE_ORDER_MARK, cursor.at):
                    cursor.at += len(BYTE_ORDER_MARK)
                is_first = False
                self._take_lines(gathered, cursor, at_end=at_end)
                if at_end and cursor.at == cursor.held:
                    return gathered
                if cursor.at == 0 and gathered.entries < self._most:
                    self._skip_line(file, gathered, cursor, path)
                # What blank lines took is free again: a slice that is far from full is filled further.
                free = cursor.at - gathered.offsets[-1]
                if gathered.entries >= self._most or (len(gathered) and free < self._size // 2):
                    self._next_row += len(gathered)
                    yield gathered
                    gathered = Slice(self._buffer, self._next_row)
                self._close_up(cursor, gathered.offsets[-1])

    def _fill(self, file: igzip.IGzipFile, cursor: _Cursor, path: Path) -> bool:
        """Read until the buffer is full; return whether the file is at its end."""
        while cursor.held < self._size:
            got = _read_into(file, self._view[cursor.held :], path)
            if not got:
                return True
            cursor.held += got
        return False

    def _close_up(self, cursor: _Cursor, target: int) -> None:
        """Move the text that no slice has to a place further in front."""
        size = cursor.held - cursor.at
        self._view[target : target + size] = self._view[cursor.at : cursor.held]
        cursor.at, cursor.held = target, target + size

    def _skip_line(self, file: igzip.IGzipFile, gathered: Slice, cursor: _Cursor, path: Path) -> None:
        """Read past a line that fills the whole buffer, and report it."""
        first, length = bytes(self._view[:QUARANTINE_TEXT_BYTES]), self._size
        while True:
            got = _read_into(file, self._view, path)
            newline = self._buffer.find(b"\n", 0, got)
            if newline >= 0 or not got:
                break
            length += got
        gathered.oversized.append((path.name, cursor.line, length + max(0, newline), first))
        cursor.line += 1
        cursor.at, cursor.held = newline + 1, got

    def _take_lines(self, gathered: Slice, cursor: _Cursor, *, at_end: bool) -> None:
        """Move lines together over their newlines, behind those that the slice has, until there is none or the slice is full."""
        buffer, view, offsets = self._buffer, self._view, gathered.offsets
        start, held, target = cursor.at, cursor.held, offsets[-1]
        line = first_line = cursor.line
        first_row = gathered.first_row + len(gathered)
        room = self._most - gathered.entries
        while start < held and room > 0:
            blank_until = self._blank_until(start, held, at_end=at_end) if buffer[start] <= _BLANK else start
            newline = -1 if blank_until > start else buffer.find(b"\n", start, held)
            if newline < 0 and blank_until == start and not at_end:
                break
            room -= 1
            stop = held if newline < 0 else newline
            if blank_until == start and stop - start <= self._longest:
                if start != target:
                    view[target : target + stop - start] = view[start:stop]
                target += stop - start
                offsets.append(target)
                line += 1
                if newline < 0:
                    gathered.unterminated.add(gathered.first_row + len(gathered) - 1)
                start = stop + 1
                continue
            gathered.close_part(cursor.file_name, first_row, first_line)
            if blank_until > start:
                lines = buffer.count(b"\n", start, blank_until) or 1
                gathered.add_blank(cursor.file_name, line, lines)
                start, line = blank_until, line + lines
            else:
                first = bytes(view[start : start + QUARANTINE_TEXT_BYTES])
                gathered.oversized.append((cursor.file_name, line, stop - start, first))
                start, line = stop + 1, line + 1
            first_row, first_line = gathered.first_row + len(gathered), line
        gathered.close_part(cursor.file_name, first_row, first_line)
        cursor.at, cursor.line = min(start, held), line

    def _blank_until(self, start: int, held: int, *, at_end: bool) -> int:
        """Return where the blank lines end that begin at a place, their newlines included; the place itself when there is none."""
        # One search for a run of any length, newlines included.
        found = _BLANK_LINES.match(self._buffer, start, held)
        if found is not None:
            return found.end()
        is_last = at_end and self._buffer.find(b"\n", start, held) < 0
        return held if is_last and not self._buffer[start:held].strip(_BLANKS) else start


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
