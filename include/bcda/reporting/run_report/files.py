"""Writing a report where people and the page find it."""

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bcda.reporting.run_report.document import document_of
from bcda.reporting.run_report.facts import read_facts
from bcda.reporting.run_report.rendering import as_html, as_text
from bcda.storage.files import private_folder, remove_dead, write_durably
from bcda.storage.guarded import guarded
from bcda.storage.places import Places

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A report that was written.

    Attributes:
        run_id: of the run.
        html: the self-contained page.
        text: the short text, for mail and chat.
        headline: one sentence on the run, without anything about a person.
    """

    run_id: str
    html: Path
    text: Path
    headline: str


def report_paths(places: Places, run_id: str) -> tuple[Path, Path]:
    """Return where the HTML and the text of a run's report lie.

    Raises:
        InvalidRequestError: the run id could leave the folder.
    """
    name = places.run_folder(run_id).name
    return places.reports / f"{name}.html", places.reports / f"{name}.txt"


@guarded("write the report")
def write_report(places: Places, run_id: str, *, now: datetime, page: str = "") -> WrittenReport:
    """Write the report of a loaded run, in place of one that is there (0600).

    Args:
        places: of the source.
        run_id: of the run.
        now: instant to print as that of the report.
        page: address of the run on the BCDA page; empty to leave the link out.

    Raises:
        InvalidRequestError: the run is not in the ledger.
        StorageError: the folder cannot be written.
        WarehouseLockedError, EncryptionError, WarehouseError: see `facts.read_facts`.
    """
    html, text = report_paths(places, run_id)
    document = document_of(read_facts(places, run_id), now=now, page=page)
    private_folder(html.parent)
    remove_dead(html.parent)
    write_durably(html, as_html(document).encode())
    # Last, since its presence tells that the report is whole.
    write_durably(text, as_text(document).encode())
    log.info("report of run %s: %s", run_id, html)
    return WrittenReport(run_id, html, text, document.headline)
