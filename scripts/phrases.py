"""Fail on phrases that the documentation, messages, and comments of this project do not use; scripts/phrases.toml lists them."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_name("phrases.toml")

_TEXTS = {".py", ".md", ".sql", ".toml", ".html", ".j2", ".js", ".css", ".yml", ".yaml", ".in", ".sh", ""}
_NOT_OURS = ("LICENSE", "tests/unit/source_records/", "tests/readers/requirements/", "include/bcda/model/known/")

_BLANK = r"""(?:\s+(?:(?:#|--|//|\*|>)\s*)?|\s?"\n\s*f?"\s?)"""
"""White space, and after a line break the mark of a comment; or the end of one literal and the beginning of the next."""


def phrases(listed: Path = LIST) -> dict[str, str]:
    """Return what to write for each phrase, a regular expression."""
    instead: dict[str, str] = tomllib.loads(listed.read_text())["instead"]
    return instead


def texts() -> list[Path]:
    """Return the tracked files that people read, without this list and texts of others."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    names = [name for name in tracked.split("\0") if name and not name.startswith(_NOT_OURS)]
    return [PROJECT / name for name in names if Path(name).suffix in _TEXTS and PROJECT / name != LIST]


def found(text: str, instead: dict[str, str]) -> Iterator[tuple[int, str, str]]:
    """Yield line, phrase, and replacement of every listed phrase in a text.

    Names that hold a phrase (`set_aside`, `anew.py`) do not count.
    """
    for phrase, better in instead.items():
        pattern = re.compile(rf"(?<![\w./-]){phrase.replace(' ', _BLANK)}(?![\w-]|\.\w|/|\\)", re.IGNORECASE)
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, re.sub(r"\s+", " ", match.group()), better


def main() -> int:
    """Print each listed phrase with its place; return 1 if there is one."""
    instead = phrases()
    hits = [(path, *hit) for path in texts() if path.exists() for hit in sorted(found(path.read_text(), instead))]
    for path, line, phrase, better in hits:
        print(f"{path.relative_to(PROJECT)}:{line}: '{phrase}'; write: {better}")
    return 1 if hits else 0


if __name__ == "__main__":
    sys.exit(main())
