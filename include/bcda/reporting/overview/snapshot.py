"""What the published database says about itself, in aggregates: for the page, never about one person."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from bcda.errors import WarehouseError
from bcda.privacy.shown_names import CLAIM_TYPES, OTHER
from bcda.privacy.suppression import FEWEST_PEOPLE
from bcda.reporting.overview.cells import shown_payments, shown_roster
from bcda.storage import duckdb_files
from bcda.storage.places import Places
from bcda.storage.query_files import Row, rows_of
from bcda.warehouse import older_in_words, older_runs, runs_by_mapping
from bcda.warehouse.quality import shown_scope

_SHOWN = f"CREATE TEMP MACRO shown(number) AS CASE WHEN number = 0 OR number >= {FEWEST_PEOPLE} THEN number END"
_SHOWN_TYPE = f"CREATE TEMP MACRO shown_type(code) AS CASE WHEN code IN {CLAIM_TYPES} OR code IS NULL THEN code ELSE '{OTHER}' END"

Rows = list[Row]
"""Rows of a query. None in a count of people stands for fewer than 11."""


@dataclass(frozen=True, slots=True)
class Overview:
    """Aggregates of one published database.

    Attributes:
        shown_version: version of the API that the views show; None before the first run.
        covered_until: everything of the current population and the shown version is here up to then; None while it is not.
        status: a row per version, population and resource type (queries/status.sql).
        covered: covered intervals (queries/covered.sql).
        gaps: open gaps by interval (queries/gaps.sql).
        runs: the newest loaded runs, newest first (queries/runs.sql).
        quality: checks of the newest run, failed ones first (queries/quality.sql).
        paid: Medicare payments by month of service and claim type (queries/paid.sql).
        lag: days from service to processing, by claim type; the first row is over all of them (queries/lag.sql).
        roster: people by month, newest first (queries/roster.sql).
        mapping: how many loaded runs have rows of each version of the mapping.
    """

    shown_version: str | None
    covered_until: datetime | None
    status: Rows
    covered: Rows
    gaps: Rows
    runs: Rows
    quality: Rows
    paid: Rows
    lag: Rows
    roster: Rows
    mapping: Rows

    def on_older_mapping(self, source_id: str) -> str:
        """Return what a person should know of runs with rows of an older mapping than that of this release; empty for none.

        The release can be newer than the figures.

        Args:
            source_id: connection id of the source.
        """
        return older_in_words(older_runs({row["version"]: row["runs"] for row in self.mapping}), source_id)


def identity_of(places: Places) -> list[int] | None:
    """Return what tells one published database from the one that replaces it; None before the first."""
    try:
        found = places.published.stat()
    except FileNotFoundError:
        return None
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def read_published(places: Places) -> Overview:
    """Read the aggregates from the published database, every claim in it.

    Args:
        places: of a source that has one.

    Raises:
        WarehouseError: the file cannot be read as a database of ours.
        EncryptionError: it needs a key, another key or none.
    """
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bcda-overview-") as spill,
            duckdb_files.connected(spill=Path(spill), key=places.key) as connection,
        ):
            duckdb_files.attach(connection, places.published, key=places.key, read_only=True)
            connection.execute(f"USE {duckdb_files.WAREHOUSE}")
            connection.execute(_SHOWN)
            connection.execute(_SHOWN_TYPE)
            return _ask(connection)
    except duckdb.Error as error:
        raise WarehouseError(
            f"The published database {places.published} cannot be read ({type(error).__name__}). If the project was updated "
            "since the last load, run `python -m bcda publish` or wait for the next load."
        ) from None


def _ask(connection: duckdb.DuckDBPyConnection) -> Overview:
    status = _rows(connection, "status")
    current = [row["covered_until"] for row in status if row["is_shown"] and row["population"] == "current"]
    covered_until = min(current) if current and None not in current else None
    # Before everything is covered once, the newest run says how far the months reach.
    runs = _rows(connection, "runs")
    until = covered_until or max((run["transaction_time"] for run in runs), default=None)
    by_month = {"until": until.replace(tzinfo=None)} if until else None
    return Overview(
        shown_version=next((row["api_version"] for row in status if row["is_shown"]), None),
        covered_until=covered_until,
        status=status,
        covered=_rows(connection, "covered"),
        gaps=_rows(connection, "gaps"),
        runs=runs,
        quality=[{**row, "scope": shown_scope(row["scope"])} for row in _rows(connection, "quality")],
        paid=shown_payments(_rows(connection, "paid", by_month), by_month["until"]) if by_month else [],
        lag=_rows(connection, "lag", by_month) if by_month else [],
        roster=shown_roster(_rows(connection, "roster")),
        mapping=[{"version": version, "runs": runs} for version, runs in runs_by_mapping(connection).items()],
    )


def _rows(connection: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, Any] | None = None) -> Rows:
    return rows_of(connection, __package__, name, parameters)


def incomplete_from(lag: Sequence[Row], until: datetime) -> datetime:
    """Return from when on claims are still on their way: services after this instant are not complete yet.

    Args:
        lag: of an `Overview`.
        until: up to when everything is here.

    Returns:
        `until` less the days within which nine of ten claims are processed; three months before it where that is not known.
    """
    days = lag[0]["slow_days"] if lag and lag[0]["claim_type"] is None else None
    return until - timedelta(days=float(days) if days is not None else 92)
