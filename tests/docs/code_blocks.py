"""The fenced blocks of the documentation, and a clone of the project to run them in."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

RUNNABLE = {"bash", "sh", "shell", "console", "python", "sql"}

_BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- not run: (?P<reason>[^\n]+) -->\n(?P=indent))?```(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: file below the project.
        number: its place in the page, from 1.
        language: first word after the fence.
        text: what stands in it.
        reason: why it is not run; None when it is.
    """

    page: str
    number: int
    language: str
    text: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page}, block {self.number} ({self.language})"


def pages() -> list[str]:
    """Every page with blocks: what people read first, then the rest; the generated reference has none."""
    first = ["docs/start.md", "README.md"]
    rest = [path.relative_to(PROJECT).as_posix() for path in sorted((PROJECT / "docs").glob("*.md"))]
    top = [path.name for path in sorted(PROJECT.glob("*.md"))]
    return list(dict.fromkeys([*first, *rest, *top, "benchmarks/README.md"]))


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page in order."""
    found = _BLOCK.finditer((PROJECT / page).read_text(encoding="utf-8"))
    return [
        Block(page, number, (match["info"].split() or [""])[0], textwrap.dedent(match["text"]), match["reason"])
        for number, match in enumerate(found, start=1)
    ]


def clone_project(target: Path) -> None:
    """Clone the project as it stands in the working tree, with an environment that is set up.

    Installing from the lock takes more than a minute and is what has just been done for the tests themselves, so the clone's
    `.venv` takes its packages from theirs; project and programs are the clone's own. With CLEAN_INSTALL set it gets none, and the
    first `make` installs everything.
    """
    copy_project(target)
    if not os.environ.get("CLEAN_INSTALL"):
        _environment(Path(sys.prefix), target)


def copy_project(target: Path) -> None:
    """Clone the project as it stands in the working tree; nothing is installed."""
    _git("clone", "--quiet", "--local", ".", str(target))
    for flag in ("--modified", "--others"):
        for name in filter(None, _git("ls-files", flag, "--exclude-standard", "-z").split("\0")):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            if (PROJECT / name).exists():
                shutil.copy2(PROJECT / name, target / name)
            else:
                (target / name).unlink(missing_ok=True)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=PROJECT, check=True, capture_output=True, text=True).stdout


def _environment(installed: Path, target: Path) -> None:
    here = target / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(here)], check=True)
    packages = Path(sysconfig.get_path("purelib"))
    lines = [target / "include", target / "plugins", packages]
    (here / packages.relative_to(installed) / "clone.pth").write_text("".join(f"{line}\n" for line in lines))
    for program in (installed / "bin").iterdir():
        own = here / "bin" / program.name
        if program.is_file() and not own.exists():
            text = program.read_bytes().replace(str(installed).encode(), str(here).encode())
            own.write_bytes(text)
            own.chmod(0o755)
    for stamp in installed.glob(".installed*"):
        shutil.copy2(stamp, here)
