"""From the manifest to raw/: temporary name, proof, receipt, resume.

A file is fetched compressed and kept as received. A part under the attempt's own name (`files`) grows while bytes come; a
note beside it remembers which version of the file they belong to, so that the next attempt goes on where a killed one stopped.
Only a file that was proved whole gets its final name, and only then a receipt. Of two attempts that are alive together the
first gives its file the name, and the other one's receipt is about that file. While one file is proved the next one comes.
"""

import asyncio
import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from isal import igzip, igzip_lib, isal_zlib

from bcda import budgets
from bcda.api.client import BcdaClient
from bcda.api.manifest import OutputFile
from bcda.api.protocol import JobState
from bcda.api.transfer import FirstBytes, TransferBudget
from bcda.errors import (
    BcdaError,
    CredentialsError,
    ExportExpiredError,
    FileFormatError,
    IncompleteFileError,
    OversizedFileError,
    ServerError,
    StorageError,
    TransientError,
)
from bcda.privacy import server_text
from bcda.runs.receipts import Receipt, proved_receipt, receipt_path, write_receipt
from bcda.storage.commit_points import CommitPoint, reached
from bcda.storage.documents import read_json, read_text
from bcda.storage.file_format import FormatCheck
from bcda.storage.files import (
    OwnFile,
    open_new,
    open_own,
    parts_in,
    private_folder,
    reason_of,
    sync_folder,
    take_over,
    told,
)

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
_UNPACKED_BYTES = 1 << 17
_FEW_LINES = 32
_MOST_CONTENT_BYTES = int(budgets.FILE_MEGABYTES * budgets.MEGABYTE * budgets.UNPACKED_TIMES)
_EMPTY_MEMBER_BYTES = 23
_STORED_PLAIN = "/warnings-and-info.ndjson"
_ENCODINGS = ("gzip", "identity", "")
_NDJSON_TYPES = ("application/fhir+ndjson", "application/ndjson", "application/x-ndjson")


@dataclass(frozen=True, slots=True)
class Proof:
    """What reading a gzip file to its end showed.

    Attributes:
        content_bytes: size uncompressed.
        lines: lines; a last one without newline counts.
    """

    content_bytes: int
    lines: int


async def fetch_batch(
    client: BcdaClient,
    files: Sequence[OutputFile],
    folder: Path,
    *,
    job_id: str,
    on_file: Callable[[Receipt], None] | None = None,
    share: Callable[[Receipt], None] | None = None,
) -> list[Receipt]:
    """Fetch files into a run's raw folder, several at a time.

    A file with a receipt is not requested again, unless it is no longer what the receipt says. The first error stops the others;
    what has a receipt by then stays.

    Args:
        client: of the server the files are on.
        files: of the manifest.
        folder: raw folder of the run; made with mode 0700.
        job_id: whose status tells an expired job from a refused token.
        on_file: called after each receipt.
        share: hands a receipted file over to other workers; called for each, in a thread, before the file counts as done.

    Returns:
        Receipts in the order of `files`.

    Raises:
        IncompleteFileError: a file stayed short or damaged for `tuning.file_attempts` downloads.
        ExportExpiredError: the job's files are gone.
        CredentialsError: the token was refused although the job is still there.
        TransientError: the server stayed unreachable.
        StorageError: the folder cannot be written, or its file system is nearly full.
        OversizedFileError: a file is larger than its budget.
        FileFormatError: a file is not NDJSON in UTF-8.

    Source: docs/architecture.md#raw-bytes-first, docs/bcda.md#downloads, docs/bcda.md#rules-for-a-client, rules 9 and 16.
    """
    private_folder(folder)
    at_once = client.settings.tuning.concurrent_downloads
    transfers = asyncio.Semaphore(at_once)
    # As many again are being proved: that takes processor and disk while the transfers take the network.
    in_hand = asyncio.Semaphore(2 * at_once)
    receipts: dict[str, Receipt] = {}
    with told(f"read the folder {folder}"):
        left = parts_in(folder)

    async def fetch(file: OutputFile) -> None:
        async with in_hand:
            receipt = await asyncio.to_thread(proved_receipt, folder, file.name, file.url)
            if receipt is None:
                receipt = await _Download(client, file, folder, job_id, transfers).run(left.get(file.name, ()))
                if on_file is not None:
                    on_file(receipt)
            if share is not None:
                await asyncio.to_thread(share, receipt)
            receipts[file.name] = receipt

    try:
        async with asyncio.TaskGroup() as group:
            for file in files:
                group.create_task(fetch(file))
    except* BcdaError as errors:
        # The first error is what stopped the batch; the others were canceled by it or are like it.
        raise errors.exceptions[0] from None
    return [receipts[file.name] for file in files]


class _Download:
    """One file, from its first byte to its receipt."""

    def __init__(
        self, client: BcdaClient, file: OutputFile, folder: Path, job_id: str, transfers: asyncio.Semaphore
    ) -> None:
        self._client = client
        self._file = file
        self._folder = folder
        self._job_id = job_id
        self._transfers = transfers
        self._target = folder / file.name
        self._part: OwnFile
        self._ends_at = time.monotonic() + budgets.FILE_SECONDS
        self._budget: TransferBudget | None = None

    async def run(self, left: Iterable[Path]) -> Receipt:
        """Fetch the file, from where a dead attempt left it."""
        try:
            self._part = take_over(left) or open_own(self._target, "part")
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            return await self._fetch()
        except (OversizedFileError, FileFormatError, StorageError):
            # No later try goes on with it, and what is short may be the room that it takes.
            with suppress(OSError):
                self._discard()
            raise
        finally:
            if not self._part.size:
                self._part.remove()
            self._part.close()

    async def _fetch(self) -> Receipt:
        attempt = 0
        failure: TransientError | None = None
        while True:
            attempt += 1
            held = self._held()
            try:
                async with self._transfers:
                    if failure is not None:
                        # A file that waits keeps its turn: a server in trouble is asked less often, not more.
                        await self._client.wait_before_retry(attempt - 1, failure)
                    await self._transfer()
                reached(CommitPoint.FILE_COMPLETE)
                return await _to_its_end(self._prove_and_keep)
            except TransientError as error:
                # A cut transfer that brought something is progress and does not count against the file.
                is_slow = self._budget is not None and self._budget.is_slow
                if isinstance(error, IncompleteFileError) and 0 < held < self._held() and not is_slow:
                    attempt -= 1
                wished, is_over = error.retry_after_seconds or 0.0, time.monotonic() >= self._ends_at
                if attempt >= self._client.settings.tuning.file_attempts or wished > budgets.HELD_SECONDS or is_over:
                    raise
                log.info("%s: download %d failed, trying again: %s", self._file.name, attempt, error)
                failure = error
            except OSError as error:
                raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StorageError:
        return StorageError(
            f"Cannot write {self._target}: {reason_of(error)}. Free some space or check the owner; what is complete stays."
        )

    def _held(self) -> int:
        return self._part.size

    async def _transfer(self) -> None:
        """Bring the part file to the end of what the server sends.

        Raises:
            IncompleteFileError: the connection ended before the body did; the part file is kept if it can be resumed.
        """
        headers = {"Accept": "application/fhir+ndjson", "Accept-Encoding": "gzip"}
        held, last_modified = self._held(), self._last_modified()
        if held and last_modified:
            headers |= {"Range": f"bytes={held}-", "If-Range": last_modified}
        async with self._client.stream(self._file.url, headers) as response:
            if response.status_code == 416 and held:  # noqa: PLR2004
                # Everything was there already, or the file changed; the proof tells which.
                self._drop_beyond(response.headers.get("Content-Range", ""), held)
                return
            await self._check(response)
            resumed = response.status_code == 206  # noqa: PLR2004
            if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {held}-"):
                self._discard()
                raise ServerError(f"{self._file.name}: the server resumed at another place than asked; starting over.")
            if not resumed:
                self._discard()
                self._remember(response)
            self._budget = self._new_budget()
            self._budget.begin(response.headers.get("Content-Length"))
            await self._receive(response, self._budget)

    def _new_budget(self) -> TransferBudget:
        tuning = self._client.settings.tuning
        return TransferBudget(self._file.name, self._folder, tuning, held=self._held(), ends_at=self._ends_at)

    def _drop_beyond(self, content_range: str, held: int) -> None:
        """Cut off what was held beyond the end of the stored file.

        BCDA appends an empty gzip member that ranges do not count, so a transfer can break off inside it (docs/bcda.md#downloads).
        """
        size = content_range.removeprefix("bytes */")
        if re.fullmatch(r"[0-9]{1,18}", size) and 0 < held - int(size) < _EMPTY_MEMBER_BYTES:
            self._part.file.truncate(int(size))

    async def _receive(self, response: httpx.Response, budget: TransferBudget) -> None:
        compressed = _encoding(response) == "gzip" or response.status_code == 206  # noqa: PLR2004
        file = self._part.file
        file.seek(0, 2)
        # Files that BCDA stores plain (warnings) are compressed here, so that raw/ holds one format.
        packer = None if compressed else isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)
        first = None if self._held() else FirstBytes(self._file.name, is_gzip=compressed)
        try:
            # Without a chunk size nothing waits in a buffer that a broken connection would lose.
            async for chunk in response.aiter_raw():
                self._look(first, chunk)
                budget.add(len(chunk))
                file.write(packer.compress(chunk) if packer else chunk)
            self._look(first, None)
            if packer:
                file.write(packer.flush())
            file.flush()
        except httpx.HTTPError as error:
            file.flush()
            received = file.tell()
            if packer:
                file.truncate(0)
            raise IncompleteFileError(
                f"{self._file.name}: the connection broke after {received} bytes ({type(error).__name__}).",
                file_name=self._file.name,
                bytes_received=received,
            ) from error

    def _look(self, first: FirstBytes | None, chunk: bytes | None) -> None:
        """Look at the first bytes of a file as they come; None says that there are no more.

        Raises:
            ServerError, IncompleteFileError, FileFormatError: they are none of an export; nothing of them is kept.
        """
        if first is None:
            return
        try:
            first.end() if chunk is None else first.look(chunk)
        except BcdaError:
            self._discard()
            raise

    async def _check(self, response: httpx.Response) -> None:
        """Accept an answer that brings the file.

        Raises:
            ExportExpiredError, CredentialsError, TransientError: whatever it is instead.
        """
        if response.status_code in {200, 206}:
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if kind not in _NDJSON_TYPES:
                raise ServerError(
                    f"{self._file.name}: answered with content type {server_text.media_type(kind) or 'none'} instead of NDJSON, "
                    "so not with the file."
                )
            if _encoding(response) not in _ENCODINGS:
                raise ServerError(
                    f"{self._file.name}: came in an encoding that was not asked for, so it was not kept. Only gzip was. Look for a "
                    "proxy between this machine and BCDA that changes answers."
                )
            if _encoding(response) != "gzip" and "Content-Length" not in response.headers:
                raise ServerError(
                    f"{self._file.name}: came uncompressed and without a length, so nothing could prove it whole; it was not kept. "
                    "Look for a proxy between here and BCDA that unpacks answers."
                )
            return
        if response.status_code in {401, 403, 404, 410}:
            status = await self._client.status(self._job_id)
            if status.state is JobState.FAILED:
                # A complete job cannot fail any more: BCDA answers so too when its check of the token fails (docs/bcda.md#token-check).
                raise ServerError(
                    f"{self._file.name}: {response.status_code}, and asked for job {self._job_id} BCDA answers 500 and says "
                    f'"{status.reason}".',
                    status=500,
                )
            if status.state is not JobState.COMPLETED:
                raise ExportExpiredError(
                    f"{self._file.name}: {response.status_code}, and job {self._job_id} is {status.state}: its files are gone. "
                    "They live for a day; start a new run.",
                    job_id=self._job_id,
                )
            if response.status_code in {404, 410}:
                raise ServerError(
                    f"{self._file.name}: {response.status_code}, although job {self._job_id} is complete."
                )
            raise CredentialsError(
                f"{self._file.name}: {response.status_code} with a fresh token, although job {self._job_id} is there. "
                "Check that the connection has the credentials that started the job."
            )
        error = self._client.error_of(response, self._file.name)
        raise error

    def _prove_and_keep(self) -> Receipt:
        """Prove the part file whole, give it its name and write its receipt.

        Raises:
            IncompleteFileError: damaged or short; the part file is thrown away.
        """
        size = self._held()
        try:
            most = self._client.settings.tuning.file_megabytes * budgets.MEGABYTE * budgets.UNPACKED_TIMES
            proof = verify_gzip(self._part.path, most_bytes=int(most))
        except IncompleteFileError as error:
            # The server ended the body properly, so there is nothing to resume.
            self._discard()
            raise IncompleteFileError(
                f"{self._file.name}: {size} bytes came and the transfer ended properly, but the gzip stream is "
                f"{'short' if 'early' in str(error) else 'damaged'}; if this persists the file is damaged at BCDA: start a new run.",
                file_name=self._file.name,
                bytes_received=size,
            ) from error
        receipt = Receipt(
            name=self._file.name,
            kind=self._file.kind,
            resource_type=self._file.resource_type,
            url=self._file.url,
            wire_bytes=size,
            wire_sha256=_sha256(self._part.path),
            content_bytes=proof.content_bytes,
            lines=proof.lines,
        )
        return self._keep(receipt)

    def _keep(self, receipt: Receipt) -> Receipt:
        """Give the proved part its name, unless another attempt was first, and write the receipt of what has the name."""
        if not self._part.name_first(self._target):
            other = proved_receipt(self._folder, self._file.name, self._file.url)
            if other is not None:
                log.info("%s: another attempt was first", self._file.name)
                self._part.remove()
                return other
            self._drop_receipt()
            if _have_same_content(self._target, self._part.path):
                # Of the same content the bytes can differ: a resumed file lacks the empty member that the server adds.
                size, digest = self._target.stat().st_size, _sha256(self._target)
                receipt = replace(receipt, wire_bytes=size, wire_sha256=digest)
            else:
                # A damaged file, or one of another job.
                self._part.replace(self._target)
        reached(CommitPoint.FILE_NAMED)
        write_receipt(self._folder, receipt)
        reached(CommitPoint.FILE_RECEIPTED)
        self._part.remove()
        return receipt

    def _drop_receipt(self) -> None:
        """Remove a receipt that is not that of this file: beside it, it would be one that matches nothing."""
        receipt_path(self._folder, self._file.name).unlink(missing_ok=True)
        sync_folder(self._folder)

    def _last_modified(self) -> str | None:
        """Return what guards a resumption, or None when the part file cannot be resumed."""
        try:
            memo = read_json(self._part.memo.read_bytes())
            return read_text(memo, "last_modified") if read_text(memo, "url") == self._file.url else None
        except (FileNotFoundError, ValueError):
            return None

    def _remember(self, response: httpx.Response) -> None:
        last_modified = response.headers.get("Last-Modified")
        # Ranges count compressed bytes, so only a stored gzip stream can be resumed (docs/bcda.md#downloads); the file of warnings is
        # stored plain and compressed on the way.
        is_stored_plain = self._file.url.endswith(_STORED_PLAIN)
        if (
            last_modified
            and not is_stored_plain
            and _encoding(response) == "gzip"
            and "bytes" in response.headers.get("Accept-Ranges", "")
        ):
            # Not synced: when the machine itself stops, the part file's bytes are as uncertain, and the proof decides.
            with open_new(self._part.memo) as file:
                file.write(json.dumps({"url": self._file.url, "last_modified": last_modified}).encode())

    def _discard(self) -> None:
        self._part.file.seek(0)
        self._part.file.truncate()
        self._part.memo.unlink(missing_ok=True)


async def _to_its_end(work: Callable[[], Receipt]) -> Receipt:
    """Call a function in a thread; one that is canceled meanwhile waits for it, since it is at work on an open file."""
    thread = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        # Nobody is told of its error, and asyncio would print it otherwise.
        thread.exception()
        raise


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _have_same_content(one: Path, other: Path) -> bool:
    """Tell whether two gzip files unpack to the same; the second one is whole."""
    try:
        with igzip.open(one, "rb") as left, igzip.open(other, "rb") as right:
            while piece := right.read(_CHUNK_BYTES):
                if left.read(len(piece)) != piece:
                    return False
            return not left.read(1)
    except (EOFError, igzip.BadGzipFile, igzip_lib.IsalError):  # type: ignore[misc]  # the stub declares an instance
        return False


def _check_size(path: Path, wire_bytes: int, unpacked_bytes: int, most_bytes: int) -> None:
    if unpacked_bytes > min(most_bytes, max(budgets.UNPACKS_TO_BYTES, budgets.UNPACKS_TO_TIMES * wire_bytes)):
        raise OversizedFileError(
            f"{path.name}: {wire_bytes} bytes unpack to more than {unpacked_bytes}, which is larger than any export's "
            "file; it was not unpacked to its end. Start a new run; if it comes again, tell BCDA's help desk.",
            file_name=path.name,
        )


def _encoding(response: httpx.Response) -> str:
    return str(response.headers.get("Content-Encoding", "")).strip().lower()


def verify_gzip(path: Path, *, most_bytes: int = _MOST_CONTENT_BYTES) -> Proof:
    """Read a gzip file to its very end, every member with its CRC and length.

    Args:
        path: any number of members; BCDA appends an empty one (docs/bcda.md#downloads).
        most_bytes: that the content may have.

    Returns:
        Size and lines of the content. Memory does not grow with the file.

    Raises:
        IncompleteFileError: the stream ends early or is damaged.
        OversizedFileError: it goes on far beyond what an export holds.
        FileFormatError: it is not NDJSON in UTF-8.
    """
    wire_bytes = path.stat().st_size
    if wire_bytes == 0:
        raise IncompleteFileError(f"{path.name}: the gzip stream ends early.", file_name=path.name, bytes_received=0)
    size = lines = 0
    buffer = bytearray(_UNPACKED_BYTES)
    last = ord("\n")
    try:
        check = FormatCheck(path.name)
        with igzip.open(path, "rb") as file:
            while got := file.readinto(buffer):
                size += got
                check.look(buffer, got)
                _check_size(path, wire_bytes, size, most_bytes)
                lines += _newlines(buffer, got)
                last = buffer[got - 1]
        check.end()
    except (EOFError, igzip.BadGzipFile, igzip_lib.IsalError) as error:  # type: ignore[misc]  # the stub declares an instance
        raise IncompleteFileError(
            f"{path.name}: the gzip stream {'ends early' if isinstance(error, EOFError) else 'is damaged'}.",
            file_name=path.name,
            bytes_received=wire_bytes,
        ) from error
    return Proof(size, lines if last == ord("\n") else lines + 1)


def _newlines(buffer: bytearray, stop: int) -> int:
    """Count the newlines in the first bytes of a buffer.

    `count` looks at one byte after the other, `find` at many at once: for lines of some kilobytes, as claims are, it is
    seven times as fast, and counting was a third of the proof.
    """
    found = start = 0
    while found < _FEW_LINES and (newline := buffer.find(b"\n", start, stop)) >= 0:
        found += 1
        start = newline + 1
    return found if found < _FEW_LINES else found + buffer.count(b"\n", start, stop)
