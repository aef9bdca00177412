"""The folder of one export by hand: whose it is, what was asked, and how far it is, in `export.json`.

export.json         what was asked, the job, and when it is complete the counts
raw/{run_id}/       the files as received, gzip, with a receipt each
lake/{table}/…      Parquet
bcda.duckdb         the database; warehouse/ is the working database that it comes from
"""

import fcntl
import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bcda.errors import InvalidRequestError, StorageError
from bcda.settings import ConnectionSettings, server_of
from bcda.storage.documents import read_json, read_number, read_text
from bcda.storage.files import open_lock, private_folder, reason_of, remove_dead, write_durably
from bcda.storage.places import Places

_STATE = "export.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What a folder is for; another export needs another folder.

    Attributes:
        what: one line, such as `patient v2 Patient,Coverage everything`.
        server: scheme, host and port; `loopback` for this machine.
        client: fingerprint of the client id.
    """

    what: str
    server: str
    client: str

    @classmethod
    def of(cls, what: str, settings: ConnectionSettings) -> "Asked":
        """Return what is asked with a connection."""
        client = hashlib.sha256(settings.client_id.encode()).hexdigest()[:16]
        return cls(what, server_of(settings.base_url), client)


@dataclass(frozen=True, slots=True)
class State:
    """How far the export of a folder is.

    Attributes:
        asked: what it is for.
        run_id: of our run; names the folder of the files.
        job_id: BCDA's number, None before the job was accepted.
        parts: to how many parts the files are dealt for landing; None before that.
    """

    asked: Asked
    run_id: str
    job_id: str | None = None
    parts: int | None = None


class ExportFolder:
    """A folder that this process holds, and its state."""

    def __init__(self, path: Path, state: State) -> None:
        self.path = path
        self.places = Places.below(path)
        self.state = state

    @property
    def files(self) -> Path:
        """Return the folder with the files as received."""
        return self.places.run_folder(self.state.run_id)

    def keep_job(self, job_id: str | None) -> None:
        """Record the job, or None if the next call is to start another one.

        Raises:
            StorageError: the folder cannot be written.
        """
        self.state = replace(self.state, job_id=job_id)
        self.write()

    def keep_parts(self, parts: int) -> None:
        """Record the number of parts in which the files land.

        Raises:
            StorageError: the folder cannot be written.
        """
        self.state = replace(self.state, parts=parts)
        self.write()

    def write(self, result: dict[str, object] | None = None) -> None:
        """Write the state to `export.json`, with the result of a complete export.

        Raises:
            StorageError: the folder cannot be written.
        """
        asked = self.state.asked
        document = {
            "format": _FORMAT,
            "asked": {"what": asked.what, "server": asked.server, "client": asked.client},
            "run_id": self.state.run_id,
            "job_id": self.state.job_id,
            "parts": self.state.parts,
            "result": result,
        }
        write_durably(self.path / _STATE, json.dumps(document, indent=1).encode())


@contextmanager
def held_folder(path: Path, asked: Asked, scope: str) -> Iterator[ExportFolder]:
    """Hold a folder for an export: a new or empty one, or the one in which the same export was begun.

    Args:
        path: of the folder; made with mode 0700 if it is missing.
        asked: what the folder is for.
        scope: first part of a new run's id.

    Yields:
        The folder. No other process holds it meanwhile.

    Raises:
        InvalidRequestError: it holds something else, or another process holds it; no changes were made.
        StorageError: it cannot be made, read or written.
    """
    path = path.expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise InvalidRequestError(f"{path} is a file. Name a folder for the export.")
    private_folder(path)
    with _lock(path):
        remove_dead(path)
        state = _read(path)
        if state is None:
            _check_empty(path)
            run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{scope}-{secrets.token_hex(3)}"
            folder = ExportFolder(path, State(asked, run_id))
            folder.write()
        elif state.asked != asked:
            raise InvalidRequestError(
                f"{path} holds another export: {_difference(state.asked, asked)}. Choose another folder."
            )
        else:
            folder = ExportFolder(path, state)
        yield folder


def _difference(held: Asked, asked: Asked) -> str:
    if held.what != asked.what:
        return f"{held.what}, not {asked.what}"
    if held.server != asked.server:
        return f"it is from {held.server}, not from {asked.server}"
    return "it was made with another client id"


def _check_empty(path: Path) -> None:
    if found := sorted(entry.name for entry in path.iterdir() if not entry.name.startswith(".")):
        raise InvalidRequestError(
            f"{path} holds something that is not an export ({found[0][:40]}). Choose a new or an empty folder."
        )


def _read(path: Path) -> State | None:
    try:
        content = (path / _STATE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path / _STATE} cannot be read: {reason_of(error)}. Check the owner.") from error
    try:
        document = read_json(content)
        if document["format"] != _FORMAT:
            raise ValueError("another format")  # noqa: TRY301
        asked = document["asked"]
        job_id = document["job_id"]
        return State(
            Asked(read_text(asked, "what"), read_text(asked, "server"), read_text(asked, "client")),
            read_text(document, "run_id"),
            None if job_id is None else read_text(document, "job_id"),
            read_number(document, "parts"),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidRequestError(
            f"{path / _STATE} was not written by this release ({type(error).__name__}). Choose another folder."
        ) from error


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with open_lock(path / ".lock") as lock:
        try:
            # Released by the system when the process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidRequestError(
                f"Another process is exporting to {path}. Wait for it, or choose another folder."
            ) from None
        except OSError as error:
            raise StorageError(
                f"Cannot lock {path}: {reason_of(error)}. Choose a folder on a disk with locks."
            ) from error
        yield
