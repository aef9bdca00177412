"""MkDocs hook: what lies outside of docs/, and what the search puts first.

The pages are also read on a code host, where a link may lead to any file of the project. On the site some of these files are
pages of their own; the others are named by their path. A link to a file that does not exist is a warning, which `--strict` makes an error.
"""

import logging
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PROJECT = Path(__file__).resolve().parents[1]
DOCS = PROJECT / "docs"

PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "reporting.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "benchmarks/README.md": "measurements.md",
    "README.md": "index.md",
}
"""Files of the project that are pages of the site; the README's place is taken by the home page."""

BOOSTS = {"reference/messages.md": 2, "licenses.md": 0.1}
"""What the search puts first: people paste messages into it. Nobody looks for the license of a package that way."""

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_SCHEME = re.compile(r"[a-z]+:|#")

log = logging.getLogger("mkdocs.hooks.site_links")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made of files outside of docs/."""
    for source, page in PAGES.items():
        if files.get_file_from_path(page) is None:
            files.append(File.generated(config, page, content=(PROJECT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:  # noqa: ARG001 - the interface's
    """Turn the links of a page that leave docs/ into links of the site, or into the path of the file."""
    here = page.file.src_uri
    if here in BOOSTS:
        page.meta["search"] = {"boost": BOOSTS[here]}
    origin = {made: source for source, made in PAGES.items() if source != "README.md"}.get(here, f"docs/{here}")
    parts = _FENCE.split(markdown)
    return "".join(
        part if part.startswith("```") else _LINK.sub(lambda link: _on_the_site(link, origin, here), part)
        for part in parts
    )


def _on_the_site(link: re.Match[str], origin: str, page: str) -> str:
    text, target = link.groups()
    if _SCHEME.match(target):
        return link.group(0)
    path, mark, anchor = target.partition("#")
    wanted = (PROJECT / origin).parent / path
    place = Path(os.path.normpath(wanted))
    if not place.exists():
        log.warning("%s links to %s, which does not exist", origin, target)
        return text
    name = place.relative_to(PROJECT).as_posix()
    if name in PAGES or place.is_relative_to(DOCS):
        on_site = PAGES.get(name) or place.relative_to(DOCS).as_posix()
        return f"[{text}]({os.path.relpath(on_site, Path(page).parent)}{mark}{anchor})"
    return text if name in text else f"{text} (`{name}`)"
