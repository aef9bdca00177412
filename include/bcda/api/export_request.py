"""What is asked of BCDA: scope, resource types, since. Refused here before BCDA refuses it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from bcda.api.type_filter import TypeFilter
from bcda.errors import InvalidRequestError
from bcda.settings import ApiVersion

RESOURCE_TYPES: dict[ApiVersion, tuple[str, ...]] = {
    ApiVersion.V1: ("Patient", "Coverage", "ExplanationOfBenefit"),
    ApiVersion.V2: ("Patient", "Coverage", "ExplanationOfBenefit", "Claim", "ClaimResponse"),
    ApiVersion.V3: ("Patient", "Coverage", "ExplanationOfBenefit"),
}
"""Types that each version can export (docs/bcda.md#hosts-and-versions)."""

DEFAULT_RESOURCE_TYPES = ("Patient", "Coverage", "ExplanationOfBenefit")
"""Types that every entity may ask for; Claim and ClaimResponse need an entitlement (docs/bcda.md#resource-types)."""


class Scope(StrEnum):
    """Which endpoint an export uses, and so whom it covers (docs/bcda.md#attribution-lists)."""

    PATIENT = "patient"
    GROUP_ALL = "group-all"
    GROUP_RUNOUT = "group-runout"

    @property
    def is_runout(self) -> bool:
        """Whether the people are those of last year's runout list instead of the current ones."""
        return self is Scope.GROUP_RUNOUT


_SCOPES = {"patient": Scope.PATIENT, "group/all": Scope.GROUP_ALL, "group/runout": Scope.GROUP_RUNOUT}
_REFUSED = {
    "group/new": "BCDA has no Group/new; the server refuses it. People who are new on the attribution list come with their whole "
    "history from group-all with `since`.",
    "explanationofbenefit": "BCDA removed /api/v1/ExplanationOfBenefit/$export. Export patient with the resource type "
    "ExplanationOfBenefit.",
    "coverage": "BCDA removed /api/v1/Coverage/$export. Export patient with the resource type Coverage.",
    "": "BCDA has no export of the whole system. Choose patient, group-all, or group-runout.",
}
"""Endpoints that older documentation and the Bulk Data specification name (docs/bcda.md#where-documentation-differs)."""


def scope_of(text: str) -> Scope:
    """Return the scope that a name means: `patient`, `group-all`, `group-runout`, or BCDA's paths such as `Group/all/$export`.

    Raises:
        InvalidRequestError: BCDA has no such endpoint; the message says what to use instead.

    Source: docs/bcda.md#endpoints, docs/bcda.md#kick-off-refusals.
    """
    path = text.strip().strip("/").removesuffix("$export").rstrip("/").lower()
    for version in ApiVersion:
        path = path.removeprefix(f"api/{version}").lstrip("/")
    name = path.replace("group-", "group/")
    if name in _SCOPES:
        return _SCOPES[name]
    if name in _REFUSED:
        raise InvalidRequestError(_REFUSED[name])
    raise InvalidRequestError(f"{text!r} is not an export of BCDA. Choose patient, group-all, or group-runout.")


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """One export to ask for.

    Attributes:
        api_version: version of the API.
        scope: endpoint.
        resource_types: FHIR type names, in the order they are sent; never empty, since a request without
            `_type` collides with every other job of the entity (docs/bcda.md#overlapping-jobs).
        since: aware instant; only resources updated after it. None asks for everything.
        type_filter: which claims of v3; None on v1 and v2, which ignore the parameter without notice.
    """

    api_version: ApiVersion
    scope: Scope
    resource_types: tuple[str, ...]
    since: datetime | None = None
    type_filter: TypeFilter | None = None

    def __post_init__(self) -> None:
        """Refuse what BCDA would refuse.

        Raises:
            InvalidRequestError: no type, a type named twice, a type the version does not have, a `since` without
                zone, or a type filter that would be ignored.

        Source: docs/bcda.md#kick-off-request, docs/bcda.md#kick-off-refusals, docs/bcda.md#type-filter.
        """
        if not self.resource_types:
            raise InvalidRequestError("Name at least one resource type.")
        known = RESOURCE_TYPES[self.api_version]
        for resource_type in self.resource_types:
            if resource_type not in known:
                raise InvalidRequestError(
                    f"API {self.api_version} does not export {resource_type!r}; choose from {', '.join(known)}."
                )
            if self.resource_types.count(resource_type) > 1:
                raise InvalidRequestError(f"Resource type {resource_type} is named twice.")
        if self.since is not None and self.since.utcoffset() is None:
            raise InvalidRequestError("`since` needs a time zone, such as 2026-11-01T00:00:00Z.")
        if self.type_filter is not None and self.api_version is not ApiVersion.V3:
            raise InvalidRequestError(
                f"API {self.api_version} ignores type filters and would send every claim; leave them out or use v3."
            )

    def to_json(self) -> dict[str, object]:
        """Return a JSON object that `from_json` reads back."""
        return {
            "api_version": self.api_version.value,
            "scope": self.scope.value,
            "resource_types": list(self.resource_types),
            "since": format_instant(self.since) if self.since else None,
            "type_filter": self.type_filter.to_json() if self.type_filter else None,
        }

    @classmethod
    def from_json(cls, value: dict[str, object]) -> "ExportRequest":
        """Read what `to_json` wrote.

        Raises:
            InvalidRequestError: the object is not of that shape.
        """
        try:
            types, since = value["resource_types"], value["since"]
            if not isinstance(types, list):
                raise InvalidRequestError("resource_types must be a list.")
            return cls(
                api_version=ApiVersion(str(value["api_version"])),
                scope=Scope(str(value["scope"])),
                resource_types=tuple(str(t) for t in types),
                since=parse_instant(str(since)) if since else None,
                type_filter=TypeFilter.from_json(value["type_filter"]) if value.get("type_filter") else None,
            )
        except (KeyError, ValueError) as error:
            raise InvalidRequestError(f"Not a stored export request: {error}.") from error


def parse_instant(text: str) -> datetime:
    """Read an RFC 3339 instant into an aware UTC datetime, to the microsecond.

    Raises:
        InvalidRequestError: no date and time, or no zone.

    Source: docs/bcda.md#kick-off-request, `_since`.
    """
    try:
        value = datetime.fromisoformat(text.strip())
        has_zone = value.utcoffset() is not None and "T" in text
        # The first and the last day of the calendar can lie outside of it in UTC.
        instant = value.astimezone(UTC) if has_zone else None
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError(
            f"{text!r} is not a valid timestamp. Use a form such as 2026-11-01T00:00:00Z."
        ) from error
    if instant is None:
        raise InvalidRequestError(f"{text!r} has no time or no time zone. Use a form such as 2026-11-01T00:00:00Z.")
    return instant


def format_instant(value: datetime) -> str:
    """Write an aware instant in UTC with `Z`, with just the fraction it has, so that no `+` needs encoding."""
    text = value.astimezone(UTC).isoformat().removesuffix("+00:00")
    return f"{text.rstrip('0') if '.' in text else text}Z"
