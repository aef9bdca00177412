"""Whose a quarantined line is: what it says of the person, as far as it can be read."""

import json
import re
from dataclasses import dataclass
from typing import Any

from bcda.budgets import ORDINARY_LINE_BYTES

_MBI = "http://hl7.org/fhir/sid/us-mbi"
_PATIENT_ID = re.compile(r"(?:.*/)?([A-Za-z0-9.\-]{1,64})", re.DOTALL)
_MBI_TEXT = re.compile(r"[0-9A-Za-z\-]{1,64}")
"""More than any MBI; other text, which may not even be Unicode, names nobody."""

_REFERENCES = {"ExplanationOfBenefit": "patient", "Coverage": "beneficiary"}


@dataclass(frozen=True, slots=True)
class Whose:
    """What a line names; both are None when it names nobody.

    Attributes:
        patient_id: id of the Patient.
        mbi: MBI of the person, of claims that are not finished: they name no Patient.
    """

    patient_id: str | None = None
    mbi: str | None = None


NOBODY = Whose()


def whose(line: bytes, resource_type: str) -> Whose:
    """Return whom a line names: a Patient by its id, a Coverage and a claim by a reference, an unfinished claim by an MBI.

    A line that is no JSON, or is a resource of another type than its file, can be about anybody; so can one that is too long
    to be parsed here within bounds.

    Args:
        line: of a raw file.
        resource_type: of the file.
    """
    if len(line) > ORDINARY_LINE_BYTES:
        return NOBODY
    try:
        resource = json.loads(line.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return NOBODY
    if not isinstance(resource, dict) or resource.get("resourceType", resource_type) != resource_type:
        return NOBODY
    if resource_type in _REFERENCES:
        return Whose(patient_id=_id_in(_member(resource.get(_REFERENCES[resource_type]), "reference")))
    if resource_type == "Patient":
        return Whose(patient_id=_id_in(resource.get("id")))
    return Whose(mbi=_mbi(resource))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _id_in(reference: Any) -> str | None:
    found = _PATIENT_ID.fullmatch(reference) if isinstance(reference, str) else None
    return found[1] if found else None


def _mbi(claim: dict[str, Any]) -> str | None:
    contained = claim.get("contained")
    patients = (
        [part for part in contained if _member(part, "resourceType") == "Patient"]
        if isinstance(contained, list)
        else []
    )
    identifiers = _member(patients[0], "identifier") if patients else None
    told = [*(identifiers if isinstance(identifiers, list) else []), _member(claim.get("patient"), "identifier")]
    values = [_member(one, "value") for one in told if _member(one, "system") == _MBI]
    return next(
        (text for value in values if isinstance(value, str) and _MBI_TEXT.fullmatch(text := value.strip())), None
    )
