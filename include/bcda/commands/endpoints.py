"""Commands that ask BCDA: one for each endpoint. The client secret comes from the environment or a file, never from an argument."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from bcda.api.export_request import DEFAULT_RESOURCE_TYPES, Scope, format_instant
from bcda.api.protocol import JOB_STATUSES, JobStatus, ListedJob
from bcda.by_hand import Bcda, ExportResult
from bcda.commands.output import print_json, print_table
from bcda.errors import ExportInterrupted, InvalidRequestError
from bcda.privacy import server_text
from bcda.settings import ApiVersion, ConnectionSettings

app = typer.Typer()

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell has it."""

Address = Annotated[
    str | None, typer.Option(help="`sandbox`, `production`, or a URL; instead of BCDA_ADDRESS.", show_default=False)
]
ClientId = Annotated[str | None, typer.Option(help="Client id; instead of BCDA_CLIENT_ID.", show_default=False)]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        help="File with the client secret; instead of BCDA_CLIENT_SECRET and BCDA_CLIENT_SECRET_FILE.",
        show_default=False,
    ),
]
Version = Annotated[
    ApiVersion | None,
    typer.Option("--api-version", help="Instead of BCDA_API_VERSION, by default v2.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
JobId = Annotated[str, typer.Argument(help="Number of the job, as in the job list.")]
Folder = Annotated[Path, typer.Argument(help="New or empty folder, or the one in which the same export was begun.")]
NoLand = Annotated[
    bool, typer.Option("--no-land", help="Download the NDJSON files only; write no Parquet and no database.")
]


@app.command()
def export(
    folder: Folder,
    *,
    scope: Annotated[str, typer.Option(help="`patient`, `group-all`, or `group-runout`.")] = Scope.PATIENT.value,
    resource_type: Annotated[
        list[str] | None,
        typer.Option(
            "--type", help=f"FHIR type; repeatable. By default {', '.join(DEFAULT_RESOURCE_TYPES)}.", show_default=False
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only what changed after it, such as 2026-11-01T00:00:00Z.", show_default=False)
    ] = None,
    no_land: NoLand = False,
    address: Address = None,
    client_id: ClientId = None,
    secret_file: SecretFile = None,
    api_version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Export to a folder: start a job, wait, download and prove its files, and load them into a database.

    If it is interrupted or killed, run the same command again: it continues where it stopped.
    """
    bcda = _bcda(address, client_id, secret_file, api_version)
    with _interruptible():
        done = bcda.export(
            folder,
            scope,
            resource_types=tuple(resource_type or DEFAULT_RESOURCE_TYPES),
            since=since,
            land=not no_land,
            on_progress=_say,
        )
    _print_result(done, as_json=as_json)


@app.command()
def download(
    job_id: JobId,
    folder: Folder,
    no_land: NoLand = False,
    address: Address = None,
    client_id: ClientId = None,
    secret_file: SecretFile = None,
    api_version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Download the files of a job that exists, waiting for it if it is running."""
    bcda = _bcda(address, client_id, secret_file, api_version)
    with _interruptible():
        done = bcda.download(job_id, folder, land=not no_land, on_progress=_say)
    _print_result(done, as_json=as_json)


@app.command()
def jobs(
    status: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Only jobs in this state; repeatable. One of {', '.join(JOB_STATUSES)}.", show_default=False
        ),
    ] = None,
    address: Address = None,
    client_id: ClientId = None,
    secret_file: SecretFile = None,
    api_version: Version = None,
    as_json: AsJson = False,
) -> None:
    """List the organization's jobs of every API version, the newest first.

    The list shows archived and expired jobs as completed; --status tells them apart.
    """
    found = _bcda(address, client_id, secret_file, api_version).jobs(status or ())
    if as_json:
        print_json([_job_document(job) for job in found])
        return
    print_table(
        ("job", "state", "version", "types", "created", "request"),
        (
            (
                job.job_id,
                job.state.value,
                job.api_version,
                job.shown_types if job.type_text else "all",
                _show(job.created_at),
                job.shown_request,
            )
            for job in found
        ),
    )


@app.command()
def job(
    job_id: JobId,
    address: Address = None,
    client_id: ClientId = None,
    secret_file: SecretFile = None,
    api_version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Show where a job stands, and the files of a complete one."""
    status = _bcda(address, client_id, secret_file, api_version).job(job_id)
    if as_json:
        print_json(_status_document(job_id, status))
        return
    manifest = status.manifest
    rows: list[tuple[str, object]] = [("job", job_id), ("state", status.state.value)]
    rows += [("progress", status.progress)] if status.progress else []
    rows += [("reason", status.reason)] if status.reason else []
    if manifest is not None:
        rows += [
            ("request", server_text.request(manifest.request_url)),
            ("changes up to", _show(manifest.transaction_time)),
        ]
        rows += [("hours left for the download", _hours(manifest.expires_in_seconds))]
    print_table(("", ""), rows)
    if manifest is not None:
        print_table(("kind", "type", "address"), ((f.kind.value, f.resource_type, f.url) for f in manifest.files))


@app.command()
def cancel(
    job_id: JobId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    address: Address = None,
    client_id: ClientId = None,
    secret_file: SecretFile = None,
    api_version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a job that is pending or in progress. Asks first, unless --yes is passed."""
    bcda = _bcda(address, client_id, secret_file, api_version)
    if not yes:
        if not sys.stdin.isatty():
            raise InvalidRequestError(f"Nobody can be asked here. Pass --yes to cancel job {job_id}.")
        state = bcda.job(job_id).state.value
        typer.confirm(f"Cancel job {job_id}, which is {state}?", abort=True, err=True)
    is_canceled = bcda.cancel(job_id)
    if as_json:
        print_json({"job_id": job_id, "is_canceled": is_canceled})
    elif is_canceled:
        typer.echo(f"Job {job_id} is canceled.")
    else:
        typer.echo(f"Job {job_id} was over already: {bcda.job(job_id).state.value}. Nothing changed.")


@app.command()
def attribution(
    address: Address = None,
    client_id: ClientId = None,
    secret_file: SecretFile = None,
    api_version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Show the dates of the newest attribution lists."""
    dates = _bcda(address, client_id, secret_file, api_version).attribution()
    found = {"attribution": _show(dates.current_at), "runout": _show(dates.runout_at)}
    names = {"current": "attribution", "runout": "runout"}
    found |= {names[name]: "in the future, or not a timestamp" for name in dates.unreadable}
    if as_json:
        print_json(found)
    else:
        print_table(("list", "newest"), found.items())


@app.command()
def metadata(address: Address = None, api_version: Version = None, as_json: AsJson = False) -> None:
    """Show the capabilities of the API version (CapabilityStatement); needs no credentials."""
    found = _open(address, api_version).metadata()
    if as_json:
        print_json(found)
        return
    rows = [(name, found.get(name)) for name in ("fhirVersion", "status", "date", "publisher")]
    print_table(("", ""), [*rows, *(("operation", name) for name in _operations(found))])


@app.command()
def version(address: Address = None, as_json: AsJson = False) -> None:
    """Show BCDA's release; needs no credentials."""
    found = _open(address, None).version()
    if as_json:
        print_json({"version": found})
    else:
        typer.echo(found)


@app.command()
def health(address: Address = None, as_json: AsJson = False) -> None:
    """Show whether each part of BCDA is healthy; needs no credentials. The exit code is 1 if one is not."""
    parts = _open(address, None).health()
    if as_json:
        print_json(parts)
    else:
        print_table(("part", "state"), parts.items())
    if any(state != "ok" for state in parts.values()):
        raise typer.Exit(1)


def _bcda(address: str | None, client_id: str | None, secret_file: Path | None, api_version: ApiVersion | None) -> Bcda:
    """Return BCDA with the settings of the environment, and of the options, which take precedence."""
    given = _environment(address, api_version)
    if client_id:
        given["BCDA_CLIENT_ID"] = client_id
    if secret_file:
        given |= {"BCDA_CLIENT_SECRET_FILE": str(secret_file), "BCDA_CLIENT_SECRET": ""}
    return Bcda(ConnectionSettings.from_environment(given))


def _open(address: str | None, api_version: ApiVersion | None) -> Bcda:
    """Return BCDA without credentials, for endpoints that need none."""
    return Bcda(ConnectionSettings.from_environment(_environment(address, api_version), needs_credentials=False))


def _environment(address: str | None, api_version: ApiVersion | None) -> dict[str, str]:
    given = dict(os.environ)
    given |= {"BCDA_ADDRESS": address} if address else {}
    return given | ({"BCDA_API_VERSION": api_version.value} if api_version else {})


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except ExportInterrupted as interrupted:
        typer.echo(str(interrupted), err=True)
        raise typer.Exit(INTERRUPTED) from None


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _print_result(done: ExportResult, *, as_json: bool) -> None:
    if as_json:
        print_json(done.to_json())
    else:
        typer.echo(str(done))


def _job_document(listed: ListedJob) -> dict[str, object]:
    return {
        "job_id": listed.job_id,
        "state": listed.state.value,
        "api_version": listed.api_version,
        "types": listed.shown_types.split(",") if listed.type_text else [],
        "created_at": _show(listed.created_at),
        "request_url": server_text.without_mbi(listed.request_url),
    }


def _status_document(job_id: str, status: JobStatus) -> dict[str, object]:
    return {
        "job_id": job_id,
        "state": status.state.value,
        "progress": status.progress,
        "reason": status.reason,
        "manifest": json.loads(status.manifest.to_bytes()) if status.manifest else None,
    }


def _operations(statement: dict[str, Any]) -> Iterator[str]:
    """Return the names of the operations. Each API version lists them in a different place (docs/bcda.md#open-endpoints)."""
    for rest in statement.get("rest") or []:
        for holder in (rest, *(rest.get("resource") or [])):
            kind = holder.get("type")
            for operation in holder.get("operation") or []:
                yield f"{kind}/${operation.get('name')}" if kind else str(operation.get("name"))


def _show(at: datetime | None) -> str | None:
    return format_instant(at) if at else None


def _hours(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds / 3600:.1f}"
