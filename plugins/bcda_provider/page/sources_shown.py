"""A source as the page shows it: its connection without secrets, and what runs out."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from urllib.parse import urlsplit

from airflow.models import Connection, Variable
from airflow.sdk.exceptions import AirflowNotFoundException

from bcda.deadlines import SECRET_LASTS, Finding, check_list, check_secret
from bcda.errors import InvalidRequestError
from bcda.overview import Overview
from bcda.places import Places
from bcda_provider.hooks import places, settings_of

V2_ENDS = date(2027, 7, 30)
"""Day on which CMS switches v1 and v2 off."""

_YEAR = 365
"""Days before the switch-off from which on the page speaks of it."""


@dataclass(frozen=True, slots=True)
class Source:
    """One connection.

    Attributes:
        conn_id: its id.
        server: host of BCDA.
        api_version: version that its runs ask for.
        secret: age and end of the client secret in words.
        lists: the attribution and the runout list, each with the dates of the newest that BCDA announced and of the one loaded;
            none before the first load.
        findings: what a person should know or do, the urgent first.
        problem: why the connection cannot be used; empty when it can.
    """

    conn_id: str
    server: str = ""
    api_version: str = ""
    secret: str = ""
    lists: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] = ()
    problem: str = ""


def read_source(conn_id: str, overview: Overview | None, now: datetime) -> Source:
    """Return a source's connection, without its secrets.

    Args:
        conn_id: its id.
        overview: of its published database; None before the first load.
        now: present instant.
    """
    try:
        settings = settings_of(Connection.get_connection_from_secrets(conn_id))
    except AirflowNotFoundException:
        return Source(
            conn_id, problem=f"Airflow has no connection {conn_id}. Make one of type BCDA under Admin, Connections."
        )
    except InvalidRequestError as error:
        return Source(conn_id, problem=str(error))
    made_on, version = settings.tuning.secret_made_on, settings.api_version.value
    found = [check_secret(made_on, today=now.date()), _list(overview, now), _end_of_v2(version, now)]
    return Source(
        conn_id,
        server=urlsplit(settings.base_url).netloc,
        api_version=version,
        secret=_secret(made_on, now),
        lists=_lists(overview) if overview else (),
        findings=tuple(sorted((finding for finding in found if finding), key=lambda finding: not finding.is_failure)),
    )


def places_of(conn_id: str) -> Places:
    """Return where a source's data lies, with its key.

    Raises:
        InvalidRequestError: the key is malformed.
        TransientError: no secrets backend gives the key.
    """
    return places(conn_id, variable=lambda name: Variable.get(name, default_var=None))


def _secret(made_on: str, now: datetime) -> str:
    if not made_on:
        return 'not known: put the day into "Secret made on" of the connection'
    made = date.fromisoformat(made_on)
    days, ends = (now.date() - made).days, (made + SECRET_LASTS).isoformat()
    return f"{days} days old, ends on {ends}"


def _lists(overview: Overview) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, _dates(overview, population))
        for name, population in (("Attribution list", "current"), ("Runout list", "runout"))
    )


def _dates(overview: Overview, population: str) -> str:
    rows = [row for row in overview.status if row["population"] == population]
    newest = max((row["list_newest"] for row in rows if row["list_newest"]), default=None)
    loaded = min((row["list_loaded"] for row in rows if row["list_loaded"]), default=None)
    if newest is None:
        return "not known yet"
    if loaded is None:
        return f"{newest.date()}, not loaded"
    return f"{newest.date()}, loaded" if loaded >= newest else f"{newest.date()}, loaded is that of {loaded.date()}"


def _list(overview: Overview | None, now: datetime) -> Finding | None:
    lists = [row["list_newest"] for row in overview.status if row["population"] == "current"] if overview else []
    known = [date for date in lists if date is not None]
    return check_list(max(known), as_of=now) if known else None


def _end_of_v2(version: str, now: datetime) -> Finding | None:
    left = (V2_ENDS - now.astimezone(UTC).date()).days
    if version == "v3" or left > _YEAR:
        return None
    return Finding(
        is_failure=left <= 0,
        text=f"{version} {'was' if left <= 0 else 'is'} switched off on {V2_ENDS.isoformat()}. Load v3 beside it and compare "
        "before the views change over.",
    )
