"""`python -m bcda`: asking BCDA by hand, and looking at a source's data and keeping it in order, without Airflow."""

import logging
import os
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from bcda import maintenance, warehouse
from bcda.commands import dispose, endpoints
from bcda.errors import BcdaError, InvalidRequestError
from bcda.export import publish
from bcda.reporting import run_report
from bcda.settings import ApiVersion
from bcda.storage.encryption import EncryptionKey
from bcda.storage.places import DEFAULT_SOURCE, Places

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
app.add_typer(endpoints.app)
app.add_typer(dispose.app)

Source = Annotated[str, typer.Option(help="Connection id of the source.")]


def _places(source: str) -> Places:
    return Places.from_environment(os.environ).of_source(source)


@app.command()
def status(source: Source = DEFAULT_SOURCE) -> None:
    """Say what is here, up to when, and what is missing."""
    for row in maintenance.data_status(_places(source)):
        until = row.covered_until.isoformat(timespec="seconds") if row.covered_until else "-"
        typer.echo(f"{row.api_version} {row.population:8}{row.resource_type:22}{until:27}{row.missing or 'complete'}")
    if remark := warehouse.older_in_words(warehouse.read_older_runs(_places(source)), source):
        typer.echo(remark)


@app.command()
def purge_raw(
    source: Source = DEFAULT_SOURCE, days: Annotated[int, typer.Option(min=1, help="Days to keep raw files.")] = 30
) -> None:
    """Remove raw files of runs that are older; receipts stay."""
    purged = maintenance.purge_raw(_places(source), now=datetime.now(UTC), kept=timedelta(days=days))
    typer.echo(f"{purged.files} files of {purged.runs} runs, {purged.bytes:,} bytes")


@app.command()
def compact(source: Source = DEFAULT_SOURCE) -> None:
    """Put the lake files of each loaded run together."""
    places = _places(source)
    typer.echo(f"{maintenance.compact_lake(places, warehouse.merged_runs(places))} files fewer")


@app.command()
def vacuum(source: Source = DEFAULT_SOURCE) -> None:
    """Give unused space of the working database back."""
    typer.echo(f"{warehouse.vacuum(_places(source)):,} bytes smaller")


@app.command()
def show(
    version: Annotated[ApiVersion, typer.Argument(help="Version of the API.")], source: Source = DEFAULT_SOURCE
) -> None:
    """Let views show another version of the API from now on; compare `version_comparison` first."""
    typer.echo(f"published {publish(_places(source), shown_version=version).path}")


@app.command()
def report(
    run_id: Annotated[str, typer.Argument(help="Export run, as in ops.export_run.")], source: Source = DEFAULT_SOURCE
) -> None:
    """Write the report of a loaded run again, and print its text."""
    written = run_report.write_report(_places(source), run_id, now=datetime.now(UTC))
    typer.echo(written.text.read_text(encoding="utf-8"))
    typer.echo(f"The whole report: {written.html}")


@app.command()
def rebuild_lake(target: Annotated[Path, typer.Argument(help="New folder.")], source: Source = DEFAULT_SOURCE) -> None:
    """Land every run again from raw files and prove that the result equals the lake."""
    _tell(maintenance.rebuild_lake(_places(source), target))


@app.command()
def rebuild_warehouse(
    target: Annotated[Path, typer.Argument(help="New file.")], source: Source = DEFAULT_SOURCE
) -> None:
    """Merge every run again from the lake and prove that the result equals the working database."""
    _tell(maintenance.rebuild_warehouse(_places(source), target))


@app.command()
def remap(source: Source = DEFAULT_SOURCE) -> None:
    """Derive rows of an older mapping again from the lake, without raw files or download, and publish them.

    Pause the DAGs before. Killed, it goes on where it was when it is called again. It prints what changed, per table and claim
    type, and ops.mapping_change keeps it.
    """
    places = _places(source)
    done = maintenance.remap(places, now=datetime.now(UTC))
    if done.is_new_database:
        typer.echo(f"{done.runs} runs derived again, and the working database rebuilt")
    else:
        typer.echo("Every run has rows of the present mapping. What the last remap changed, if there was one:")
    for change in done.changes:
        before, after = (_number(value, change.measure) for value in (change.before, change.after))
        differing = "" if change.differing is None else f"  {change.differing:,} rows differ"
        typer.echo(f"{change.name:32}{change.measure:10}{before:>18} -> {after:>18}{differing}")
    typer.echo(f"published {publish(places).path}")


def _number(value: Decimal | None, measure: str) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if measure in {"rows", "claims"} else f"{value:,.2f}"


@app.command()
def repair_timestamps(source: Source = DEFAULT_SOURCE) -> None:
    """Remove dates in the future from the working database; the next run asks again for what they hid."""
    done = maintenance.repair_timestamps(_places(source))
    if done is None:
        typer.echo("The working database holds no date in the future. No changes were made.")
        return
    typer.echo(
        f"Repaired the dates of {done.runs} runs and {done.resources} resources. The next run asks for the data again and publishes it."
    )


@app.command()
def cclf_files(
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="Month of the loads, in UTC.")],
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the files; it is made.")],
    source: Source = DEFAULT_SOURCE,
    cms_names: Annotated[bool, typer.Option("--cms-names", help="Name the files as CMS does; needs --aco-id.")] = False,
    aco_id: Annotated[
        str | None, typer.Option(help="Id of the ACO, such as A1234, for --cms-names.", show_default=False)
    ] = None,
    short_claim_numbers: Annotated[
        bool,
        typer.Option("--short-claim-numbers", help="Write claim numbers that are too wide for their field in base 36."),
    ] = False,
) -> None:
    """Write a month as fixed-width files in the layout of CMS's CCLF, from the published database."""
    if cms_names != (aco_id is not None):
        raise InvalidRequestError("--cms-names and --aco-id go together. Nothing was written.")
    written = maintenance.write_cclf_files(
        _places(source),
        maintenance.Month.parse(month),
        into,
        now=datetime.now(UTC),
        aco_id=aco_id,
        short_claim_numbers=short_claim_numbers,
    )
    for file in written:
        typer.echo(f"{file.records:>12,}  {file.path}")


@app.command()
def upload(source: Source = DEFAULT_SOURCE) -> None:
    """Hand everything that is here over to the object store."""
    done = maintenance.upload(_places(source))
    typer.echo(f"{done.runs} runs: {done.raw_files} raw files and {done.lake_files} lake files uploaded")


@app.command()
def change_key(
    source: Source = DEFAULT_SOURCE,
    off: Annotated[
        bool, typer.Option("--off", help="Encrypt no longer, instead of with BCDA_NEW_ENCRYPTION_KEY.")
    ] = False,
) -> None:
    """Rewrite everything but raw files with the key in BCDA_NEW_ENCRYPTION_KEY; BCDA_ENCRYPTION_KEY has the current one."""
    named = os.environ.get("BCDA_NEW_ENCRYPTION_KEY")
    if bool(named) == off:
        raise InvalidRequestError("Set BCDA_NEW_ENCRYPTION_KEY to the new key, or pass --off, not both.")
    changed = maintenance.change_key(_places(source), EncryptionKey.from_text(named) if named else None)
    typer.echo(
        f"{changed.lake_files} lake files and {changed.databases} databases are rewritten. Before anything else runs, "
        f"{'unset the key' if off else 'put the new key'} where BCDA_ENCRYPTION_KEY or the Airflow Variable has the old one."
    )


def _tell(rebuilt: maintenance.Rebuilt) -> None:
    typer.echo(f"{rebuilt.path}: {rebuilt.runs} runs, {rebuilt.rows:,} rows compared")
    if rebuilt.not_rebuilt:
        typer.echo(f"raw files are gone of {len(rebuilt.not_rebuilt)} runs: {', '.join(rebuilt.not_rebuilt)}")
    if rebuilt.differing:
        typer.echo(f"DIFFERENT in {', '.join(rebuilt.differing)}")
        raise typer.Exit(1)
    typer.echo("equal")


def main() -> None:
    """Run a command; an error of the library is one sentence on standard error and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app()
    except BcdaError as error:
        typer.echo("\n".join([str(error), *getattr(error, "__notes__", ())]), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
