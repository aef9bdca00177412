"""A simulator with one job of many files, as a process of its own: `python benchmarks/serving.py --files 600`.

Each file holds one claim of a person of their own. Where the files lie is among the facts it prints, so that a
measurement can put larger ones in their place, under the same names.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Annotated

import typer

from bcda_simulator import Fault, FaultKind, SimulatorServer
from bcda_simulator.settings import SimulatorSettings
from bcda_simulator.source import AttributionList, ListKind
from bcda_simulator.world import World

EOB = "ExplanationOfBenefit"
AS_OF = datetime(2026, 11, 10, 12, tzinfo=UTC)


class OneClaimEach:
    """A source of as many people as there are to be files, each with one claim of the generated world."""

    def __init__(self, files: int, seed: int = 1) -> None:
        world = World(people=10**9, seed=seed)
        self._lines: dict[str, bytes] = {}
        for person in map(str, count()):
            if len(self._lines) == files:
                break
            line = next(iter(world.lines("v2", EOB, [person], after=None, up_to=AS_OF)), None)
            if line is not None:
                self._lines[person] = line

    def attribution_lists(self, cms_id: str, kind: ListKind, as_of: datetime) -> Sequence[AttributionList]:  # noqa: ARG002
        """Return one list with everyone."""
        return [AttributionList(kind, as_of - timedelta(days=5), as_of.year, tuple(self._lines))]

    def last_load_at(self, as_of: datetime) -> datetime:
        """Return the instant an hour before."""
        return as_of - timedelta(hours=1)

    def opted_out(self, as_of: datetime) -> frozenset[str]:  # noqa: ARG002
        """Return nobody."""
        return frozenset()

    def mbi(self, person: str, as_of: datetime) -> str:  # noqa: ARG002
        """Return a made-up MBI."""
        return "1S00E00AA00"

    def lines(
        self,
        api_version: str,  # noqa: ARG002
        resource_type: str,  # noqa: ARG002
        people: Sequence[str],
        *,
        after: datetime | None,  # noqa: ARG002
        up_to: datetime,  # noqa: ARG002
        service_cap: date | None = None,  # noqa: ARG002
    ) -> Iterator[bytes]:
        """Yield the claims of some people."""
        for person in people:
            yield self._lines[person]


def main(
    files: Annotated[int, typer.Option(help="Files of the job.")],
    latency: Annotated[float, typer.Option(help="Seconds before the server begins to answer for a file.")] = 0.0,
    megabytes_per_second: Annotated[float, typer.Option(help="Limit on the bytes of all files; 0 for none.")] = 0.0,
) -> None:
    """Serve until the input is closed; the first line printed is a JSON object of facts."""
    settings = SimulatorSettings(
        pending_seconds=0,
        parts_per_second=1e6,
        chunk_people={EOB: 1},
        bytes_per_second=megabytes_per_second * 1e6 or None,
    )
    faults = [Fault(FaultKind.DELAY, "data", seconds=latency)] if latency else []
    with SimulatorServer(OneClaimEach(files), settings=settings, start=AS_OF, faults=faults) as server:
        facts = {
            "base_url": server.base_url,
            "client_id": server.entity.client_id,
            "client_secret": server.entity.client_secret,
            "folder": str(server.folder),
        }
        print(json.dumps(facts), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    typer.run(main)
