"""People and coverage of v1 (STU3) and v3 (CARIN 2.2.0), and the unfinished claims of v2."""

from datetime import timedelta

from bcda_simulator.world import calendar
from bcda_simulator.world.eob_v3 import CODES, STRUCTURES
from bcda_simulator.world.fhir import TERMINOLOGY, Json, coding, concept
from bcda_simulator.world.people import Person, coverages_v2, patient_v2, updated_text


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
    resource["id"] = patient_id_v3(someone)
    resource["identifier"] = _mbis_v3(someone, week)
    resource["address"][0]["state"] = "TX"
    resource["extension"] = [x for x in resource["extension"] if x["url"].startswith("http://hl7.org/")]
    if not resource.get("deceasedDateTime"):
        del resource["deceasedBoolean"]
    return resource


def stubs_v3(kind: str, someone: Person) -> list[Json]:
    """Return what v3 keeps of a Patient that another one replaced, and of a part of Medicare that someone never had."""
    if someone.number % 20 != 7:  # noqa: PLR2004 - one in twenty
        return []
    meta = {"lastUpdated": updated_text(calendar.load_at(0))}
    if kind == "Coverage":
        return [{"resourceType": "Coverage", "id": f"part-DUAL-{patient_id_v3(someone)}", "meta": meta}]
    other = {"reference": f"Patient/{patient_id_v3(someone)}"}
    old = f"{400_000_000 + someone.number}"
    return [{"resourceType": "Patient", "id": old, "meta": meta, "link": [{"type": "replaced-by", "other": other}]}]


def patient_id_v3(someone: Person) -> str:
    """Return the id of a person's Patient in v3, which has nothing in common with that of v1 and v2."""
    return f"{300_000_000 + someone.number}"


def _mbis_v3(someone: Person, week: int) -> list[Json]:
    """Return the MBIs a person has had; one that ended is a former one."""
    system, kind = "http://hl7.org/fhir/sid/us-mbi", concept(coding(f"{TERMINOLOGY}v2-0203", "MB"))
    changed = someone.mbi_change_week
    first: Json = {"system": system, "type": kind, "value": someone.mbi(0), "period": {"start": "2018-01-01"}}
    if changed is None or week < changed:
        return [first]
    turn = calendar.load_at(changed).date()
    first["period"]["end"] = (turn - timedelta(days=1)).isoformat()
    return [first, {"system": system, "type": kind, "value": someone.mbi(week), "period": {"start": turn.isoformat()}}]


def coverage(version: str, someone: Person, part: str, week: int) -> Json:
    """Return a Coverage of v1 or v3."""
    updated = updated_text(calendar.load_at(week))
    if version == "v1":
        resource = next(c for c in coverages_v2(someone, calendar.load_at(week).year) if c["id"][5] == part)
        for name in ("subscriberId", "payor", "relationship", "class"):
            del resource[name]
        del resource["meta"]["profile"]
        return resource | {"grouping": {"subGroup": "Medicare", "subPlan": f"Part {part.upper()}"}}
    plan = concept(coding(f"{TERMINOLOGY}coverage-class", "plan"))
    return {
        "resourceType": "Coverage",
        "id": f"part-{part.upper()}-{patient_id_v3(someone)}",
        "meta": {"lastUpdated": updated},
        "status": "active",
        "beneficiary": {"reference": f"Patient/{patient_id_v3(someone)}"},
        "class": [{"type": plan, "value": f"Part {part.upper()}"}],
        "period": {"start": f"{someone.birth.year + 65}-01-01"},
        "extension": [
            {"url": f"{STRUCTURES}{name}", "valueCoding": coding(f"{CODES}{name}", code)}
            for name, code in (("BENE-MDCR-STUS-CD", "10"), ("BENE-BUYIN-CD", "3"), ("BENE-MDCR-ENTLMT-RSN-CD", "0"))
        ],
    }


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
