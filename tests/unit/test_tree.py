"""The tree keeps its promises: locks with hashes, reasons for dependencies."""

import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def tracked(pattern="*"):
    done = subprocess.run(["git", "ls-files", pattern], cwd=PROJECT, capture_output=True, text=True, check=True)
    return [PROJECT / line for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "name",
    ["requirements", "requirements-dev", "requirements-production", "requirements-audit", "requirements-pip"],
)
def test_every_direct_dependency_has_its_reason_and_every_locked_one_a_hash(name):
    wanted = [line for line in (PROJECT / f"{name}.in").read_text().splitlines() if re.match(r"[a-z]", line)]
    assert wanted
    for line in wanted:
        assert re.search(r"#\s*\w{3,}.*\s\w+", line), line
    lock = (PROJECT / f"{name}.txt").read_text()
    for line in wanted:
        package = re.match(r"[A-Za-z0-9-]+", line).group()
        assert re.search(rf"^{package}==\S+", lock, re.MULTILINE), package
    for block in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE):
        assert not re.match(r"[a-z0-9-]+==", block) or "--hash=sha256:" in block, block[:60]


def test_no_path_of_one_machine_and_no_large_file():
    words = ["/wo" + "rk/", "/ro" + "ot/", "site-pack" + "ages"]
    for path in tracked():
        assert path.stat().st_size < 1 << 20, path
        text = path.read_text(errors="ignore")
        for word in words:
            assert word not in text, (path, word)


def test_every_module_of_the_library_is_typed_and_documented():
    for path in [*tracked("include/*.py"), *tracked("plugins/*.py"), *tracked("dags/*.py")]:
        assert path.read_text().startswith('"""'), path
