"""A source that serves folders of NDJSON files as they are, broken lines included."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from bcda_simulator.source import AttributionList, ListKind

_NOBODY = "-"
"""Stands for the person of a line from which none can be read."""


@dataclass(frozen=True, slots=True)
class _Line:
    person: str
    updated_at: datetime | None
    text: bytes


class FolderSource:
    """Serves files whose names begin with a resource type and a dot.

    Args:
        folders: API version → folder.

    Everyone in the files is on one list dated five days before the present. A line without `meta.lastUpdated`, or one
    that is not JSON, is served whatever the bounds are. A last line without newline gets one.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._lines: dict[tuple[str, str], list[_Line]] = {}
        for version, folder in folders.items():
            for path in sorted(folder.glob("*.ndjson")):
                key = (version, path.name.partition(".")[0])
                lines = self._lines.setdefault(key, [])
                lines += [_read(line) for line in path.read_bytes().splitlines()]
        people = {line.person for lines in self._lines.values() for line in lines}
        self._people = (*sorted(people - {_NOBODY}), _NOBODY)

    def attribution_lists(self, cms_id: str, kind: ListKind, as_of: datetime) -> Sequence[AttributionList]:  # noqa: ARG002
        """Return one list with everyone, dated 5 days before `as_of`, and one a month older."""
        year = as_of.year if kind == "all" else as_of.year - 1
        return [AttributionList(kind, as_of - timedelta(days=days), year, self._people) for days in (35, 5)]

    def last_load_at(self, as_of: datetime) -> datetime:
        """Return the instant an hour before `as_of`."""
        return as_of - timedelta(hours=1)

    def opted_out(self, as_of: datetime) -> frozenset[str]:  # noqa: ARG002
        """Return nobody."""
        return frozenset()

    def mbi(self, person: str, as_of: datetime) -> str:  # noqa: ARG002
        """Return a made-up MBI; a folder does not know the real one."""
        return f"1S00E00{abs(hash(person)) % 10000:04d}"

    def lines(
        self,
        api_version: str,
        resource_type: str,
        people: Sequence[str],
        *,
        after: datetime | None,
        up_to: datetime,
        service_cap: date | None = None,  # noqa: ARG002
    ) -> Iterator[bytes]:
        """Yield the lines of some people, in file order."""
        wanted = set(people)
        for line in self._lines.get((api_version, resource_type), ()):
            if line.person not in wanted:
                continue
            if line.updated_at and (line.updated_at > up_to or (after and line.updated_at <= after)):
                continue
            yield line.text


def _read(raw: bytes) -> _Line:
    text = raw + b"\n"
    try:
        resource = json.loads(raw)
        updated = resource.get("meta", {}).get("lastUpdated")
        updated_at = datetime.fromisoformat(updated).astimezone(UTC) if updated else None
    except (ValueError, AttributeError):
        return _Line(_NOBODY, None, text)
    reference = resource.get("patient", {}).get("reference") or resource.get("beneficiary", {}).get("reference") or ""
    person = (
        reference.rpartition("/")[2]
        if reference
        else (resource.get("id", "") if resource.get("resourceType") == "Patient" else "")
    )
    return _Line(person or _NOBODY, updated_at, text)
