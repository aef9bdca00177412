"""Who may write in our folders: in one that others can write they could put a link or another file in place of ours.

`BCDA_FOLDER_MODES` says what the modes of folders mean:

    (not set)   a folder that everyone can write is refused, one that its group can write is warned of
    group       a folder that its group can write is in order: Kubernetes with fsGroup, a shared group on NFS
    mount       the modes are the mount's, which has none of its own: SMB, some FUSE and NFS
"""

import logging
import os
import shlex
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bcda.errors import InvalidRequestError, StorageError

log = logging.getLogger(__name__)

SETTING = "BCDA_FOLDER_MODES"

_MODELESS = frozenset({"cifs", "smb3", "smbfs", "vfat", "exfat", "msdos", "ntfs", "ntfs3", "fuseblk", "9p", "drvfs"})
"""File systems whose modes are those of the mount, whatever `chmod` says."""

_REMOTE = frozenset({"nfs", "nfs4"})
"""File systems that have modes, which only the server's administrator can change when the folder is another account's."""

_said: set[Path] = set()
"""Folders that were warned of in this process."""


class FolderModes(StrEnum):
    """What the modes of folders mean."""

    OWN = ""
    GROUP = "group"
    MOUNT = "mount"


@dataclass(frozen=True, slots=True)
class Opening:
    """A folder that others can write.

    Attributes:
        text: what is wrong and what to do.
        is_refused: nothing is written there; otherwise it is only warned of.
    """

    text: str
    is_refused: bool


def folder_modes() -> FolderModes:
    """Return what the environment says.

    Raises:
        InvalidRequestError: it says something else.
    """
    named = os.environ.get("BCDA_FOLDER_MODES", "")
    try:
        return FolderModes(named)
    except ValueError:
        raise InvalidRequestError(
            f"BCDA_FOLDER_MODES must be `group` or `mount`, or not set. Got: {named[:40]}."
        ) from None


def check_folder(path: Path) -> None:
    """Make sure that no other account can put something in place of what is written into a folder.

    Args:
        path: of the folder, which exists.

    Raises:
        StorageError: others can; the message has the command that repairs it.
        InvalidRequestError: the setting is malformed.
    """
    found = opening_of(path)
    if found is None:
        return
    if found.is_refused:
        raise StorageError(found.text)
    if path not in _said:
        _said.add(path)
        log.warning("%s", found.text)


def opening_of(path: Path) -> Opening | None:
    """Return how others can write in a folder or replace it; None when they cannot, or when the setting says that they may.

    Args:
        path: of the folder, which exists.

    Raises:
        InvalidRequestError: the setting is malformed.
        StorageError: a folder on the way cannot be looked at.
    """
    modes = folder_modes()
    try:
        link = _foreign_link(path.absolute())
        if link is not None:
            text = (
                f"{link} is a link that neither root, nor this account, nor the owner of its folder has made, so it is not followed. "
                f"Nothing was written. Look where it leads. If it is right, run `chown -h {os.geteuid()} {shlex.quote(str(link))}`."
            )
            return Opening(text, is_refused=True)
        if modes is FolderModes.MOUNT:
            return None
        real = path.resolve()
        for folder in real.parents:
            found = folder.stat()
            if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
                return _world_writable(folder, found)
        found = real.stat()
    except OSError as error:
        raise StorageError(f"Cannot look at the folder {path}: {error.strerror}. Check the owner.") from error
    if found.st_mode & stat.S_IWOTH:
        return _world_writable(real, found)
    if found.st_mode & stat.S_IWGRP and modes is FolderModes.OWN:
        text = (
            f"The group of the folder {real} can write in it. The next release refuses that. Run `chmod g-w "
            f"{shlex.quote(str(real))}`, or set BCDA_FOLDER_MODES=group if all accounts of the group may replace claims."
        )
        return Opening(text, is_refused=False)
    return None


def _world_writable(folder: Path, found: os.stat_result) -> Opening:
    kind = _file_system_of(found.st_dev)
    if kind in _MODELESS or (kind in _REMOTE and found.st_uid != os.geteuid()):
        text = (
            f"The mount of the folder {folder} gives every account the right to write. The next release refuses that. Mount it "
            "for this account alone, or set BCDA_FOLDER_MODES=mount if no other account reaches it."
        )
        return Opening(text, is_refused=False)
    text = (
        f"Every account can write in the folder {folder} and replace what is in it. Nothing was written. Run `chmod o-w "
        f"{shlex.quote(str(folder))}`. If its mount has no modes of its own, set BCDA_FOLDER_MODES=mount."
    )
    return Opening(text, is_refused=True)


def _foreign_link(path: Path) -> Path | None:
    """Return a link on the way to a folder that someone else can have planted."""
    for step in (*reversed(path.parents), path):
        found = step.lstat()
        if stat.S_ISLNK(found.st_mode) and found.st_uid not in {0, os.geteuid(), step.parent.stat().st_uid}:
            return step
    return None


def _file_system_of(device: int) -> str:
    """Return the kind of the file system of a device, empty when it is not known."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted:
            return after.split()[0]
    return ""
