"""Checks of what was loaded: each a query with a level and a threshold; results go to `ops.dq_result`.

Only keys, the ledger's counts and row counts are of level error and keep data from being published: a fault in them would
make every number doubtful. Whatever is wrong with single claims is theirs alone. They are published with all others, and
are listed in `ops.suspect_claim` with the reason.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

import duckdb

from bcda import model
from bcda.privacy import shown_names
from bcda.privacy.server_text import RESOURCE_TYPES
from bcda.privacy.suppression import FEWEST_PEOPLE, rows

log = logging.getLogger(__name__)


class Level(StrEnum):
    """What a failure means: an error keeps the snapshot from being published, a warning is shown, info is a number."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class QualityCheck:
    """One check, as docs/reference/checks.md lists them.

    Attributes:
        check_id: its name and that of its file.
        level: what a failure means.
        threshold: what may be observed at most; a share is between 0 and 1.
        about: what fails, in words.
        sql: gives scope, rows_checked, rows_failed and, if it is no share of them, observed; of a check with a reason, the
            ids of suspect claims.
        reason: what is wrong with the claims that the query names; empty for a check of something else.
    """

    check_id: str
    level: Level
    threshold: float
    about: str
    sql: str
    reason: str = ""


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
        is_of_few: the part is a claim type of 1 to 10 people.
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
    is_of_few: bool = False

    def __str__(self) -> str:
        """Say the failure in a sentence, without counts of few rows and without codes of the data."""
        found = finding(self.check_id, self.scope, self.rows_failed, self.rows_checked, is_of_few=self.is_of_few)
        return f"{found} {self.threshold:.4g} allowed. {self.about}"


def finding(check_id: str, scope: str, rows_failed: int, rows_checked: int, *, is_of_few: bool) -> str:
    """Return what a check found, as a message, a log, a report or the page may say it.

    Args:
        check_id: of the check.
        scope: claim type, column or other part; empty for all.
        rows_failed: rows that failed.
        rows_checked: rows looked at.
        is_of_few: the part is a claim type of 1 to 10 people.
    """
    part = f" ({shown_scope(scope)})" if scope else ""
    numbers = [rows(number, is_of_few=is_of_few) for number in (rows_failed, rows_checked)]
    return f"{check_id}{part}: {numbers[0]} of {numbers[1]} rows."


def types_of_few(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Return the claim types of 1 to 10 people."""
    found = connection.execute(model.sql("ops/types_of_few"), {"fewest": FEWEST_PEOPLE}).fetchall()
    return frozenset(row[0] for row in found)


def shown_scope(scope: str) -> str:
    """Return the part of the data that a check is about, as it may be shown: a code of the data only if CMS defines it."""
    return shown_names.scope(scope, _names())


@cache
def _names() -> frozenset[str]:
    """Return the names that scopes can hold and that are no data: types, tables, columns, and texts of the checks' own SQL."""
    own = {text for check in checks() for text in re.findall(r"'([^'\n]+)'", check.sql)}
    columns = {name for table in model.all_tables() for name, *_ in model.columns(table)}
    return frozenset({*RESOURCE_TYPES, *model.all_tables(), *columns, *own})


@cache
def checks() -> tuple[QualityCheck, ...]:
    """Return all checks by name."""
    return tuple(_read(name) for name in model.check_names())


def threshold(check_id: str) -> float:
    """Return what a check allows; reconciliation stops at the share that `vanished` allows (docs/table-model.md#reconciliation)."""
    return next(check.threshold for check in checks() if check.check_id == check_id)


def run_checks(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[CheckResult]:
    """Run every check for the version of a loaded run and keep the results; those the run had are replaced.

    The suspect claims of the version are listed again.

    Args:
        connection: to the working database.
        run_id: a run of the ledger.

    Returns:
        What each check found, by check and scope.

    Source: docs/reference/checks.md#level-error.
    """
    version = connection.execute(
        "SELECT api_version FROM ops.export_run WHERE run_id = $run_id", {"run_id": run_id}
    ).fetchall()[0][0]
    connection.execute("BEGIN")
    _list_suspects(connection, version, run_id)
    few = types_of_few(connection)
    results = [
        replace(result, is_of_few=result.scope.partition(".")[0] in few)
        for check in checks()
        for result in _run(connection, check, version, run_id)
    ]
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


def _list_suspects(connection: duckdb.DuckDBPyConnection, version: str, run_id: str) -> None:
    values = {"api_version": version, "run_id": run_id}
    connection.execute("DELETE FROM ops.suspect_claim WHERE api_version = $api_version", {"api_version": version})
    for check in (check for check in checks() if check.reason):
        named = {key: value for key, value in values.items() if f"${key}" in check.sql}
        connection.execute(
            "INSERT INTO ops.suspect_claim SELECT DISTINCT $api_version, claim_id, $check_id, $reason "  # noqa: S608
            f"FROM ({check.sql})",
            {**named, "api_version": version, "check_id": check.check_id, "reason": check.reason},
        )


def _run(connection: duckdb.DuckDBPyConnection, check: QualityCheck, version: str, run_id: str) -> list[CheckResult]:
    values = {"api_version": version, "run_id": run_id, "check_id": check.check_id}
    query = model.sql("ops/suspects_counted").strip().removesuffix(";") if check.reason else check.sql
    named = {key: value for key, value in values.items() if f"${key}" in query}
    found = []
    for scope, checked, failed, *measured in connection.execute(query, named).fetchall():
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


def _read(name: str) -> QualityCheck:
    text = model.sql(f"checks/{name}")
    found = re.findall(r"^-- (Level|Threshold|Suspect): (.+)$", text, re.MULTILINE)
    header = {key.lower(): value for key, value in found}
    about = text.splitlines()[0].removeprefix("-- ")
    reason = header.get("suspect", "")
    return QualityCheck(name, Level(header["level"]), float(header["threshold"]), about, _for_each_table(text), reason)


def _for_each_table(text: str) -> str:
    """Return the query of a check. One that is about tables is written once and stands for each of them.

    A text with `{resource_type}` is about the tables with a row per resource, another with `{relation}` about all.
    """
    query = "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip().removesuffix(";")
    if "{relation}" not in query:
        return query
    # The first table of a type has a row for each resource.
    first = {table.resource_type: table.name for table in reversed(model.core_tables())}
    tables = {name: kind for kind, name in first.items()}
    if "{resource_type}" not in query:
        tables = dict.fromkeys(model.row_keys(), "")
    return "\nUNION ALL\n".join(
        query.replace("{name}", name)
        .replace("{relation}", model.relation(name))
        .replace("{key}", ", ".join(model.row_keys()[name]))
        .replace("{resource_type}", resource_type)
        for name, resource_type in tables.items()
    )
