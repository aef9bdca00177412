"""Looking at free space before anything is written: each database and each lake file is rewritten, one at a time."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from bcda.errors import StorageError
from bcda.storage.files import told

_SPARE = 64 << 20
"""Bytes that stay free beside the largest copy."""


def check_space(files: Iterable[Path]) -> None:
    """Refuse when a folder has no space for a copy of the largest of its files.

    Args:
        files: that are rewritten beside themselves.

    Raises:
        StorageError: one has not.
    """
    needed: dict[Path, int] = {}
    for path in (path for path in files if path.exists()):
        needed[path.parent] = max(needed.get(path.parent, 0), path.stat().st_size)
    for folder, size in needed.items():
        with told(f"look at the free space of {folder}"):
            free = shutil.disk_usage(folder).free
        if free < size + _SPARE:
            raise StorageError(
                f"{folder} has {free:,} bytes free, and a copy of a file there takes {size + _SPARE:,}. Free some space. No changes "
                "were made."
            )
