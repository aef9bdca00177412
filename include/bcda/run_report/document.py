"""What a report says, in words and numbers that may leave the warehouse: few people are withheld here, once for all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bcda.query_files import Row
from bcda.run_report.claims import ClaimChanges, claim_changes
from bcda.run_report.facts import RunFacts
from bcda.run_report.next_steps import next_steps
from bcda.run_report.wording import SCOPES, bytes_, count, day, duration, instant
from bcda.suppression import people

_PERSON_TYPE = "Patient"
"""A line of this type is a person."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose cells are texts already.

    Attributes:
        caption: what it is about.
        columns: headings; the first is that of the rows' names.
        rows: cells of each row.
        note: what to know, below it.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A report, ready to be laid out; holds no number of fewer than 11 people.

    Attributes:
        run_id: our export run.
        source_id: connection it was asked over.
        headline: one sentence: interval, files, lines, new claims.
        state: whether analysts have it, in a sentence.
        is_well: nothing failed and nothing is missing.
        written_at: when the report was written.
        asked: what was asked for, as pairs.
        received: what came.
        quarantined: why lines were set aside; None when none was.
        claims: what changed in the claims that count, in sentences.
        changes: tables of it.
        bars: dollars moved by month of service, oldest first.
        roster: who joined and left, in sentences; empty when the run is not about a list.
        gaps: what is missing; None when nothing is known to be.
        checks: what the checks found, in a sentence.
        failed: checks that did not pass; None when all did.
        phases: how long each took.
        next_steps: what to do, in sentences.
    """

    run_id: str
    source_id: str
    headline: str
    state: str
    is_well: bool
    written_at: str
    asked: tuple[tuple[str, str], ...]
    received: Table
    quarantined: Table | None
    claims: tuple[str, ...]
    changes: tuple[Table, ...]
    bars: tuple[tuple[str, float], ...]
    roster: tuple[str, ...]
    gaps: Table | None
    checks: str
    failed: Table | None
    phases: Table
    next_steps: tuple[str, ...]


def document_of(facts: RunFacts, *, now: datetime) -> Document:
    """Return what a report says.

    Args:
        facts: of the run.
        now: instant to print as that of the report.
    """
    changed = claim_changes(facts)
    errors = [check for check in facts.checks if check["severity"] == "error"]
    return Document(
        run_id=facts.run["run_id"],
        source_id=facts.run["source_id"],
        headline=_headline(facts, changed),
        state=_state(facts, errors),
        is_well=facts.is_published and not errors and not any(row["open"] or row["is_unnamed"] for row in facts.gaps),
        written_at=instant(now),
        asked=_asked(facts.run),
        received=_received(facts),
        quarantined=_quarantined(facts.quarantined),
        claims=changed.sentences,
        changes=tuple(Table(*given) for given in changed.tables),
        bars=changed.bars,
        roster=_roster(facts),
        gaps=_gaps(facts.gaps),
        checks=_checks(facts),
        failed=_failed(facts.checks),
        phases=_phases(facts),
        next_steps=next_steps(facts),
    )


def _headline(facts: RunFacts, changed: ClaimChanges) -> str:
    run = facts.run
    what = [count(run["output_files"], "file"), count(run["lines_read"] - run["error_lines"], "line")]
    if facts.roster is not None:
        what += [f"{people(facts.roster['joined'])} joined", f"{people(facts.roster['left'])} left"]
    return f"{run['api_version']}, since {day(run['since_ts'])}: {', '.join([*what, *changed.in_short])}"


def _state(facts: RunFacts, errors: Sequence[Row]) -> str:
    if facts.is_published:
        return "Loaded, checked and published."
    if errors:
        return "Loaded, but not published: checks failed, and analysts see what they saw before."
    return "Loaded, but not published yet."


def _asked(run: Row) -> tuple[tuple[str, str], ...]:
    pairs = [
        ("Who", SCOPES.get(run["export_scope"], run["export_scope"])),
        ("Version of the API", run["api_version"]),
        ("Resource types", ", ".join(run["resource_types"])),
        ("Changes after", instant(run["since_ts"])),
        ("Up to", f"{instant(run['transaction_time'])} (BCDA's transactionTime)"),
        ("Why", run["reason"] or "not recorded"),
        ("Attribution list of", day(run["list_at"]) if run["list_at"] else "not known"),
        (
            "Filter",
            "claims were left out by a filter; see ops.export_run.type_filter" if run["type_filter"] else "none",
        ),
        ("Connection", run["source_id"]),
        ("Job at BCDA", run["job_id"]),
        ("Export run", run["run_id"]),
    ]
    return tuple(pairs)


def _received(facts: RunFacts) -> Table:
    def cells(row: Row) -> tuple[str, ...]:
        show = people if row["resource_type"] == _PERSON_TYPE else "{:,}".format
        size, aside = bytes_(row["bytes"]), f"{row['quarantined']:,}"
        return (row["resource_type"], f"{row['files']:,}", size, show(row["lines"]), show(row["landed"]), aside)

    columns = ("Resource type", "Files", "Bytes", "Lines", "Landed", "Set aside")
    note = "Lines = landed + set aside, for every file."
    return Table("Files and lines, by resource type", columns, tuple(map(cells, facts.received)), note)


def _quarantined(rows: Sequence[Row]) -> Table | None:
    listed = tuple((row["resource_type"], row["reason"], f"{row['lines']:,}") for row in rows)
    return Table("Lines that were set aside", ("Resource type", "Reason", "Lines"), listed) if listed else None


def _roster(facts: RunFacts) -> tuple[str, ...]:
    found = facts.roster
    if found is None:
        return ()
    who = ", ".join(f"{people(found[what])} {what}" for what in ("joined", "left", "stayed"))
    return (
        f"The list of {day(found['list_at'])} against that of {day(found['previous_list_at'])}: {who}.",
        "Who opted out leaves a list like everybody else who leaves; BCDA does not say why.",
    )


def _gaps(rows: Sequence[Row]) -> Table | None:
    listed = tuple(
        (
            row["resource_type"],
            *(people(row[name]) for name in ("opened", "closed", "open", "given_up")),
            "yes" if row["is_unnamed"] else "no",
        )
        for row in rows
    )
    columns = ("Resource type", "Opened by this run", "Closed by it", "Open now", "Given up", "Unnamed people missing")
    note = "People whose data BCDA could not deliver, or who were away from the lists for a time."
    return Table("People whose data is missing for some time", columns, listed, note) if listed else None


def _checks(facts: RunFacts) -> str:
    if not facts.run["is_checked"]:
        return "The checks have not run for this run; they run before it is published."
    levels = {name: sum(check["severity"] == name for check in facts.checks) for name in ("error", "warning")}
    if not any(levels.values()):
        return "All checks passed."
    return f"{count(levels['error'], 'error')} and {count(levels['warning'], 'warning')}; all other checks passed."


def _failed(checks: Sequence[Row]) -> Table | None:
    listed = tuple(
        (
            f"{check['check_id']}{f' ({scope})' if (scope := check['scope']) else ''}",
            check["severity"],
            people(check["rows_failed"]),
            f"{check['rows_checked']:,}",
            check["detail"],
        )
        for check in checks
    )
    columns = ("Check", "Level", "Rows failed", "Rows checked", "What it means")
    return Table("Checks that did not pass", columns, listed) if listed else None


def _phases(facts: RunFacts) -> Table:
    total = sum((phase.took for phase in facts.phases), start=facts.run["started_at"] - facts.run["started_at"])
    rows = [(phase.name, duration(phase.took)) for phase in facts.phases]
    note = f"Planned {instant(facts.run['started_at'])}, merged from {instant(facts.run['finished_at'])}."
    return Table("How long it took", ("Phase", "Time"), (*rows, ("In all", duration(total))), note)
