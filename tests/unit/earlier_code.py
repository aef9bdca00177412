"""The code of an earlier commit, for tests of what it left behind."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def code_of(commit, folder, *paths):
    """Write some paths of a commit to a folder. Skip in a clone without history, which has no such commit; fail in CI.

    Args:
        commit: its hash.
        folder: where the code goes.
        paths: of files and folders, from the top of the project.
    """
    done = subprocess.run(["git", "archive", commit, *paths], cwd=PROJECT, capture_output=True, check=False)
    if done.returncode:
        reason = f"The code of {commit} is not in this clone. Get its history: git fetch --unshallow"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
