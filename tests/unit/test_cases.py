"""Cases that no public sample holds, made by hand (docs/table-model.md#cases-that-no-sample-holds)."""

import json
from datetime import timedelta
from decimal import Decimal

import duckdb
import pytest
from rawfiles import NOON, load
from worlds import at, export

from bcda.settings import ApiVersion
from bcda.warehouse import open_warehouse, run_checks
from bcda.warehouse.quality import Level
from bcda_simulator.world import World

EOB = "ExplanationOfBenefit"
VARIABLES = "https://bluebutton.cms.gov/resources/variables/"
CODES = "https://bluebutton.cms.gov/fhir/CodeSystem/"
CONTROL = "https://bluebutton.cms.gov/identifiers/CLM-CNTL-NUM"


def text(resource):
    return json.dumps(resource, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def concept(*pairs):
    return {"coding": [{"system": system, "code": code} for system, code in pairs]}


def diagnosis(sequence, code, kind, system="http://hl7.org/fhir/sid/icd-10-cm"):
    return {
        "sequence": sequence,
        "diagnosisCodeableConcept": concept((system, code)),
        "type": [concept(("http://terminology.hl7.org/CodeSystem/ex-diagnosistype", kind))],
    }


def v2(number, kind="CARRIER", **changes):
    resource = {
        "resourceType": EOB,
        "id": f"{kind.lower()}-{number}",
        "meta": {"lastUpdated": "2026-01-01T00:00:00Z"},
        "status": "active",
        "type": concept(("https://bluebutton.cms.gov/resources/codesystem/eob-type", kind)),
        "identifier": [{"system": f"{VARIABLES}clm_id", "value": str(number)}],
        "patient": {"reference": "Patient/-7"},
        "billablePeriod": {"start": "2025-12-01", "end": "2025-12-02"},
        "payment": {"amount": {"value": 100.10, "currency": "USD"}},
        "item": [{"sequence": 1}],
    }
    return text(resource | changes)


def v3(
    number, kind="CARRIER", system="NationalClaimsHistory", final="FinalAction", control=None, prior=None, **changes
):
    code = {"CARRIER": "71", "PDE": "1"}[kind]
    resource = {
        "resourceType": EOB,
        "id": str(number),
        "meta": {
            "lastUpdated": "2026-01-01T00:00:00Z",
            "tag": [
                {"system": f"{CODES}System-Type", "code": system},
                {"system": f"{CODES}Final-Action", "code": final},
            ],
        },
        "created": "2026-01-03",
        "status": "active",
        "use": "claim",
        "type": concept((f"{CODES}CLM-TYPE-CD", code), (f"{CODES}EOB-TYPE", kind)),
        "identifier": [
            {"type": concept(("x", "uc")), "value": str(number)},
            {"system": CONTROL, "value": control or f"C{number}"},
        ],
        "patient": {"reference": "Patient/7"},
        "payment": {"amount": {"value": 50, "currency": "USD"}},
    }
    if prior:
        resource["related"] = [
            {"relationship": concept(("x", "prior")), "reference": {"system": CONTROL, "value": prior}}
        ]
    return text(resource | changes)


def patient(identifier="-7", mbis=("1AA0",), **changes):
    system = "http://hl7.org/fhir/sid/us-mbi"
    resource = {
        "resourceType": "Patient",
        "id": identifier,
        "meta": {"lastUpdated": "2026-01-01T00:00:00Z"},
        "birthDate": "1940-02-03",
        "identifier": [{"system": system, "value": mbi} for mbi in mbis],
    }
    return text(resource | changes)


def query(places, sql):
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def reasons(places):
    return dict(query(places, "SELECT claim_id, superseded_reason FROM claim"))


def load_v3(places, lines, day=0, run_id=None, **options):
    load(
        places,
        [("Patient", patient("7")), (EOB, lines)],
        version=ApiVersion.V3,
        run_id=run_id or f"d{day}",
        transaction_time=NOON + timedelta(days=day),
        **{"since": NOON, **options},
    )


def test_two_claims_of_one_group_one_cancelled_count_once(places):
    group = [{"system": "https://bluebutton.cms.gov/resources/identifier/claim-group", "value": "9"}]
    identifiers = [[{"system": f"{VARIABLES}clm_id", "value": str(n)}, *group] for n in (1, 2)]
    load(
        places,
        [(EOB, v2(1, status="cancelled", identifier=identifiers[0]) + v2(2, identifier=identifiers[1]))],
    )
    assert query(places, "SELECT sum(paid_amount), count(*) FROM claim_current") == [(Decimal("100.10"), 1)]
    assert query(places, "SELECT sum(paid_amount), count(*) FROM claim") == [(Decimal("200.20"), 2)]
    assert reasons(places) == {"carrier-1": "cancelled", "carrier-2": None}


def test_principal_equal_to_admitting_snf_with_admitting_first_and_icd9(places):
    old = "http://hl7.org/fhir/sid/icd-9-cm"
    load(
        places,
        [
            (
                EOB,
                v2(1, "INPATIENT", diagnosis=[diagnosis(1, "A41.9", "principal"), diagnosis(2, "A41.9", "admitting")])
                + v2(2, "SNF", diagnosis=[diagnosis(1, "J449", "other"), diagnosis(2, "I10", "principal")])
                + v2(3, "INPATIENT", diagnosis=[diagnosis(1, "4019", "principal", old)]),
            ),
            ("Patient", patient()),
        ],
    )
    assert query(places, "SELECT claim_id, principal_dx, admitting_dx, icd_version FROM claim ORDER BY ALL") == [
        ("inpatient-1", "A419", "A419", "10"),
        ("inpatient-3", "4019", None, "9"),
        ("snf-2", "I10", "J449", "10"),
    ]
    assert query(
        places, "SELECT CUR_CLM_UNIQ_ID, CLM_PROD_TYPE_CD, CLM_VAL_SQNC_NUM, CLM_DGNS_CD FROM cclf.cclf4 ORDER BY ALL"
    ) == [("1", "D", 1, "A419"), ("2", "D", 1, "I10"), ("3", "D", 1, "4019")]


def test_a_drug_event_without_period_and_a_deleted_one(places):
    code = {
        "sequence": 1,
        "category": concept(("x", "info"), ("y", f"{VARIABLES}adjstmt_dltn_cd")),
        "code": concept((f"{VARIABLES}adjstmt_dltn_cd", "D")),
    }
    line = [
        {
            "sequence": 1,
            "servicedDate": "2025-11-11",
            "productOrService": concept(("http://hl7.org/fhir/sid/ndc", "0001")),
        }
    ]
    plain = json.loads(v2(1, "PDE", item=line, payment={"date": "2025-11-12"}))
    del plain["billablePeriod"]
    load(places, [(EOB, text(plain) + v2(2, "PDE", item=line, supportingInfo=[code]))])
    assert query(
        places,
        "SELECT claim_id, service_from, service_thru, paid_amount, source_system FROM claim WHERE claim_id = 'pde-1'",
    ) == [("pde-1", *[plain_date("2025-11-11")] * 2, None, "DDPS")]
    assert query(places, "SELECT claim_id, ndc_code FROM claim_drug ORDER BY ALL") == [
        ("pde-1", "0001"),
        ("pde-2", "0001"),
    ]
    assert reasons(places) == {"pde-1": None, "pde-2": "deleted drug event"}


def plain_date(value):
    return duckdb.sql(f"SELECT DATE '{value}'").fetchall()[0][0]


def test_a_claim_without_lines_a_line_that_starts_above_one_and_a_lone_total_line(places):
    revenue = concept((f"{VARIABLES}rev_cntr", "1"))
    no_lines = json.loads(v2(1))
    del no_lines["item"]
    load(
        places,
        [
            (
                EOB,
                text(no_lines)
                + v2(2, item=[{"sequence": 25}])
                + v2(3, "HHA", item=[{"sequence": 1, "revenue": revenue}]),
            )
        ],
    )
    assert query(places, "SELECT claim_id, line_number, is_total_line FROM claim_line ORDER BY ALL") == [
        ("carrier-2", 25, False),
        ("hha-3", 1, True),
    ]
    # Where the total is all there is, it is not left out.
    assert query(places, "SELECT claim_id FROM claim_line_current ORDER BY ALL") == [("carrier-2",), ("hha-3",)]


def test_a_negative_number_and_its_positive_twin_are_two_claims(places):
    load(places, [(EOB, v2(-11) + v2(11))])
    assert query(places, "SELECT claim_id, claim_number FROM claim ORDER BY ALL") == [
        ("carrier--11", "-11"),
        ("carrier-11", "11"),
    ]


def test_what_is_missing_inside_never_stops_a_load(places):
    odd = v2(
        1,
        "MYSTERY",
        total=[{"amount": {"value": 3, "currency": "USD"}}],
        diagnosis=[
            {"sequence": 1, "diagnosisCodeableConcept": {"coding": [{"system": "x"}]}},
            diagnosis(2, "", "other"),
        ],
        item=[{"sequence": 1, "adjudication": [{"amount": {"value": 1.005}}], "modifier": [{"coding": []}]}],
        extension=[{"url": "http://example.org/novelty", "valueCoding": {"code": "N"}}],
    )
    load(places, [(EOB, odd)])
    assert query(places, "SELECT claim_type, paid_amount FROM claim") == [("MYSTERY", Decimal("100.10"))]
    assert query(places, "SELECT source_element, category_code, amount FROM claim_amount ORDER BY ALL") == [
        ("payment", "payment", Decimal("100.10")),
        ("total", None, Decimal("3.00")),
    ]
    assert query(places, "SELECT count(*) FROM claim_diagnosis") == [(0,)]
    assert query(places, "SELECT name, value FROM claim_extension") == [("http://example.org/novelty", "N")]


def test_v3_finished_claims_take_the_place_of_unfinished_ones(places):
    load_v3(
        places,
        v3(1, system="SharedSystem", control="A")
        + v3(2, control="A")
        + v3(3, final="NotFinalAction")
        + v3(4, control="B")
        + v3(5, prior="B", created="2026-02-01")
        + v3(6, use="preauthorization", type=concept(("x", "professional")))
        + v3(7, kind="PDE", system="DDPS", type=concept((f"{CODES}CLM-TYPE-CD", "3"), (f"{CODES}EOB-TYPE", "PDE"))),
    )
    assert reasons(places) == {
        "1": "duplicate of final claim",
        "2": None,
        "3": "not final",
        "4": "replaced by newer",
        "5": None,
        "6": "prior authorization",
        "7": "deleted drug event",
    }


@pytest.mark.complete
def test_an_unfinished_claim_is_pending_until_sixty_days_after_it_was_last_seen(places):
    load_v3(places, v3(1, system="SharedSystem"))
    load_v3(places, v3(2), day=60)
    assert reasons(places)["1"] == "unfinished"
    assert query(places, "SELECT claim_id, paid_amount FROM claim_pending") == [("1", Decimal("50.00"))]
    load_v3(places, v3(2), day=61)
    assert reasons(places)["1"] == "expired"
    assert query(places, "SELECT claim_id FROM claim_pending") == []
    load_v3(places, v3(1, system="SharedSystem"), day=62)
    assert reasons(places)["1"] == "unfinished"
    assert query(places, "SELECT claim_id FROM claim_current") == [("2",)]


def adjustment(code):
    """Supporting information of v3: 0 original, 1 void, 2 adjustment."""
    system = f"{CODES}CLM-ADJSTMT-TYPE-CD"
    return [
        {
            "sequence": 1,
            "category": concept((f"{CODES}SUPPORTING-INFO", "CLM_ADJSTMT_TYPE_CD")),
            "code": concept((system, code)),
        }
    ]


def paid(amount):
    return {"payment": {"amount": {"value": amount, "currency": "USD"}}}


@pytest.mark.parametrize("dropped", [{"system": "SharedSystem"}, {"final": "NotFinalAction"}, {"status": "cancelled"}])
def test_an_adjustment_that_does_not_count_takes_nothing_away(places, dropped):
    load_v3(places, v3(1, control="A", **paid(100)))
    load_v3(places, v3(2, control="B", prior="A", created="2026-02-01", **paid(120), **dropped), day=7)
    assert query(places, "SELECT claim_id, paid_amount FROM claim_current") == [("1", Decimal("100.00"))]
    # When the adjustment itself is final, it takes the claim's place.
    load_v3(
        places,
        v3(2, control="B", prior="A", created="2026-02-01", meta=later("2026-02-02"), **paid(120)),
        day=14,
    )
    assert query(places, "SELECT claim_id, paid_amount FROM claim_current") == [("2", Decimal("120.00"))]
    assert reasons(places)["1"] == "replaced by newer"


def later(day):
    tags = [
        {"system": f"{CODES}System-Type", "code": "NationalClaimsHistory"},
        {"system": f"{CODES}Final-Action", "code": "FinalAction"},
    ]
    return {"lastUpdated": f"{day}T00:00:00Z", "tag": tags}


def kind_of(nch, kind):
    return {"type": concept((f"{CODES}CLM-TYPE-CD", nch), (f"{CODES}EOB-TYPE", kind))}


@pytest.mark.parametrize(
    ("nch", "kind", "view"), [("71", "CARRIER", "cclf5"), ("60", "INPATIENT", "cclf1"), ("82", "DME", "cclf6")]
)
def test_a_void_takes_its_claim_away_and_cclf_shows_the_pair(places, nch, kind, view):
    of = {**kind_of(nch, kind), "item": [{"sequence": 1}]}
    load_v3(places, v3(1, control="A", supportingInfo=adjustment("0"), **of, **paid(100)))
    load_v3(
        places,
        v3(2, control="B", prior="A", created="2026-02-01", supportingInfo=adjustment("1"), **of, **paid(100)),
        day=7,
    )
    assert reasons(places) == {"1": "replaced by newer", "2": "void"}
    assert query(places, "SELECT * FROM claim_current") == []
    both = query(places, f"SELECT CUR_CLM_UNIQ_ID, CLM_ADJSMT_TYPE_CD FROM cclf.{view} ORDER BY ALL")
    assert both == [("1", "0"), ("2", "1")]
    # An adjustment of the claim that came before its void: nothing of the two counts again.
    load_v3(places, v3(3, control="C", prior="B", created="2026-01-20", supportingInfo=adjustment("2"), **of), day=14)
    assert reasons(places) == {"1": "replaced by newer", "2": "void", "3": None}


def test_a_void_of_a_claim_that_was_never_sent_counts_nowhere(places):
    load_v3(places, v3(2, control="B", prior="A", supportingInfo=adjustment("1"), **paid(100)))
    assert reasons(places) == {"2": "void"}
    assert query(places, "SELECT * FROM claim_current") == []
    assert query(places, "SELECT * FROM cclf.cclf5") == []


def test_a_voided_replacement_does_not_bring_the_first_claim_back(places):
    load_v3(
        places,
        v3(1, control="A", **paid(100))
        + v3(2, control="B", prior="A", created="2026-02-01", supportingInfo=adjustment("2"), **paid(120))
        + v3(3, control="C", prior="B", created="2026-03-01", supportingInfo=adjustment("1"), **paid(120)),
    )
    assert reasons(places) == {"1": "replaced by newer", "2": "replaced by newer", "3": "void"}


@pytest.mark.parametrize(
    ("nch", "payer", "in_cclf"),
    [("60", "FFS", True), ("61", "MA", True), ("62", "MA", False), ("63", "MA", False), ("64", "FFS", False), ("4011", "MA", False)],
)  # fmt: skip
def test_medicare_advantage_records_are_told_apart(places, nch, payer, in_cclf):
    load_v3(places, v3(1, **kind_of(nch, "INPATIENT")) + v3(2, **kind_of("60", "INPATIENT")))
    assert query(places, "SELECT payer_type FROM claim_current WHERE claim_id = '1'") == [(payer,)]
    assert query(places, "SELECT CUR_CLM_UNIQ_ID FROM cclf.cclf1 ORDER BY ALL") == [("1",)] * in_cclf + [("2",)]


def test_a_claim_of_no_system_that_is_known_is_pending(places):
    load_v3(places, v3(1, system="NewSystem") + v3(2, meta={"lastUpdated": "2026-01-01T00:00:00Z"}))
    assert reasons(places) == {"1": "unfinished", "2": "unfinished"}
    assert query(places, "SELECT count(*) FROM claim_pending") == [(2,)]


def test_a_replaced_patient_is_the_same_person_and_a_stub_is_no_patient(places):
    link = [{"type": "replaced-by", "other": {"reference": "Patient/8"}}]
    stub = text(
        {"resourceType": "Patient", "id": "9", "link": [{"type": "replaced-by", "other": {"reference": "Patient/7"}}]}
    )
    other = patient("8", ("2BB0",))
    load(places, [("Patient", patient("7", link=link) + other + stub), (EOB, v3(1))], version=ApiVersion.V3)
    keys = query(places, "SELECT patient_id, person_key, is_stub, merged_into_patient_id FROM patient ORDER BY ALL")
    assert len({row[1] for row in keys}) == 1
    assert [(row[0], row[2], row[3]) for row in keys] == [("7", False, "8"), ("8", False, None), ("9", True, "7")]
    assert query(places, "SELECT mbi_current FROM claim_current") == [("2BB0",)]
    assert query(places, "SELECT BENE_MBI_ID FROM cclf.cclf8") == [("2BB0",)]


@pytest.mark.complete
def test_resources_of_v3_without_id_have_the_same_key_in_every_run_and_tables(places):
    claim = json.loads(v3(1))
    del claim["id"]
    load_v3(places, text(claim))
    load_v3(places, text(claim | {"status": "cancelled"}), day=1)
    (row,) = query(places, "SELECT claim_id, eob_status, claim_number FROM claim")
    assert row[0].startswith("no-id-")
    assert len(row[0]) == 46
    assert row[1:] == ("cancelled", "1")
    assert query(places, "SELECT count(*) FROM resource_version WHERE resource_type = 'ExplanationOfBenefit'") == [(2,)]


@pytest.mark.complete
def test_a_person_who_leaves_and_returns_keeps_key_and_claims(places):
    for day, people in enumerate(
        (patient() + patient("-8", ("3CC0",)), patient("-8", ("3CC0",)), patient() + patient("-8", ("3CC0",)))
    ):
        load(
            places,
            [("Patient", people), (EOB, v2(1))],
            run_id=f"d{day}",
            transaction_time=NOON + timedelta(days=day),
            since=NOON,
        )
    assert query(places, "SELECT run_id, count(*) FROM roster GROUP BY ALL ORDER BY ALL") == [
        ("d0", 2),
        ("d1", 1),
        ("d2", 2),
    ]
    assert query(places, "SELECT count(DISTINCT person_key), count(*) FROM patient") == [(2, 2)]
    assert reasons(places) == {"carrier-1": None}


@pytest.mark.complete
@pytest.mark.parametrize(("missing", "gone"), [(1, 1), (50, 0)])
def test_a_full_pull_that_misses_a_few_switches_them_off_and_one_that_misses_many_is_in_doubt(places, missing, gone):
    everything = [v2(n) for n in range(100)]
    load(places, [("Patient", patient()), (EOB, b"".join(everything))], run_id="full")
    load(
        places,
        [("Patient", patient()), (EOB, b"".join(everything[missing:]))],
        run_id="again",
        transaction_time=NOON + timedelta(days=30),
    )
    switched = query(
        places, "SELECT count(*) FROM claim WHERE superseded_reason = 'not in full pull' AND NOT is_current"
    )
    assert switched == [(gone,)]
    with open_warehouse(places.warehouse) as connection:
        (result,) = [r for r in run_checks(connection, "again") if r.check_id == "vanished"]
    assert (result.rows_failed, result.passed) == (missing, missing == gone)
    # What comes again counts again.
    load(places, [(EOB, everything[0])], run_id="late", transaction_time=NOON + timedelta(days=31), since=NOON)
    assert reasons(places)["carrier-0"] is None


@pytest.mark.complete
def test_a_full_pull_with_a_gap_or_of_somebody_else_switches_nothing_off(places):
    load(places, [("Patient", patient()), (EOB, v2(1) + b"".join(v2(n) for n in range(2, 101)))], run_id="full")
    rest = b"".join(v2(n) for n in range(2, 101))
    load(
        places,
        [("Patient", patient()), (EOB, rest + b"broken\n")],
        run_id="bad",
        transaction_time=NOON + timedelta(days=1),
    )
    load(places, [("Patient", patient("-8")), (EOB, rest)], run_id="others", transaction_time=NOON + timedelta(days=2))
    assert reasons(places)["carrier-1"] is None


def test_unfinished_claims_of_v2_stand_in_a_schema_of_their_own_for_sixty_days(places):
    mbi = {"system": "http://hl7.org/fhir/sid/us-mbi", "value": "1AA0"}
    claim = {
        "resourceType": "Claim",
        "id": "f-1",
        "meta": {"lastUpdated": "2026-01-01T00:00:00Z"},
        "status": "active",
        "type": concept(("http://terminology.hl7.org/CodeSystem/claim-type", "institutional")),
        "patient": {"identifier": mbi},
        "total": {"value": 12.30, "currency": "USD"},
        "item": [{"sequence": 1, "quantity": {"value": 2}}],
    }
    answer = {"resourceType": "ClaimResponse", "id": "f-1", "outcome": "queued", "status": "active"}
    load(places, [("Claim", text(claim)), ("ClaimResponse", text(answer))])
    columns = "claim_id, mbi, system_type, charge_amount, outcome"
    assert query(places, f"SELECT {columns} FROM partial.claim_current") == [
        ("f-1", "1AA0", "FISS", Decimal("12.30"), "queued")
    ]
    assert query(places, "SELECT line_number, billed_units FROM partial.claim_line") == [(1, 2)]
    assert query(places, "SELECT count(*) FROM claim") == [(0,)]
    load(places, [(EOB, v2(1))], run_id="r2", transaction_time=NOON + timedelta(days=61))
    assert query(places, "SELECT count(*) FROM partial.claim_current") == [(0,)]
    assert query(places, "SELECT count(*) FROM partial.claim") == [(1,)]


def test_money_is_exact_whatever_its_size(places):
    amounts = ("0.1", "0.2", "1234567890123.45", "-9999999999999.99", "70.07")
    lines = b"".join(v2(n).replace(b"100.1", amount.encode()) for n, amount in enumerate(amounts))
    load(places, [(EOB, lines)])
    assert sorted(str(row[0]) for row in query(places, "SELECT paid_amount FROM claim")) == sorted(
        f"{Decimal(a):.2f}" for a in amounts
    )


def drift(places):
    return query(
        places,
        "SELECT resource_type, path, first_run_id, first_file_name, first_line_number, occurrences FROM ops.drift ORDER BY ALL",
    )


@pytest.mark.complete
def test_what_was_never_seen_before_is_recorded_with_its_first_place_and_count(places):
    novel = {"url": f"{VARIABLES}brand_new_cd", "valueCoding": {"code": "N"}}
    first = (
        v2(1)
        + v2(2, item=[{"sequence": 1, "novelty": {"deep": [{"value": 1}]}, "extension": [novel]}])
        + v2(3, extension=[novel])
    )
    unknown = {
        "sequence": 1,
        "category": concept(("x", "info"), ("y", f"{VARIABLES}brand_new_info")),
        "code": concept(("z", "1")),
    }
    load(places, [(EOB, first), ("Patient", patient(extension=[novel]))], run_id="r1")
    second = v2(4, supportingInfo=[unknown], extension=[novel])
    load(places, [(EOB, second)], run_id="r2", transaction_time=NOON + timedelta(days=1))
    eob, person = f"00001-{EOB}.ndjson.gz", "00002-Patient.ndjson.gz"
    assert drift(places) == [
        (EOB, "claim_extension.name: brand_new_cd", "r1", eob, 2, 3),
        (EOB, "claim_supporting_info.category_code: brand_new_info", "r2", eob, 1, 1),
        (EOB, "claim_supporting_info.code_system: z", "r2", eob, 1, 1),
        (EOB, "item[].novelty.deep[].value", "r1", eob, 2, 1),
        ("Patient", "patient_extension.name: brand_new_cd", "r1", person, 1, 1),
    ]
    # Nothing of it is lost either.
    assert query(places, "SELECT count(*) FROM claim_extension WHERE name = 'brand_new_cd'") == [(3,)]


def test_past_the_part_that_is_looked_through_new_elements_are_still_counted(places, monkeypatch):
    monkeypatch.setattr("bcda.landing.drift.SAMPLE_BYTES", 1)
    odd = {"a.b": [{"x": 1}], "status": {"value": "active"}, 'a"b': 1}
    load(places, [(EOB, v2(1, **odd) + v2(2) + v2(3, **odd))])
    assert [(path, line, times) for _, path, _, _, line, times in drift(places)] == [
        ('"a.b"[].x', 1, 2),
        # A path cannot ask for this name, so it is counted where it was looked for.
        ('"a\\"b"', 1, 1),
        ("status.value", 1, 2),
    ]


def test_elements_of_another_kind_and_lines_that_others_cannot_read_are_recorded(places):
    deep = v2(2).replace(b"{", b'{"x":' + b"[" * 3000 + b"]" * 3000 + b",", 1)
    comma = v2(3).replace(b"}", b",}", 1)
    load(places, [(EOB, v2(1) + deep + comma + v2(4, item="none") + v2(5, type=[1]) + v2(6))])
    assert [(path, line, times) for _, path, _, _, line, times in drift(places)] == [
        ("(nested too deeply to be looked through)", 2, 1),
        ("(not strict JSON)", 3, 1),
        ("item", 4, 1),
        ("type[]", 5, 1),
    ]


@pytest.mark.samples
def test_the_samples_and_the_generated_world_hold_nothing_unknown(places, samples):
    for version in ApiVersion:
        files = [
            (path.name.partition(".")[0], path.read_bytes())
            for path in sorted((samples / version / "ndjson").glob("*.ndjson"))
        ]
        load(places, files, run_id=f"r-{version}", version=version)
        world = World(people=12, seed=8)
        made = export(world, [str(n) for n in range(12)], week=80, version=version)
        load(places, made, run_id=f"w-{version}", version=version, transaction_time=at(80))
    assert drift(places) == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_mbi_that_the_newest_patient_no_longer_sends_is_a_former_one_even_if_it_sends_none(places, order):
    runs = [patient(mbis=("1AA0",)), patient(mbis=(), meta={"lastUpdated": "2026-03-01T00:00:00Z"})]
    for number in order:
        at_day = NOON + timedelta(days=number)
        load(places, [("Patient", runs[number])], run_id=f"r{number}", transaction_time=at_day, since=NOON)
    assert query(places, "SELECT id_value, currency, last_run_id FROM patient_identifier") == [
        ("1AA0", "historic", "r0")
    ]


@pytest.mark.parametrize(
    "version",
    [ApiVersion.V2, *(pytest.param(other, marks=pytest.mark.complete) for other in (ApiVersion.V1, ApiVersion.V3))],
)
def test_elements_with_equal_numbers_are_rows_of_their_own_and_stop_nothing(places, version):
    """CMS numbers lines, diagnoses and the like. Where two have one number, the place of each is its number."""
    adjudication = [{"amount": {"value": 10}}, {"amount": {"value": 20}}]
    item = [{"sequence": n, "adjudication": adjudication, "careTeamSequence": [1, 1]} for n in (1, 1, 2)]
    changes = {
        "item": item,
        "diagnosis": [diagnosis(1, "J189", "principal"), diagnosis(1, "I10", "other"), diagnosis(4, "E119", "other")],
        "careTeam": [{"sequence": n, "provider": {"display": str(n)}} for n in (1, 1)],
        "supportingInfo": [{"sequence": n, "code": {"coding": [{"code": "a"}]}} for n in (2, 2)],
        "procedure": [
            {"sequence": 1, "procedureCodeableConcept": {"coding": [{"code": code}]}} for code in ("0A", "0B")
        ],
    }
    made = v3 if version is ApiVersion.V3 else v2
    load(places, [("Patient", patient("7") + patient("-7")), (EOB, made(1, **changes) + made(2))], version=version)
    assert query(places, "SELECT line_number FROM claim_line WHERE claim_id LIKE '%1' ORDER BY ALL") == [
        (1,),
        (2,),
        (3,),
    ]
    assert query(places, "SELECT sequence, dx_code FROM claim_diagnosis ORDER BY ALL") == [
        (1, "J189"),
        (2, "I10"),
        (3, "E119"),
    ]
    assert query(
        places, "SELECT sum(amount)::INTEGER, count(DISTINCT (line_number, amount_number)) FROM claim_line_amount"
    ) == [(90, 6)]
    with open_warehouse(places.warehouse) as connection:
        failed = [str(r) for r in run_checks(connection, "r1") if r.level is Level.ERROR and not r.passed]
    assert failed == []


def test_answers_about_lines_with_equal_numbers_are_rows_of_their_own(places):
    reason = [{"category": {"coding": [{"code": "x"}]}}]
    answer = {
        "resourceType": "ClaimResponse",
        "id": "f-1",
        "meta": {"lastUpdated": "2026-01-01T00:00:00Z"},
        "item": [{"itemSequence": 1, "adjudication": reason}, {"itemSequence": 1, "adjudication": reason}],
    }
    load(places, [("ClaimResponse", text(answer))])
    assert query(places, "SELECT line_number, reason_number FROM partial.claim_response_reason ORDER BY ALL") == [
        (1, 1),
        (2, 1),
    ]
