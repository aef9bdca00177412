"""Whether the data is fresh: findings in sentences, without anything about a person."""

from datetime import datetime, timedelta

from bcda.api.deadlines import Finding, is_closed
from bcda.api.export_request import format_instant
from bcda.storage.places import Places
from bcda.storage.warehouse_place import check_place
from bcda.warehouse import StatusRow, read_status


def data_status(places: Places) -> list[StatusRow]:
    """Return `ops.data_status`: per version, population and type what is here, up to when, and what is missing.

    Raises:
        StorageError: the working database of the source is at another place.
    """
    check_place(places)
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
        closed = is_closed(now)
        why = (
            "BCDA is closed until the year's first attribution list, about mid February."
            if closed
            else "Look at the last runs of bcda_weekly_export."
        )
        text = f"{what} is covered up to {format_instant(row.covered_until)} only. {why}"
        findings.append(Finding(is_failure=not closed, text=text))
    return findings
