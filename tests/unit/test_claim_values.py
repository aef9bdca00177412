"""Values that CMS's dictionaries define, in every version and claim type that has them: where each stands, and which one counts."""

import json
from decimal import Decimal

import pytest
from rawfiles import load
from test_cases import CODES, EOB, VARIABLES, concept, diagnosis, patient, query, text, v2, v3

from bcda.settings import ApiVersion

ADJUDICATION = "https://bluebutton.cms.gov/fhir/CodeSystem/Adjudication"
NDC = "http://hl7.org/fhir/sid/ndc"


def v1(number, kind="CARRIER", **changes):
    """A claim as v1 has it: STU3, with money in extensions."""
    return v2(number, kind, **{"item": [{"sequence": 1}], "diagnosis": [], **changes})


def loaded(places, version, *claims):
    version = ApiVersion(version)
    load(places, [("Patient", patient("-7") + patient("7")), (EOB, b"".join(claims))], version=version)


def money(name, amount):
    """A variable of CCW, as v1 sends it: an extension of the claim."""
    return {"url": f"{VARIABLES}{name}", "valueMoney": {"value": amount}}


def balances(**amounts):
    """Variables of CCW, as v2 sends them: financials of a benefit balance."""
    financial = [
        {
            "type": concept(("x", "benefit"), (f"{VARIABLES}{name}", f"{VARIABLES}{name}")),
            "usedMoney": {"value": amount},
        }
        for name, amount in amounts.items()
    ]
    return {"benefitBalance": [{"category": concept(("x", "1")), "financial": financial}]}


@pytest.mark.parametrize("kind", ["INPATIENT", "SNF"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_deductible_of_a_stay_is_the_beneficiarys_and_not_the_total_of_deductions(places, version, kind):
    """CCW: NCH_BENE_IP_DDCTBL_AMT is the deductible, NCH_IP_TOT_DDCTN_AMT the sum of it, of coinsurance and blood."""
    values = {
        "nch_ip_tot_ddctn_amt": 123,
        "nch_bene_ip_ddctbl_amt": 112,
        "nch_bene_pta_coinsrnc_lblty_amt": 5,
        "nch_bene_blood_ddctbl_lblty_am": 6,
    }
    if version == "v1":
        claim = v1(1, kind, extension=[money(name, amount) for name, amount in values.items()])
    else:
        claim = v2(1, kind, **balances(**values))
    loaded(places, version, claim)
    assert query(places, "SELECT deductible_amount, coinsurance_amount, blood_deductible_amount FROM claim") == [
        (Decimal("112.00"), Decimal("5.00"), Decimal("6.00"))
    ]


def adjudicated(name, amount):
    return {"category": concept(("x", "y"), (ADJUDICATION, name)), "amount": {"value": amount, "currency": "USD"}}


@pytest.mark.parametrize("place", ["line", "claim"])
def test_what_beneficiary_and_others_paid_for_a_drug_is_read_from_the_line_or_the_claim(places, place):
    """The v3 server sends both as totals of the claim since 2026-03-05, and before that as adjudications of the line."""
    cost = adjudicated("TOT_RX_CST_AMT", 2256829.86)
    if place == "line":
        line = [adjudicated("CLM_LINE_BENE_PMT_AMT", 12.34), adjudicated("CLM_LINE_OTHR_TP_PD_AMT", 967.88), cost]
        total = []
    else:
        line, total = [], [adjudicated("CLM_BENE_PMT_AMT", 12.34), adjudicated("CLM_OTHR_TP_PD_AMT", 967.88), cost]
    loaded(places, "v3", v3(1, "PDE", system="DDPS", item=[{"sequence": 1, "adjudication": line}], total=total))
    expected = (Decimal("12.34"), Decimal("967.88"), Decimal("2256829.86"))
    assert query(places, "SELECT patient_paid, other_troop, gross_drug_cost FROM claim_drug") == [expected]
    assert query(places, "SELECT CLM_LINE_BENE_PMT_AMT FROM cclf.cclf7") == [expected[:1]]


DENIALS = ["0", "00", "1", "A", "12", "43"]
"""CCW: 00 is MSP cost avoided, 0 is denied."""


@pytest.mark.parametrize("kind", ["CARRIER", "DME"])
@pytest.mark.parametrize("version", list(ApiVersion))
def test_a_denial_code_is_the_one_that_was_sent(places, version, kind):
    def claim(number, code):
        if version is ApiVersion.V3:
            of = {
                "type": concept(
                    (f"{CODES}CLM-TYPE-CD", "71" if kind == "CARRIER" else "82"), (f"{CODES}EOB-TYPE", kind)
                )
            }
            info = {
                "sequence": 1,
                "category": concept((f"{CODES}SUPPORTING-INFO", "CLM_CARR_PMT_DNL_CD")),
                "code": concept((f"{CODES}CLM-CARR-PMT-DNL-CD", code)),
            }
            return v3(number, supportingInfo=[info], item=[{"sequence": 1}], **of)
        return v2(number, kind, extension=[{"url": f"{VARIABLES}carr_clm_pmt_dnl_cd", "valueCoding": {"code": code}}])

    loaded(places, version, *(claim(number, code) for number, code in enumerate(DENIALS)))
    view = "cclf5" if kind == "CARRIER" else "cclf6"
    assert query(places, "SELECT payment_denial_code FROM claim ORDER BY claim_number") == [(code,) for code in DENIALS]
    assert query(places, f"SELECT CLM_CARR_PMT_DNL_CD FROM cclf.{view} ORDER BY CUR_CLM_UNIQ_ID") == [
        (code,) for code in DENIALS
    ]


@pytest.mark.parametrize("kind", ["CARRIER", "DME"])
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("place", ["item", "service"])
def test_the_drug_of_a_part_b_line_is_read_wherever_it_stands(places, version, kind, place):
    extension = [{"url": NDC, "valueCoding": {"system": NDC, "code": "00173035518"}}]
    element = "service" if version == "v1" else "productOrService"
    line = (
        {"sequence": 1, "extension": extension}
        if place == "item"
        else {"sequence": 1, element: {"extension": extension}}
    )
    loaded(places, version, (v1 if version == "v1" else v2)(1, kind, item=[line]))
    assert query(places, "SELECT ndc_code FROM claim_line") == [("00173035518",)]


def test_an_admitting_diagnosis_that_is_the_principal_one_too_is_sent_once(places):
    """BFD leaves out a diagnosis that it has written already. On SNF claims the first is the admitting one, typed other."""
    both = [diagnosis(1, "J189", "other"), diagnosis(2, "I10", "other")]
    two = [diagnosis(1, "J189", "other"), diagnosis(2, "I10", "principal"), diagnosis(3, "E119", "other")]
    loaded(places, "v2", v2(1, "SNF", diagnosis=both), v2(2, "SNF", diagnosis=two), v2(3, "OUTPATIENT", diagnosis=both))
    assert query(places, "SELECT claim_number, principal_dx, admitting_dx FROM claim ORDER BY ALL") == [
        ("1", "J189", "J189"),
        ("2", "I10", "J189"),
        ("3", None, None),
    ]
    assert query(
        places,
        "SELECT claim_id, dx_code, is_principal, is_admitting FROM claim_diagnosis WHERE is_principal OR is_admitting ORDER BY ALL",
    ) == [
        ("snf-1", "J189", True, True),
        ("snf-2", "I10", True, False),
        ("snf-2", "J189", False, True),
    ]


@pytest.mark.parametrize("version", list(ApiVersion))
def test_the_diagnosis_of_a_line_is_the_one_that_it_points_to_first(places, version):
    pointers = "diagnosisLinkId" if version is ApiVersion.V1 else "diagnosisSequence"
    listed = [diagnosis(n, code, "other") for n, code in ((1, "A419"), (2, "I10"), (3, "E119"))]
    lines = [{"sequence": 1, pointers: [3, 1]}, {"sequence": 2, pointers: [2]}, {"sequence": 3}]
    made = v3(1, diagnosis=listed, item=lines) if version is ApiVersion.V3 else v2(1, diagnosis=listed, item=lines)
    loaded(places, version, made)
    expected = [(1, "E119"), (2, "I10"), (3, None)]
    assert query(places, "SELECT line_number, line_dx FROM claim_line ORDER BY ALL") == expected
    blank = [(line, code or "") for line, code in expected]
    assert query(places, "SELECT CLM_LINE_NUM, CLM_LINE_DGNS_CD FROM cclf.cclf5 ORDER BY ALL") == blank
    assert query(places, "SELECT line_number, diagnosis_sequence FROM claim_line_diagnosis ORDER BY ALL") == [
        (1, 1),
        (1, 3),
        (2, 2),
    ]


def test_the_diagnosis_of_an_unfinished_line_is_the_one_that_it_points_to_first(places):
    claim = json.loads(v2(1, diagnosis=[diagnosis(1, "A419", "other"), diagnosis(2, "I10", "other")]))
    claim |= {"resourceType": "Claim", "id": "m-1", "item": [{"sequence": 1, "diagnosisSequence": [2, 1]}]}
    load(places, [("Claim", text(claim))])
    assert query(places, "SELECT line_dx FROM partial.claim_line") == [("I10",)]


INSTITUTIONAL = {"OUTPATIENT": "40", "HHA": "10", "HOSPICE": "50"}


@pytest.mark.parametrize("kind", INSTITUTIONAL)
@pytest.mark.parametrize("version", list(ApiVersion))
def test_lines_of_cclf2_sum_to_the_claims_payment(places, version, kind):
    """Line 0001 repeats the payment of the claim, so it has none."""

    def line(number, center, amount):
        revenue_system = f"{CODES}CLM-REV-CNTR-CD" if version is ApiVersion.V3 else f"{VARIABLES}rev_cntr"
        name = "CLM_LINE_CVRD_PD_AMT" if version is ApiVersion.V3 else f"{VARIABLES}rev_cntr_pmt_amt_amt"
        system = (
            ADJUDICATION if version is ApiVersion.V3 else "https://bluebutton.cms.gov/resources/codesystem/adjudication"
        )
        return {
            "sequence": number,
            "revenue": concept((revenue_system, center)),
            "adjudication": [{"category": concept(("x", "y"), (system, name)), "amount": {"value": amount}}],
        }

    items = [line(1, "0450", 70), line(2, "0250", 30.10), line(3, "0001", 100.10)]
    if version is ApiVersion.V3:
        of = {"type": concept((f"{CODES}CLM-TYPE-CD", INSTITUTIONAL[kind]), (f"{CODES}EOB-TYPE", kind))}
        claim = v3(1, item=items, payment={"amount": {"value": 100.10}}, **of)
    else:
        claim = v2(1, kind, item=items)
    loaded(places, version, claim)
    assert query(places, "SELECT CLM_PMT_AMT FROM cclf.cclf1") == [(Decimal("100.10"),)]
    assert query(places, "SELECT sum(CLM_LINE_CVRD_PD_AMT), count(*) FROM cclf.cclf2") == [(Decimal("100.10"), 3)]


@pytest.mark.parametrize("version", list(ApiVersion))
def test_cclf4_numbers_each_diagnosis_of_a_claim_once(places, version):
    """First D with the principal one in front, then the first external cause, then the others; no code of them twice."""
    external = "external" if version is ApiVersion.V1 else "externalcauseofinjury"
    listed = [
        diagnosis(1, "R05", "admitting"),
        diagnosis(2, "W1800", external),
        diagnosis(3, "J189", "principal"),
        diagnosis(4, "J189", "other"),
        diagnosis(5, "I10", "other"),
        diagnosis(6, "Y929", external),
        diagnosis(7, "W1800", external),
    ]
    if version is ApiVersion.V3:
        of = {"type": concept((f"{CODES}CLM-TYPE-CD", "60"), (f"{CODES}EOB-TYPE", "INPATIENT"))}
        claim = v3(1, diagnosis=listed, **of)
    else:
        claim = v2(1, "INPATIENT", diagnosis=listed)
    loaded(places, version, claim)
    assert query(places, "SELECT CLM_VAL_SQNC_NUM, CLM_PROD_TYPE_CD, CLM_DGNS_CD FROM cclf.cclf4 ORDER BY ALL") == [
        (1, "D", "J189"),
        (2, "D", "I10"),
        (3, "1", "W1800"),
        (4, "E", "Y929"),
    ]
    assert query(places, "SELECT PRNCPL_DGNS_CD, ADMTG_DGNS_CD FROM cclf.cclf1") == [("J189", "R05")]


@pytest.mark.parametrize("version", list(ApiVersion))
def test_a_null_among_elements_is_no_row_and_shifts_no_number(places, version):
    """FHIR has no such lists; a server that sends one means nothing by it."""
    supporting = "information" if version is ApiVersion.V1 else "supportingInfo"
    pointers = "diagnosisLinkId" if version is ApiVersion.V1 else "diagnosisSequence"
    category = "https://bluebutton.cms.gov/resources/codesystem/adjudication"
    amount = {"category": concept(("x", "y"), (category, f"{VARIABLES}line_nch_pmt_amt")), "amount": {"value": 5}}
    changes = {
        "item": [None, {"sequence": 6, pointers: [None, 2], "adjudication": [None, amount]}, None],
        "diagnosis": [None, diagnosis(1, "A419", "principal"), diagnosis(2, "I10", "other"), None],
        "careTeam": [None, {"sequence": 1, "provider": {"display": "1"}}],
        supporting: [{"sequence": 1, "code": concept(("x", "a"))}, None],
        "identifier": [None, {"system": f"{VARIABLES}clm_id", "value": "1"}],
        "extension": [None, {"url": f"{VARIABLES}x", "valueCoding": {"code": "N"}}],
        "contained": [None],
        "insurance": {"coverage": {"reference": "Coverage/1"}} if version is ApiVersion.V1 else [None],
    }
    loaded(places, version, (v3 if version is ApiVersion.V3 else v2)(1, **changes))
    assert query(places, "SELECT line_number FROM claim_line") == [(6,)]
    assert query(places, "SELECT line_number, diagnosis_sequence FROM claim_line_diagnosis") == [(6, 2)]
    assert query(places, "SELECT sequence, dx_code FROM claim_diagnosis ORDER BY ALL") == [(1, "A419"), (2, "I10")]
    for table, rows in (
        ("claim_line_amount", 1),
        ("claim_care_team", 1),
        ("claim_supporting_info", 1),
        ("claim_identifier", 1),
        ("claim_extension", 1),
    ):
        assert query(places, f"SELECT count(*) FROM {table}") == [(rows,)], table


@pytest.mark.parametrize("version", list(ApiVersion))
def test_of_two_equal_keys_the_last_counts(places, version):
    """As for the usual parsers; RFC 8259, section 4, leaves it open. Amounts of such a line stay exact."""
    claim = (v3 if version is ApiVersion.V3 else v2)(1, payment={"amount": {"value": 7}})
    claim = claim.replace(b'"value":7}', b'"value":1,"value":1234567890123456.78}')
    twice = claim.replace(b'{"', b'{"status":"cancelled","', 1)
    assert json.loads(twice)["status"] == "active"
    loaded(places, version, twice, (v3 if version is ApiVersion.V3 else v2)(2))
    assert query(places, "SELECT eob_status, paid_amount FROM claim ORDER BY claim_number") == [
        ("active", Decimal("1234567890123456.78")),
        ("active", Decimal("50.00") if version is ApiVersion.V3 else Decimal("100.10")),
    ]


def mbi(value, start=None, end=None):
    period = {name: day for name, day in (("start", start), ("end", end)) if day}
    return {"system": "http://hl7.org/fhir/sid/us-mbi", "value": value, **({"period": period} if period else {})}


@pytest.mark.parametrize(
    ("identifiers", "current"),
    [
        ([mbi("1AA0", "2020-04-21"), mbi("1AA1", "2020-04-21", "2020-12-18"), mbi("1AA2", "2020-12-19")], "1AA2"),
        ([mbi("1AA2", "2020-12-19"), mbi("1AA0", "2020-04-21"), mbi("1AA1", "2020-04-21")], "1AA2"),
        ([mbi("1AA0"), mbi("1AA2", "2020-12-19")], "1AA2"),
        ([mbi("1AA2"), mbi("1AA0", None, "2020-01-01")], "1AA2"),
    ],
)
def test_of_several_open_mbis_of_v3_the_one_that_began_last_is_in_force(places, identifiers, current):
    someone = json.loads(patient("7")) | {"identifier": identifiers}
    load(places, [("Patient", text(someone))], version=ApiVersion.V3)
    assert query(places, "SELECT mbi_current FROM patient") == [(current,)]
    assert query(places, "SELECT id_value FROM patient_identifier WHERE currency = 'current'") == [(current,)]
    others = sorted(i["value"] for i in identifiers if i["value"] != current)
    assert query(places, "SELECT CRNT_NUM, PRVS_NUM FROM cclf.cclf9 ORDER BY ALL") == [(current, n) for n in others]


@pytest.mark.parametrize(
    ("race", "ethnicity", "code"),
    [
        ("UNK", "2135-2", "5"),
        (None, "2135-2", "5"),
        ("UNK", "2186-5", "0"),
        ("2106-3", "2135-2", "1"),
        ("2054-5", "2186-5", "2"),
        (None, None, None),
    ],
)
def test_the_race_code_of_v3_is_hispanic_where_the_race_is_unknown(places, race, ethnicity, code):
    core = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-"
    extension = [
        {"url": f"{core}{name}", "extension": [{"url": "ombCategory", "valueCoding": {"code": value}}]}
        for name, value in (("race", race), ("ethnicity", ethnicity))
        if value
    ]
    load(places, [("Patient", patient("7", extension=extension))], version=ApiVersion.V3)
    assert query(places, "SELECT race_code FROM patient") == [(code,)]
    assert query(places, "SELECT BENE_RACE_CD FROM cclf.cclf8") == [(code or "",)]
