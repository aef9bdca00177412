"""Putting a new published database in place: who may read it, no log of another process beside it, dated copies."""

import contextlib
import fcntl
import grp
import logging
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from bcda.errors import InvalidRequestError, StorageError
from bcda.storage.commit_points import CommitPoint, reached
from bcda.storage.files import open_new, own_folder, reason_of, sync_folder
from bcda.storage.places import Places
from bcda.storage.publication import Publication

log = logging.getLogger(__name__)

_FICLONE = 0x40049409
"""Linux ioctl that shares a file's blocks with a copy, where the file system can (Btrfs, XFS)."""

_NO_LOG = "open-this-database-read-only/no-log"
"""What the name of the published database's log leads to: a folder that nobody makes, so that no log can be written."""

_LOG = ".wal"
_CHECKPOINT_LOGS = (".wal.checkpoint", ".wal.recovery")
"""What DuckDB 1.5 and 2.0 write while they put a log into a database; they read neither without the log itself."""


def check_readers(places: Places) -> None:
    """Make sure that the readers' group exists and that this process may give it the published database.

    Args:
        places: with the settings of the publication; nothing is written.

    Raises:
        InvalidRequestError: the group does not exist.
        StorageError: this process may not give files to it.
    """
    publication = places.publication
    group = _group_id(publication)
    if group is None or os.geteuid() == 0:
        return
    if group not in {os.getegid(), *os.getgroups()}:
        raise StorageError(
            f"BCDA_READERS_GROUP names the group {publication.readers_group}, which the account of this process (user id "
            f"{os.geteuid()}) is not in, so it cannot give the published database to it. Add the account to the group and "
            "restart Airflow. Nothing was published."
        )
    for folder in _readers_folders(places, group):
        if folder.exists() and folder.stat().st_uid != os.geteuid():
            raise StorageError(
                f"BCDA_READERS_GROUP needs the folder {folder} to belong to the account of this process (user id "
                f"{os.geteuid()}). Change the owner, or set BCDA_PUBLISHED to a file in another folder. Nothing was published."
            )


def put_in_place(temporary: Path, places: Places) -> None:
    """Replace the published database by a finished file in the same folder.

    A process that opened the database for writing leaves its log beside it when it dies, and DuckDB would replay that log
    over the file that comes next. So the name of the log is taken first, in one step, and then the file is replaced: at no
    moment does the new file stand beside another file's log. The name stays taken, so that a process that has the
    replaced file open cannot write a log beside the new one.

    Args:
        temporary: the finished file, synced, in a folder of this attempt's own beside it.
        places: the published database and its readers.

    Raises:
        StorageError: the group cannot be given the file, or it cannot be replaced.
    """
    target = places.published
    try:
        _give_to_readers(temporary, places)
        _take_log_name(target)
        reached(CommitPoint.LOG_SHUT_OUT)
        temporary.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise StorageError(
            f"Cannot replace {target}: {reason_of(error)}. If it is on a Windows share, close it in every tool or have analysts open "
            "dated copies (BCDA_PUBLISHED_COPIES); otherwise check the owner of the folder."
        ) from error


def remove_foreign_log(published: Path) -> None:
    """Take the name of the published database's log, so that what is read from it now is what was published.

    Raises:
        StorageError: it cannot be taken.
    """
    try:
        _take_log_name(published)
    except OSError as error:
        raise StorageError(
            f"Cannot remove {published}.wal: {reason_of(error)}. Check the owner of the folder."
        ) from error


def _take_log_name(target: Path) -> None:
    log_name = target.with_name(f"{target.name}{_LOG}")
    if log_name.is_file() and not log_name.is_symlink():
        log.warning(
            "removing %s: a process opened the published database for writing. Open it read-only, and let no analyst's "
            "account write in its folder",
            log_name,
        )
    with own_folder(target.parent, log_name.name) as own:
        link = own / "link"
        try:
            link.symlink_to(_NO_LOG)
        except OSError:
            # A mounted share may have no symbolic links. Removing the log covers writers that are gone.
            log_name.unlink(missing_ok=True)
        else:
            link.replace(log_name)
    for suffix in _CHECKPOINT_LOGS:
        target.with_name(f"{target.name}{suffix}").unlink(missing_ok=True)
    # After a crash of the machine the old log must not be back beside the new file.
    sync_folder(target.parent)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file to a new one (0600), sharing its blocks where the file system can, and sync it.

    Raises:
        OSError: it cannot be read or written, or there is one of that name.
    """
    with source.open("rb") as original, open_new(target) as copy:
        try:
            fcntl.ioctl(copy.fileno(), _FICLONE, original.fileno())
        except OSError:
            # Most file systems cannot share blocks; a plain copy is the same, only slower.
            shutil.copyfileobj(original, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())


def keep_dated_copy(places: Places, *, now: datetime | None = None) -> None:
    """Copy the published database to a name with its date, and remove the oldest copies beyond the number to keep.

    Nothing ever replaces a copy: a further one of the same day has a number. A copy goes together with the log of a tool that
    opened it for writing, which would be replayed into a later copy of that name. Killed half way it leaves a temporary name
    only, which the next publication removes.

    Args:
        places: the published database; nothing happens unless copies are to be kept.
        now: aware; the clock when None.

    Raises:
        StorageError: no space for the copy.
    """
    target, publication = places.published, places.publication
    if not publication.copies:
        return
    day = f"{now or datetime.now(UTC):%Y-%m-%d}"
    number = max((made for on, made, _ in _copies(target) if on == day), default=0) + 1
    dated = target.with_name(f"{target.stem}-{day}{f'-{number}' if number > 1 else ''}{target.suffix}")
    try:
        with own_folder(target.parent, dated.name) as own:
            temporary = own / dated.name
            copy_file(target, temporary)
            _give_to_readers(temporary, places)
            _remove_logs(dated)
            temporary.replace(dated)
            sync_folder(target.parent)
    except OSError as error:
        raise StorageError(
            f"{target} is published, but its copy {dated} cannot be written: {reason_of(error)}. Free some space or lower "
            "BCDA_PUBLISHED_COPIES, then run the task again."
        ) from error
    for old in dated_copies(target)[: -publication.copies]:
        try:
            old.unlink()
            _remove_logs(old)
        except OSError as error:
            log.warning("%s cannot be removed (%s) and stays until the next publication", old, reason_of(error))


def _remove_logs(database: Path) -> None:
    for suffix in (_LOG, *_CHECKPOINT_LOGS):
        database.with_name(f"{database.name}{suffix}").unlink(missing_ok=True)


def dated_copies(target: Path) -> list[Path]:
    """Return the dated copies beside a published database, oldest first."""
    return [path for _, _, path in sorted(_copies(target))]


def _copies(target: Path) -> list[tuple[str, int, Path]]:
    name = re.compile(rf"{re.escape(target.stem)}-(\d{{4}}-\d\d-\d\d)(?:-(\d+))?{re.escape(target.suffix)}")
    found = ((name.fullmatch(path.name), path) for path in target.parent.iterdir())
    return [(match[1], int(match[2] or 1), path) for match, path in found if match]


def _group_id(publication: Publication) -> int | None:
    """Return the number of the readers' group.

    Raises:
        InvalidRequestError: there is no such group.
    """
    group = publication.readers_group
    if group is None:
        return None
    with contextlib.suppress(KeyError):
        return grp.getgrnam(group).gr_gid
    if group.isascii() and group.isdigit():
        return int(group)
    raise InvalidRequestError(
        f"BCDA_READERS_GROUP names the group {group}, which this machine does not have. Create the group, or set its name or "
        "number. Nothing was published."
    )


def _readers_folders(places: Places, group: int) -> list[Path]:
    """Return the folders to open for readers: that of the file; for another source those above it that they must pass through."""
    folder = places.published.parent
    if folder.name != places.source_id or folder.parent.name != "sources":
        return [folder]
    home = folder.parent.parent
    return [*([] if _lets_in(home, group) else [home]), folder.parent, folder]


def _lets_in(folder: Path, group: int) -> bool:
    if not folder.exists():
        return False
    found = folder.stat()
    return bool(found.st_mode & (0o010 if found.st_gid == group else 0o001))


def _give_to_readers(path: Path, places: Places) -> None:
    """Let the readers' group read a file (0440) and list its folder (0750); without a group the file is its owner's (0600)."""
    group = _group_id(places.publication)
    if group is None:
        _set(path, None, 0o600)
        return
    _set(path, group, 0o440)
    for folder in _readers_folders(places, group):
        _set(folder, group, 0o750)


def _set(path: Path, group: int | None, mode: int) -> None:
    """Set group and mode of what is opened here, so that nobody can put a link in its place between two steps."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if group is not None:
            os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
