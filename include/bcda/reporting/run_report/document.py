"""What a report says, in words and numbers that may leave the warehouse: few people are withheld here, once for all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bcda.privacy.suppression import WITHHELD, Cell, Total, flows, people, rows, withheld
from bcda.reporting.run_report.claims import ClaimChanges, claim_changes
from bcda.reporting.run_report.facts import RunFacts
from bcda.reporting.run_report.next_steps import next_steps
from bcda.reporting.run_report.wording import SCOPES, bytes_, count, day, duration, instant
from bcda.storage.query_files import Row
from bcda.warehouse.quality import shown_scope

_FLOWS = ("joined", "left")
_LINES = ("lines", "landed", "quarantined")
_RUN = "lines of the run"
"""Name of the number that headline, note and page have."""


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
        quarantined: why lines were quarantined; None when none was.
        claims: what changed in the claims that count, in sentences.
        changes: tables of it.
        bars: dollars moved by month of service, oldest first.
        roster: who joined and left, in sentences; empty when the run is not about a list.
        missing: whether something is, in a sentence.
        gaps: what the run opened and closed, and what is open now; None when there never was anything.
        checks: what the checks found, in a sentence.
        failed: checks that did not pass; None when all did.
        phases: how long each took.
        next_steps: what to do, in sentences.
        page: address of the run on the BCDA page; empty for none.
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
    missing: str
    gaps: Table | None
    checks: str
    failed: Table | None
    phases: Table
    next_steps: tuple[str, ...]
    page: str = ""


def document_of(facts: RunFacts, *, now: datetime, page: str = "") -> Document:
    """Return what a report says.

    Args:
        facts: of the run.
        now: instant to print as that of the report.
        page: address of the run on the BCDA page; empty for none.
    """
    changed = claim_changes(facts)
    # Of a run that is published later, they failed until their cause was gone.
    errors = [check for check in facts.checks if check["severity"] == "error" and not facts.is_published]
    return Document(
        run_id=facts.run["run_id"],
        source_id=facts.run["source_id"],
        headline=_headline(facts, changed),
        state=_state(facts, errors),
        is_well=facts.is_published and not errors and not _is_missing(facts.gaps),
        written_at=instant(now),
        asked=_asked(facts.run),
        received=_received(facts),
        quarantined=_quarantined(facts),
        claims=changed.sentences,
        changes=tuple(Table(*given) for given in changed.tables),
        bars=changed.bars,
        roster=_roster(facts),
        missing=_missing(facts.gaps),
        gaps=_gaps(facts.gaps),
        checks=_checks(facts),
        failed=_failed(facts.checks),
        phases=_phases(facts),
        next_steps=next_steps(facts),
        page=page,
    )


def _headline(facts: RunFacts, changed: ClaimChanges) -> str:
    run, lines = facts.run, sum(row["lines"] for row in facts.received)
    is_shown = _RUN not in _hidden_lines(facts)
    what = [count(run["output_files"], "file"), count(lines, "line") if is_shown else f"{rows(lines)} lines"]
    if facts.roster is not None and not _is_hidden(facts.roster):
        what += [f"{people(facts.roster[what])} {what}" for what in _FLOWS]
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
            "claims were left out by a filter; see ops.export_run.type_filter" if run["leaves_claims_out"] else "none",
        ),
        ("Connection", run["source_id"]),
        ("Job at BCDA", run["job_id"]),
        ("Export run", run["run_id"]),
    ]
    return tuple(pairs)


def _received(facts: RunFacts) -> Table:
    hidden = _hidden_lines(facts)

    def cells(row: Row) -> tuple[str, ...]:
        name = row["resource_type"]
        numbers = [_number(row[what], is_hidden=(name, what) in hidden) for what in _LINES]
        return (name, f"{row['files']:,}", bytes_(row["bytes"]), *numbers)

    columns = ("Resource type", "Files", "Bytes", "Lines", "Landed", "Quarantined")
    note = "Lines = landed + quarantined, for every file. Each line is of one person."
    return Table("Files and lines, by resource type", columns, tuple(map(cells, facts.received)), note)


def _hidden_lines(facts: RunFacts) -> frozenset[Cell]:
    """Return which numbers of lines are withheld: `(type, column)`, `(type, reason)`, and of the run `_RUN`."""
    people_of: dict[Cell, int] = {}
    totals = []
    for row in facts.received:
        name = row["resource_type"]
        reasons = {
            (name, f"reason {why['reason']}"): why["lines"] for why in facts.quarantined if why["resource_type"] == name
        }
        people_of |= {**{(name, what): row[what] for what in _LINES}, **reasons}
        totals.append(Total((name, "lines"), ((name, "landed"), (name, "quarantined"))))
        totals.append(Total((name, "quarantined"), tuple(reasons)))
    people_of[_RUN] = sum(row["lines"] for row in facts.received)
    totals.append(Total(_RUN, tuple((row["resource_type"], "lines") for row in facts.received)))
    return withheld(people_of, totals)


def _number(number: int, *, is_hidden: bool) -> str:
    return WITHHELD if is_hidden else f"{number:,}"


def _quarantined(facts: RunFacts) -> Table | None:
    hidden = _hidden_lines(facts)
    listed = tuple(
        (
            row["resource_type"],
            row["reason"],
            _number(row["lines"], is_hidden=(row["resource_type"], f"reason {row['reason']}") in hidden),
        )
        for row in facts.quarantined
    )
    return Table("Quarantined lines", ("Resource type", "Reason", "Lines"), listed) if listed else None


def _roster(facts: RunFacts) -> tuple[str, ...]:
    found = facts.roster
    if found is None:
        return ()
    who = ", ".join(f"{people(found[what])} {what}" for what in (*_FLOWS, "stayed"))
    if _is_hidden(found):
        who = "who joined, left, and stayed is withheld, because one of them is fewer than 11 people"
    return (
        f"The list of {day(found['list_at'])} against that of {day(found['previous_list_at'])}: {who}.",
        "Who opted out leaves a list like everyone else who leaves; BCDA does not say why.",
    )


def _is_hidden(roster: Row) -> bool:
    return flows(*(roster[what] for what in (*_FLOWS, "stayed")))


def _is_missing(rows: Sequence[Row]) -> bool:
    """Tell whether gaps are open, whether or not a run requests them automatically."""
    return any(row["open"] or row["given_up"] or row["is_unnamed"] for row in rows)


def _missing(rows: Sequence[Row]) -> str:
    if _is_missing(rows):
        return "Some people's data is missing for some time."
    closed = any(row["closes"] for row in rows)
    return f"Nothing is known to be missing{'; this run closed the last gaps' if closed else ''}."


def _gaps(rows: Sequence[Row]) -> Table | None:
    listed = tuple(
        (
            row["resource_type"],
            # With what is open now and was before, each of the two tells the other.
            *(WITHHELD if flows(row["opened"], row["closed"]) else people(row[name]) for name in ("opened", "closed")),
            *(people(row[name]) for name in ("open", "given_up")),
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
            f"{check['check_id']}{f' ({shown_scope(scope)})' if (scope := check['scope']) else ''}",
            check["severity"],
            *(rows(check[name], is_of_few=check["is_of_few"]) for name in ("rows_failed", "rows_checked")),
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
