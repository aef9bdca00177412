"""Counts by resource type what the error files report as missing. Their texts name people and are not kept."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from isal import igzip

from bcda.api.manifest import FileKind, Manifest, OutputFile

UNKNOWN_TYPE = "unknown type"
"""For an error that belongs to no data file of the manifest and whose text names no type."""

_NAMED_TYPE = re.compile(r"Error retrieving ([A-Za-z]+) for beneficiary MBI")


def count_gaps(manifest: Manifest, folder: Path) -> dict[str, int]:
    """Return by resource type how many people BCDA could not retrieve, as far as it says so.

    An error file bears the name of the data file of its part, and so tells the type; otherwise the text does.

    Args:
        manifest: of the job.
        folder: with its files, proved complete.

    Source: docs/bcda.md#error-files, docs/bcda.md#manifest.
    """
    types = {_stem(file): file.resource_type for file in manifest.files if file.kind is FileKind.OUTPUT}
    found: Counter[str] = Counter()
    for file in manifest.files:
        if file.kind is FileKind.ERROR:
            paired = types.get(_stem(file).removesuffix("-error"))
            found.update(paired or named for named in _failures(folder / file.name))
    return dict(sorted(found.items()))


def _stem(file: OutputFile) -> str:
    return urlsplit(file.url).path.rpartition("/")[2].removesuffix(".ndjson")


def _failures(path: Path) -> Iterator[str]:
    """Give for each person whom an error file reports the type that the text names, each text once."""
    seen: set[str] = set()
    with igzip.open(path, "rt", encoding="utf-8", errors="replace") as lines:
        for line in filter(str.strip, lines):
            for text in _texts(line):
                if text not in seen:
                    seen.add(text)
                    named = _NAMED_TYPE.search(text)
                    yield named.group(1) if named else UNKNOWN_TYPE


def _texts(line: str) -> Iterable[str]:
    """Return the texts of the failures of a line; a line that cannot be read counts as one."""
    try:
        issues = json.loads(line)["issue"]
        return [
            str(issue.get("diagnostics") or (issue.get("details") or {}).get("text") or "")
            for issue in issues
            if issue.get("severity") not in {"warning", "information"}
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [line]
