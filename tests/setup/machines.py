"""Fresh clones of the project, and what a machine may have: other Pythons, another account, a .venv without pip."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from code_blocks import copy_project

LONGEST_SECONDS = 900


@cache
def python_of(version: str) -> str | None:
    """Return a Python of a version that can make virtual environments: on PATH, or among those of pyenv; None without one."""
    name = f"python{version}"
    places = os.environ.get("PATH", "").split(os.pathsep)
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    places += [str(folder / "bin") for folder in sorted(root.glob(f"versions/{version}.*"))]
    for place in places:
        program = Path(place) / name
        # The shims of pyenv stand for every version and run those of one only.
        if _runs([str(program), "-c", "import ensurepip, ssl"]):
            return str(program)
    return None


def _runs(command: list[str]) -> bool:
    return Path(command[0]).exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0


@dataclass(slots=True)
class Machine:
    """A clone of the project as someone finds it after `git clone`, with nothing installed.

    Attributes:
        project: the clone.
        python: what `make` sets up with.
        environment: further variables.
        user: account that runs `make`; empty for the current one.
    """

    project: Path
    python: str
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""

    def make(self, target: str) -> "subprocess.CompletedProcess[str]":
        """Run `make TARGET` with a home of its own, no input, and nothing of this Airflow."""
        home = self.project.parent / "home"
        home.mkdir(exist_ok=True)
        path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if not p.startswith(sys.prefix))
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_CERT_"))}
        environment = {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PATH": path,
            "PYTHON": self.python,
            **kept,
            **self.environment,
        }
        account = {}
        if self.user:
            entry = pwd.getpwnam(self.user)
            subprocess.run(["chown", "-R", f"{entry.pw_uid}:{entry.pw_gid}", self.project.parent], check=True)
            account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        return subprocess.run(
            ["make", target],
            cwd=self.project,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
            **account,
        )

    def query(self, sql: str) -> str:
        """Return what the published database of the demo answers, asked with the clone's own Python."""
        database = self.project / "var/demo/data/bcda.duckdb"
        script = (
            "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2]).fetchall())"
        )
        done = subprocess.run(
            [self.project / ".venv/bin/python", "-c", script, database, sql], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()


def clone(folder: Path, name: str = "bcda", **given: object) -> Machine:
    """Clone the project as it stands in the working tree to `folder/name`."""
    given.setdefault("python", python_of("{}.{}".format(*sys.version_info)) or sys.executable)
    project = folder / name
    copy_project(project)
    return Machine(project, **given)


def python_for_everybody(folder: Path) -> str:
    """Return a Python that other accounts can run: of this version on PATH, or a copy where each lies in someone's home."""
    name = "python{}.{}".format(*sys.version_info)
    for place in map(Path, os.environ.get("PATH", "").split(os.pathsep)):
        if _is_open(place) and _runs([str(place / name), "-c", "import ensurepip, ssl"]):
            return str(place / name)
    base = Path(sys.base_prefix)
    left_out = shutil.ignore_patterns("site-*", "test", "__pycache__")
    for part in ("bin", "lib"):
        shutil.copytree(base / part, folder / part, symlinks=True, ignore=left_out)
    return str(folder / "bin" / name)


def let_others_in(folder: Path) -> None:
    """Open a temporary folder, and those of pytest above it, to other accounts."""
    for place in (folder, *folder.parents):
        if place.is_relative_to(tempfile.gettempdir()) and not _is_open(place):
            place.chmod(place.stat().st_mode | 0o055)


def _is_open(folder: Path) -> bool:
    return folder.is_dir() and all(place.stat().st_mode & 0o005 == 0o005 for place in (folder, *folder.parents))
