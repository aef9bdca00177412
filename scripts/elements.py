"""`python scripts/elements.py`: write docs/reference/elements.md from the public sample resources.

They are no part of the project: `BCDA_SAMPLES` names their folder. `--check` writes nothing and tells whether the page is out of date.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bcda.reporting.elements import Element, element_report, typed_share
from bcda.reporting.elements.report import FEWEST, MOST
from bcda.settings import ApiVersion
from reference_pages.markdown import code, plain, table

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "reference" / "elements.md"

_ABOUT = """# Elements and columns

Every element of the public sample resources that has a value of its own, and the typed columns that hold it. *held* is found by trying:
{fewest} to {most} values of the element, or all where there are fewer, are changed one at a time, the resource is landed, and the rows
are compared. `5 of 5` means that a column showed something else after each change. What only the text of the resource has (the view
`resource`) does not count, nor does `claim_extension`, which keeps any extension as a name and a text.

*implied* means that the value says nothing more than a column does already, such as the words for a code. Each such rule is tried on the
samples, and counts only where it is true of every value. In the share of typed values an element that is held after some of the changes
counts in part.

"""

_SHOWN_COLUMNS = 3


def samples() -> Path:
    """Return the folder of the public samples; it need not exist."""
    return Path(os.environ.get("BCDA_SAMPLES") or PROJECT.parent / "shared" / "samples")


def sample_lines(folder: Path) -> dict[tuple[ApiVersion, str], list[bytes]]:
    """Return the lines of the sample files by version and resource type, in the order of the names of the files."""
    found: dict[tuple[ApiVersion, str], list[bytes]] = {}
    for version in ApiVersion:
        for path in sorted((folder / version.value).glob("*/*.ndjson")):
            if path.parent.name in ("ndjson", "server"):
                for line in filter(bytes.strip, path.read_bytes().splitlines()):
                    found.setdefault((version, json.loads(line)["resourceType"]), []).append(line)
    return dict(sorted(found.items()))


def page(folder: Path) -> str:
    """Return the page for the samples in a folder."""
    lines = sample_lines(folder)
    reports = {of: element_report(*of, found) for of, found in lines.items()}
    head = ("version and type", "resources", "elements", "values", "typed values")
    rows = [
        [
            f"[{version.value} {kind}](#{version.value}-{kind.lower()})",
            f"{len(lines[version, kind]):,}",
            str(len(elements)),
            f"{sum(e.values for e in elements):,}",
            f"{typed_share(elements):.1%}",
        ]
        for (version, kind), elements in reports.items()
    ]
    parts = [_ABOUT.format(fewest=FEWEST, most=MOST) + table(head, rows)]
    for (version, kind), elements in reports.items():
        body = table(("element", "values", "held", "where, or why not"), _rows(elements))
        parts.append(f"## {version.value} {kind}\n\n{body}")
    return "\n\n".join(parts) + "\n"


def _rows(elements: tuple[Element, ...]) -> Iterator[list[str]]:
    for element in elements:
        held = "implied" if element.implied else f"{element.held} of {element.probed}"
        yield [code(element.path), f"{element.values:,}", held, _where(element)]


def _where(element: Element) -> str:
    shown = ", ".join(map(code, element.columns[:_SHOWN_COLUMNS]))
    more = len(element.columns) - _SHOWN_COLUMNS
    columns = f"{shown} and {more} more" if more > 0 else shown
    if element.held == element.probed and element.probed:
        return columns
    why = plain(element.implied or element.left_out)
    return f"{columns}. {why}" if columns and why else columns or why or "no column"


def main() -> int:
    """Run from the command line."""
    folder = samples()
    if not any(folder.glob("v?/ndjson/*.ndjson")):
        print(f"no public samples in {folder}; set BCDA_SAMPLES to their folder", file=sys.stderr)
        return 2
    text = page(folder)
    if "--check" in sys.argv:
        is_stale = PAGE.read_text(encoding="utf-8") != text
        print(f"{'out of date' if is_stale else 'current'}: {PAGE.name}")
        return int(is_stale)
    PAGE.write_text(text, encoding="utf-8")
    print(f"written: {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
