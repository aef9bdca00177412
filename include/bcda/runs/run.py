"""An export run of ours: what it asks for, kept in `raw/{run_id}/run.json` until its receipts are purged."""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bcda.api.export_request import ExportRequest, format_instant, parse_instant
from bcda.errors import ManifestError
from bcda.runs import names
from bcda.storage.documents import read_json, read_number, read_text
from bcda.storage.files import private_folder, read_bytes, write_durably
from bcda.storage.places import DEFAULT_SOURCE


@dataclass(frozen=True, slots=True)
class ExportRun:
    """One export run.

    Attributes:
        run_id: `{UTC time}-{scope}-{version}-{random}`; names the raw folder, the lake files and the ledger rows.
        request: what is asked of BCDA.
        planned_at: when the run was planned, UTC.
        source_id: connection that it was planned for; its data stays in that source's places.
        server: scheme, host and port of that connection, `loopback` for this machine.
        reason: why it asks for what it asks, in a sentence.
        may_ask_for_all: `since` was chosen by us, so it may be dropped when BCDA has no list from before it.
        list_at: date of the attribution list that was the newest before the kick-off; None when not known.
        asked_at: when BCDA accepted the export, by its own clock; None when it did not say.
        newest_job_before: highest job number of the organization in BCDA's list before the run first asked; None before that.
        replaced_job: number of the job that stayed Pending and was given up for another one, as text; empty when there is none.
        replacement_job: number of that other job; empty until BCDA has accepted it.
        accept_empty: a person has accepted that a full export holds no people or no claims.
        accept_smaller_list: a person has accepted that a full export holds fewer than half of the people of the last one.
        follows_coverage: `since` is no later than a `transactionTime` of BCDA's, so this export's cannot be earlier than it.
    """

    run_id: str
    request: ExportRequest
    planned_at: datetime
    source_id: str = DEFAULT_SOURCE
    server: str = ""
    reason: str = ""
    may_ask_for_all: bool = False
    list_at: datetime | None = None
    asked_at: datetime | None = None
    newest_job_before: int | None = None
    replaced_job: str = ""
    replacement_job: str = ""
    accept_empty: bool = False
    accept_smaller_list: bool = False
    follows_coverage: bool = False

    @property
    def is_full(self) -> bool:
        """Whether the run asks for everything from the beginning."""
        return self.request.since is None


def scope_and_version(run_id: str) -> tuple[str, str]:
    """Return scope and API version of a run from its id, wherever its folder is.

    Raises:
        ManifestError: it is no id of a run.
    """
    parts = run_id.partition("-")[2].rsplit("-", 2)
    if len(parts) != 3:  # noqa: PLR2004
        raise ManifestError(f"{run_id!r} is no id of a run: those are a time, scope, version and six digits.")
    return parts[0], parts[1]


def write_run(run_folder: Path, run: ExportRun) -> None:
    """Write down what a run asks for.

    Raises:
        StorageError: the folder cannot be written.
    """
    document = {
        "run_id": run.run_id,
        "request": run.request.to_json(),
        "planned_at": format_instant(run.planned_at),
        "source_id": run.source_id,
        "server": run.server,
        "reason": run.reason,
        "may_ask_for_all": run.may_ask_for_all,
        "list_at": format_instant(run.list_at) if run.list_at else None,
        "asked_at": format_instant(run.asked_at) if run.asked_at else None,
        "newest_job_before": run.newest_job_before,
        "replaced_job": run.replaced_job,
        "replacement_job": run.replacement_job,
        "accept_empty": run.accept_empty,
        "accept_smaller_list": run.accept_smaller_list,
        "follows_coverage": run.follows_coverage,
    }
    write_durably(run_folder / names.RUN, json.dumps(document, indent=1).encode())


def read_run(run_folder: Path) -> ExportRun:
    """Return what a run asks for.

    Raises:
        ManifestError: the run was never planned here, or its file cannot be read.
    """
    path = run_folder / names.RUN
    try:
        document = read_json(read_bytes(path))
        return ExportRun(
            read_text(document, "run_id"),
            ExportRequest.from_json(document["request"]),
            parse_instant(read_text(document, "planned_at")),
            source_id=read_text(document, "source_id"),
            server=read_text(document, "server"),
            reason=read_text(document, "reason"),
            may_ask_for_all=bool(document["may_ask_for_all"]),
            list_at=parse_instant(read_text(document, "list_at")) if document["list_at"] else None,
            asked_at=parse_instant(read_text(document, "asked_at")) if document["asked_at"] else None,
            newest_job_before=read_number(document, "newest_job_before"),
            # Earlier releases did not write these.
            replaced_job=read_text(document, "replaced_job") if "replaced_job" in document else "",
            replacement_job=read_text(document, "replacement_job") if "replacement_job" in document else "",
            accept_empty=bool(document.get("accept_empty")),
            accept_smaller_list=bool(document.get("accept_smaller_list")),
            follows_coverage=document.get("follows_coverage") is True,
        )
    except FileNotFoundError as error:
        raise ManifestError(
            f"{path} is missing. All tasks of a run need the same BCDA_HOME; start a new run if the folder was purged."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} cannot be read ({type(error).__name__}); start a new run.") from error


def amend_run(run_folder: Path, **changes: Any) -> ExportRun:
    """Write down what has been learnt about a run since it was planned, and return it.

    Args:
        run_folder: of the run.
        changes: fields of `ExportRun`.
    """
    run = replace(read_run(run_folder), **changes)
    write_run(run_folder, run)
    return run


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a run has no files yet, for people who look at it; nothing is decided from it.

    Attributes:
        reason: a sentence, nothing about a person in it.
        until: when it is looked at again, or at the latest ended, UTC.
    """

    reason: str
    until: datetime


def note_wait(run_folder: Path, wait: Wait) -> None:
    """Write down what a run waits for, in place of what it waited for before.

    Raises:
        StorageError: the folder cannot be written.
    """
    document = {"reason": wait.reason, "until": format_instant(wait.until)}
    private_folder(run_folder)
    write_durably(run_folder / names.WAITING, json.dumps(document, indent=1).encode())


def read_wait(run_folder: Path) -> Wait | None:
    """Return what a run waits for, or waited for last; None when it never waited.

    Raises:
        ManifestError: it is there but cannot be read.
    """
    path = run_folder / names.WAITING
    try:
        document = read_json(read_bytes(path))
        return Wait(read_text(document, "reason"), parse_instant(read_text(document, "until")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} cannot be read ({type(error).__name__}); delete it.") from error
