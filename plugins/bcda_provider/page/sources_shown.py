"""A source as the page shows it: its connection without secrets, and what runs out."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from urllib.parse import urlsplit

from airflow.models import Connection, Variable
from airflow.sdk.exceptions import AirflowNotFoundException

from bcda.api.deadlines import SECRET_LASTS, Finding, check_list, check_secret
from bcda.errors import InvalidRequestError
from bcda.reporting.overview import Overview
from bcda.storage.places import Places
from bcda_provider.connections import remark_on, settings_of, unknown
from bcda_provider.data_home import places
from bcda_provider.shadowed import shadowed

V2_ENDS = date(2027, 7, 30)
"""Day on which CMS switches v1 and v2 off."""

HIDDEN_SERVER = "[server]"
"""What stands in place of a server's address for users who may not see the connection."""

_YEAR = 365
"""Days before the switch-off from which on the page speaks of it."""


@dataclass(frozen=True, slots=True)
class Source:
    """One connection.

    Attributes:
        conn_id: its id.
        server: host of BCDA; empty for users who may not see the connection.
        api_version: version that its runs ask for.
        secret: age and end of the client secret in words; empty for the same users.
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


def read_source(conn_id: str, overview: Overview | None, now: datetime, *, may_see_connection: bool) -> Source:
    """Return a source's connection, without its secrets.

    Args:
        conn_id: its id.
        overview: of its published database; None before the first load.
        now: present instant.
        may_see_connection: whether the user may see the connection in Airflow; if not, server, age of the secret, and what is wrong
            with the connection are left out.
    """
    found = _read_source(conn_id, overview, now)
    if may_see_connection:
        return found
    if found.problem:
        return Source(conn_id, problem="The connection cannot be used. Ask someone who may see Airflow's connections.")
    return replace(found, server="", secret="", findings=tuple(_of_data(conn_id, overview, found.api_version, now)))


def servers_of(conn_ids: Iterable[str]) -> list[str]:
    """Return the addresses of the servers of connections, and their host names, as messages can name them."""
    found = []
    for conn_id in conn_ids:
        try:
            address = settings_of(Connection.get_connection_from_secrets(conn_id)).base_url
        except (AirflowNotFoundException, InvalidRequestError):
            continue
        parts = urlsplit(address)
        # A name without a dot can be a word of the page.
        found += [address, *(name for name in (parts.netloc, parts.hostname or "") if "." in name or ":" in name)]
    return found


def _of_data(conn_id: str, overview: Overview | None, version: str, now: datetime) -> list[Finding]:
    """Return what a person should know of the data, whoever may see the connection."""
    found = (_older_mapping(conn_id, overview), _list(overview, now), _end_of_v2(version, now))
    return [finding for finding in found if finding]


def _older_mapping(conn_id: str, overview: Overview | None) -> Finding | None:
    text = overview.on_older_mapping(conn_id) if overview else ""
    return Finding(is_failure=False, text=text) if text else None


def _read_source(conn_id: str, overview: Overview | None, now: datetime) -> Source:
    try:
        connection = Connection.get_connection_from_secrets(conn_id)
        settings, remark = settings_of(connection), remark_on(connection)
    except AirflowNotFoundException:
        return Source(conn_id, problem=str(unknown(conn_id)))
    except InvalidRequestError as error:
        return Source(conn_id, problem=str(error))
    made_on, version = settings.tuning.credentials_made_on, settings.api_version.value
    found = [check_secret(made_on, today=now.date()), *_of_data(conn_id, overview, version, now)]
    found += [Finding(is_failure=False, text=text) for text in (shadowed(connection), remark) if text]
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
        return 'not known: put the day into "Credentials made on" of the connection'
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
