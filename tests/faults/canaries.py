"""People who are unmistakable wherever they turn up, and the search for them."""

import json
import logging
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from bcda_simulator import SimulatorServer
from bcda_simulator.world import World

PLANTED = "1S00E00QK77"
"""An MBI that only error texts of the server hold."""

TOKEN_START = "eyJhbGciOiAiUlM1MTIi"
"""How every token of the server begins; Airflow has tokens of its own, which begin otherwise."""


def canaries(world: World, server: SimulatorServer, people: int) -> tuple[str, ...]:
    """Return MBIs, member numbers and family names of a world's people, and the server's secrets."""
    now = server.clock.now()
    found = {PLANTED, server.entity.client_secret, TOKEN_START}
    for person in range(people):
        found.add(world.mbi(str(person), now))
        for line in world.lines("v2", "Patient", [str(person)], after=None, up_to=now):
            patient = json.loads(line)
            found |= {patient["id"], patient["name"][0]["family"], *(i["value"] for i in patient["identifier"])}
    return tuple(sorted(found))


def texts_of(error: BaseException | None) -> Iterator[str]:
    """Yield everything that an exception would print, with all that it is chained to."""
    if error is not None:
        yield "".join(traceback.format_exception(error))
        yield repr(vars(error))


def texts_of_records(records: Iterable[logging.LogRecord]) -> Iterator[str]:
    """Yield what log records say, tracebacks included."""
    formatter = logging.Formatter("%(name)s %(message)s")
    for record in records:
        # The server writes its own log; here it shares the process.
        if not record.name.startswith("bcda_simulator"):
            yield formatter.format(record)


def names_below(home: Path) -> Iterator[str]:
    """Yield the names of all files and folders."""
    for path in home.rglob("*"):
        yield path.relative_to(home).as_posix()


def leaks(texts: Iterable[str], wanted: tuple[str, ...]) -> list[str]:
    """Return which canaries turn up in texts."""
    return sorted({canary for text in texts for canary in wanted if canary in text})
