"""The documented rules of `model/implied_elements.toml`, and whether resources bear them out."""

import fnmatch
import json
import tomllib
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from typing import Any

from bcda.reporting.elements.values import Place, value_at
from bcda.settings import ApiVersion

Occurrences = Sequence[tuple[Any, Place]]
"""Every resource that has an element, each with the place of it."""


class Rules:
    """The rules for one resource type of one version."""

    def __init__(self, api_version: ApiVersion, resource_type: str) -> None:
        document = tomllib.loads((files("bcda.model") / "implied_elements.toml").read_text(encoding="utf-8"))
        self._implied, self._left_out = (
            [
                rule
                for rule in document[kind]
                if resource_type in rule.get("types", [resource_type])
                and api_version.value in rule.get("versions", [api_version.value])
            ]
            for kind in ("implied", "left_out")
        )

    def implied(self, path: str, occurrences: Occurrences, held: Collection[str]) -> str:
        """Return why an element says nothing more than columns do, by the first rule that is borne out; else nothing.

        Args:
            path: of the element.
            occurrences: all of it.
            held: paths of the elements that columns hold or that are implied themselves.
        """
        for rule in self._implied:
            if _is_like(path, rule["path"]) and _has_column(path, rule, held) and _is_decided(occurrences, rule):
                return str(rule["why"])
        return ""

    def left_out(self, path: str) -> str:
        """Return why no column is made for an element, where that is documented; else nothing."""
        return next((str(rule["why"]) for rule in self._left_out if _is_like(path, rule["path"])), "")


def _is_like(path: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(path, pattern.replace("[", "[[]"))


def _has_column(path: str, rule: Mapping[str, Any], held: Collection[str]) -> bool:
    """Whether the rule needs no other element, or one that it names beside this one is held."""
    needed = [f"{path.rpartition('.')[0]}.{name}" for name in rule.get("needs", ())]
    return not needed or any(_is_like(other, pattern) for pattern in needed for other in held)


def _is_decided(occurrences: Occurrences, rule: Mapping[str, Any]) -> bool:
    """Whether what the rule names decides the value, in every one of the resources."""
    said: dict[str, object] = {}
    for resource, place in occurrences:
        value = value_at(resource, place)
        if said.setdefault(json.dumps(_decider(resource, place, rule), sort_keys=True), value) != value:
            return False
    return True


def _decider(resource: Any, place: Place, rule: Mapping[str, Any]) -> object:
    """Return all that the rule says the value follows from."""
    numbers = [number for number, part in enumerate(place) if isinstance(part, int)]
    return [
        [value_at(resource, place[:-1]).get(name) for name in rule.get("beside", ())],
        [_nearest(resource, place, name) for name in rule.get("around", ())],
        [resource.get(name) for name in rule.get("top", ())],
        [place[number] for number in numbers[-rule["position"] :][:1]] if "position" in rule else None,
        [id(resource), place[: numbers[-1]]] if rule.get("repeats") else None,
    ]


def _nearest(resource: Any, place: Place, name: str) -> object:
    """Return the element of that name in the nearest element around the place that has one."""
    for depth in reversed(range(len(place))):
        around = value_at(resource, place[:depth])
        if isinstance(around, dict) and name in around:
            return around[name]
    return None
