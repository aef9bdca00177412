"""Environments with other releases of DuckDB and other tools, made once below `var/readers`."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = PROJECT / "var" / "readers"
REQUIREMENTS = Path(__file__).parent / "requirements"

OWN = "2.0"
"""The DuckDB of the project, in the environment of the tests."""

JDBC = "1.4.4.0"
JDBC_SHA256 = "43f0cc93c892699162d46e8a45e2cbb92d92f74b933832f84c78ed551a2608df"
"""Release of DuckDB's driver for Java, and the digest of its file."""


def environment(name: str) -> Path:
    """Return the Python of an environment with what `requirements/NAME.txt` pins, making it when it is new."""
    if name == OWN:
        return Path(sys.executable)
    lock = REQUIREMENTS / f"{name}.txt"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = ENVIRONMENTS / f"{name}-{python}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    with made_once(name):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*install, "--no-deps", "--require-hashes", "-r", lock], check=True)
            (folder / "complete").touch()
    return folder / "bin" / "python"


class made_once:  # noqa: N801 - a context manager
    """Let one process at a time make what has a name: tests run in several."""

    def __init__(self, name: str) -> None:
        ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        self._file = (ENVIRONMENTS / f".{name}.lock").open("w")

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()
