"""Typed columns against the public samples, the expected values taken from the JSON by other means than the mapping's."""

import json
from decimal import Decimal

import duckdb
import pytest
from rawfiles import land

pytestmark = pytest.mark.samples
VARIABLES = "https://bluebutton.cms.gov/resources/variables/"


@pytest.fixture
def claims(samples):
    found = {}
    for path in (samples / "v2" / "ndjson").glob("ExplanationOfBenefit*.ndjson"):
        for text in path.read_text().splitlines():
            resource = json.loads(text, parse_float=Decimal)
            found[resource["id"]] = resource
    return found


@pytest.fixture
def landed(places, samples):
    folder = samples / "v2" / "ndjson"
    files = [(path.name.partition(".")[0], path.read_bytes()) for path in sorted(folder.glob("*.ndjson"))]
    land(places, files)

    def query(table, columns):
        pattern = str(places.lake / table / "*" / "*" / "*.parquet")
        return duckdb.connect().execute(f"SELECT {columns} FROM '{pattern}'").fetchall()

    return query


def walk(value):
    """Yield every object in a JSON value."""
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from walk(child)
    elif isinstance(value, list):
        for child in value:
            yield from walk(child)


def codes(element):
    return {code["code"] for code in element.get("coding", []) if "code" in code}


def by_variable(elements, key, name):
    """Elements whose category under `key` holds the code of a CMS variable."""
    return [element for element in elements if VARIABLES + name in codes(element.get(key, {}))]


def test_header_amounts_to_the_cent(landed, claims):
    for claim_id, kind, paid, charge, allowed in landed(
        "claim", "claim_id, claim_type, paid_amount, charge_amount, allowed_amount"
    ):
        claim = claims[claim_id]
        payment = claim["payment"].get("amount", {}).get("value")
        assert paid == (None if kind == "PDE" or payment is None else Decimal(payment)), claim_id
        balances = [entry for balance in claim.get("benefitBalance", []) for entry in balance["financial"]]
        totals = by_variable(claim.get("total", []), "category", "clm_tot_chrg_amt")
        if kind in {"CARRIER", "DME"}:
            expected = by_variable(balances, "type", "nch_carr_clm_sbmtd_chrg_amt")
            assert charge == (Decimal(expected[0]["usedMoney"]["value"]) if expected else None), claim_id
            expected = by_variable(balances, "type", "nch_carr_clm_alowd_amt")
            assert allowed == (Decimal(expected[0]["usedMoney"]["value"]) if expected else None), claim_id
        else:
            assert charge == (Decimal(totals[0]["amount"]["value"]) if totals else None), claim_id


def test_header_codes_and_dates(landed, claims):
    columns = "claim_id, claim_type, nch_claim_type, processed_date::VARCHAR, drg_code, principal_dx, provider_npi, patient_id, claim_group"
    found = landed("claim", columns)
    assert len(found) == len(claims)
    for claim_id, kind, nch, processed, drg, principal, npi, patient, group in found:
        claim = claims[claim_id]
        by_system = {coding["system"].rpartition("/")[2]: coding.get("code") for coding in claim["type"]["coding"]}
        assert (kind, nch) == (by_system["eob-type"], by_system.get("nch_clm_type_cd")), claim_id
        dates = by_variable(claim["supportingInfo"], "category", "nch_wkly_proc_dt")
        assert processed == (dates[0]["timingDate"] if dates else None), claim_id
        groups = by_variable(claim["supportingInfo"], "category", "clm_drg_cd")
        assert drg == (groups[0]["code"]["coding"][0]["code"].zfill(3) if groups else None), claim_id
        typed = [d for d in claim.get("diagnosis", []) if any("principal" in codes(kind) for kind in d["type"])]
        if typed:
            assert principal == typed[-1]["diagnosisCodeableConcept"]["coding"][0]["code"].replace(".", ""), claim_id
        numbers = [
            i["value"]
            for c in claim.get("contained", [])
            for i in c.get("identifier", [])
            if i.get("system", "").endswith("us-npi")
        ]
        assert not numbers or npi == numbers[0], claim_id
        assert f"Patient/{patient}" == claim["patient"]["reference"]
        assert group == next(i["value"] for i in claim["identifier"] if i["system"].endswith("claim-group"))


LINE_AMOUNTS = {
    "submitted_amount": ("line_sbmtd_chrg_amt", "rev_cntr_tot_chrg_amt"),
    "allowed_amount": ("line_alowd_chrg_amt",),
    "noncovered_amount": ("rev_cntr_ncvrd_chrg_amt",),
    "beneficiary_paid_amount": ("line_bene_pmt_amt", "rev_cntr_bene_pmt_amt"),
}


@pytest.mark.parametrize("column", LINE_AMOUNTS)
def test_line_amounts_to_the_cent(landed, claims, column):
    seen = 0
    for claim_id, number, amount in landed("claim_line", f"claim_id, line_number, {column}"):
        (item,) = [item for item in claims[claim_id]["item"] if item["sequence"] == number]
        found = [
            entry
            for name in LINE_AMOUNTS[column]
            for entry in by_variable(item.get("adjudication", []), "category", name)
        ]
        assert amount == (Decimal(found[0]["amount"]["value"]).quantize(Decimal("0.01")) if found else None), (
            claim_id,
            number,
        )
        seen += amount is not None
    assert seen > 0


def test_line_codes_providers_and_pointers(landed, claims):
    columns = "claim_id, line_number, hcpcs_code, modifier_1, place_of_service, rendering_npi, line_dx, revenue_code"
    pointed = 0
    for claim_id, number, hcpcs, modifier, place, npi, dx, revenue in landed("claim_line", columns):
        claim = claims[claim_id]
        (item,) = [item for item in claim["item"] if item["sequence"] == number]
        product = [
            c["code"]
            for c in item.get("productOrService", {}).get("coding", [])
            if c["system"].endswith("hcpcs") and "code" in c
        ]
        assert hcpcs == (product[0] if product else None), claim_id
        modifiers = [c["code"] for m in item.get("modifier", []) for c in m["coding"] if c["system"].endswith("hcpcs")]
        assert modifier == (modifiers[0] if modifiers else None), claim_id
        places = [
            c["code"]
            for c in item.get("locationCodeableConcept", {}).get("coding", [])
            if c["system"].endswith("place_of_srvc_cd")
        ]
        assert place == (places[0] if places else None), claim_id
        revenues = [c["code"] for c in item.get("revenue", {}).get("coding", []) if c["system"].endswith("rev_cntr")]
        assert revenue == (revenues[0].zfill(4) if revenues else None), claim_id
        members = [
            m
            for m in claim["careTeam"]
            if m["sequence"] in item.get("careTeamSequence", []) and "performing" in codes(m["role"])
        ]
        # A performer with a UPIN stands before the same one with the NPI.
        members.sort(key=lambda m: "npi" not in codes(m["provider"]["identifier"].get("type", {})))
        kinds = members and codes(members[0]["provider"]["identifier"].get("type", {}))
        assert npi == (members[0]["provider"]["identifier"]["value"] if members and "npi" in kinds else None), claim_id
        diagnoses = [d for d in claim.get("diagnosis", []) if d["sequence"] in item.get("diagnosisSequence", [])]
        assert dx == (
            diagnoses[0]["diagnosisCodeableConcept"]["coding"][0]["code"].replace(".", "") if diagnoses else None
        ), claim_id
        pointed += dx is not None
    assert pointed > 0


def test_people_and_their_numbers(landed, samples):
    people = {}
    for path in (samples / "v2" / "ndjson").glob("Patient*.ndjson"):
        for text in path.read_text().splitlines():
            resource = json.loads(text)
            people[resource["id"]] = resource
    for patient_id, mbi, birth, sex, first, zip5 in landed(
        "patient", "patient_id, mbi_current, birth_date::VARCHAR, sex_code, first_name, zip5"
    ):
        person = people[patient_id]
        current = [
            i["value"]
            for i in person["identifier"]
            if i["system"].endswith("us-mbi")
            and any(e.get("valueCoding", {}).get("code") == "current" for e in walk(i["type"]))
        ]
        assert mbi == current[0]
        assert birth == person["birthDate"]
        assert sex == {"male": "1", "female": "2", "unknown": "0"}.get(person.get("gender"))
        assert first == person["name"][0]["given"][0]
        assert zip5 == person["address"][0].get("postalCode", "")[:5] or zip5 is None
    numbers = {(row[0], row[1]) for row in landed("patient_identifier", "patient_id, id_value")}
    assert numbers == {(key, i["value"]) for key, person in people.items() for i in person["identifier"]}


def test_coverage_knows_its_part_and_person(landed):
    for coverage_id, part, patient in landed("coverage", "coverage_id, part, patient_id"):
        assert coverage_id == f"part-{part.lower()}-{patient}"
