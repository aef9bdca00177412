"""One transfer of a file: whether its first bytes are those of an export, and whether it keeps to its budgets."""

import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from bcda import budgets
from bcda.errors import FileFormatError, IncompleteFileError, OversizedFileError, ServerError, StorageError
from bcda.settings import Tuning
from bcda.storage.file_format import check_beginning

_GZIP = 31
_GZIP_BEGINS = b"\x1f\x8b"


class FirstBytes:
    """Looks at the content of a file while its first bytes come, so that a page or another format ends the transfer at once.

    Args:
        file_name: of the file.
        is_gzip: it comes compressed.
    """

    def __init__(self, file_name: str, *, is_gzip: bool) -> None:
        self._name = file_name
        self._unpacker = zlib.decompressobj(_GZIP) if is_gzip else None
        self._wire = b""
        self._content = b""
        self._is_done = False

    def look(self, chunk: bytes) -> None:
        """Look at what came next.

        Raises:
            ServerError: it is a page in the place of the file.
            IncompleteFileError: it is not gzip, although it should be.
            FileFormatError: it is not NDJSON in UTF-8.
        """
        if self._is_done or not chunk:
            return
        self._wire += chunk[: budgets.FIRST_BYTES - len(self._wire)]
        if self._unpacker is None:
            self._content = self._wire
        else:
            self._unpack(chunk)
        self._is_done = len(self._content) >= budgets.FIRST_BYTES or (self._unpacker is not None and self._unpacker.eof)
        if self._is_done:
            self._check(self._content)

    def end(self) -> None:
        """Say that nothing follows.

        Raises:
            ServerError, FileFormatError: as of `look`; the content is shorter than what is looked at otherwise.
        """
        if not self._is_done and self._content:
            self._check(self._content)

    def _unpack(self, chunk: bytes) -> None:
        assert self._unpacker is not None
        if len(self._wire) >= len(_GZIP_BEGINS) and not self._wire.startswith(_GZIP_BEGINS):
            self._check(self._wire)
            raise self._damaged(len(chunk))
        try:
            self._content += self._unpacker.decompress(chunk, budgets.FIRST_BYTES - len(self._content))
        except zlib.error as error:
            raise self._damaged(len(chunk)) from error

    def _check(self, first: bytes) -> None:
        try:
            check_beginning(self._name, first)
        except FileFormatError as error:
            if first.lstrip().startswith(b"<"):
                raise ServerError(
                    f"{self._name}: a page of HTML or XML came in the place of the file, so it was not read to its end or kept. Look for "
                    "a proxy or a login page between this machine and BCDA."
                ) from error
            raise

    def _damaged(self, size: int) -> IncompleteFileError:
        return IncompleteFileError(
            f"{self._name}: the gzip stream is damaged from its first bytes on, so it was not read to its end. If this persists, the file "
            "is damaged at BCDA: start a new run.",
            file_name=self._name,
            bytes_received=size,
        )


class TransferBudget:
    """The budgets of one transfer: bytes, free disk, speed, and the time of the file.

    Args:
        file_name: of the file.
        folder: on whose file system it lands.
        tuning: of the connection.
        held: bytes of the file that are there already.
        ends_at: when the time of the file is over, by `clock`.
        clock: monotonic seconds.

    Attributes:
        is_slow: the transfer was broken off because it was too slow; what it brought is no progress then.
    """

    def __init__(
        self,
        file_name: str,
        folder: Path,
        tuning: Tuning,
        *,
        held: int,
        ends_at: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.is_slow = False
        self._name = file_name
        self._folder = folder
        self._most_bytes = int(tuning.file_megabytes * budgets.MEGABYTE)
        self._reserve = int(tuning.free_disk_megabytes * budgets.MEGABYTE)
        self._least_speed = tuning.least_bytes_per_second
        self._clock = clock
        self._ends_at = ends_at
        self._begun_with = self._held = held
        self._checked_at = held
        self._since, self._since_bytes = clock(), held

    def begin(self, length: str | None) -> None:
        """Refuse what cannot end well before any of it is read.

        Args:
            length: `Content-Length` of the answer; None when it names none.

        Raises:
            OversizedFileError: the file would be larger than its budget.
            StorageError: there is too little room for it, or for any file.
        """
        expected = int(length) if length and length.isascii() and length.isdigit() and len(length) <= 18 else 0  # noqa: PLR2004
        if self._held + expected > self._most_bytes:
            raise self._oversized(f"has {self._held + expected:,} bytes")
        self._check_disk(expected)

    def add(self, size: int) -> None:
        """Count what came.

        Args:
            size: bytes, as they came over the network; they are not written yet.

        Raises:
            OversizedFileError: the file is larger than its budget.
            StorageError: the file system is nearly full.
            IncompleteFileError: it comes too slowly, or the time of the file is over.
        """
        self._held += size
        if self._held > self._most_bytes:
            raise self._oversized("is larger than it should be")
        if self._held - self._checked_at >= budgets.DISK_CHECK_BYTES:
            self._checked_at = self._held
            self._check_disk(0)
        self._check_time()

    def _check_time(self) -> None:
        now = self._clock()
        if now >= self._ends_at:
            raise self._late(f"did not come within {budgets.FILE_SECONDS / 3600:g} hours")
        took = now - self._since
        if took < budgets.SPEED_SECONDS:
            return
        if self._held - self._since_bytes < self._least_speed * took:
            self.is_slow = True
            raise self._late(
                f"came slower than {self._least_speed:g} bytes/s (least_bytes_per_second) for {took:.0f} s"
            )
        self._since, self._since_bytes = now, self._held

    def _check_disk(self, expected: int) -> None:
        free = free_bytes(self._folder)
        if free - expected >= self._reserve:
            return
        needs = f" and the file has {expected:,} more" if expected else ""
        raise StorageError(
            f"{self._name}: not downloaded. The file system of {self._folder} has {free:,} bytes free{needs}; {self._reserve:,} bytes "
            "have to stay free (free_disk_megabytes). Free some space, then clear the task; files that are complete stay."
        )

    def _oversized(self, what: str) -> OversizedFileError:
        return OversizedFileError(
            f"{self._name}: the file {what}, and {self._most_bytes:,} bytes are the most that is taken; it was not kept. BCDA's files "
            "are much smaller. Start a new run. If it comes again, ask BCDA's help desk. Raise file_megabytes in `advanced` on the "
            "connection only if they say that the file is right.",
            file_name=self._name,
        )

    def _late(self, why: str) -> IncompleteFileError:
        return IncompleteFileError(
            f"{self._name}: {why}; {self._held - self._begun_with:,} bytes came. Look at the network and for a slow proxy.",
            file_name=self._name,
            bytes_received=self._held,
        )


def free_bytes(folder: Path) -> int:
    """Return the bytes that this account can still write on the file system of a folder."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
