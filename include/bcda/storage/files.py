"""How files and folders are written: privately, under a name of the attempt's own, and whole or not at all.

Two attempts can be alive together: an orchestrator that is killed leaves its task at work, and starts another one. So an
attempt writes under a random name that it opens exclusively, and gives a file its lasting name only when it is complete. While
an attempt lives it holds a lock on what it writes; what nobody holds was left by a dead one, and is removed or taken over.
No link is followed to a file, and a mode is set on the open file.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from bcda.errors import StorageError
from bcda.storage.folder_modes import check_folder

ABANDONED = timedelta(days=2)
"""Age from which on a temporary file without a lock is left over: one of an earlier release, or on a mount without locks."""

_NO_LOCKS = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL, errno.EBADF})
"""What a mount without locks says; NFS has none on folders and says the last one."""

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})

_OURS = re.compile(r"\..+\.[0-9a-f]{16}\.(tmp|part)", re.DOTALL)
_MEMO = ".json"
_PART = ".part"
_EARLIER = re.compile(
    r"\..+\.(\d+\.tmp|parquet\.tmp|[0-9a-f]{8}\.tmp.*|encrypted|key|copy.*|part(\.json)?)|\.spill-.+|.+\.spill"
)
"""Temporary names of earlier releases, which held no lock on them."""


def reason_of(error: OSError) -> str:
    """Return why a file cannot be read or written, in the system's words; a library's own text can hold anything."""
    return error.strerror or type(error).__name__ if error.errno else type(error).__name__


@contextmanager
def told(what: str) -> Iterator[None]:
    """Raise an error of the file system as ours.

    Args:
        what: cannot be done then, such as `read /data/raw/r1/run.json`.

    Raises:
        StorageError: in place of an OSError; FileNotFoundError passes, since its callers know what it means.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(
            f"Cannot {what}: {reason_of(error)}. Check the owner, the mount and the free space, then run the task again."
        ) from error


def read_bytes(path: Path) -> bytes:
    """Return what a small file holds.

    Raises:
        FileNotFoundError: it is not there.
        StorageError: it cannot be read.
    """
    with told(f"read {path}"):
        return path.read_bytes()


# Folders


def private_folder(path: Path) -> Path:
    """Make a folder and its missing parents readable by their owner alone (0700), and return it.

    Raises:
        StorageError: it cannot be made, or other accounts may write in it (`folder_modes`).
    """
    try:
        missing = []
        current = path
        while not current.exists():
            missing.append(current)
            current = current.parent
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
            # Not even a synced file survives a crash of the machine in a folder that does not.
            sync_folder(folder.parent)
    except OSError as error:
        raise StorageError(f"Cannot make the folder {path}: {reason_of(error)}. Check owner and free space.") from error
    check_folder(path)
    return path


def sync_folder(path: Path) -> None:
    """Make what was named in a folder survive a crash of the machine.

    Raises:
        OSError: the folder cannot be synced.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def make_private(path: Path) -> None:
    """Make a file its owner's alone (0600); a link is not followed.

    Its descriptor is one that only names the file: closing another kind would give back DuckDB's lock on a database.

    Raises:
        StorageError: it is a link, or belongs to another account.
    """
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise StorageError(
                f"{path} is a link or no file. Put the file itself there, or name its place in the environment."
            )
        if stat.S_IMODE(mode) == 0o600:  # noqa: PLR2004
            return
        os.chmod(f"/proc/self/fd/{descriptor}", 0o600)  # noqa: PTH101 - the open file, whatever has its name now
    except OSError as error:
        raise StorageError(f"Cannot make {path} private: {reason_of(error)}. Check the owner.") from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)


# Temporary files


class OwnFile:
    """A file under a name of this attempt's own: opened exclusively, private, held by a lock while it is open.

    Attributes:
        path: the temporary name.
        file: the open file; use it rather than the name.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self._has_own_name = True

    @property
    def size(self) -> int:
        """Bytes of the file that have been handed to the system."""
        return os.fstat(self.file.fileno()).st_size

    @property
    def memo(self) -> Path:
        """Path of a note about the file, which is removed with it."""
        return self.path.with_name(f"{self.path.name}{_MEMO}")

    def replace(self, target: Path) -> None:
        """Sync the file and give it its lasting name, in place of a file that has it.

        Raises:
            OSError: it cannot be.
        """
        self._sync()
        self.path.replace(target)
        self._has_own_name = False
        sync_folder(target.parent)

    def name_first(self, target: Path) -> bool:
        """Sync the file and give it its lasting name unless another attempt's file has it; say whether it has it now.

        Raises:
            OSError: it cannot be.
        """
        self._sync()
        try:
            target.hardlink_to(self.path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            # Such a mount has no operation that names a file once only; who reads it proves it.
            if target.exists():
                return False
            self.path.replace(target)
            self._has_own_name = False
        sync_folder(target.parent)
        return True

    def _sync(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())

    def remove(self) -> None:
        """Remove the temporary name, if the file still has it, and the note."""
        if self._has_own_name:
            self.path.unlink(missing_ok=True)
        if self.path.suffix == _PART:
            self.memo.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file, which gives its lock back."""
        # What the file was named for has been flushed and synced; what could not be written has been told of.
        with suppress(OSError):
            self.file.close()


def own_name(target: Path, kind: str = "tmp") -> Path:
    """Return a random hidden name beside a file; engines that read the lake in place skip names that begin with a dot."""
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.{kind}")


def open_own(target: Path, kind: str = "tmp") -> OwnFile:
    """Open a new file under a name of this attempt's own, in the folder of what it is to become.

    Args:
        target: what it is to become.
        kind: end of its name: `tmp`, or `part` for one that another attempt may take over.

    Raises:
        OSError: it cannot be made.
    """
    while True:
        path = own_name(target, kind)
        file = open_new(path)
        if _is_held(file.fileno(), path):
            return OwnFile(path, file)
        # Someone who tidies up came between the two lines above.
        file.close()


def open_new(path: Path) -> BinaryIO:
    """Open a file that is not there yet, private whatever the umask is.

    Raises:
        FileExistsError: there is one, or a link.
        OSError: it cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "w+b")


@contextmanager
def own_file(target: Path) -> Iterator[OwnFile]:
    """Give a new file under a name of this attempt's own; what has not got another name at the end is removed.

    Raises:
        OSError: it cannot be made.
    """
    own = open_own(target)
    try:
        yield own
    finally:
        try:
            own.remove()
        finally:
            own.close()


def parts_in(folder: Path) -> dict[str, list[Path]]:
    """Return the parts that attempts have in a folder, or left there, by the name of what they are to become.

    Raises:
        OSError: the folder cannot be read.
    """
    found: dict[str, list[Path]] = {}
    for name in os.listdir(folder):  # noqa: PTH208 - thousands of names, and no more of them is needed
        if name.endswith(".part") and _OURS.fullmatch(name):
            found.setdefault(name[1:].rsplit(".", 2)[0], []).append(folder / name)
    return found


def take_over(parts: Iterable[Path]) -> OwnFile | None:
    """Return what a dead attempt has written of a file, held by this attempt now; None if there is nothing.

    Args:
        parts: of one file, as `parts_in` gives them.

    Raises:
        OSError: a leftover cannot be opened.
    """
    for path in parts:
        file = _open_left(path)
        if file is None:
            continue
        if os.fstat(file.fileno()).st_nlink == 1:
            return OwnFile(path, file)
        # A part that has its lasting name too: written on, it would change that file.
        path.unlink(missing_ok=True)
        file.close()
    return None


def _open_left(path: Path) -> BinaryIO | None:
    """Open a file that a dead attempt left and hold it; None when it is a link, is gone, is another account's, or is held."""
    descriptor = _hold_left(path, os.O_RDWR)
    return None if descriptor is None else os.fdopen(descriptor, "r+b")


def _hold_left(path: Path, access: int) -> int | None:
    """Open and hold what a dead attempt left; None when there is nothing, it is held, or the mount has no locks."""
    descriptor = _open_quietly(path, access)
    if descriptor is None:
        return None
    if _is_held(descriptor, path, or_without_locks=False):
        return descriptor
    os.close(descriptor)
    return None


def _open_quietly(path: Path, access: int) -> int | None:
    try:
        descriptor = os.open(path, access | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        # What another account has left is its to take over.
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.EACCES, errno.EPERM}:
            return None
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return descriptor
    os.close(descriptor)
    return None


def _has_name(path: Path, found: os.stat_result) -> bool:
    try:
        named = path.lstat()
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (found.st_dev, found.st_ino)


def _is_held(descriptor: int, path: Path, *, or_without_locks: bool = True) -> bool:
    """Lock what is open; say whether this attempt has it, and it still has its name.

    Args:
        descriptor: of the open file or folder.
        path: its name.
        or_without_locks: the answer on a mount that has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return or_without_locks
    return _has_name(path, os.fstat(descriptor))


@contextmanager
def own_folder(folder: Path, name: str) -> Iterator[Path]:
    """Give a new private folder (0700) of this attempt's own for what libraries write by name; it is removed at the end.

    Args:
        folder: where it is made.
        name: said in its name.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        own, held = _make_own(folder, name)
    except OSError as error:
        raise StorageError(f"Cannot write in {folder}: {reason_of(error)}. Check owner and free space.") from error
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        os.close(held)


def _make_own(folder: Path, name: str) -> tuple[Path, int]:
    """Make a folder and return it with a descriptor of it that holds its lock."""
    while True:
        own = own_name(folder / name)
        own.mkdir(mode=0o700)
        held = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        if _is_held(held, own):
            return own, held
        # Someone who tidies up came between the lines above.
        os.close(held)


@contextmanager
def spill_folder(folder: Path) -> Iterator[Path]:
    """Give a path for what DuckDB spills, in a folder of this attempt's own.

    Args:
        folder: where it is made. Where nothing can be written nothing can be spilled: the path then leads nowhere.
    """
    try:
        own, held = _make_own(folder, "spill")
    except OSError:
        yield own_name(folder / "spill") / "spill"
        return
    try:
        yield own / "spill"
    finally:
        shutil.rmtree(own, ignore_errors=True)
        os.close(held)


def remove_dead(folder: Path, *, parts: bool = True) -> int:
    """Remove the temporary files and folders that dead attempts left in a folder, never those of a live one.

    Args:
        folder: looked through, without the folders in it; it need not exist.
        parts: also those that another attempt may take over.

    Returns:
        How many were removed.

    Raises:
        StorageError: one cannot be removed.
    """
    with told(f"tidy up {folder}"):
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            return 0
        return sum(_remove_if_dead(folder / entry.name, parts=parts) for entry in entries)


def _remove_if_dead(path: Path, *, parts: bool) -> bool:
    name = path.name.removesuffix(_MEMO)
    if name != path.name and _OURS.fullmatch(name):
        # The note of a file that is there goes with it; a file is made before its note.
        return not path.with_name(name).exists() and _remove(path)
    if not _OURS.fullmatch(name):
        return bool(_EARLIER.fullmatch(path.name)) and _remove_old(path)
    if name.endswith(_PART) and not parts:
        return False
    access = os.O_RDONLY if path.is_dir() and not path.is_symlink() else os.O_RDWR
    held = _hold_left(path, access)
    if held is None:
        return not _is_locked(path, access) and _remove_old(path)
    try:
        return _remove(path)
    finally:
        os.close(held)


def _is_locked(path: Path, access: int) -> bool:
    """Tell whether a live attempt holds a file or a folder."""
    descriptor = _open_quietly(path, access)
    if descriptor is None:
        return False
    try:
        return not _is_held(descriptor, path)
    finally:
        os.close(descriptor)


def _remove_old(path: Path) -> bool:
    """Remove what nobody has touched for long; say whether it was."""
    try:
        age = time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return False
    if age < ABANDONED.total_seconds():
        return False
    return _remove(path)


def _remove(path: Path) -> bool:
    """Remove a file with its note, or a folder; say whether it was, since another account's stays."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
            path.with_name(f"{path.name}{_MEMO}").unlink(missing_ok=True)
    except PermissionError:
        return False
    return True


# Lasting files


def write_durably(path: Path, content: bytes) -> None:
    """Write a small file so that it is there whole or not at all, also after a crash (0600).

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    try:
        with own_file(path) as own:
            own.file.write(content)
            own.replace(path)
    except OSError as error:
        raise StorageError(f"Cannot write {path}: {reason_of(error)}. Check owner and free space.") from error


def write_first(path: Path, content: bytes) -> bool:
    """Write a small file in the same way unless it is there already; say whether it was written.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    try:
        with own_file(path) as own:
            own.file.write(content)
            return own.name_first(path)
    except OSError as error:
        raise StorageError(f"Cannot write {path}: {reason_of(error)}. Check owner and free space.") from error


def put_in_place(finished: Path, target: Path) -> None:
    """Sync a file that a library has written in an own folder, and give it its lasting name.

    Raises:
        OSError: it cannot be.
    """
    sync_file(finished)
    finished.replace(target)
    sync_folder(target.parent)


def sync_file(path: Path) -> None:
    """Bring a file that is written to the disk.

    Raises:
        OSError: it cannot be.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())


def open_lock(path: Path) -> BinaryIO:
    """Open a lock file beside what it guards, making it if it is missing (0600); a link or another name of a file is refused.

    Raises:
        StorageError: it cannot be opened, or is no file of ours.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise StorageError(
            f"Cannot open {path}: {reason_of(error)}. Check the owner, and remove it if it is a link."
        ) from error
    file = os.fdopen(descriptor, "r+b", buffering=0)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        file.close()
        raise StorageError(
            f"{path} is no file of its own. Look who put it there, then remove it and run the task again."
        )
    return file
