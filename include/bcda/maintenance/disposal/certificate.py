"""The certificate of a disposal: what went, in counts; what stays; and what nothing here reaches. It names nobody."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from hashlib import scrypt
from pathlib import Path
from typing import Any

from bcda.api.export_request import format_instant
from bcda.errors import ManifestError
from bcda.maintenance.disposal.scope import Person, Scope
from bcda.storage.documents import read_json
from bcda.storage.files import private_folder, read_bytes, write_durably
from bcda.storage.places import Places

FOLDER = "disposals"

NOT_COVERED = (
    "Backups, snapshots of disks or volumes, and replicas. Have them expire, or remove the data from them.",
    "Earlier versions of objects, where the bucket keeps versions, and its replicas.",
    "Copies that people made: extracts, notebooks, and files in other folders.",
    "Exports by hand, and what `rebuild-warehouse` and `rebuild-lake` wrote: you named their places.",
    "Blocks of disks that the operating system has freed and not yet written over.",
    "Processes that had the published database open keep the old file until they close it.",
    "Airflow's own database and logs. They hold names of files, counts and messages, and no data of people.",
    "BCDA: what it still sends about the same people comes again with the next exports.",
)
"""What a disposal does not reach."""

RETAINED = (
    "Counts of the ledger: files, lines and resources of each export as it came, claims by type, and results of checks.",
    "Plans, manifests, receipts and accounts of exports. They name nobody.",
)
"""What stays in a home after a person or a period went."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a disposal did.

    Attributes:
        number: random; the only name of the disposal.
        source_id: connection.
        kind: person, period or source.
        scope: in words, without anything about a person.
        started_at: when it began, UTC.
        finished_at: when it ended, UTC; None while it has not.
        counts: files, objects, rows and people, by what they are.
        rows: rows that went from the working database, by table; of a whole source all that it had.
        lake_rows: rows that went from the lake, by table.
        notes: what to know besides.
        retained: what stays.
        not_covered: what it does not reach.
        again: salt and digest by which a call that was killed is recognized; empty once it has ended.
    """

    number: str
    source_id: str
    kind: str
    scope: str
    started_at: str
    finished_at: str | None
    counts: dict[str, int]
    rows: dict[str, int] = field(default_factory=dict)
    lake_rows: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    retained: tuple[str, ...] = RETAINED
    not_covered: tuple[str, ...] = NOT_COVERED
    again: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The certificate for people."""
        lines = [
            "CERTIFICATE OF DISPOSAL",
            "",
            f"Number:   {self.number}",
            f"Source:   {self.source_id}",
            f"Scope:    {self.scope}",
            f"Started:  {self.started_at}",
            f"Finished: {self.finished_at or 'not finished: run the same command again'}",
            "",
            "Disposed of:",
            *_listed(self.counts),
        ]
        for title, counts in (("Rows of the working database:", self.rows), ("Rows of the lake:", self.lake_rows)):
            if counts:
                lines += ["", title, *_listed(counts)]
        for title, sentences in (
            ("Notes:", self.notes),
            ("What stays:", self.retained),
            ("What this does not cover:", self.not_covered),
        ):
            if sentences:
                lines += ["", title, *(f"  - {sentence}" for sentence in sentences)]
        return "\n".join(lines) + "\n"


def folder_of(places: Places) -> Path:
    """Return where the certificates of a source lie: beside its published database."""
    return places.published.parent / FOLDER


def paths_of(places: Places, number: str) -> tuple[Path, Path]:
    """Return where JSON and text of a certificate lie."""
    return folder_of(places) / f"{number}.json", folder_of(places) / f"{number}.txt"


def new_number(now: datetime) -> str:
    """Return a new number: the day and random digits."""
    return f"{now:%Y%m%d}-{secrets.token_hex(4)}"


def write(places: Places, certificate: Certificate) -> None:
    """Write a certificate (0600), in place of what it said before.

    Raises:
        StorageError: the folder cannot be written.
    """
    private_folder(folder_of(places))
    as_json, as_text = paths_of(places, certificate.number)
    write_durably(as_text, certificate.text.encode())
    write_durably(as_json, json.dumps(asdict(certificate), indent=1).encode())


def finish(places: Places, certificate: Certificate, now: datetime) -> Certificate:
    """Write down that a disposal has ended, and return its certificate."""
    done = replace(certificate, finished_at=format_instant(now), again={})
    write(places, done)
    return done


def unfinished(places: Places) -> list[Certificate]:
    """Return the certificates of disposals that have not ended, oldest first.

    Raises:
        ManifestError: one cannot be read.
    """
    found = []
    for path in sorted(folder_of(places).glob("*.json")):
        try:
            document: dict[str, Any] = read_json(read_bytes(path))
            for name in ("notes", "retained", "not_covered"):
                document[name] = tuple(document[name])
            # The name of the file counts: a number becomes a path.
            certificate = Certificate(**{**document, "number": path.stem})
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestError(
                f"The certificate {path} cannot be read ({type(error).__name__}). Move it away."
            ) from error
        if certificate.finished_at is None:
            found.append(certificate)
    return sorted(found, key=lambda certificate: certificate.started_at)


def mark_of(scope: Scope) -> dict[str, str]:
    """Return salt and digest by which the same scope is recognized, and from which nobody learns it while the file is private."""
    salt = os.urandom(16)
    return {"salt": salt.hex(), "digest": _digest(scope, salt)}


def is_same(certificate: Certificate, scope: Scope) -> bool:
    """Tell whether a certificate that has not ended is about a scope."""
    salt = certificate.again.get("salt", "")
    return certificate.kind == scope.kind and certificate.again.get("digest") == _digest(scope, bytes.fromhex(salt))


def _digest(scope: Scope, salt: bytes) -> str:
    text = (scope.mbi or scope.identifier) if isinstance(scope, Person) else scope.in_words
    # As slow as a password's: an MBI has few enough forms to try them all.
    return scrypt(text.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32).hex()


def _listed(counts: dict[str, int]) -> list[str]:
    if not counts:
        return ["  nothing"]
    width = max(len(f"{number:,}") for number in counts.values())
    return [f"  {number:>{width},}  {name}" for name, number in counts.items()]
