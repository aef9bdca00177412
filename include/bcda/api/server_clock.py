"""BCDA's own clock as the measure of every timestamp that it sends: what lies after it cannot be true."""

from datetime import UTC, datetime, timedelta

LEEWAY = timedelta(days=1)
"""How far a timestamp may lie after BCDA's clock: its parts have clocks of their own, and some of its dates are days."""


def is_future(instant: datetime, server_now: datetime) -> bool:
    """Tell whether a timestamp lies more than a day after BCDA's clock.

    Args:
        instant: that BCDA sent, aware.
        server_now: `Date` of BCDA's answer, aware; never this machine's clock where BCDA said what time it is.
    """
    return instant - server_now > LEEWAY


def latest_possible(server_now: datetime) -> datetime:
    """Return the latest timestamp that is not in the future.

    Args:
        server_now: as of `is_future`.
    """
    end = datetime.max.replace(tzinfo=UTC)
    return server_now + LEEWAY if end - server_now > LEEWAY else end
