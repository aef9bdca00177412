"""What is asked of BCDA: scope, resource types, since. Refused here before BCDA refuses it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from bcda.errors import InvalidRequestError
from bcda.settings import ApiVersion
from bcda.type_filter import TypeFilter

RESOURCE_TYPES: dict[ApiVersion, tuple[str, ...]] = {
    ApiVersion.V1: ("Patient", "Coverage", "ExplanationOfBenefit"),
    ApiVersion.V2: ("Patient", "Coverage", "ExplanationOfBenefit", "Claim", "ClaimResponse"),
    ApiVersion.V3: ("Patient", "Coverage", "ExplanationOfBenefit"),
}
"""Types that each version can export (wire contract §1)."""

DEFAULT_RESOURCE_TYPES = ("Patient", "Coverage", "ExplanationOfBenefit")
"""Types that every entity may ask for; Claim and ClaimResponse need an entitlement (wire contract §6.4)."""


class Scope(StrEnum):
    """Which endpoint an export uses, and so whom it covers (wire contract §8)."""

    PATIENT = "patient"
    GROUP_ALL = "group-all"
    GROUP_RUNOUT = "group-runout"

    @property
    def is_runout(self) -> bool:
        """Whether the people are those of last year's runout list instead of the current ones."""
        return self is Scope.GROUP_RUNOUT


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """One export to ask for.

    Attributes:
        api_version: version of the API.
        scope: endpoint.
        resource_types: FHIR type names, in the order they are sent; never empty, since a request without
            `_type` collides with every other job of the entity (wire contract §7).
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

        Source: wire contract §6.1, §6.3 rows 7 to 9 and 18, §17.
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

    Source: wire contract §6.1, `_since`.
    """
    try:
        value = datetime.fromisoformat(text.strip())
        has_zone = value.utcoffset() is not None and "T" in text
        # The first and the last day of the calendar can lie outside of it in UTC.
        instant = value.astimezone(UTC) if has_zone else None
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError(f"{text!r} is no instant; write it like 2026-11-01T00:00:00Z.") from error
    if instant is None:
        raise InvalidRequestError(f"{text!r} needs a time and a zone; write it like 2026-11-01T00:00:00Z.")
    return instant


def format_instant(value: datetime) -> str:
    """Write an aware instant in UTC with `Z`, with just the fraction it has, so that no `+` needs encoding."""
    text = value.astimezone(UTC).isoformat().removesuffix("+00:00")
    return f"{text.rstrip('0') if '.' in text else text}Z"
