"""Where everything lies: raw bytes, lake, warehouse, published database."""

import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bcda.encryption import EncryptionKey
from bcda.errors import InvalidRequestError, StorageError
from bcda.store_address import StoreAddress

DEFAULT_SOURCE = "bcda_default"
"""Connection whose data lies at the top of BCDA_HOME."""

_SOURCE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,99}")


@dataclass(frozen=True, slots=True)
class Places:
    """The four places of one source's data; folders are made with mode 0700, files with 0600.

    Every source, which is a connection to one organization at one BCDA, has places of its own: nothing of two sources is
    ever in one folder or one database.

    Attributes:
        raw: bytes as received, one folder per run.
        lake: Hive-partitioned Parquet.
        warehouse: the working DuckDB database (a file).
        published: the DuckDB file that analysts open.
        source_id: the source.
        key: encrypts lake, warehouse and published database; None leaves them as they are. Raw files are not encrypted.
        store: object store through which workers without a common disk share raw and lake; raw and lake are working copies
            then. None for workers that have a disk in common.
    """

    raw: Path
    lake: Path
    warehouse: Path
    published: Path
    source_id: str = DEFAULT_SOURCE
    key: EncryptionKey | None = field(default=None, repr=False)
    store: StoreAddress | None = None

    def __post_init__(self) -> None:
        """Refuse a place that DuckDB would not write to.

        Raises:
            InvalidRequestError: a database's path has a question mark, after which DuckDB expects parameters.
        """
        if "?" in f"{self.warehouse}{self.published}":
            raise InvalidRequestError("BCDA_HOME and its overrides cannot have a question mark in their paths.")

    @classmethod
    def below(cls, home: Path) -> "Places":
        """Return the places in their usual names below one folder."""
        return cls(home / "raw", home / "lake", home / "warehouse" / "working.duckdb", home / "bcda.duckdb")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, default_home: Path) -> "Places":
        """Return the places named by `BCDA_HOME` and its overrides.

        Args:
            environment: such as `os.environ`; reads BCDA_HOME, BCDA_RAW, BCDA_LAKE, BCDA_WAREHOUSE, BCDA_PUBLISHED,
                BCDA_ENCRYPTION_KEY and BCDA_OBJECT_STORE.
            default_home: used when BCDA_HOME is not set.

        Raises:
            InvalidRequestError: a path, the key or the object store's address is malformed.
        """
        key = environment.get("BCDA_ENCRYPTION_KEY")
        store = environment.get("BCDA_OBJECT_STORE")
        usual = cls.below(Path(environment.get("BCDA_HOME") or default_home).expanduser().absolute())
        return cls(
            raw=Path(environment.get("BCDA_RAW") or usual.raw),
            lake=Path(environment.get("BCDA_LAKE") or usual.lake),
            warehouse=Path(environment.get("BCDA_WAREHOUSE") or usual.warehouse),
            published=Path(environment.get("BCDA_PUBLISHED") or usual.published),
            key=EncryptionKey.from_text(key) if key else None,
            store=StoreAddress.from_text(store) if store else None,
        )

    def of_source(self, source_id: str) -> "Places":
        """Return the places of another source: folders named after it below `sources`, beside those of the default one.

        Raises:
            InvalidRequestError: the id could leave the folder.
        """
        if not _SOURCE_ID.fullmatch(source_id):
            raise InvalidRequestError("A source's id holds letters, digits, dot, hyphen and underscore only.")
        if source_id == self.source_id:
            return self
        return Places(
            raw=self.raw.parent / "sources" / source_id / self.raw.name,
            lake=self.lake.parent / "sources" / source_id / self.lake.name,
            warehouse=self.warehouse.parent.parent
            / "sources"
            / source_id
            / self.warehouse.parent.name
            / self.warehouse.name,
            published=self.published.parent / "sources" / source_id / self.published.name,
            source_id=source_id,
            key=self.key,
            store=self.store.of_source(source_id) if self.store else None,
        )

    @property
    def reports(self) -> Path:
        """Folder of the run reports, `{run_id}.html` and `{run_id}.txt`, beside the published database."""
        return self.published.parent / "reports"

    def run_folder(self, run_id: str) -> Path:
        """Return the raw folder of one run.

        Raises:
            InvalidRequestError: the run id could leave the raw folder.
        """
        if not _RUN_ID.fullmatch(run_id):
            raise InvalidRequestError("A run id holds letters, digits, dot, hyphen and underscore only.")
        return self.raw / run_id


def private_folder(path: Path) -> Path:
    """Make a folder and its missing parents readable by their owner alone (0700), and return it.

    Raises:
        StorageError: it cannot be made.
    """
    missing = []
    current = path
    while not current.exists():
        missing.append(current)
        current = current.parent
    try:
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(f"Cannot make the folder {path}: {error.strerror}. Check owner and free space.") from error
    return path


class _PrivateFiles:
    """Files and folders that a library makes by itself are their owner's alone (0600, 0700) while this is entered.

    The umask belongs to the process, so it is narrowed by the first who enters and given back by the last who leaves;
    other threads make private files meanwhile, which harms nobody.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._umask = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._umask = os.umask(0o077)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                os.umask(self._umask)


private_files = _PrivateFiles()
"""For `with`: around whatever lets DuckDB make its log, its spilled data or a database."""


def write_durably(path: Path, content: bytes) -> None:
    """Write a small file so that it is there whole or not at all, also after a crash (0600).

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"Cannot write {path}: {error.strerror}. Check owner and free space.") from error


def clear_temporaries(folder: Path) -> None:
    """Remove what killed writers left in a folder that nobody writes to any more: hidden files, whatever their age."""
    for leftover in folder.glob(".*"):
        if leftover.is_file():
            leftover.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Make renames in a folder survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
