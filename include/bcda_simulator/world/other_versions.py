"""v1 (STU3) and v3 (CARIN 2.2.0) resources of the synthetic world, in their simplest valid shapes."""

from datetime import datetime

from bcda_simulator.world import calendar
from bcda_simulator.world.claims import Claim
from bcda_simulator.world.fhir import CODESYSTEM, TERMINOLOGY, VARIABLES, Json, coding, concept, money
from bcda_simulator.world.people import Person, patient_v2, updated_text

_SYSTEM_TYPE = "https://bluebutton.cms.gov/fhir/CodeSystem/System-Type"
_FINAL_ACTION = "https://bluebutton.cms.gov/fhir/CodeSystem/Final-Action"


def patient(version: str, someone: Person, week: int) -> Json:
    """Return a Patient of v1 or v3."""
    resource = patient_v2(someone, week)
    del resource["meta"]["profile"]
    if version == "v1":
        # STU3 carries the currency flag on the identifier itself.
        for identifier in resource["identifier"]:
            extension = identifier.pop("type")["coding"][0].get("extension")
            if extension:
                identifier["extension"] = extension
    return resource


def coverage(version: str, someone: Person, part: str, week: int) -> Json:
    """Return a Coverage of v1 or v3."""
    return {
        "resourceType": "Coverage",
        "id": f"part-{part}-{someone.patient_id}",
        "meta": {"lastUpdated": updated_text(calendar.load_at(week))},
        "status": "active",
        "beneficiary": {"reference": f"Patient/{someone.patient_id}"},
        "type": concept(coding(f"{TERMINOLOGY}v3-ActCode", "SUBSIDIZ")),
    } | ({"grouping": {"subGroup": "Medicare", "subPlan": f"Part {part.upper()}"}} if version == "v1" else {})


def eob(version: str, claim: Claim, patient_id: str, delivered_at: datetime) -> Json:
    """Return an ExplanationOfBenefit of v1 or v3; ids of v3 differ from those of the other versions."""
    kind = coding(f"{CODESYSTEM}eob-type", claim.kind)
    resource: Json = {
        "resourceType": "ExplanationOfBenefit",
        "id": f"{claim.kind.lower()}-{claim.number}" if version == "v1" else f"{abs(claim.number) * 11}",
        "meta": {"lastUpdated": updated_text(calendar.load_at(claim.updated_week))},
        "status": claim.status,
        "type": concept(kind),
        "identifier": [{"system": f"{VARIABLES}clm_id", "value": str(claim.number)}],
        "patient": {"reference": f"Patient/{patient_id}"},
        "billablePeriod": {"start": claim.service_from.isoformat(), "end": claim.service_thru.isoformat()},
        "payment": {"amount": money(claim.paid)},
        "created": delivered_at.isoformat(timespec="seconds"),
    }
    if version == "v3":
        source = "DDPS" if claim.kind == "PDE" else "NationalClaimsHistory"
        tags = [coding(_SYSTEM_TYPE, source)]
        if claim.kind != "PDE":
            tags.append(coding(_FINAL_ACTION, "FinalAction" if claim.status == "active" else "NotFinalAction"))
        resource["meta"]["tag"] = tags
    return resource


def partially_adjudicated(resource_type: str, someone: Person, week: int, place: int) -> Json:
    """Return a v2 Claim or its ClaimResponse; the two pair by id and name the person by MBI only."""
    identifier = f"f-{someone.number:06d}{week:04d}{place}"
    mbi = {"system": "http://hl7.org/fhir/sid/us-mbi", "value": someone.mbi(week)}
    resource: Json = {
        "resourceType": resource_type,
        "id": identifier,
        "meta": {"lastUpdated": updated_text(calendar.load_at(week))},
        "status": "active",
        "use": "claim",
        "type": concept(coding(f"{TERMINOLOGY}claim-type", "institutional", "Institutional")),
        "patient": {"identifier": mbi},
    }
    if resource_type == "ClaimResponse":
        return resource | {"request": {"reference": f"Claim/{identifier}"}, "outcome": "queued"}
    return resource | {
        "total": {"currency": "USD", "value": 100 + place},
        "priority": concept(coding(f"{TERMINOLOGY}processpriority", "normal")),
    }
