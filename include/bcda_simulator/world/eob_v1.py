"""ExplanationOfBenefit of v1: what v2 says about a claim, in the words and places of STU3."""

from datetime import datetime

from bcda_simulator.world.claims import INSTITUTIONAL, Claim
from bcda_simulator.world.eob_v2 import eob as eob_v2
from bcda_simulator.world.fhir import VARIABLES, Json, concept

_ROLES = {
    "attending": "primary",
    "operating": "assist",
    "otheroperating": "other",
    "performing": "primary",
    "prescribing": "primary",
    "referring": "referring",
}


def eob(claim: Claim, patient_id: str, delivered_at: datetime) -> Json:
    """Return one claim as an ExplanationOfBenefit of STU3.

    Args:
        claim: what happened.
        patient_id: id of the Patient.
        delivered_at: goes into `created`, which moves with every delivery.
    """
    resource = eob_v2(claim, patient_id, delivered_at)
    for name in ("use", "outcome", "insurer", "subType"):
        resource.pop(name, None)
    resource["meta"].pop("profile")
    for identifier in resource["identifier"]:
        identifier.pop("type")
    resource["insurance"] = {"coverage": resource["insurance"][0]["coverage"]}
    _providers(resource, claim)
    _amounts(resource, claim)
    _information(resource)
    if "item" in resource:
        resource["item"] = [_line(line, claim) for line in resource["item"]]
    for member in resource["careTeam"]:
        member["role"] = concept(
            {"system": "http://hl7.org/fhir/claimcareteamrole", "code": _ROLES[member["role"]["coding"][0]["code"]]}
        )
        member["provider"] = {"identifier": _npi(member["provider"]["identifier"]["value"])}
    for diagnosis in (element for element in resource.get("diagnosis", []) if "type" in element):
        kind = diagnosis["type"][0]["coding"][0]
        if kind["code"] == "other":
            del diagnosis["type"]
        else:
            kind["code"] = kind["code"].replace("externalcauseofinjury", "external-first")
    return resource


def _npi(value: str) -> Json:
    return {"system": "http://hl7.org/fhir/sid/us-npi", "value": value}


def _money(amount: Json) -> Json:
    return {"code": "USD", "system": "urn:iso:std:iso:4217", "value": amount["value"]}


def _providers(resource: Json, claim: Claim) -> None:
    if claim.kind in INSTITUTIONAL:
        ccn, npi = (identifier["value"] for identifier in resource.pop("contained")[0]["identifier"])
        resource["provider"] = {"identifier": {"system": f"{VARIABLES}prvdr_num", "value": ccn}}
        resource["organization"] = {"identifier": _npi(npi)}
    else:
        resource.pop("provider", None)
    if "referral" in resource:
        npi = resource["referral"]["identifier"]["value"]
        request = {"resourceType": "ReferralRequest", "id": "1", "status": "completed"}
        resource["contained"] = [request | {"requester": {"agent": {"identifier": _npi(npi)}}}]
        resource["referral"] = {"reference": "#1"}


def _amounts(resource: Json, claim: Claim) -> None:
    extensions = resource.setdefault("extension", [])
    for balance in resource.pop("benefitBalance", []):
        counts = [part for part in balance["financial"] if "usedMoney" not in part]
        for part in (part for part in balance["financial"] if "usedMoney" in part):
            url = part["type"]["coding"][0]["code"]
            extensions.append({"url": url, "valueMoney": _money(part["usedMoney"])})
        if counts:
            resource["benefitBalance"] = [balance | {"financial": counts}]
    totals = resource.pop("total", [])
    if claim.kind in INSTITUTIONAL:
        resource["totalCost"] = _money(totals[0]["amount"])
    if "amount" in resource.get("payment", {}):
        resource["payment"]["amount"] = _money(resource["payment"]["amount"])


def _information(resource: Json) -> None:
    kept = []
    for element in resource.pop("supportingInfo"):
        category = element["category"]["coding"][-1]["code"]
        if category == "admissionperiod":
            resource["hospitalization"] = element["timingPeriod"]
        elif category == f"{VARIABLES}clm_drg_cd":
            packages = {"packageCode": element["code"], "sequence": len(resource["diagnosis"]) + 1}
            resource["diagnosis"].append(packages)
        elif category.startswith("http"):
            kept.append(element | {"category": concept(element["category"]["coding"][-1])})
        elif "code" in element:
            # What v2 files under a CARIN category, v1 files under the variable of the code.
            variable = {"system": "https://bluebutton.cms.gov/resources/codesystem/information"}
            code = element["code"]["coding"][0]["system"]
            kept.append(element | {"category": concept(variable | {"code": code})})
        else:
            name = {"dayssupply": "days_suply_num", "refillnum": "fill_num"}[category]
            quantity = resource["item"][0].setdefault("quantity", {})
            value = {"url": VARIABLES + name, "valueQuantity": element["valueQuantity"]}
            quantity.setdefault("extension", []).append(value)
    resource["information"] = kept


def _line(line: Json, claim: Claim) -> Json:
    renamed = {"productOrService": "service", "careTeamSequence": "careTeamLinkId", "diagnosisSequence": "diagnosisLinkId"}  # fmt: skip
    line = {renamed.get(name, name): value for name, value in line.items()}
    if claim.kind in INSTITUTIONAL:
        units = [x for x in line.pop("extension", []) if x["url"].endswith("/rev_cntr_unit_cnt")]
        line["quantity"] = {"value": units[0]["valueQuantity"]["value"] if units else 0}
    line["modifier"] = [m for m in line.get("modifier", []) if "unitsofmeasure" not in m["coding"][0]["system"]]
    for element in line["adjudication"]:
        element["category"] = concept(element["category"]["coding"][-1])
        element["amount"] = _money(element["amount"])
    extensions = line.get("extension", [])
    status = [x for x in extensions if x["url"].endswith("/line_prcsg_ind_cd")]
    if status:
        extensions.remove(status[0])
        category = {"system": "https://bluebutton.cms.gov/resources/codesystem/adjudication", "code": status[0]["url"]}
        line["adjudication"].append({"category": concept(category), "reason": concept(status[0]["valueCoding"])})
    return line
