"""ExplanationOfBenefit of v2: the eight claim types in the shapes the server sends."""

import random
from datetime import datetime, timedelta
from decimal import Decimal

from bcda_simulator.world import calendar
from bcda_simulator.world.claims import INSTITUTIONAL, Claim, Line
from bcda_simulator.world.fhir import (
    CARIN,
    CODESYSTEM,
    TERMINOLOGY,
    VARIABLES,
    Json,
    adjudication,
    coding,
    concept,
    information,
    money,
    npi,
    number,
    variable,
    variable_identifier,
)

_NCH_TYPE = {
    "HHA": "10",
    "SNF": "20",
    "OUTPATIENT": "40",
    "HOSPICE": "50",
    "INPATIENT": "60",
    "CARRIER": "71",
    "DME": "82",
}
_PROFILE = {
    "OUTPATIENT": "Outpatient-Institutional",
    "HHA": "Outpatient-Institutional",
    "HOSPICE": "Inpatient-Institutional",
    "INPATIENT": "Inpatient-Institutional",
    "SNF": "Inpatient-Institutional",
    "CARRIER": "Professional-NonClinician",
    "DME": "Professional-NonClinician",
    "PDE": "Pharmacy",
}
_PART = {"INPATIENT": "part-a", "SNF": "part-a", "HOSPICE": "part-a", "PDE": "part-d"}


def eob(claim: Claim, patient_id: str, delivered_at: datetime) -> Json:
    """Return one claim as an ExplanationOfBenefit.

    Args:
        claim: what happened.
        patient_id: id of the Patient.
        delivered_at: goes into `created`, which moves with every delivery.
    """
    roll = random.Random(claim.rolls)  # noqa: S311 - synthetic data, not secrets
    updated = calendar.load_at(claim.updated_week)
    resource: Json = {
        "resourceType": "ExplanationOfBenefit",
        "id": f"{claim.kind.lower()}-{claim.number}",
        "meta": {
            "lastUpdated": (updated - timedelta(hours=5))
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "-05:00"),
            "profile": [
                f"http://hl7.org/fhir/us/carin-bb/StructureDefinition/C4BB-ExplanationOfBenefit-{_PROFILE[claim.kind]}"
            ],
        },
        "created": delivered_at.isoformat(timespec="seconds"),
        "status": claim.status,
        "outcome": "complete",
        "use": "claim",
        "type": _type(claim),
        "identifier": _identifiers(claim, roll),
        "patient": {"reference": f"Patient/{patient_id}"},
        "insurer": {"identifier": {"value": "CMS"}},
        "insurance": [
            {"coverage": {"reference": f"Coverage/{_PART.get(claim.kind, 'part-b')}-{patient_id}"}, "focal": True}
        ],
    }
    if claim.has_period:
        resource["billablePeriod"] = {"start": claim.service_from.isoformat(), "end": claim.service_thru.isoformat()}
    if claim.kind == "PDE":
        plan = [variable_identifier("plan_cntrct_rec_id", "S9999"), variable_identifier("plan_pbp_rec_num", "020")]
        resource["insurance"][0]["coverage"]["extension"] = plan
        return resource | _drug_event(claim, roll)
    resource["diagnosis"] = [_diagnosis(claim, place, roll) for place in range(len(claim.diagnoses))]
    resource["payment"] = {"amount": money(claim.paid)}
    resource |= _institutional(claim, roll) if claim.kind in INSTITUTIONAL else _professional(claim, roll)
    if not claim.lines:
        del resource["item"]
    return resource


def _type(claim: Claim) -> Json:
    kind = "institutional" if claim.kind in INSTITUTIONAL else ("pharmacy" if claim.kind == "PDE" else "professional")
    codings = [
        coding(f"{CODESYSTEM}eob-type", claim.kind),
        coding(f"{TERMINOLOGY}claim-type", kind, kind.capitalize()),
    ]
    if claim.kind in _NCH_TYPE:
        codings.insert(0, coding(f"{VARIABLES}nch_clm_type_cd", _NCH_TYPE[claim.kind], f"{claim.kind.title()} claim"))
    return concept(*codings)


def _identifiers(claim: Claim, roll: random.Random) -> list[Json]:
    kind = concept(coding(f"{CARIN}C4BBIdentifierType", "uc", "Unique Claim ID"))
    pairs = [
        (VARIABLES + ("pde_id" if claim.kind == "PDE" else "clm_id"), str(claim.number)),
        ("https://bluebutton.cms.gov/resources/identifier/claim-group", str(claim.group)),
    ]
    if claim.kind == "PDE":
        pairs.append((f"{VARIABLES}rx_srvc_rfrnc_num", str(roll.randint(100000, 999999))))
    return [{"system": system, "type": kind, "value": value} for system, value in pairs]


def _diagnosis(claim: Claim, place: int, roll: random.Random) -> Json:
    code, kind = claim.diagnoses[place]
    if claim.is_icd9:
        codings = [coding("http://hl7.org/fhir/sid/icd-9-cm", code, "SYNTHETIC CONDITION")]
    else:
        codings = [
            coding("http://hl7.org/fhir/sid/icd-10-cm", code, "SYNTHETIC CONDITION"),
            coding("http://hl7.org/fhir/sid/icd-10", code, "SYNTHETIC CONDITION"),
        ]
    system = (
        f"{TERMINOLOGY}ex-diagnosistype" if kind in {"principal", "admitting"} else f"{CARIN}C4BBClaimDiagnosisType"
    )
    element: Json = {
        "sequence": place + 1,
        "diagnosisCodeableConcept": concept(*codings),
        "type": [concept(coding(system, kind, kind.capitalize()))],
    }
    if claim.kind == "INPATIENT" and kind in {"principal", "other"}:
        name = f"clm_poa_ind_sw{place + 1}"
        element["extension"] = [variable(name, roll.choice("YNUW"), "Present on admission")]
    return element


def _care_team(members: list[tuple[str, str, str]]) -> list[Json]:
    return [
        {
            "sequence": place,
            "provider": {"identifier": npi(value)},
            "role": concept(coding(f"{CARIN}C4BBClaimCareTeamRole", role, role.capitalize())),
            "qualification": concept(coding(f"{VARIABLES}prvdr_spclty", specialty, "Synthetic specialty")),
        }
        for place, (role, value, specialty) in enumerate(members, start=1)
    ]


def _organization(roll: random.Random) -> Json:
    kind = concept({"code": "PRN", "system": f"{TERMINOLOGY}v2-0203"})
    return {
        "resourceType": "Organization",
        "id": "provider-org",
        "active": True,
        "name": "Synthetic Facility",
        "meta": {"profile": ["http://hl7.org/fhir/us/carin-bb/StructureDefinition/C4BB-Organization"]},
        "identifier": [
            {"type": kind, "value": f"{roll.randint(10000, 659999):06d}"},
            npi(_npi(roll)) | {"system": "http://hl7.org/fhir/sid/us-npi"},
        ],
    }


def _npi(roll: random.Random) -> str:
    return f"999{roll.randint(1000000, 9999999)}"


def _balance(amounts: list[tuple[str, Decimal | int]]) -> list[Json]:
    """Return amounts as money and counts as numbers."""
    return [
        {
            "category": concept(coding(f"{TERMINOLOGY}ex-benefitcategory", "1", "Medical Care")),
            "financial": [
                {
                    "type": concept(
                        coding(f"{CODESYSTEM}benefit-balance", VARIABLES + name, name.replace("_", " ").title())
                    ),
                }
                | ({"usedUnsignedInt": amount} if isinstance(amount, int) else {"usedMoney": money(amount)})
                for name, amount in amounts
            ],
        }
    ]


def _total(category: str, name: str, amount: Decimal) -> Json:
    return adjudication(category, name, amount, name.replace("_", " ").title())


def _institutional(claim: Claim, roll: random.Random) -> Json:
    care = [("attending", _npi(roll), "207R00000X")]
    if claim.kind in {"INPATIENT", "OUTPATIENT", "SNF"}:
        care += [("operating", _npi(roll), "207T00000X"), ("otheroperating", _npi(roll), "204D00000X")]
    care.append(("performing", _npi(roll), "207ZH0000X"))
    processed = calendar.load_at(claim.loaded_week).date().isoformat()
    extensions = [
        variable("nch_near_line_rec_ident_cd", "V", "Part A institutional claim record"),
        variable_identifier("fi_doc_clm_cntl_num", f"{abs(claim.number) * 7}"),
        {"url": f"{VARIABLES}fi_clm_proc_dt", "valueDate": processed},
        variable("clm_srvc_clsfctn_type_cd", "1" if claim.kind != "OUTPATIENT" else "3"),
        variable("fi_num", str(roll.randint(10000, 15999))),
    ]
    if claim.is_denied:
        extensions.append(variable("clm_mdcr_non_pmt_rsn_cd", "N", "All other reasons for non-payment"))
    resource: Json = {
        "contained": [_organization(roll)],
        "provider": {"reference": "#provider-org"},
        "facility": {"extension": [variable("clm_fac_type_cd", "1", "Hospital")]},
        "careTeam": _care_team(care),
        "extension": extensions,
        "subType": {
            "coding": [coding(f"{CARIN}C4BBInstitutionalClaimSubType", claim.kind.lower())],
            "text": claim.kind.title(),
        },
        "supportingInfo": _institutional_information(claim, roll, processed),
        "benefitBalance": _balance(
            [
                *(
                    [
                        ("nch_bene_ip_ddctbl_amt", Decimal(112)),
                        ("nch_bene_pta_coinsrnc_lblty_amt", Decimal("175.73")),
                        # The sum of deductible, coinsurance and blood.
                        ("nch_ip_tot_ddctn_amt", Decimal("287.73")),
                    ]
                    if claim.kind in {"INPATIENT", "SNF"}
                    else [("nch_bene_ptb_ddctbl_amt", Decimal(112)), ("nch_bene_ptb_coinsrnc_amt", Decimal("175.73"))]
                ),
                *([("clm_pass_thru_per_diem_amt", claim.pass_through_per_diem)] if claim.kind == "INPATIENT" else []),
                *([("clm_utlztn_day_cnt", claim.days)] if claim.kind in {"INPATIENT", "SNF"} else []),
                ("nch_bene_blood_ddctbl_lblty_am", Decimal(0)),
                ("prpayamt", Decimal(0)),
                ("clm_tot_pps_cptl_amt", Decimal(roll.randint(0, 9999)) / 100),
                ("nch_profnl_cmpnt_chrg_amt", Decimal(roll.randint(0, 9999)) / 100),
            ]
        ),
        "total": [_total("submitted", "clm_tot_chrg_amt", claim.charge)],
        "item": [_institutional_line(claim, line, roll, len(care)) for line in claim.lines],
    }
    resource["billablePeriod"] = {
        "start": claim.service_from.isoformat(),
        "end": claim.service_thru.isoformat(),
        "extension": [variable("claim_query_cd", "3", "Final bill")],
    }
    if claim.kind in {"INPATIENT", "OUTPATIENT", "SNF"} and not claim.is_icd9:
        codes = concept(
            coding("http://www.cms.gov/Medicare/Coding/ICD10", "CD1YYZZ", "SYNTHETIC PROCEDURE"),
            coding("http://hl7.org/fhir/sid/icd-10", "CD1YYZZ", "SYNTHETIC PROCEDURE"),
        )
        resource["procedure"] = [
            {"sequence": 1, "date": f"{claim.service_from}T00:00:00+00:00", "procedureCodeableConcept": codes}
        ]
    return resource


def _institutional_information(claim: Claim, roll: random.Random, processed: str) -> list[Json]:
    def carin(code: str, name: str, value: str) -> Json:
        return {
            "category": concept(coding(f"{CARIN}C4BBSupportingInfoType", code, code.title())),
            "code": concept(coding(VARIABLES + name, value)),
        }

    elements: list[Json] = [
        _processed(processed),
        information(0, "clm_mco_pd_sw", "0", "No managed care organization (MCO) payment"),
        carin("typeofbill", "clm_freq_cd", "1"),
        carin("discharge-status", "ptnt_dschrg_stus_cd", roll.choice(("1", "3", "30"))),
        information(0, "nch_prmry_pyr_cd", "A", "Employer group health plan"),
    ]
    if claim.kind in {"INPATIENT", "SNF", "HOSPICE", "HHA"}:
        period = {"start": claim.service_from.isoformat(), "end": claim.service_thru.isoformat()}
        category = concept(coding(f"{CARIN}C4BBSupportingInfoType", "admissionperiod", "Admission Period"))
        elements.append({"category": category, "timingPeriod": period})
    if claim.kind in {"INPATIENT", "SNF"}:
        elements += [
            information(0, "clm_ip_admsn_type_cd", "1", "Emergency"),
            information(0, "clm_src_ip_admsn_cd", "4", "Transfer from hospital"),
            information(0, "clm_drg_cd", str(roll.choice((64, 194, 291, 470, 871)))),
            information(0, "nch_ptnt_status_ind_cd", "A", "Discharged"),
        ]
    return [element | {"sequence": place} for place, element in enumerate(elements, start=1)]


def _processed(day: str) -> Json:
    return {
        "sequence": 1,
        "category": concept(
            coding(f"{CARIN}C4BBSupportingInfoType", "clmrecvddate", "Claim Received Date"),
            coding(f"{CODESYSTEM}information", f"{VARIABLES}nch_wkly_proc_dt", "NCH Weekly Claim Processing Date"),
        ),
        "timingDate": day,
    }


def _institutional_line(claim: Claim, line: Line, roll: random.Random, performer: int) -> Json:
    paid = "rev_cntr_pmt_amt_amt" if claim.kind == "HHA" else "rev_cntr_prvdr_pmt_amt"
    amounts = [
        ("submitted", "rev_cntr_rate_amt", Decimal(roll.randint(100, 9999)) / 100),
        ("submitted", "rev_cntr_tot_chrg_amt", line.charge),
        ("noncovered", "rev_cntr_ncvrd_chrg_amt", Decimal(0)),
        ("deductible", "rev_cntr_cash_ddctbl_amt", Decimal(roll.randint(0, 999)) / 100),
        ("deductible", "rev_cntr_blood_ddctbl_amt", Decimal(0)),
        ("coinsurance", "rev_cntr_coinsrnc_wge_adjstd_c", Decimal(roll.randint(0, 999)) / 100),
        ("coinsurance", "rev_cntr_rdcd_coinsrnc_amt", Decimal(0)),
        ("priorpayerpaid", "rev_cntr_1st_msp_pd_amt", Decimal(0)),
        ("paidbypatient", "rev_cntr_ptnt_rspnsblty_pmt", Decimal(0)),
    ]
    if claim.kind in {"OUTPATIENT", "HOSPICE", "HHA"}:
        amounts.append(("paidtoprovider", paid, line.paid))
    center = f"{roll.choice((120, 250, 300, 360, 450, 636))}"
    revenue = "1" if line.is_total else claim.visit_center(line) if claim.kind == "HHA" else center
    item: Json = {
        "sequence": line.number,
        "revenue": {
            "coding": [coding(f"{VARIABLES}rev_cntr", revenue)],
            "extension": [variable("rev_cntr_stus_ind_cd", "A", "Services not paid under OPPS")],
        },
        "productOrService": concept(
            coding(f"{CODESYSTEM}hcpcs", line.code)
            if line.code
            else coding(f"{TERMINOLOGY}data-absent-reason", "not-applicable")
        ),
        "modifier": [
            {"coding": [coding("http://unitsofmeasure.org", "ML")]},
            {"coding": [coding(f"{CODESYSTEM}hcpcs", roll.choice(("25", "59", "LT")))]},
        ],
        "locationAddress": {"state": f"{roll.randint(1, 53):02d}"},
        "quantity": {"value": 0},
        "careTeamSequence": [performer],
        "adjudication": [
            adjudication(category, name, amount, name.replace("_", " ").title()) for category, name, amount in amounts
        ],
    }
    if line.units:
        item["extension"] = [{"url": f"{VARIABLES}rev_cntr_unit_cnt", "valueQuantity": {"value": line.units}}]
    if claim.kind in {"OUTPATIENT", "HOSPICE", "HHA"}:
        item["servicedDate"] = claim.service_thru.isoformat()
    return item


def _professional(claim: Claim, roll: random.Random) -> Json:
    allowed = sum((line.allowed for line in claim.lines), Decimal(0))
    care = [("referring", _npi(roll), "01"), ("performing", _npi(roll), f"{roll.randint(1, 99):02d}")]
    extensions = [
        variable("nch_near_line_rec_ident_cd", "O", "Part B physician/supplier claim record"),
        variable_identifier("carr_num", str(roll.randint(10000, 15999))),
        variable_identifier("carr_clm_cntl_num", f"{abs(claim.number) * 3}"),
        variable(
            "carr_clm_pmt_dnl_cd",
            "0" if claim.is_denied else "1",
            "Denied" if claim.is_denied else "Physician/supplier",
        ),
        variable("asgmntcd", "A", "Assigned claim"),
        variable("carr_clm_entry_cd", "1", "Original debit"),
    ]
    return {
        "disposition": "1",
        "extension": extensions,
        "careTeam": _care_team(care),
        "referral": {"identifier": npi(care[0][1])},
        "provider": {"identifier": npi(care[1][1]) | {"system": "http://hl7.org/fhir/sid/us-npi"}},
        "supportingInfo": [_processed(calendar.load_at(claim.loaded_week).date().isoformat())],
        "benefitBalance": _balance(
            [
                ("nch_clm_prvdr_pmt_amt", claim.paid),
                ("nch_carr_clm_sbmtd_chrg_amt", claim.charge),
                ("nch_carr_clm_alowd_amt", allowed),
                ("carr_clm_cash_ddctbl_apld_amt", Decimal(0)),
                ("nch_clm_bene_pmt_amt", Decimal(0)),
            ]
        ),
        # The trap of these claims: this total is what the primary payer paid.
        "total": [_total("priorpayerpaid", "clm_tot_chrg_amt", Decimal(0))],
        "item": [_professional_line(claim, line, roll) for line in claim.lines],
    }


def _professional_line(claim: Claim, line: Line, roll: random.Random) -> Json:
    amounts = [
        ("benefit", "line_nch_pmt_amt", line.paid),
        ("paidtopatient", "line_bene_pmt_amt", Decimal(0)),
        ("paidtoprovider", "line_prvdr_pmt_amt", line.paid),
        ("deductible", "line_bene_ptb_ddctbl_amt", Decimal(0)),
        ("priorpayerpaid", "line_bene_prmry_pyr_pd_amt", Decimal(0)),
        ("coinsurance", "line_coinsrnc_amt", line.allowed - line.paid),
        ("submitted", "line_sbmtd_chrg_amt", line.charge),
        ("eligible", "line_alowd_chrg_amt", line.allowed),
    ]
    if claim.kind == "DME":
        amounts.append(("submitted", "line_bene_pmt_amt", Decimal("77.77")))
    return {
        "sequence": line.number,
        "category": concept(coding(f"{VARIABLES}line_cms_type_srvc_cd", "1", "Medical care")),
        "productOrService": concept(coding(f"{CODESYSTEM}hcpcs", line.code)),
        "modifier": [{"coding": [coding(f"{CODESYSTEM}hcpcs", roll.choice(("25", "59", "RT")))]}],
        "servicedPeriod": {"start": claim.service_from.isoformat(), "end": claim.service_thru.isoformat()},
        "quantity": {"value": line.units},
        "locationCodeableConcept": {
            "coding": [coding(f"{VARIABLES}line_place_of_srvc_cd", "11", "Office")],
            "extension": [
                variable("prvdr_state_cd", f"{roll.randint(1, 53):02d}"),
                variable("prvdr_zip", "999990000"),
                variable("carr_line_prcng_lclty_cd", "15"),
            ],
        },
        "careTeamSequence": [2],
        "diagnosisSequence": [1],
        "extension": [
            variable("betos_cd", "M1B", "Office visits - established"),
            variable("line_prcsg_ind_cd", "A" if not claim.is_denied else "D", "Allowed"),
            variable("line_bene_prmry_pyr_cd", "E", "Workers compensation"),
            variable("line_service_deductible", "0", "Service subject to deductible"),
            variable("tax_num", "999999999"),
        ],
        "adjudication": [
            adjudication(category, name, amount, name.replace("_", " ").title()) for category, name, amount in amounts
        ],
    }


def _drug_event(claim: Claim, roll: random.Random) -> Json:
    line = claim.lines[0]
    details = [
        ("daw_prod_slctn_cd", "0", "No product selection indicated"),
        ("dspnsng_stus_cd", "P", "Partial fill"),
        ("cmpnd_cd", "1", "Not a compound"),
        ("brnd_gnrc_cd", "G", "Generic"),
        ("rx_orgn_cd", "3", "Electronic"),
        ("drug_cvrg_stus_cd", "C", "Covered"),
        ("ctstrphc_cvrg_cd", "A", "Attachment point met on this event"),
        ("submsn_clr_cd", "5", "Therapy change"),
        ("ptnt_rsdnc_cd", "01", "Home"),
    ]
    if claim.adjustment_code:
        details.append(("adjstmt_dltn_cd", claim.adjustment_code, "Adjustment"))
    infos = [information(place, *detail) for place, detail in enumerate(details, start=1)]
    for name, value in (("dayssupply", 30), ("refillnum", roll.randint(0, 9))):
        category = concept(coding(f"{CARIN}C4BBSupportingInfoType", name, name.title()))
        infos.append({"sequence": len(infos) + 1, "category": category, "valueQuantity": {"value": value}})
    amounts = [
        ("submitted", "tot_rx_cst_amt", line.charge),
        ("benefit", "cvrd_d_plan_pd_amt", line.paid),
        ("coinsurance", "gdc_blw_oopt_amt", line.charge),
        ("coinsurance", "gdc_abv_oopt_amt", Decimal(0)),
        ("paidbypatient", "ptnt_pay_amt", line.allowed - line.paid),
        ("priorpayerpaid", "othr_troop_amt", Decimal(0)),
        ("discount", "lics_amt", Decimal(roll.randint(0, 999)) / 100),
        ("priorpayerpaid", "plro_amt", Decimal(0)),
        ("discount", "rptd_gap_dscnt_num", Decimal(0)),
    ]
    return {
        "payment": {"date": claim.service_from.isoformat()},
        "facility": {
            "extension": [variable("phrmcy_srvc_type_cd", "01", "Community/retail pharmacy")],
            "identifier": npi(_npi(roll)),
        },
        "provider": {"identifier": npi(_npi(roll))},
        "careTeam": _care_team([("prescribing", _npi(roll), "207Q00000X")]),
        "supportingInfo": infos,
        "total": [_total("drugcost", "tot_rx_cst_amt", line.charge)],
        "item": [
            {
                "sequence": 1,
                "servicedDate": claim.service_from.isoformat(),
                "productOrService": concept(
                    coding("http://hl7.org/fhir/sid/ndc", f"{roll.randint(10**9, 10**10):011d}", "Synthetic drug")
                ),
                "quantity": {"value": number(Decimal(roll.randint(1, 90)))},
                "detail": [
                    {"sequence": 1, "productOrService": concept(coding(f"{TERMINOLOGY}v3-ActCode", "01", "Drug"))}
                ],
                "adjudication": [
                    adjudication(category, name, amount, name.replace("_", " ").title())
                    for category, name, amount in amounts
                ],
            }
        ],
    }
