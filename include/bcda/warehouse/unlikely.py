"""Refusing an export that cannot be right although every file of it is whole."""

from collections import Counter
from collections.abc import Sequence

import duckdb

from bcda import model
from bcda.acceptance import QUARANTINED_SHARE, Acceptance
from bcda.api.manifest import FileKind
from bcda.errors import UnlikelyExportError
from bcda.runs.landed import LandedBatch
from bcda.runs.run import ExportRun

_PEOPLE, _CLAIMS = "Patient", "ExplanationOfBenefit"


def check_lines(batches: Sequence[LandedBatch], acceptance: Acceptance) -> None:
    """Refuse a run of which too much could not be read.

    Args:
        batches: every batch of the run.
        acceptance: the limits.

    Raises:
        UnlikelyExportError: every line of a resource type was quarantined, or more than the limits allow.
    """
    read: Counter[str] = Counter()
    quarantined: Counter[str] = Counter()
    for file in (file for batch in batches for file in batch.files if file.kind is FileKind.OUTPUT):
        read[file.resource_type] += file.lines_read
        quarantined[file.resource_type] += file.lines_quarantined
    for name, bad in sorted(quarantined.items()):
        is_all = 0 < bad == read[name]
        if is_all or (bad >= acceptance.quarantined_lines and bad > acceptance.quarantined_share * read[name]):
            advice = (
                ""
                if is_all
                else f" To load such a run, set {QUARANTINED_SHARE}, now {acceptance.quarantined_share:g}, higher."
            )
            raise UnlikelyExportError(
                f"{bad:,} of {read[name]:,} {name} lines cannot be read, so nothing of this run is loaded. The next run requests the "
                f"same interval again. If it fails in the same way, tell BCDA. The lake table `quarantine` has the lines.{advice}"
            )


def check_people_and_claims(connection: duckdb.DuckDBPyConnection, run: ExportRun) -> None:
    """Refuse a full run that brought nobody, no claim, or less than half of the people on the last list.

    Args:
        connection: to the working database, with the resources of the run in `staged` and before the run is in the ledger.
        run: what was asked for, and which of this a person has accepted beforehand.

    Raises:
        UnlikelyExportError: it did, and nobody has accepted it.
    """
    if not run.is_full:
        return
    request = run.request
    asked = {
        "api_version": request.api_version.value,
        "is_runout": request.scope.is_runout,
        "has_people": _PEOPLE in request.resource_types,
        "has_claims": _CLAIMS in request.resource_types and not (request.type_filter and request.type_filter.is_narrow),
    }
    people, people_before, claims, claims_before = connection.execute(model.sql("ops/last_full"), asked).fetchall()[0]
    if not run.accept_empty:
        _check_not_empty("people", people, people_before)
        _check_not_empty("claims", claims, claims_before)
    if (
        people_before
        and people
        and people * 2 < people_before
        and not (run.accept_smaller_list or request.scope.is_runout)
    ):
        raise UnlikelyExportError(
            "This full export holds fewer than half of the people on the list that was loaded last, so nothing of it is loaded. Ask "
            "CMS whether the list is right. If it is, start the run again with `accept_smaller_list`."
        )


def _check_not_empty(what: str, now: int | None, before: int | None) -> None:
    if now == 0 and before:
        raise UnlikelyExportError(
            f"This full export holds no {what}, and the last one did, so nothing of it is loaded. Ask CMS whether this is right. If it "
            "is, start the run again with `accept_empty`."
        )
