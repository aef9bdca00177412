"""The command that disposes of data. Who is meant never stands in its arguments, which shells and lists of processes keep."""

import os
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from bcda import maintenance, warehouse
from bcda.commands.output import print_table
from bcda.errors import BcdaError, InvalidRequestError
from bcda.maintenance.disposal import Certificate, Found, Period, Person, Scope, WholeSource, paths_of
from bcda.reporting import overview, run_report
from bcda.storage.files import read_bytes
from bcda.storage.places import DEFAULT_SOURCE, Places

app = typer.Typer()

WORD = "dispose"
"""What a person types to confirm."""

_MOST_BYTES = 1024


@app.command()
def dispose(
    *,
    source: Annotated[str, typer.Option(help="Connection id of the source.")] = DEFAULT_SOURCE,
    person: Annotated[
        bool,
        typer.Option(
            "--person", help="One person, by MBI, person_key or Patient id; you are asked, or standard input has it."
        ),
    ] = False,
    person_file: Annotated[
        Path | None, typer.Option(help="One person: a file with nothing but the identifier.", show_default=False)
    ] = None,
    before: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="All days before this one.", show_default=False),
    ] = None,
    first: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], metavar="DATE", help="First day of a period.", show_default=False),
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], metavar="DATE", help="Last day of a period.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="The whole source.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    end_unfinished_runs: Annotated[
        bool,
        typer.Option("--end-unfinished-runs", help="Remove the files of runs that are not loaded and may be at work."),
    ] = False,
) -> None:
    """Remove a person, a period or a whole source from everywhere below the home, and leave a certificate with counts."""
    places = Places.from_environment(os.environ).of_source(source)
    scope = _scope(person=person, person_file=person_file, before=before, first=first, last=last, everything=everything)
    found = maintenance.look(places, scope, now=datetime.now(UTC))
    if dry_run or not found.is_empty:
        _show(found, scope, source)
    if dry_run:
        return
    if not found.is_empty and not yes:
        _confirm()
    certificate = maintenance.dispose(places, scope, now=datetime.now(UTC), ends_runs=end_unfinished_runs)
    if certificate is None:
        typer.echo("No data matches. No changes were made.")
        return
    if not isinstance(scope, WholeSource):
        _write_anew(places)
    _tell(places, certificate)


def _scope(
    *,
    person: bool,
    person_file: Path | None,
    before: datetime | None,
    first: datetime | None,
    last: datetime | None,
    everything: bool,
) -> Scope:
    wanted = [person or person_file is not None, before is not None, first is not None or last is not None, everything]
    if sum(wanted) != 1:
        raise InvalidRequestError(
            "Say what to dispose of: --person or --person-file, --before, --from and --to, or --everything; one of these. No changes "
            "were made."
        )
    if everything:
        return WholeSource()
    if before is not None:
        return Period(None, before.date() - timedelta(days=1))
    if person or person_file is not None:
        return Person(_identifier(person_file))
    if first is None or last is None:
        raise InvalidRequestError("A period needs both --from and --to, or --before alone. No changes were made.")
    return Period(_day(first), _day(last))


def _day(instant: datetime) -> date:
    return instant.date()


def _identifier(path: Path | None) -> str:
    if path is not None:
        try:
            return read_bytes(path)[: _MOST_BYTES + 1].decode("utf-8", "replace").strip()
        except FileNotFoundError:
            raise InvalidRequestError(f"{path} does not exist. No changes were made.") from None
    if sys.stdin.isatty():
        return str(typer.prompt("MBI, person_key or Patient id", hide_input=True)).strip()
    return sys.stdin.readline(_MOST_BYTES).strip()


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise InvalidRequestError(
            "There is no terminal to confirm on. Pass --yes to skip the question. No changes were made."
        )
    typed = typer.prompt(f"This cannot be undone. Type `{WORD}` to go on", default="", show_default=False)
    if typed.strip() != WORD:
        raise InvalidRequestError("Not confirmed. No changes were made.")


def _show(found: Found, scope: Scope, source: str) -> None:
    typer.echo(f"{source}: {scope.in_words}")
    if found.is_empty:
        typer.echo("No data matches.")
        return
    print_table(("number", "what"), [(f"{number:,}", name) for name, number in found.counts.items()])
    for title, rows in (("rows of the working database", found.rows), ("rows of the lake", found.lake_rows)):
        if rows:
            print_table(("rows", title), [(f"{number:,}", name) for name, number in rows.items()])
    for note in found.notes:
        typer.echo(note)


def _write_anew(places: Places) -> None:
    """Rewrite figures and reports from what is left. They are gone already, so what fails here is no trace of anybody."""
    try:
        overview.keep_overview(places)
        for run_id in warehouse.merged_runs(places):
            run_report.write_report(places, run_id, now=datetime.now(UTC))
    except BcdaError as error:
        typer.echo(f"The reports are not rewritten: {error} `python -m bcda report RUN_ID` writes one.", err=True)


def _tell(places: Places, certificate: Certificate) -> None:
    typer.echo(certificate.text)
    as_json, as_text = paths_of(places, certificate.number)
    typer.echo(f"The certificate: {as_text} and {as_json}")
