"""The commands and queries in the documentation work as printed, and give the output that is printed.

The blocks of the ten-minute start, then those of the README and of the page for notebooks, run in order in a clone, in one shell per page. SQL blocks run on the
database that the start page creates. A block that cannot run in a test has a comment above it with the reason.
"""

import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise

import duckdb
import pytest
from code_blocks import PROJECT, RUNNABLE, Block, blocks, clone_project, pages

SHELL = {"bash", "sh", "python"}
LONGEST_SECONDS = 1800 if os.environ.get("CLEAN_INSTALL") else 600
PAGES_WITH_COMMANDS = ("docs/start.md", "README.md", "docs/notebook.md")
MARK = ">>> "


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
    said = {}
    for page in PAGES_WITH_COMMANDS:
        # A command that the start page has run does not run again for the README.
        wanted = [b for b in blocks(page) if b.language in SHELL and not b.reason and command(b.text) not in said]
        # A page may start a program in the background; none outlives the page.
        begin = "set -euo pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT"
        script = "\n".join([begin, *map(as_shell, wanted), f"echo '{MARK}the end'"])
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
        outputs = [part.partition("\n")[2] for part in ran.stdout.split(MARK)[1:]]
        said |= dict(zip([command(block.text) for block in wanted], outputs[:-1], strict=True))
    yield target, said
    shutil.rmtree(target)


def command(text):
    """A block without its comments."""
    return "\n".join(line.partition("  #")[0].rstrip() for line in text.splitlines())


def shown_outputs(page):
    """Each command of a page that has its output printed below it: the command, and the block with the output."""
    found = blocks(page)
    for block, below in pairwise(found):
        if below.language == "text" and block.language in SHELL and not block.reason:
            yield command(block.text), below


def as_shell(block: Block) -> str:
    title = f"echo '{MARK}{block}'"
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
    assert len(said) >= 5


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS)
def test_the_output_below_a_command_is_what_it_prints(page, clone):
    _, said = clone
    outputs = list(shown_outputs(page))
    assert len(outputs) == len([block for block in blocks(page) if block.language == "text"]) > 0, (
        "a block of text is no output"
    )
    for typed, block in outputs:
        printed = [line.rstrip() for line in said[typed].splitlines()]
        # A line of three dots stands for lines that are left out.
        for part in re.split(r"^ *…\n", block.text, flags=re.MULTILINE):
            lines = part.splitlines()
            starts = [at for at in range(len(printed)) if printed[at : at + len(lines)] == lines]
            assert starts, f"{block} shows\n{part}\nwhere the command printed\n{said[typed]}"
            printed = printed[starts[0] + len(lines) :]


def test_the_readme_is_one_page():
    """80 lines and one picture of the shape of a screen; a longer text belongs to the documentation."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    assert len(re.findall(r"<img |!\[", text.replace("[![", ""))) == 1


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
