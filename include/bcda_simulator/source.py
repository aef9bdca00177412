"""What the simulated server can serve: attribution lists and resources, as they stood at any instant.

The server knows jobs, tokens and files; a source knows people and claims. Two sources exist: the seeded
world (`world`) and a folder of NDJSON files (`folder`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, Protocol

ListKind = Literal["all", "runout"]


@dataclass(frozen=True, slots=True)
class AttributionList:
    """One attribution list of an entity (docs/bcda.md#attribution-lists).

    Attributes:
        kind: `all` for the monthly list, `runout` for last year's people.
        dated_at: the date in the list's file name, UTC; `/attribution_status` shows it.
        performance_year: the calendar year that the list is for.
        people: keys of the people on the list, in the source's own terms, in a stable order.
    """

    kind: ListKind
    dated_at: datetime
    performance_year: int
    people: tuple[str, ...]


class Source(Protocol):
    """A source of attribution lists and resources. Everything is a pure function of its arguments."""

    def attribution_lists(self, cms_id: str, kind: ListKind, as_of: datetime) -> Sequence[AttributionList]:
        """Return the entity's lists of one kind dated at or before `as_of`, oldest first."""

    def last_load_at(self, as_of: datetime) -> datetime:
        """Return the instant of the newest data load at or before `as_of` (`transactionTime` of v1 and v2)."""

    def opted_out(self, as_of: datetime) -> frozenset[str]:
        """Return the people who refused to share their data during the last 60 days."""

    def mbi(self, person: str, as_of: datetime) -> str:
        """Return the person's current MBI."""

    def lines(
        self,
        api_version: str,
        resource_type: str,
        people: Sequence[str],
        *,
        after: datetime | None,
        up_to: datetime,
        service_cap: date | None = None,
    ) -> Iterator[bytes]:
        """Yield the NDJSON lines of some people for one type, each ending in a newline.

        Args:
            api_version: `v1`, `v2` or `v3`.
            resource_type: FHIR type name.
            people: whose resources; the lines of a person are adjacent.
            after: exclusive lower bound on `meta.lastUpdated`; None for everything.
            up_to: inclusive upper bound on `meta.lastUpdated`; the newest version at that instant is served.
            service_cap: claims with a later service date are left out (runout).
        """
