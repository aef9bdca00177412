"""What the documentation says to type works as it is printed.

The blocks of the ten-minute start, then those of the README, run in one shell each, in order, in a clone; those of SQL on the database that the
start has made. A block that cannot run in a test has its reason in a comment above it.
"""

import os
import shutil
import subprocess
import sys

import duckdb
import pytest
from code_blocks import RUNNABLE, Block, blocks, clone_project, pages

SHELL = {"bash", "sh", "python"}
LONGEST_SECONDS = 1800 if os.environ.get("CLEAN_INSTALL") else 600
PAGES_WITH_COMMANDS = ("docs/start.md", "README.md")


def every_block():
    return [block for page in pages() for block in blocks(page)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone in which the commands of start and README have run, and what they wrote, by page."""
    target = tmp_path_factory.mktemp("clone") / "bcda"
    clone_project(target)
    # A home of its own, and nothing of this Airflow: what a new user has.
    path = os.pathsep.join(place for place in os.environ["PATH"].split(os.pathsep) if not place.startswith(sys.prefix))
    environment = {"HOME": str(target.parent), "LANG": "C.UTF-8", "PATH": path}
    environment |= {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "PYTHON"}
    said, done = {}, set()
    for page in PAGES_WITH_COMMANDS:
        # What the start has done literally need not be done again for the README.
        wanted = [b for b in blocks(page) if b.language in SHELL and not b.reason and command(b.text) not in done]
        done |= {command(block.text) for block in wanted}
        script = "\n".join(["set -euo pipefail", *map(as_shell, wanted), "echo all blocks have run"])
        ran = subprocess.run(
            ["bash", "-c", script],
            cwd=target,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        assert ran.returncode == 0, f"{page}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
        said[page] = ran.stdout
    yield target, said
    shutil.rmtree(target)


def command(text):
    """A block without its comments."""
    return "\n".join(line.partition("  #")[0].rstrip() for line in text.splitlines())


def as_shell(block: Block) -> str:
    title = f"echo '>>> {block}'"
    if block.language == "python":
        return f"{title}\n.venv/bin/python - <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK"
    return f"{title}\n{block.text}"


def test_every_block_names_its_language_and_is_run_or_says_why_not(capsys):
    found = every_block()
    assert len([block for block in found if block.language in RUNNABLE]) > 20
    left_out = []
    for block in found:
        assert block.language, f"{block} names no language; `text` is one"
        assert block.language in RUNNABLE | {"text", "toml", "yaml", "json", "ini"}, block
        if block.reason:
            left_out.append(block)
        elif block.language in RUNNABLE:
            assert block.language == "sql" or (block.language in SHELL and block.page in PAGES_WITH_COMMANDS), (
                f"{block} is not run by this test; write `<!-- not run: the reason -->` above it"
            )
    with capsys.disabled():
        print()
        for block in left_out:
            print(f"not run: {block}: {block.reason}")


def test_the_commands_of_start_and_readme_work_as_printed(clone):
    target, said = clone
    assert (target / "var/demo/data/bcda.duckdb").exists()
    for page, text in said.items():
        assert text.endswith("all blocks have run\n"), page
    # The status of the last block: nothing is missing of the three types.
    assert said["docs/start.md"].count("  complete\n") == 3


def test_what_start_shows_of_the_demo_is_what_it_prints(clone):
    _, said = clone
    (shown,) = [block.text for block in blocks("docs/start.md") if block.language == "text"]
    for line in shown.splitlines():
        assert line.strip(" …") in said["docs/start.md"], line


def test_the_queries_work_as_printed(clone):
    target, _ = clone
    ran = 0
    with duckdb.connect(str(target / "var/demo/data/bcda.duckdb"), read_only=True) as connection:
        for block in every_block():
            if block.language == "sql" and not block.reason:
                values = {"api_version": "v2"} if "$api_version" in block.text else None
                assert connection.execute(block.text, values).description, block
                ran += 1
    assert ran > 12
