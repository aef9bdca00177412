"""People who are unmistakable wherever they turn up, and the search for them."""

import json
import logging
import traceback
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from bcda_simulator import SimulatorServer
from bcda_simulator.world import World

PLANTED = "1S00E00QK77"
"""An MBI that only error texts of the server hold."""

TOKEN_START = "eyJhbGciOiAiUlM1MTIi"
"""How every token of the server begins; Airflow has tokens of its own, which begin otherwise."""


def canaries(world: World, server: SimulatorServer, people: int) -> tuple[str, ...]:
    """Return MBIs, member numbers and family names of a world's people, and the server's secrets."""
    return people_of(world, people, now=server.clock.now(), secret=server.entity.client_secret)


def people_of(world: World, people: int, *, now: datetime, secret: str) -> tuple[str, ...]:
    """Return the same for a server that is another process, by its clock and its entity's secret."""
    found = {PLANTED, secret, TOKEN_START}
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


def leaks_below(folder: Path, wanted: tuple[str, ...], *, but: frozenset[str] = frozenset()) -> tuple[int, list[str]]:
    """Search all files of a folder and their names, such as all that Airflow keeps: database, logs, rendered fields, events.

    Args:
        folder: searched with everything below it.
        wanted: canaries.
        but: names of files that hold secrets on purpose.

    Returns:
        How many files were searched, and a sentence for each that holds a canary.
    """
    searched, found = 0, []
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in but:
            searched += 1
            texts = [path.read_bytes().decode("latin-1"), path.relative_to(folder).as_posix()]
            found += [f"{path.name} holds a canary" for _ in leaks(texts, wanted)]
    return searched, found


def leaks(texts: Iterable[str], wanted: tuple[str, ...]) -> list[str]:
    """Return which canaries turn up in texts."""
    return sorted(
        {canary for text in texts for canary in wanted if canary in text or _is_spelled_otherwise(canary, text)}
    )


def _is_spelled_otherwise(canary: str, text: str) -> bool:
    """Tell whether the planted MBI is in a text in lower case, or with blanks or dashes in it."""
    return canary == PLANTED and canary in text.upper().translate({ord(letter): None for letter in " -\u2013_"})
