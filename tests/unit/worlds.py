"""Generated worlds as raw files: what a run of a given week brings, without a server."""

from datetime import datetime

from bcda_simulator.world import World, calendar

TYPES = ("Patient", "Coverage", "ExplanationOfBenefit")


def at(week: int) -> datetime:
    """Return the instant of a week's load."""
    return calendar.load_at(week)


def export(
    world: World,
    people: list[str],
    *,
    week: int,
    after: int | None = None,
    version: str = "v2",
    types: tuple[str, ...] = TYPES,
) -> list[tuple[str, bytes]]:
    """Return what an export at a week brings, changes after another week or everything, as files of `rawfiles`."""
    since = at(after) if after is not None else None
    return [(kind, b"".join(world.lines(version, kind, people, after=since, up_to=at(week)))) for kind in types]
