"""Text of the code as Markdown."""

import re
from collections.abc import Iterable, Sequence


def plain(text: str) -> str:
    """Return text so that Markdown shows it as it stands, also in a cell of a table; code in backticks stays code."""
    parts = re.split(r"(`+[^`]*`+)", " ".join(text.split()))
    shown = (part if part.startswith("`") else _escaped(part) for part in parts)
    return "".join(shown).replace("|", r"\|")


def _escaped(text: str) -> str:
    return re.sub(r"(?<!\w)_", r"\\_", text.replace("*", r"\*").replace("<", "&lt;"))


def code(text: object) -> str:
    """Return text as code, whatever backticks are in it; empty text as nothing."""
    shown = " ".join(str(text).split()).replace("|", r"\|")
    if not shown:
        return ""
    if "`" not in shown:
        return f"`{shown}`"
    return f"`` {shown} ``"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
