"""Values that v3 alone sends: entitlement, low-income subsidy and card of a coverage, prior authorizations, payment of revenue lines."""

from datetime import date
from decimal import Decimal

from rawfiles import load
from test_cases import CODES, EOB, concept, patient, query, text, v3

from bcda.settings import ApiVersion

EXTENSIONS = "https://bluebutton.cms.gov/fhir/StructureDefinition/"
CLASSES = "http://terminology.hl7.org/CodeSystem/coverage-class"


def extension(name, code=None, **value):
    return {"url": f"{EXTENSIONS}{name}", **(value or {"valueCoding": {"code": code, "system": f"{CODES}{name}"}})}


def coverage(part, classes=(), extensions=(), **more):
    return text(
        {
            "resourceType": "Coverage",
            "id": f"part-{part}-7",
            "status": "active",
            "beneficiary": {"reference": "Patient/7"},
            "class": [{"type": concept((CLASSES, kind)), "value": value} for kind, value in classes],
            "extension": list(extensions),
            "period": {"start": "2024-01-01"},
            **more,
        }
    )


def only(places, table, columns):
    return query(places, f"SELECT {columns} FROM {table}")


def test_part_d_has_low_income_subsidy_and_the_numbers_of_the_card(places):
    card = [("plan", "Part D"), ("rxbin", "111111"), ("rxpcn", "222"), ("rxgroup", "33"), ("rxid", "4444")]
    subsidy = [
        extension("BENE-LIS-EFCTV-CD", "Y"),
        extension("BENE-LIS-COPMT-LVL-CD", "4"),
        extension("BENE-LIS-PTD-PRM-PCT", valueDecimal=25.0),
        extension("BENE-ENRLMT-EMPLR-SBSDY-SW", "1"),
    ]
    plan = {
        "contained": [
            {
                "id": "plan",
                "name": "A Plan",
                "contact": [{"telecom": [{"value": "555-1"}]}, {"telecom": [{"value": "555-2"}]}],
            }
        ],
        "payor": [{"reference": "#plan"}],
        "identifier": [{"type": concept(("x", "MB")), "value": "4444"}],
        "relationship": concept(("x", "self")),
    }
    load(places, [("Coverage", coverage("d", card, subsidy, **plan))], version=ApiVersion.V3)
    assert only(
        places, "coverage", "part, plan_name, rx_bin, rx_pcn, rx_group, rx_id, member_id, relationship_code"
    ) == [("D", "Part D", "111111", "222", "33", "4444", "4444", "self")]
    assert only(
        places, "coverage", "lis_effective_code, cost_share_code, lis_premium_percent, employer_subsidy_code"
    ) == [("Y", "4", Decimal("25.0000"), "1")]
    assert only(places, "coverage", "payor_name, payor_contacts") == [("A Plan", ["555-1", "555-2"])]


def test_entitlement_and_dual_status_stand_in_columns_of_their_own(places):
    entitled = [extension("BENE-ENRLMT-RSN-CD", "P"), extension("BENE-BUYIN-CD", "E")]
    dual = [
        extension("BENE-DUAL-STUS-CD", "02"),
        extension("BENE-DUAL-TYPE-CD", "P"),
        extension("MEDICAID-STATE-CD", "VT"),
    ]
    lines = coverage("a", [("plan", "Part A")], entitled) + coverage("dual", [("plan", "Dual Medicare/Medicaid")], dual)
    load(places, [("Coverage", lines)], version=ApiVersion.V3)
    columns = "part, enrollment_reason_code, buy_in_code, dual_status_code, dual_type_code, medicaid_state_code"
    assert only(places, "coverage ORDER BY part", columns) == [
        ("A", "P", "E", None, None, None),
        ("DUAL", None, None, "02", "P", "VT"),
    ]


def test_a_replacing_patient_names_those_it_replaces(places):
    links = [
        {"type": "replaces", "other": {"reference": "Patient/5"}},
        {"type": "replaces", "other": {"reference": "Patient/6"}},
        {"type": "seealso", "other": {"reference": "Patient/8"}},
    ]
    load(places, [("Patient", patient("7", link=links))], version=ApiVersion.V3)
    assert [sorted(ids) for (ids,) in only(places, "patient", "replaces_patient_ids")] == [["5", "6"]]


def test_a_prior_authorization_has_its_decision_and_dates(places):
    extensions = [
        extension("PA-DECISION", "N"),
        extension("PA-DECISION-DT", valueDate="2026-01-27"),
        extension("PA-DECISION-EXP-DT", valueDate="2027-01-27"),
        extension("PA-REQ-SUB-DT", valueDate="2026-01-21"),
        extension("PA-REQ-REC-DT", valueDate="2026-01-22"),
        extension("PA-DT-ADDED", valueDate="2026-01-23"),
        extension("PA-DT-UPDATED", valueDate="2026-01-24"),
        extension("SERVICE-CNTS", valueUnsignedInt=11),
        extension("SVC-RENDER-ST", "FL"),
    ]
    period = [{"start": "2026-02-05", "end": "2027-02-05"}]
    claim = v3(1, use="preauthorization", preAuthRefPeriod=period, item=[{"sequence": 1, "extension": extensions}])
    load(places, [("Patient", patient("7")), (EOB, claim)], version=ApiVersion.V3)
    dates = ("decision", "expiration", "submitted", "received", "added", "updated")
    assert only(places, "claim_line", ", ".join(f"authorization_{name}_date" for name in dates)) == [
        (date(2026, 1, 27), date(2027, 1, 27), *(date(2026, 1, day) for day in (21, 22, 23, 24)))
    ]
    assert only(
        places, "claim_line", "authorization_decision_code, authorization_service_count, authorization_state"
    ) == [("N", 11, "FL")]
    assert only(places, "claim", "authorization_start, authorization_end, is_current") == [
        (date(2026, 2, 5), date(2027, 2, 5), False)
    ]


def test_a_revenue_line_says_how_it_is_paid(places):
    names = {
        "CLM-REV-CNTR-STUS-CD": "revenue_status_code",
        "CLM-REV-PMT-MTHD-CD": "payment_method_code",
        "CLM-REV-DSCNT-IND-CD": "discount_code",
        "CLM-REV-PACKG-IND-CD": "packaging_code",
        "CLM-OTAF-ONE-IND-CD": "otaf_code",
    }
    item = {
        "sequence": 1,
        "extension": [extension(name, str(number)) for number, name in enumerate(names)],
        "revenue": concept((f"{CODES}CLM-REV-CNTR-CD", "0636"), (f"{CODES}CLM-DDCTBL-COINSRNC-CD", "M")),
    }
    outpatient = concept((f"{CODES}CLM-TYPE-CD", "40"), (f"{CODES}EOB-TYPE", "OUTPATIENT"))
    load(places, [("Patient", patient("7")), (EOB, v3(1, type=outpatient, item=[item]))], version=ApiVersion.V3)
    assert only(places, "claim_line", ", ".join(names.values())) == [("0", "1", "2", "3", "4")]
    assert only(places, "claim_line", "revenue_code, deductible_coinsurance_code") == [("0636", "M")]


def test_an_adjustment_names_the_claim_before_it_and_where_it_came_from(places):
    claim = v3(1, prior="C0", insurance=[{"focal": True, "coverage": {"display": "Part B"}}])
    load(places, [("Patient", patient("7")), (EOB, claim)], version=ApiVersion.V3)
    assert only(
        places, "claim", "control_number, prior_control_number, coverage_part, source_system, final_action"
    ) == [("C1", "C0", "Part B", "NCH", "FINAL")]
