"""The schema of a new warehouse, made once in a process: making it takes most of the time of a small load."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from bcda import model
from bcda.storage.files import private_files
from bcda.warehouse import database, open_warehouse

READ = model.sql
"""What reads a definition. A test that puts something else in its place sees the schema made."""


@contextmanager
def schema_made_once(folder: Path) -> Iterator[None]:
    """Let each new warehouse of this process begin as a copy of one that this release has just made, and closed.

    Each open still looks for the schema, its version, and tables and views to renew. A warehouse with a key is made as always, and
    so is every one of another process.

    Args:
        folder: where the copied one is kept.
    """
    attach = database._attach_once

    def attach_a_copy(connection, path, name, key, read_only):
        statements = "\n".join((str(model.SCHEMA_VERSION), *model.schema_sql()))
        ready = folder / f"{hashlib.sha256(statements.encode()).hexdigest()}.duckdb"
        is_new = not (read_only or path.exists() or path.is_symlink())
        if is_new and key is None and model.sql is READ and path.parent != folder:
            if not ready.exists():
                with open_warehouse(ready):
                    pass
            _put(ready, path)
        attach(connection, path, name, key, read_only)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "_attach_once", attach_a_copy)
        yield


def _put(ready: Path, path: Path) -> None:
    """Give a copy its name at once, so that no other thread opens half of it."""
    copied = ready.with_name(f"{uuid4()}.copy")
    with private_files:
        shutil.copyfile(ready, copied)
    try:
        os.link(copied, path)
    except FileExistsError:
        return
    finally:
        copied.unlink()
