"""The elements of resources and the columns that hold them.

An element is held by a column when the column shows another value after the element's value changed. That is found by
trying, so that it also covers elements that choose a column (the `system` of a coding) and those that are read by a rule.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bcda.reporting.elements.rows import differing, landed_rows
from bcda.reporting.elements.rules import Rules
from bcda.reporting.elements.values import Place, changed, values_of
from bcda.settings import ApiVersion

FEWEST, MOST, BYTES = 5, 25, 200_000
"""How many values of one element are changed, as far as there are so many: what comes to that many bytes of resources."""

_TYPE = "resourceType"
"""Not changed: a line of another type would land elsewhere, which says nothing about columns."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element that has values of its own, and what holds it.

    Attributes:
        path: its names from the top, such as `extension[BENE-BUYIN-CD].valueCoding.code`.
        values: how many values of it the resources have.
        probed: how many of them were changed.
        held: after how many of the changes a typed column showed something else.
        columns: the columns that did, as table.column, the most frequent first.
        implied: why the value says nothing more than columns do already; empty for an element that is held after every
            change, and for one that is not implied.
        left_out: why no column is made for it, where that is documented.
    """

    path: str
    values: int
    probed: int
    held: int
    columns: tuple[str, ...]
    implied: str
    left_out: str

    @property
    def typed_values(self) -> float:
        """How many values count as held: all of an implied element, else the share of the changes that were seen."""
        if self.implied:
            return self.values
        return self.values * self.held / self.probed if self.probed else 0


def typed_share(elements: Sequence[Element]) -> float:
    """Return the share of all values that columns hold, from 0 to 1."""
    return sum(e.typed_values for e in elements) / sum(e.values for e in elements)


def element_report(api_version: ApiVersion, resource_type: str, lines: Sequence[bytes]) -> tuple[Element, ...]:
    """Return every element of the given resources with what holds it, by path.

    Args:
        api_version: version of BCDA that sends such resources.
        resource_type: their FHIR type.
        lines: the resources, each one line of NDJSON.

    Raises:
        LandingError: they cannot be landed.
    """
    resources = [json.loads(line) for line in lines]
    found: dict[str, list[tuple[int, Place]]] = defaultdict(list)
    for number, resource in enumerate(resources):
        for path, place in values_of(resource):
            found[path].append((number, place))
    seen = _seen(api_version, resource_type, resources, found)
    rules = Rules(api_version, resource_type)
    implied = _implied(rules, resources, found, seen)
    return tuple(
        Element(
            path,
            values=len(found[path]),
            probed=len(seen[path]),
            held=sum(map(bool, seen[path])),
            columns=_by_frequency(seen[path]),
            implied=implied.get(path, ""),
            left_out=rules.left_out(path),
        )
        for path in sorted(found)
    )


def _seen(
    api_version: ApiVersion,
    resource_type: str,
    resources: Sequence[Any],
    found: Mapping[str, Sequence[tuple[int, Place]]],
) -> dict[str, list[tuple[str, ...]]]:
    """Return by path the columns that each change of a value showed in."""
    size = sum(len(json.dumps(resource)) for resource in resources) // len(resources)
    most = min(MOST, max(FEWEST, BYTES // size))
    probes = [
        (path, number, place)
        for path, occurrences in found.items()
        if path != _TYPE
        for number, place in _spread(occurrences, most)
    ]
    rows = landed_rows(
        api_version, resource_type, [*resources, *(changed(resources[number], place) for _, number, place in probes)]
    )
    seen: dict[str, list[tuple[str, ...]]] = {path: [] for path in found}
    for (path, number, _), after in zip(probes, rows[len(resources) :], strict=True):
        seen[path].append(differing(rows[number], after))
    return seen


def _spread(occurrences: Sequence[tuple[int, Place]], most: int) -> list[tuple[int, Place]]:
    """Return that many of the occurrences, spread evenly over all."""
    if len(occurrences) <= most:
        return list(occurrences)
    return [occurrences[round(i * (len(occurrences) - 1) / (most - 1))] for i in range(most)]


def _implied(
    rules: Rules,
    resources: Sequence[Any],
    found: Mapping[str, Sequence[tuple[int, Place]]],
    seen: Mapping[str, Sequence[tuple[str, ...]]],
) -> dict[str, str]:
    """Return by path why elements are implied that are not held after every change."""
    held = {path for path, changes in seen.items() if any(changes)}
    implied: dict[str, str] = {}
    while True:
        # What hangs on an implied element may be implied too: the system of a code that is always the same.
        added = {
            path: why
            for path, changes in seen.items()
            if path not in implied and not (changes and all(changes))
            if (why := rules.implied(path, [(resources[n], place) for n, place in found[path]], held | implied.keys()))
        }
        if not added:
            return implied
        implied |= added


def _by_frequency(changes: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    counted = Counter(column for columns in changes for column in columns)
    return tuple(sorted(counted, key=lambda name: (-counted[name], name)))
