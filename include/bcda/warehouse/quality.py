"""Checks of what was loaded: each a query with a level and a threshold; results go to `ops.dq_result`."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import duckdb

from bcda import model

log = logging.getLogger(__name__)


class Level(StrEnum):
    """What a failure means: an error keeps the snapshot from being published, a warning is shown, info is a number."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the table model's §6.

    Attributes:
        check_id: its name and that of its file.
        level: what a failure means.
        threshold: what may be observed at most; a share is between 0 and 1.
        about: what fails, in words.
        sql: gives scope, rows_checked, rows_failed and, if it is no share of them, observed.
    """

    check_id: str
    level: Level
    threshold: float
    about: str
    sql: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found in one part of the data; holds nothing about a person.

    Attributes:
        check_id: the check.
        scope: claim type, column or other part; empty for all.
        level: what a failure means.
        rows_checked: rows looked at.
        rows_failed: rows that failed.
        observed: what was measured.
        threshold: what would have been allowed.
        passed: whether it passed.
        about: what fails, in words.
    """

    check_id: str
    scope: str
    level: Level
    rows_checked: int
    rows_failed: int
    observed: float
    threshold: float
    passed: bool
    about: str

    def __str__(self) -> str:
        """Say the failure in a sentence."""
        part = f" ({self.scope})" if self.scope else ""
        return (
            f"{self.check_id}{part}: {self.rows_failed:,} of {self.rows_checked:,} rows, {self.observed:.4g} observed, "
            f"{self.threshold:.4g} allowed. {self.about}"
        )


@cache
def checks() -> tuple[Check, ...]:
    """Return all checks by name."""
    return tuple(_read(name) for name in model.check_names())


def threshold(check_id: str) -> float:
    """Return what a check allows; reconciliation stops at the share that `vanished` allows (table model §4, rule 8)."""
    return next(check.threshold for check in checks() if check.check_id == check_id)


def run_checks(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[CheckResult]:
    """Run every check for the version of a loaded run and keep the results; those the run had are replaced.

    Args:
        connection: to the working database.
        run_id: a run of the ledger.

    Returns:
        What each check found, by check and scope.

    Source: table model §6.
    """
    version = connection.execute(
        "SELECT api_version FROM ops.export_run WHERE run_id = $run_id", {"run_id": run_id}
    ).fetchall()[0][0]
    results = [result for check in checks() for result in _run(connection, check, version, run_id)]
    connection.execute("BEGIN")
    connection.execute("DELETE FROM ops.dq_result WHERE run_id = $run_id", {"run_id": run_id})
    if results:
        connection.executemany(
            "INSERT INTO ops.dq_result VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                [
                    run_id,
                    r.check_id,
                    r.scope,
                    r.level.value,
                    r.rows_checked,
                    r.rows_failed,
                    r.observed,
                    r.threshold,
                    r.passed,
                    r.about,
                ]
                for r in results
            ],
        )
    connection.execute("COMMIT")
    return results


def failures(results: Sequence[CheckResult], level: Level) -> list[CheckResult]:
    """Return the results of one level that did not pass."""
    return [result for result in results if result.level is level and not result.passed]


def _run(connection: duckdb.DuckDBPyConnection, check: Check, version: str, run_id: str) -> list[CheckResult]:
    values = {"api_version": version, "run_id": run_id}
    named = {key: value for key, value in values.items() if f"${key}" in check.sql}
    found = []
    for scope, checked, failed, *measured in connection.execute(check.sql, named).fetchall():
        if not checked and not measured:
            continue
        observed = float(measured[0] if measured and measured[0] is not None else failed / max(checked, 1))
        passed = check.level is Level.INFO or observed <= check.threshold
        found.append(
            CheckResult(
                check.check_id,
                scope,
                check.level,
                int(checked),
                int(failed),
                observed,
                check.threshold,
                passed,
                check.about,
            )
        )
    return sorted(found, key=lambda result: result.scope)


def _read(name: str) -> Check:
    text = model.sql(f"checks/{name}")
    header = {key.lower(): value for key, value in re.findall(r"^-- (Level|Threshold): (.+)$", text, re.MULTILINE)}
    about = text.splitlines()[0].removeprefix("-- ")
    return Check(name, Level(header["level"]), float(header["threshold"]), about, text.strip().removesuffix(";"))
