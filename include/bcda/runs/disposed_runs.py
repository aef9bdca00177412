"""That a run's data was disposed of in part: what is counted of it no longer adds up, and that is no fault.

The note `disposed.json` lies in the run's folder, with an object store there too, so that a working database that is rebuilt
from the lake knows it. In a working database a setting says the same: `disposed RUN_ID`, and `disposed list RUN_ID` when the
list of people that the run brought is gone too. A note holds nothing about a person.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from bcda.api.export_request import format_instant, parse_instant
from bcda.errors import ManifestError
from bcda.runs import names
from bcda.runs.folders import run_folder
from bcda.storage.documents import read_json, read_text
from bcda.storage.places import Places


@dataclass(frozen=True, slots=True)
class DisposedRun:
    """The note of one run.

    Attributes:
        at: when something of it was disposed of last, UTC.
        without_list: the list of people that it brought is gone.
    """

    at: datetime
    without_list: bool = False


def note_disposed(places: Places, run_id: str, note: DisposedRun) -> None:
    """Write the note of a run; that its list is gone stays noted.

    Args:
        places: of the source.
        run_id: of the run.
        note: what to say.

    Raises:
        StorageError, StoreUnavailableError: folder or object store cannot be written.
    """
    known = read_disposed(places, run_id)
    without_list = note.without_list or (known is not None and known.without_list)
    content = json.dumps({"at": format_instant(note.at), "without_list": without_list}).encode()
    run_folder(places, run_id).write_note(names.DISPOSED, content)


def read_disposed(places: Places, run_id: str) -> DisposedRun | None:
    """Return the note of a run; None when nothing of it was disposed of.

    Raises:
        ManifestError: it cannot be read.
        StorageError, StoreUnavailableError: the store refuses, or does not answer.
    """
    folder = run_folder(places, run_id)
    content = folder.note(names.DISPOSED)
    if content is None:
        return None
    try:
        document = read_json(content)
        return DisposedRun(parse_instant(read_text(document, "at")), document["without_list"] is True)
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(
            f"{folder.path / names.DISPOSED} cannot be read ({type(error).__name__}). Run the disposal again."
        ) from error


def set_disposed(connection: duckdb.DuckDBPyConnection, run_id: str, note: DisposedRun, *, database: str = "") -> None:
    """Say in a database that a run was disposed of in part.

    Args:
        connection: to a database with the tables of the ledger.
        run_id: of the run.
        note: what to say.
        database: name of the database in statements, with a dot; empty for the current one.
    """
    names = [f"disposed {run_id}", *([f"disposed list {run_id}"] if note.without_list else [])]
    for name in names:
        connection.execute(f"DELETE FROM {database}ops.setting WHERE name = $name", {"name": name})  # noqa: S608 - our own name
        values = {"name": name, "at": instant_text(note.at)}
        connection.execute(f"INSERT INTO {database}ops.setting VALUES ($name, $at)", values)  # noqa: S608


def instant_text(at: datetime) -> str:
    """Return an instant as a setting has it: UTC, so that SQL reads it as a TIMESTAMP."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
