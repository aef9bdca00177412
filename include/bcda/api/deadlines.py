"""What runs out by the calendar: client secrets, attribution lists, and the weeks in which BCDA is closed."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

SECRET_LASTS = timedelta(days=90)
"""BCDA refuses secrets that are older (docs/bcda.md#token)."""

SECRET_WARNING = timedelta(days=75)

LIST_LASTS = timedelta(days=50)
"""BCDA refuses exports when its newest attribution list is older (docs/bcda.md#kick-off-refusals)."""

LIST_WARNING = timedelta(days=40)
"""Lists come monthly, so one of this age has been followed by none for more than a week."""

_CLOSURE_ENDS = (2, 20)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know.

    Attributes:
        is_failure: a person has to act now.
        text: what is wrong, with what, and what to do.
    """

    is_failure: bool
    text: str


def is_closed(now: datetime) -> bool:
    """Tell whether BCDA may be without a list of the year, which keeps all but runout exports waiting (docs/bcda.md#calendar)."""
    return (now.month, now.day) <= _CLOSURE_ENDS


def check_secret(made_on: str, *, today: date) -> Finding | None:
    """Return a warning two weeks before a client secret ends, and a failure once it has.

    Args:
        made_on: day on which it was made, YYYY-MM-DD; empty when not known.
        today: present day.

    Source: docs/bcda.md#token.
    """
    if not made_on:
        return None
    age = today - date.fromisoformat(made_on)
    ends = date.fromisoformat(made_on) + SECRET_LASTS
    if age < SECRET_WARNING:
        return None
    return Finding(
        is_failure=age >= SECRET_LASTS,
        text=f"The client secret of {made_on} {'ended' if age >= SECRET_LASTS else 'ends'} on {ends.isoformat()}. Rotate it in "
        "ACO-MS or 4i, then change password and `Credentials made on` of the connection.",
    )


def check_list(newest: datetime | None, *, as_of: datetime) -> Finding | None:
    """Return what keeps BCDA from exporting for the people of its newest attribution list, or will soon.

    Args:
        newest: date of that list; None when BCDA names none.
        as_of: present instant, by BCDA's clock.

    Source: docs/bcda.md#kick-off-refusals, docs/bcda.md#calendar.
    """
    if newest is None:
        return Finding(
            is_failure=True,
            text="BCDA names no attribution list of this organization and exports nothing until one comes. Ask the ACO's "
            "contact at CMS whether the list was sent.",
        )
    age, dated = as_of - newest, newest.date().isoformat()
    if newest.year < as_of.year and is_closed(as_of):
        return Finding(
            is_failure=False,
            text=f"BCDA is closed until the first attribution list of {as_of.year}, about mid February; its newest is of {dated}. "
            "Only bcda_runout_export works until then; the other exports wait automatically.",
        )
    if age > LIST_LASTS:
        return Finding(
            is_failure=True,
            text=f"The newest attribution list is of {dated}, {age.days} days ago; BCDA exports nothing from a list older than "
            f"{LIST_LASTS.days} days. Ask the ACO's contact at CMS for the next one.",
        )
    if age > LIST_WARNING:
        return Finding(
            is_failure=False,
            text=f"The newest attribution list is of {dated}, {age.days} days ago, and the monthly next one is late. Exports stop "
            f"when it is {LIST_LASTS.days} days old; ask the ACO's contact at CMS.",
        )
    return None
