"""Objects of a bucket: put, got, listed and removed as streams, over pyarrow's file system for S3.

An object is there whole or not at all, and replaced as a whole: that is S3's own promise. What a stage makes of it, so that
half an upload is never taken for a commit, is in `runs.shared_folder`.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import fs

from bcda.errors import BcdaError, StorageError, StoreUnavailableError
from bcda.network import Network, Proxy
from bcda.storage.files import own_file, private_folder, reason_of
from bcda.storage.places import Places
from bcda.storage.store_address import StoreAddress

T = TypeVar("T")
R = TypeVar("R")

_PIECE_BYTES = 8 << 20
"""Read or written at a time: one request of a download, somewhat less than a part of an upload."""

_AT_ONCE = 4
"""Files that are under way together, so that memory stays at some tens of megabytes."""

SMALL_AT_ONCE = 16
"""Requests for small objects, where the time is all latency."""

_RECORD_BYTES = 64 << 20
"""More than any record of ours; an object that is longer is none."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What was put.

    Attributes:
        bytes: size.
        sha256: of the content, hexadecimal.
    """

    bytes: int
    sha256: str


def store_of(places: Places) -> "ObjectStore | None":
    """Return the object store of a source, or None when its places are all there is."""
    return None if places.store is None else _connected(places.store)


class ObjectStore:
    """The objects below one address. Names are relative to it, with slashes; several threads may use it together.

    Raises:
        InvalidRequestError: the environment names a proxy or a trust store that cannot be used.
    """

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        self._is_bucket_there = False
        way = Network.to(_url(address))
        # A file below the size of a part is one request instead of three. The stubs do not have all of these yet.
        newer: dict[str, Any] = {"allow_delayed_open": True}
        if ca_file := address.ca_file or (way.trust.variable and not way.trust.is_folder and way.trust.path):
            newer["tls_ca_file_path"] = ca_file
        if way.proxy:
            newer["proxy_options"] = _proxy_options(way.proxy)
        with _translated(str(address)):
            self._files = fs.S3FileSystem(
                region=address.region or None,
                endpoint_override=address.endpoint or None,
                scheme="http" if address.is_plain_http else "https",
                connect_timeout=address.connect_timeout_seconds,
                request_timeout=address.request_timeout_seconds,
                force_virtual_addressing=address.has_virtual_hosts,
                # Written in the background, parts would pile up in memory when the network is slower than the disk.
                background_writes=False,
                **newer,
            )

    def put(self, source: Path, name: str) -> Digest:
        """Upload a file, in parts when it is large, and return what was sent.

        Raises:
            StorageError: the file cannot be read, or the store refuses it.
            StoreUnavailableError: the store does not answer.
        """
        digest, sent = hashlib.sha256(), 0
        try:
            with source.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                with _translated(self._shown(name)), self._writing(name) as stream:
                    while piece := _read(file.read):
                        stream.write(piece)
                        digest.update(piece)
                        sent += len(piece)
        except _UnreadableError as error:
            # Leaving the stream has made an object of what was there; nobody may take it for the file.
            self.delete([name])
            raise StorageError(f"Cannot read {source} to upload it: {error}. Nothing of it was kept.") from None
        except OSError as error:
            raise StorageError(f"Cannot read {source} to upload it: {reason_of(error)}. Check the owner.") from error
        if sent != size:
            self.delete([name])
            raise StorageError(f"{source} changed while it was uploaded. Nothing of it was kept; run the task again.")
        return Digest(sent, digest.hexdigest())

    def write(self, name: str, content: bytes) -> None:
        """Put a small object.

        Raises:
            StorageError, StoreUnavailableError: see `put`.
        """
        with _translated(self._shown(name)), self._writing(name) as stream:
            stream.write(content)

    def read(self, name: str) -> bytes | None:
        """Return a small object, or None when it is not there.

        Raises:
            StorageError: there is no such bucket, it may not be read, or the object is too large for a record.
            StoreUnavailableError: the store does not answer.
        """
        with _translated(self._shown(name)):
            try:
                with self._reading(name) as stream:
                    content: bytes = stream.read(_RECORD_BYTES + 1)
            except FileNotFoundError:
                self._check_bucket()
                return None
        if len(content) > _RECORD_BYTES:
            raise StorageError(f"{self._shown(name)} is too large for a record of ours; someone else put it there.")
        return content

    def get(self, name: str, target: Path, *, size: int, sha256: str | None = None) -> None:
        """Bring an object into a file (0600): under a name of the attempt's own first, proved, synced, then renamed.

        Args:
            name: of the object.
            target: the file; replaced when it is there, its folder made when it is not.
            size: in bytes, from a record.
            sha256: of the content, from a record; None where no record tells.

        Raises:
            StorageError: it is missing or another one than the record says, or the disk is full.
            StoreUnavailableError: the store does not answer, or breaks off.
        """
        private_folder(target.parent)
        try:
            with own_file(target) as own:
                got = self._receive(name, own.file.write)
                if got.bytes != size or sha256 not in {None, got.sha256}:
                    raise StorageError(
                        f"{self._shown(name)} is not what its record says: {got.bytes} bytes came of {size}, or others. Clear the "
                        "task that makes it, `fetch` of a raw file or `land` of a lake file: it notices, and makes it again."
                    )
                own.replace(target)
        except OSError as error:
            raise StorageError(f"Cannot write {target}: {reason_of(error)}. Check owner and free space.") from error

    def holds(self, name: str, *, size: int, sha256: str) -> bool:
        """Tell whether an object is there with the content that its record gives; reads all of it where its size is right.

        Args:
            name: of the object.
            size: in bytes, from a record.
            sha256: of the content, from a record.

        Raises:
            StorageError: the store refuses.
            StoreUnavailableError: the store does not answer, or breaks off.
        """
        return self.size(name) == size and self._receive(name, len) == Digest(size, sha256)

    def _receive(self, name: str, write: Callable[[bytes], object]) -> Digest:
        digest, got = hashlib.sha256(), 0
        shown = self._shown(name)
        with _translated(shown):
            stream = self._reading(name)
        with stream:
            while True:
                with _translated(shown):
                    piece = stream.read(_PIECE_BYTES)
                if not piece:
                    return Digest(got, digest.hexdigest())
                write(piece)
                digest.update(piece)
                got += len(piece)

    def _reading(self, name: str) -> pa.NativeFile:
        # Without the word pyarrow unpacks what is called .gz, and packs it once more when it is written.
        return self._files.open_input_stream(self._address.path(name), compression=None)

    def _writing(self, name: str) -> pa.NativeFile:
        return self._files.open_output_stream(self._address.path(name), compression=None)

    def size(self, name: str) -> int | None:
        """Return the size of an object, or None when it is not there.

        Raises:
            StorageError, StoreUnavailableError: see `read`.
        """
        with _translated(self._shown(name)):
            found = self._files.get_file_info(self._address.path(name))
        return found.size if found.type == fs.FileType.File else None

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size of every object below a folder, however deep, by its name.

        Raises:
            StorageError, StoreUnavailableError: see `read`.
        """
        return {name: size for name, size in self._list(folder, recursive=True) if size is not None}

    def children(self, folder: str) -> list[str]:
        """Return the names of folders and objects in a folder, sorted.

        Raises:
            StorageError, StoreUnavailableError: see `read`.
        """
        return sorted(name for name, _ in self._list(folder, recursive=False))

    def _list(self, folder: str, *, recursive: bool) -> Iterator[tuple[str, int | None]]:
        top = self._address.path("")
        selector = fs.FileSelector(self._address.path(folder), allow_not_found=True, recursive=recursive)
        with _translated(self._shown(folder)):
            found = self._files.get_file_info(selector)
            if not found:
                self._check_bucket()
        for info in found:
            yield info.path.removeprefix(f"{top}/"), info.size if info.type == fs.FileType.File else None

    def copy(self, name: str, other: str) -> None:
        """Copy an object inside the store, which S3 does for objects up to 5 GB.

        Raises:
            StorageError, StoreUnavailableError: see `read`.
        """
        with _translated(self._shown(name)):
            self._files.copy_file(self._address.path(name), self._address.path(other))

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are removed already.

        Raises:
            StorageError, StoreUnavailableError: see `read`.
        """

        def remove(name: str) -> None:
            with _translated(self._shown(name)):
                try:
                    self._files.delete_file(self._address.path(name))
                except FileNotFoundError:
                    self._check_bucket()

        in_parallel(remove, list(names), at_once=SMALL_AT_ONCE)

    def _check_bucket(self) -> None:
        """Raise StorageError when there is no bucket: pyarrow reports its objects as missing then."""
        if not self._is_bucket_there:
            if self._files.get_file_info(self._address.bucket).type == fs.FileType.NotFound:
                raise StorageError(_NO_BUCKET.format(where=f"s3://{self._address.bucket}"))
            self._is_bucket_there = True

    def _shown(self, name: str) -> str:
        return f"s3://{self._address.path(name)}"


def in_parallel(function: Callable[[T], R], items: Sequence[T], *, at_once: int = _AT_ONCE) -> list[R]:
    """Call a function for each item, several at a time, and return the results in order; the first error stops the rest.

    Args:
        function: to call.
        items: one for each call.
        at_once: how many together; the default is for files, more is right for small objects.
    """
    if len(items) <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(function, items))


class _UnreadableError(Exception):
    """Our own file could not be read, so that it is not mistaken for an error of the store."""


def _read(read: Callable[[int], bytes]) -> bytes:
    try:
        return read(_PIECE_BYTES)
    except OSError as error:
        raise _UnreadableError(reason_of(error)) from None


def _url(address: StoreAddress) -> str:
    """Return the address that the proxy rule is asked about; Amazon's own holds the bucket and, if it is known, the region."""
    if address.endpoint:
        return f"{'http' if address.is_plain_http else 'https'}://{address.endpoint}"
    region = f".{address.region}" if address.region else ""
    return f"https://{address.bucket}.s3{region}.amazonaws.com"


def _proxy_options(proxy: Proxy) -> dict[str, str | int]:
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    options: dict[str, str | int] = {"scheme": proxy.scheme, "host": host, "port": proxy.port}
    if proxy.username or proxy.password:
        options |= {"username": proxy.username, "password": proxy.password}
    return options


@lru_cache(maxsize=16)
def _connected(address: StoreAddress) -> ObjectStore:
    return ObjectStore(address)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn pyarrow's errors into ours. The server's own text is left out: it can hold parts of a request."""
    try:
        yield
    except FileNotFoundError:
        raise StorageError(
            f"{what} is not in the object store although a record says so. If retention or someone removed it, start a new "
            "run; else run the task that makes it again."
        ) from None
    except (OSError, pa.ArrowException) as error:
        raise _error_of(str(error), what) from None


def _error_of(text: str, what: str) -> BcdaError:
    found = _CODE.search(text)
    code = found.group(1) if found else "no code"
    status = int(found.group(2)) if found and found.group(2) else None
    if code == "NO_SUCH_BUCKET":
        return StorageError(_NO_BUCKET.format(where=what))
    if code in _DENIED or status in {401, 403}:
        return StorageError(
            f"The object store refuses {what} ({code}). Check the credentials of this worker (AWS_ACCESS_KEY_ID, ~/.aws or its "
            "role), their age, the clock, and that the policy allows GetObject, PutObject, DeleteObject, AbortMultipartUpload "
            "and ListBucket there."
        )
    if code in _AWAY or (status or 0) >= 500:  # noqa: PLR2004
        return StoreUnavailableError(
            f"The object store does not answer for {what} ({code}{f' {status}' if status else ''}). If it "
            "persists, check endpoint_override, region, network and proxy of this worker."
        )
    return StorageError(
        f"The object store cannot do what was asked with {what} ({code}{f' {status}' if status else ''}). Check region and "
        "endpoint_override in BCDA_OBJECT_STORE."
    )


_CODE = re.compile(r"AWS Error ([A-Z_]+)(?: \(HTTP status (\d+)\))?")
_NO_BUCKET = "There is no bucket for {where}. Check BCDA_OBJECT_STORE, or make the bucket: it is never made from here."
_DENIED = frozenset(
    {
        "ACCESS_DENIED",
        "INVALID_ACCESS_KEY_ID",
        "INVALID_CLIENT_TOKEN_ID",
        "INVALID_SIGNATURE",
        "MISSING_AUTHENTICATION_TOKEN",
        "REQUEST_EXPIRED",
        "REQUEST_TIME_TOO_SKEWED",
        "SIGNATURE_DOES_NOT_MATCH",
        "UNRECOGNIZED_CLIENT",
    }
)
_AWAY = frozenset(
    {"INTERNAL_FAILURE", "NETWORK_CONNECTION", "REQUEST_TIMEOUT", "SERVICE_UNAVAILABLE", "SLOW_DOWN", "THROTTLING"}
)
