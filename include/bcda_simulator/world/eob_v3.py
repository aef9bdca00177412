"""ExplanationOfBenefit of v3 (CARIN 2.2.0 with CMS's own code systems)."""

import random
from datetime import date
from decimal import Decimal

from bcda_simulator.world import calendar
from bcda_simulator.world.claims import INSTITUTIONAL, Claim, Line
from bcda_simulator.world.fhir import CARIN, TERMINOLOGY, Json, coding, concept, money, number

CODES = "https://bluebutton.cms.gov/fhir/CodeSystem/"
STRUCTURES = "https://bluebutton.cms.gov/fhir/StructureDefinition/"
_CONTROL_NUMBER = "https://bluebutton.cms.gov/identifiers/CLM-CNTL-NUM"
_HCPCS = "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"
_TYPE = {"HHA": "10", "SNF": "20", "OUTPATIENT": "40", "HOSPICE": "50", "INPATIENT": "60", "CARRIER": "71", "DME": "82"}
_DRUG_TYPE = {None: "1", "A": "2", "D": "3", "R": "4"}
SHARED_DIGIT = 5
"""Last digit of the ids of claims that a shared system has not finished."""


def is_successor(claim: Claim) -> bool:
    """Tell whether a claim replaces another one: originals have even numbers."""
    return abs(claim.number) % 2 == 1


def comes_from_shared_system(claim: Claim) -> bool:
    """Tell whether a claim is seen unfinished in the week before it is finished."""
    before = calendar.load_at(claim.loaded_week - 1).date()
    return claim.kind != "PDE" and claim.group % 9 == 0 and not is_successor(claim) and claim.service_thru <= before


def claim_id(claim: Claim, *, shared: bool = False) -> str:
    """Return the id, which is the claim number too; it has nothing in common with that of v1 and v2."""
    return f"{abs(claim.number) * 11}{SHARED_DIGIT if shared else ''}"


def control_number(claim_number: int) -> str:
    """Return the claim control number; v2 has the same one."""
    return f"{abs(claim_number) * 7}"


def eob(claim: Claim, patient_id: str, *, shared: bool = False) -> Json:
    """Return one claim as an ExplanationOfBenefit.

    Args:
        claim: what happened.
        patient_id: id of the Patient in v3.
        shared: whether a shared system has it still; it has another id and type then.
    """
    roll = random.Random(claim.rolls)  # noqa: S311 - synthetic data, not secrets
    week = claim.loaded_week - 1 if shared else claim.updated_week
    loaded = calendar.load_at(claim.loaded_week).date()
    resource: Json = {
        "resourceType": "ExplanationOfBenefit",
        "id": claim_id(claim, shared=shared),
        "meta": {
            "lastUpdated": calendar.load_at(week).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "profile": [f"{STRUCTURES}CMS-ExplanationOfBenefit-{claim.kind.title()}"],
            "source": "DDPS" if claim.kind == "PDE" else "MCS" if shared else "NCH",
            "tag": _tags(claim, shared=shared),
        },
        "created": calendar.load_at(week).date().isoformat() if shared else loaded.isoformat(),
        "status": "active",
        "outcome": "complete",
        "use": "claim",
        "type": _type(claim, shared=shared),
        "identifier": [
            {"type": concept(coding(f"{CARIN}C4BBIdentifierType", "uc")), "value": claim_id(claim, shared=shared)},
            {"system": _CONTROL_NUMBER, "value": control_number(claim.number)},
        ],
        "patient": {"reference": f"Patient/{patient_id}"},
        "billablePeriod": {"start": claim.service_from.isoformat(), "end": claim.service_thru.isoformat()},
        "insurer": {"reference": "#insurer-org"},
        "insurance": [{"coverage": {"display": "Part B"}, "focal": True}],
        "contained": [
            {"resourceType": "Organization", "id": "insurer-org", "active": True, "name": "Synthetic Payer"},
            _provider(claim, roll),
        ],
        "provider": {"reference": "#billing"},
        "careTeam": _care_team(claim, roll),
        "item": [_line(claim, line, roll) for line in claim.lines if not line.is_total],
        "total": _totals(claim),
        "adjudication": [_amount(None, "CLM_BLOOD_LBLTY_AMT", Decimal(0)), *_days(claim)],
        "supportingInfo": _facts(claim, roll, loaded),
    }
    if not claim.lines:
        del resource["item"]
    if is_successor(claim):
        prior = concept(coding("http://terminology.hl7.org/CodeSystem/ex-relatedclaimrelationship", "prior"))
        original = control_number(abs(claim.number) - 1)
        resource["related"] = [{"relationship": prior, "reference": {"system": _CONTROL_NUMBER, "value": original}}]
    if claim.kind != "PDE":
        resource["payment"] = {"amount": money(claim.paid)}
        resource["diagnosis"] = _diagnoses(claim)
    if claim.kind in {"INPATIENT", "OUTPATIENT", "SNF"}:
        resource["procedure"] = [
            {
                "sequence": 1,
                "type": [concept(coding(f"{CARIN}C4BBClaimProcedureType", "principal"))],
                "date": claim.service_from.isoformat(),
                "procedureCodeableConcept": concept(
                    coding("http://www.cms.gov/Medicare/Coding/ICD10", "0SG30AJ", "SYNTHETIC PROCEDURE")
                ),
            }
        ]
    return resource


def _tags(claim: Claim, *, shared: bool) -> list[Json]:
    if claim.kind == "PDE":
        return [coding(f"{CODES}System-Type", "DDPS")]
    final = "FinalAction" if claim.status == "active" or shared else "NotFinalAction"
    system = "SharedSystem" if shared else "NationalClaimsHistory"
    return [coding(f"{CODES}System-Type", system), coding(f"{CODES}Final-Action", final)]


def _type(claim: Claim, *, shared: bool) -> Json:
    kind = "institutional" if claim.kind in INSTITUTIONAL else "pharmacy" if claim.kind == "PDE" else "professional"
    code = _DRUG_TYPE[claim.adjustment_code] if claim.kind == "PDE" else "2700" if shared else _TYPE[claim.kind]
    return concept(
        coding(f"{TERMINOLOGY}claim-type", kind),
        coding(f"{CODES}CLM-TYPE-CD", code),
        coding(f"{CODES}EOB-TYPE", claim.kind),
    )


def _npi(roll: random.Random) -> str:
    return f"999{roll.randint(1000000, 9999999)}"


def _npi_identifier(value: str) -> Json:
    return {
        "system": "http://hl7.org/fhir/sid/us-npi",
        "type": concept(coding(f"{TERMINOLOGY}v2-0203", "NPI")),
        "value": value,
    }


def _provider(claim: Claim, roll: random.Random) -> Json:
    identifiers = [_npi_identifier(_npi(roll))]
    if claim.kind in INSTITUTIONAL:
        system = "http://terminology.hl7.org/NamingSystem/CCN"
        identifiers.append({"system": system, "value": f"{roll.randint(10000, 659999):06d}"})
    if claim.kind == "PDE":
        qualifier = coding("http://bluebutton.cms.gov/fhir/CodeSystem/PRVDR-ID-QLFYR-CD", "01")
        identifiers[0]["type"]["coding"].append(qualifier)
    return {"resourceType": "Organization", "id": "billing", "name": "Synthetic Facility", "identifier": identifiers}


def _care_team(claim: Claim, roll: random.Random) -> list[Json]:
    roles = ("attending", "operating") if claim.kind in INSTITUTIONAL else ("rendering", "referring")
    return [
        {
            "sequence": place,
            "role": concept(
                coding(f"{TERMINOLOGY}claimcareteamrole", role), coding(f"{CARIN}C4BBClaimCareTeamRole", role)
            ),
            "provider": {"type": "Practitioner", "identifier": _npi_identifier(_npi(roll))},
        }
        for place, role in enumerate(("prescribing",) if claim.kind == "PDE" else roles, start=1)
    ]


def _amount(category: str | None, name: str, value: Decimal) -> Json:
    codings = [coding(f"{CODES}Adjudication", name)]
    if category:
        codings.insert(0, coding(f"{TERMINOLOGY}adjudication", category))
    return {"category": concept(*codings), "amount": money(value)}


def _days(claim: Claim) -> list[Json]:
    """Return what is counted or paid by the day."""
    if claim.kind not in {"INPATIENT", "SNF"}:
        return []
    days = {"category": concept(coding(f"{CODES}Adjudication", "CLM_INSTNL_CVRD_DAY_CNT")), "value": claim.days}
    rate = claim.pass_through_per_diem if claim.kind == "INPATIENT" else Decimal(0)
    return [days, _amount(None, "CLM_INSTNL_PER_DIEM_AMT", rate)]


def _totals(claim: Claim) -> list[Json]:
    if claim.kind == "PDE":
        return [_amount("submitted", "TOT_RX_CST_AMT", claim.charge)]
    allowed = sum((line.allowed for line in claim.lines if not line.is_total), Decimal(0))
    totals = [
        _amount("submitted", "CLM_SBMT_CHRG_AMT", claim.charge),
        _amount("deductible", "CLM_MDCR_DDCTBL_AMT", Decimal(112)),
        _amount("coinsurance", "CLM_MDCR_COINSRNC_AMT", allowed - claim.paid),
        _amount("noncovered", "CLM_NCVRD_CHRG_AMT", Decimal(0)),
    ]
    return totals if claim.kind in INSTITUTIONAL else [*totals, _amount("eligible", "CLM_ALOWD_CHRG_AMT", allowed)]


def _line(claim: Claim, line: Line, roll: random.Random) -> Json:
    if claim.kind == "PDE":
        return _drug(claim, line, roll)
    item: Json = {
        "sequence": line.number,
        "productOrService": concept(coding(_HCPCS, line.code)),
        "modifier": [concept(coding(_HCPCS, roll.choice(("25", "59"))), coding(_HCPCS, "LT"))],
        "servicedPeriod": {"start": claim.service_from.isoformat(), "end": claim.service_thru.isoformat()},
        "quantity": {"value": line.units},
        "careTeamSequence": [1],
        "diagnosisSequence": [1],
        "adjudication": [
            _amount("benefit", "CLM_LINE_CVRD_PD_AMT", line.paid),
            _amount("submitted", "CLM_LINE_SBMT_CHRG_AMT", line.charge),
            _amount("eligible", "CLM_LINE_ALOWD_CHRG_AMT", line.allowed),
            _amount("deductible", "CLM_LINE_MDCR_DDCTBL_AMT", Decimal(0)),
            _amount("coinsurance", "CLM_LINE_MDCR_COINSRNC_AMT", line.allowed - line.paid),
        ],
    }
    if claim.kind in INSTITUTIONAL:
        center = f"{roll.choice((250, 300, 360, 450, 636))}"
        code = f"0{claim.visit_center(line) if claim.kind == 'HHA' else center}"
        item["revenue"] = concept(
            coding(f"{CODES}CLM-REV-CNTR-CD", code), coding("https://www.nubc.org/CodeSystem/RevenueCodes", code)
        )
        return item
    place = "https://www.cms.gov/Medicare/Coding/place-of-service-codes/Place_of_Service_Code_Set"
    item["locationCodeableConcept"] = concept(coding(place, "11"))
    item["informationSequence"] = [1]
    item["extension"] = [
        _line_code("CLM-PRVDR-SPCLTY-CD", f"{roll.randint(1, 99):02d}"),
        _line_code("CLM-FED-TYPE-SRVC-CD", "1"),
        _line_code("CLM-PRCSG-IND-CD", "D" if claim.is_denied else "A"),
        _line_code("CLM-PRVDR-TYPE-CD", "1"),
    ]
    return item


def _line_code(name: str, code: str) -> Json:
    return {"url": STRUCTURES + name, "valueCoding": coding(CODES + name, code)}


def _drug(claim: Claim, line: Line, roll: random.Random) -> Json:
    return {
        "sequence": 1,
        "servicedDate": claim.service_from.isoformat(),
        "productOrService": concept(coding("http://hl7.org/fhir/sid/ndc", f"{roll.randint(10**9, 10**10):011d}")),
        "quantity": {"value": number(Decimal(roll.randint(1, 90)))},
        "adjudication": [
            _amount("submitted", "TOT_RX_CST_AMT", line.charge),
            _amount("benefit", "CLM_LINE_CVRD_PD_AMT", line.paid),
            _amount("paidbypatient", "CLM_LINE_BENE_PMT_AMT", line.allowed - line.paid),
        ],
    }


def _diagnoses(claim: Claim) -> list[Json]:
    """Return the diagnoses; the principal one comes first and is repeated among the others."""
    pairs = [pair for pair in claim.diagnoses if pair[1] == "principal"]
    pairs += [(code, "secondary") for code, kind in claim.diagnoses if kind in {"principal", "other"}]
    pairs += [pair for pair in claim.diagnoses if pair[1] not in {"principal", "other"}]
    system = "http://hl7.org/fhir/sid/icd-9-cm" if claim.is_icd9 else "http://hl7.org/fhir/sid/icd-10-cm"
    return [
        {
            "sequence": place,
            "diagnosisCodeableConcept": concept(coding(system, code)),
            "type": [concept(coding(f"{TERMINOLOGY}ex-diagnosistype", kind))],
        }
        for place, (code, kind) in enumerate(pairs, start=1)
    ]


def _facts(claim: Claim, roll: random.Random, loaded: date) -> list[Json]:
    facts = [_fact("CLM_CNTRCTR_NUM", str(roll.randint(10000, 15999)))]
    if claim.kind == "PDE":
        for name, value in (("dayssupply", 30), ("refillnum", roll.randint(0, 9))):
            category = concept(coding(f"{CARIN}C4BBSupportingInfoType", name))
            facts.append({"category": category, "valueQuantity": {"value": value}})
    elif claim.kind in INSTITUTIONAL:
        bill = [
            coding(f"{CODES}CLM-BILL-FAC-TYPE-CD", "1"),
            coding(f"{CODES}CLM-BILL-CLSFCTN-CD", "11"),
            coding(f"{CODES}CLM-BILL-FREQ-CD", "111"),
        ]
        facts += [
            {"category": concept(coding(f"{CARIN}C4BBSupportingInfoType", "typeofbill")), "code": concept(*bill)},
            _fact("PRVDR_FAC_FIPS_ST_CD", f"{roll.randint(1, 56):02d}"),
        ]
        if claim.kind != "OUTPATIENT":
            period = {"start": claim.service_from.isoformat(), "end": claim.service_thru.isoformat()}
            category = concept(coding(f"{CARIN}C4BBSupportingInfoType", "admissionperiod"))
            facts.append({"category": category, "timingPeriod": period})
    else:
        facts.insert(0, _fact("RNDRG_PRVDR_FIPS_ST_CD", f"{roll.randint(1, 56):02d}"))
        facts.append(_fact("CLM_CARR_PMT_DNL_CD", "0" if claim.is_denied else "1"))
    if claim.is_denied and claim.kind in INSTITUTIONAL:
        facts.append(_fact("CLM_MDCR_NPMT_RSN_CD", "N"))
    facts.append(_fact("CLM_NCH_WKLY_PROC_DT", None) | {"timingDate": loaded.isoformat()})
    return [fact | {"sequence": place} for place, fact in enumerate(facts, start=1)]


def _fact(name: str, code: str | None) -> Json:
    fact: Json = {
        "category": concept(
            coding(f"{TERMINOLOGY}claiminformationcategory", "info"), coding(f"{CODES}Supporting-Information", name)
        )
    }
    return fact | ({"code": concept(coding(CODES + name.replace("_", "-"), code))} if code else {})
