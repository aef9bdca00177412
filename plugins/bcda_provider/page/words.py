"""Numbers and instants as the page writes them."""

import re
from datetime import datetime

import pendulum
from markupsafe import Markup, escape

from bcda.privacy.suppression import FEWEST_PEOPLE

FEW = f"fewer than {FEWEST_PEOPLE}"
NONE = "-"


def people(count: int | None) -> str:
    """Return a count of people, which is None for a count that is not shown."""
    return FEW if count is None else number(count)


def number(value: float | None) -> str:
    """Return a whole number with separators."""
    return NONE if value is None else f"{value:,.0f}"


def money(value: float | None) -> str:
    """Return US dollars without cents."""
    return NONE if value is None else f"${value:,.0f}"


def share(value: float | None) -> str:
    """Return a share between 0 and 1 as per cent."""
    return NONE if value is None else f"{value:.0%}"


def instant(value: datetime | None) -> str:
    """Return an instant to the minute, in UTC."""
    return NONE if value is None else f"{value:%Y-%m-%d %H:%M} UTC"


def duration(seconds: float | None) -> str:
    """Return a length of time in words, in whole seconds and at least one."""
    return NONE if seconds is None else pendulum.duration(seconds=max(1, round(seconds))).in_words()


def address(scope: str) -> str:
    """Return whose data an export asks for, as BCDA's addresses say it (docs/bcda.md#kick-off-request)."""
    return {"patient": "/Patient", "group-all": "/Group/all", "group-runout": "/Group/runout"}.get(scope, scope)


def ago(value: datetime | None, now: datetime) -> str:
    """Return how long an instant is past."""
    return (
        "never"
        if value is None
        else pendulum.instance(value).diff_for_humans(pendulum.instance(now)).replace("before", "ago")
    )


def sentence(text: str) -> Markup:
    """Return a message with what stands in backticks as code, the rest as it is."""
    # As plain text first: parts of a Markup that are put together are escaped again.
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before it is marked
