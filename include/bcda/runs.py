"""An export run of ours: what it asks for, kept in `raw/{run_id}/run.json` until its receipts are purged."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bcda.errors import ManifestError
from bcda.export_request import ExportRequest, format_instant, parse_instant
from bcda.places import write_durably


@dataclass(frozen=True, slots=True)
class ExportRun:
    """One export run.

    Attributes:
        run_id: `{UTC time}-{scope}-{version}-{random}`; names the raw folder, the lake files and the ledger rows.
        request: what is asked of BCDA.
        planned_at: when the run was planned, UTC.
    """

    run_id: str
    request: ExportRequest
    planned_at: datetime

    @property
    def is_full(self) -> bool:
        """Whether the run asks for everything from the beginning."""
        return self.request.since is None


def write_run(run_folder: Path, run: ExportRun) -> None:
    """Write down what a run asks for.

    Raises:
        StorageError: the folder cannot be written.
    """
    document = {"run_id": run.run_id, "request": run.request.to_json(), "planned_at": format_instant(run.planned_at)}
    write_durably(run_folder / "run.json", json.dumps(document, indent=1).encode())


def read_run(run_folder: Path) -> ExportRun:
    """Return what a run asks for.

    Raises:
        ManifestError: the run was never planned here, or its file cannot be read.
    """
    path = run_folder / "run.json"
    try:
        document = json.loads(path.read_bytes())
        return ExportRun(
            document["run_id"], ExportRequest.from_json(document["request"]), parse_instant(document["planned_at"])
        )
    except FileNotFoundError as error:
        raise ManifestError(
            f"{path} is missing. All tasks of a run need the same BCDA_HOME; start a new run if the folder was purged."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} cannot be read ({type(error).__name__}); start a new run.") from error
