"""What `make setup` says when something is missing: what it is, and the command that helps. Nothing is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
OLD = 'case "$*" in *version_info*) exit 1;; --version) echo Python 3.9.2;; esac'
WITHOUT_VENV = 'case "$*" in *ensurepip*) exit 1;; esac'
BROKEN = "exit 127"


@pytest.fixture
def project(tmp_path):
    """A folder with blanks in its name that has what the script reads."""
    folder = tmp_path / "a clone"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(PROJECT / "scripts/setup.sh", folder / "scripts")
    for name in ("pyproject.toml", *(path.name for path in PROJECT.glob("requirements*.txt"))):
        shutil.copy(PROJECT / name, folder)
    return folder


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def set_up(project, python):
    return subprocess.run(
        ["scripts/setup.sh"],
        cwd=project,
        env={"PATH": "/usr/bin:/bin", "PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is not installed. Install it with `sudo apt-get install python3 python3-venv`, or name another one"),
        (OLD, "is Python 3.9.2; 3.11 or newer is needed. Name another one with PYTHON=..."),
        (WITHOUT_VENV, "Install what is missing with `sudo apt-get install python3-venv`."),
    ],
    ids=["missing", "old", "without venv"],
)
def test_a_python_that_cannot_be_used_is_named_with_what_to_do(project, text, said):
    python = program(project / "bin/python3", text) if text else "no-such-python"
    done = set_up(project, python)
    assert done.returncode == 1
    assert said in done.stderr
    assert python in done.stderr
    assert not (project / ".venv").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BROKEN, ".venv has no Python that runs. Remove it with `rm -r .venv`"),
        (OLD, ".venv has Python 3.9.2; 3.11 or newer is needed. Remove it with `rm -r .venv`"),
        ('case "$*" in *pip*) exit 1;; esac', ".venv has no pip, and its Python cannot install it."),
    ],
    ids=["broken", "old", "without pip"],
)
def test_an_environment_that_cannot_be_used_is_named_with_what_to_do(project, text, said):
    program(project / ".venv/bin/python", text)
    done = set_up(project, "python3")
    assert done.returncode == 1
    assert said in done.stderr


def test_nothing_is_done_when_everything_is_installed(project):
    stamp = subprocess.run(
        "cat requirements-pip.txt pyproject.toml requirements.txt | cksum",
        shell=True,
        cwd=project,
        capture_output=True,
        check=True,
    ).stdout
    program(project / ".venv/bin/python", BROKEN)
    (project / ".venv/.installed").write_bytes(stamp)
    done = set_up(project, "python3")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
