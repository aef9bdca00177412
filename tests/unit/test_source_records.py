"""Every value of CMS's source records against the tables and CCLF views that come from the resources made of them.

BFD, the server behind BCDA, makes resources from records; its tests publish both. The columns to compare, and the differences
that are BFD's own, are in `source_records/`.
"""

import csv
import json
from collections import Counter

import public_samples
import pytest
import source_records
from rawfiles import load
from source_records import Record, Tables

from bcda.places import Places
from bcda.settings import ApiVersion

RECORDS = public_samples.SAMPLES / "source-records"

pytestmark = [
    pytest.mark.complete,
    *public_samples.needed,
    pytest.mark.skipif(not RECORDS.exists(), reason=f"no source records in {RECORDS}"),
]

RIF = {
    "bcarrier": "carrier",
    "bcarrier-multiple-lines": "carrier",
    "dme": "dme",
    "hha": "hha",
    "hospice": "hospice",
    "inpatient": "inpatient",
    "outpatient": "outpatient",
    "pde": "pde",
    "snf": "snf",
    "beneficiaries": "beneficiary",
    "beneficiaryhistory": "history",
}
CLAIM_TYPES = {kind: kind.upper() for kind in RIF.values() if kind not in {"beneficiary", "history"}}

# What the samples gave when the declarations were written: fewer means that a comparison got lost.
LEAST = {"v1": {"tables": 1400, "cclf": 790}, "v2": {"tables": 1400, "cclf": 790}}


def rif_rows(name):
    with (RECORDS / "rif" / f"{name}.txt").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="|"):
            row.pop(None, None)  # some lines end in a delimiter
            yield row


def rif_records():
    """Records of one beneficiary and one claim of each type, and a carrier claim with seven lines."""
    person = next(rif_rows("beneficiaries"))
    found = []
    for name, kind in RIF.items():
        for row in rif_rows(name):
            number = row.get("CLM_ID") or row.get("PDE_ID")
            if name == "bcarrier-multiple-lines":
                number = row["CLM_ID"] = another(number)
            line = row.get("LINE_NUM") or row.get("CLM_LINE_NUM")
            key = {"claim_id": f"{kind}-{number}", "claim_number": number, "patient_id": row["BENE_ID"]}
            key["line_number"] = int(line) if line else None
            joined = {"beneficiary.MBI_NUM": person["MBI_NUM"]} if kind in CLAIM_TYPES else {}
            found.append(Record(kind, key, {**row, **joined}))
    return found


def another(text):
    """The two carrier samples have the same claim number; the one with several lines gets another, resource and record."""
    return text.replace("9991831999", "9991831998")


def rif_resources(version):
    """The resources that BFD makes from the RIF records, as files to load."""
    folder = public_samples.SAMPLES / version
    several = next((folder / "source").glob("bfd-golden-eobReadCarrier*MultipleLines.json"))
    claims = (folder / "ndjson" / "ExplanationOfBenefit.all-claim-types.ndjson").read_text().splitlines()
    claims += golden(another(several.read_text()))
    coverage = golden((folder / "source" / "bfd-golden-coverageSearchByPatientId.json").read_text())
    return [
        ("Patient", (folder / "ndjson" / "Patient.with-mbi.ndjson").read_bytes()),
        ("Coverage", "\n".join(coverage).encode()),
        ("ExplanationOfBenefit", "\n".join(claims).encode()),
    ]


def golden(text):
    """Lines of the resources in an answer, which has no times."""
    document = json.loads(text.replace('"IGNORED_FIELD"', '"2024-02-10T03:02:28.123-05:00"'))
    entries = document["entry"] if document["resourceType"] == "Bundle" else [{"resource": document}]
    return [json.dumps(entry["resource"]) for entry in entries]


@pytest.fixture(scope="module", params=["v2", "v1"])
def rif(request, tmp_path_factory):
    version = request.param
    places = Places.below(tmp_path_factory.mktemp(version))
    load(places, rif_resources(version), version=ApiVersion(version))
    pairs, _ = source_records.declared("rif.csv")
    pairs = source_records.with_cclf(pairs, version, CLAIM_TYPES)
    return version, list(source_records.compare(version, rif_records(), pairs, Tables(places.warehouse)))


def test_tables_and_views_hold_the_values_of_rif_records(rif):
    version, results = rif
    print(source_records.report(version, results))
    differences = [result for result in results if not result.is_equal]
    exceptions = source_records.exceptions("rif_exceptions.csv", version)
    unexpected = [str(result) for result in differences if result.as_exception not in exceptions]
    assert not unexpected, "\n".join(unexpected)
    assert Counter(result.as_exception for result in differences) == exceptions
    for name, is_view in (("tables", False), ("cclf", True)):
        count = sum(r.expected is not None and r.pair.column.startswith("cclf") == is_view for r in results)
        assert count >= LEAST[version][name], (name, count)


def test_every_column_of_a_rif_record_is_compared_or_has_a_reason_not_to_be():
    pairs, reasons = source_records.declared("rif.csv")
    declared = {(pair.kind, pair.record_column) for pair in pairs} | reasons
    columns = {(record.kind, column) for record in rif_records() for column in record.cells}
    assert columns - declared == set()
