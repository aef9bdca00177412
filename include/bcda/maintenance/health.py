"""Whether the data is fresh and the credentials will last: findings in sentences, without anything about a person."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from bcda.export_request import format_instant
from bcda.places import Places
from bcda.warehouse import StatusRow, read_status

SECRET_LASTS = timedelta(days=90)
"""BCDA refuses secrets that are older (wire contract §4)."""

SECRET_WARNING = timedelta(days=75)

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


def data_status(places: Places) -> list[StatusRow]:
    """Return `ops.data_status`: per version, population and type what is here, up to when, and what is missing."""
    return read_status(places) if places.warehouse.exists() else []


def check_freshness(status: list[StatusRow], *, now: datetime, limit: timedelta) -> list[Finding]:
    """Return what is older than it should be, and what is missing.

    Args:
        status: of the source.
        now: present instant.
        limit: how far behind the covered interval may end; runout is asked for on demand and has none.
    """
    findings = []
    for row in status:
        what = f"{row.resource_type} of {row.api_version}"
        if row.missing:
            findings.append(Finding(is_failure=False, text=f"{what} ({row.population}): {row.missing}."))
        if row.population != "current" or row.covered_until is None or now - row.covered_until <= limit:
            continue
        closed = (now.month, now.day) <= _CLOSURE_ENDS
        why = (
            "BCDA is closed until the year's first attribution list, about mid February."
            if closed
            else "Look at the last runs of bcda_weekly_export."
        )
        text = f"{what} is covered up to {format_instant(row.covered_until)} only. {why}"
        findings.append(Finding(is_failure=not closed, text=text))
    return findings


def check_secret(made_on: str, *, today: date) -> Finding | None:
    """Return a warning two weeks before a client secret ends, and a failure once it has.

    Args:
        made_on: day on which it was made, YYYY-MM-DD; empty when not known.
        today: present day.

    Source: wire contract §4.
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
        "ACO-MS or 4i, then change password and `Secret made on` of the connection.",
    )
