"""`_typeFilter` of API v3 as a value: which claims to ask for. What BCDA would refuse or drop is refused here."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from urllib.parse import parse_qsl, quote

from bcda.errors import InvalidRequestError

_BOUNDS = {"ge": "service_from", "le": "service_through"}
_SYSTEMS = "https://bluebutton.cms.gov/fhir/CodeSystem"


class SystemType(StrEnum):
    """Where a claim of v3 comes from (docs/bcda.md#data-files)."""

    NCH = "NationalClaimsHistory"
    DDPS = "DDPS"
    SHARED = "SharedSystem"


class FinalAction(StrEnum):
    """Whether a claim of v3 is the last word."""

    FINAL = "FinalAction"
    NOT_FINAL = "NotFinalAction"


class ClaimOutcome(StrEnum):
    """`outcome` of an ExplanationOfBenefit."""

    COMPLETE = "complete"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True)
class TypeFilter:
    """Which ExplanationOfBenefit resources an export of v3 brings; Patient and Coverage come whole.

    Attributes:
        systems: sources of claims; all three by default. Without any BCDA would leave the shared systems out, so at least
            one has to be named.
        final_action: None for both. Drug events carry no such tag and are left out when it is set.
        outcome: None for both.
        service_from: first day of service, inclusive; None for no bound.
        service_through: last day of service, inclusive; None for no bound.
    """

    systems: tuple[SystemType, ...] = tuple(SystemType)
    final_action: FinalAction | None = None
    outcome: ClaimOutcome | None = None
    service_from: date | None = None
    service_through: date | None = None

    def __post_init__(self) -> None:
        """Refuse what brings something else than it says.

        Raises:
            InvalidRequestError: no system, one named twice, drug events alone with a final action, or days in the wrong
                order.

        Source: docs/bcda.md#type-filter.
        """
        if not self.systems or len(set(self.systems)) < len(self.systems):
            raise InvalidRequestError(
                f"Name each system once, and at least one of {', '.join(SystemType)}: without any BCDA leaves the shared "
                "systems out."
            )
        if self.final_action is not None and self.systems == (SystemType.DDPS,):
            raise InvalidRequestError("Drug events carry no final-action tag; a filter on it would bring nothing.")
        if self.service_from and self.service_through and self.service_from > self.service_through:
            raise InvalidRequestError(
                f"Days of service from {self.service_from} through {self.service_through} are in the wrong order."
            )

    @property
    def is_narrow(self) -> bool:
        """Whether claims are left out that belong to a complete export; the shared systems' unfinished ones do not."""
        return (
            not {SystemType.NCH, SystemType.DDPS} <= set(self.systems)
            or self.final_action is not None
            or self.outcome is not None
            or self.service_from is not None
            or self.service_through is not None
        )

    def to_parameter(self) -> str:
        """Return the value of `_typeFilter`, encoded once for the filter and once for the URL (docs/bcda.md#type-filter).

        Bounds are full days with `ge` and `le`: a year or month would mean its first day, and BCDA drops times of day.
        """
        tags = [",".join(f"{_SYSTEMS}/System-Type|{system}" for system in self.systems)]
        if self.final_action is not None:
            tags.append(f"{_SYSTEMS}/Final-Action|{self.final_action}")
        pairs = [("_tag", tag) for tag in tags]
        if self.outcome is not None:
            pairs.append(("outcome", self.outcome.value))
        if self.service_from is not None:
            pairs.append(("service-date", f"ge{self.service_from.isoformat()}"))
        if self.service_through is not None:
            pairs.append(("service-date", f"le{self.service_through.isoformat()}"))
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)
        return quote(f"ExplanationOfBenefit?{query}", safe="")

    def to_json(self) -> dict[str, object]:
        """Return a JSON object that `from_json` reads back."""
        return {
            "systems": [system.value for system in self.systems],
            "final_action": self.final_action,
            "outcome": self.outcome,
            "service_from": self.service_from.isoformat() if self.service_from else None,
            "service_through": self.service_through.isoformat() if self.service_through else None,
        }

    @classmethod
    def from_json(cls, value: object) -> "TypeFilter":
        """Read what `to_json` wrote, or what a form sent.

        Raises:
            InvalidRequestError: a field is unknown or malformed.
        """
        if not isinstance(value, dict) or (unknown := set(value) - set(cls.__slots__)):
            raise InvalidRequestError(f"A type filter has the fields {', '.join(cls.__slots__)} and no others.")
        del unknown
        try:
            return cls(
                systems=tuple(SystemType(system) for system in value.get("systems") or tuple(SystemType)),
                final_action=FinalAction(value["final_action"]) if value.get("final_action") else None,
                outcome=ClaimOutcome(value["outcome"]) if value.get("outcome") else None,
                service_from=_day(value.get("service_from")),
                service_through=_day(value.get("service_through")),
            )
        except InvalidRequestError:
            raise
        except (TypeError, ValueError) as error:
            raise InvalidRequestError(f"The type filter is malformed: {error}.") from error

    @classmethod
    def from_parameter(cls, text: str) -> "TypeFilter":
        """Read the value of `_typeFilter`, decoded once as from a URL, as far as `to_parameter` writes it.

        Raises:
            InvalidRequestError: it holds something else, so which claims it names is not known.
        """
        found: dict[str, object] = {}
        for name, value in parse_qsl(text.removeprefix("ExplanationOfBenefit?")):
            values = [part.partition("|")[2] for part in value.split(",")]
            if name == "_tag" and value.startswith(f"{_SYSTEMS}/System-Type|"):
                found["systems"] = values
            elif name == "_tag" and value.startswith(f"{_SYSTEMS}/Final-Action|"):
                found["final_action"] = values[0]
            elif name == "outcome":
                found["outcome"] = value
            elif name == "service-date" and value[:2] in _BOUNDS:
                found[_BOUNDS[value[:2]]] = value[2:]
            else:
                raise InvalidRequestError(f"The job has a type filter that this release does not know: {name[:40]}.")
        return cls.from_json(found)


def _day(value: object) -> date | None:
    if not value:
        return None
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise InvalidRequestError(
            f"{value!r} is no day of service; write it like 2026-03-31. BCDA drops times of day without saying so."
        ) from error
