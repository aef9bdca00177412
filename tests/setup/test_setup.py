"""`make setup` and `make demo` on machines as people have them. Each test installs everything from the package index again."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from forward_proxy import forward_proxy
from machines import clone, python_for_everybody, python_of

LOADED = "SELECT count(*) > 1000, count(DISTINCT patient_id) > 100 FROM claim"


def assert_demo_works(machine):
    done = machine.make("demo")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert machine.query(LOADED) == "[(True, True)]"
    return done


def test_the_demo_works_behind_a_proxy_with_python_3_12(tmp_path):
    """Only HTTP_PROXY and HTTPS_PROXY are set: nothing says that this machine itself needs no proxy."""
    with forward_proxy(tmp_path / "proxy") as proxy:
        names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
        machine = clone(tmp_path, environment=dict.fromkeys(names, proxy.url), python=chosen("3.12"))
        assert_demo_works(machine)
        asked = proxy.asked()
    assert_runs(machine, "3.12")
    # What was installed came through it.
    assert [line for line in asked if line.startswith(("CONNECT", "GET"))]
    to_this_machine = [line for line in asked if is_loopback(line.split()[1])]
    assert to_this_machine == []


def chosen(version):
    """Return the Python of a version, or this one where it is not installed."""
    return python_of(version) or sys.executable


def assert_runs(machine, version):
    """Compare the version of the environment with the one that was asked for, where that is installed."""
    said = subprocess.run(
        [machine.project / ".venv/bin/python", "--version"], capture_output=True, text=True, check=True
    )
    wanted = version if python_of(version) else f"{sys.version_info.major}.{sys.version_info.minor}"
    assert said.stdout.startswith(f"Python {wanted}.")


def is_loopback(target):
    host = urlsplit(target if "//" in target else f"//{target}").hostname
    return host in {"127.0.0.1", "localhost", "::1"}


@pytest.fixture
def open_folder():
    """A folder that other accounts can read; each pytest that starts closes those of pytest to them again."""
    with tempfile.TemporaryDirectory(prefix="bcda without root ") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_the_demo_works_from_a_path_with_blanks_without_root(open_folder):
    folder = open_folder
    given = {}
    if os.geteuid() == 0:
        given = {"user": "nobody", "python": python_for_everybody(folder / "python")}
    machine = clone(folder, "our clone of bcda", **given)
    assert_demo_works(machine)
    if given:
        assert (machine.project / "var/demo/data/bcda.duckdb").owner() == "nobody"


def test_the_demo_works_in_an_environment_without_pip_with_python_3_13(tmp_path):
    """As `uv venv` leaves one."""
    machine = clone(tmp_path, python=chosen("3.13"))
    subprocess.run([machine.python, "-m", "venv", "--without-pip", machine.project / ".venv"], check=True)
    assert_demo_works(machine)
    assert_runs(machine, "3.13")
    # Nothing changed, so nothing is installed again.
    assert machine.make("setup").stderr == ""
