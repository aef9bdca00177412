"""Every value of CMS's source records against the tables and CCLF views that come from the resources made of them.

BFD, the server behind BCDA, makes resources from records; its tests publish both. The columns to compare, and the differences
that are BFD's own, are in `source_records/`.
"""

import csv
import json
from collections import Counter
from pathlib import Path

import public_samples
import pytest
import source_records
from rawfiles import load
from source_records import Record, Tables

from bcda.settings import ApiVersion
from bcda.storage.places import Places

RECORDS = public_samples.SAMPLES / "source-records"

pytestmark = [
    pytest.mark.complete,
    *public_samples.needed,
    pytest.mark.skipif(
        not RECORDS.exists(),
        reason=f"CMS's source records are not part of the project; BCDA_SAMPLES names their folder, {RECORDS} is not there",
    ),
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
TYPES = {**CLAIM_TYPES, "beneficiary": source_records.PERSON}

# Columns of the CCLF views that no RIF record can prove. v3 has no such list: its records are of few types of claim.
NOT_COMPARED = {
    **{f"{view}.HCPCS_{n}_MDFR_CD": "the records have two modifiers" for view in ("cclf2", "cclf5") for n in (3, 4, 5)},
    "cclf3.CLM_VAL_SQNC_NUM": "finds the row: the number is part of the record's column name",
    "cclf4.CLM_PROD_TYPE_CD": "finds the row: the class is part of the record's column name",
    "cclf4.CLM_VAL_SQNC_NUM": "numbers the rows of the view, which leaves out repeated codes",
    "cclf9.HICN_MBI_XREF_IND": "a constant",
    "cclf9.PRVS_ID_EFCTV_DT": "v1 and v2 send former MBIs without dates",
    "cclf9.PRVS_ID_OBSLT_DT": "v1 and v2 send former MBIs without dates",
}


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
            line = "1" if kind == "pde" else row.get("LINE_NUM") or row.get("CLM_LINE_NUM")
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
    pairs = source_records.with_cclf(pairs, version, TYPES)
    return version, list(source_records.compare(version, rif_records(), pairs, Tables(places.warehouse)))


def differ_as_listed(version, results, exceptions):
    """Fail for a difference that no exception names, and for an exception without a difference."""
    print(source_records.report(version, results))
    differences = [result for result in results if not result.is_equal]
    unexpected = [str(result) for result in differences if result.as_exception not in exceptions]
    assert not unexpected, "\n".join(unexpected)
    assert Counter(result.as_exception for result in differences) == exceptions
    # The page has the counts: a comparison that gets lost shows there.
    page = (Path(__file__).parents[2] / "docs" / "cclf.md").read_text(encoding="utf-8")
    assert counts(version, results) in page.splitlines()


def counts(version, results):
    """The row of the documentation about a version."""
    filled = [result for result in results if result.expected is not None]
    views = sum(result.pair.column.startswith("cclf") for result in filled)
    differences = sum(not result.is_equal for result in results)
    numbers = (len(filled) - views, views, len(results) - len(filled), differences)
    source = "IDR" if version == "v3" else "RIF"
    return f"| {version} | {source} | {' | '.join(f'{number:,}' for number in numbers)} |"


def test_tables_and_views_hold_the_values_of_rif_records(rif):
    version, results = rif
    differ_as_listed(version, results, source_records.exceptions("rif_exceptions.csv", version))


def test_every_column_of_the_views_is_compared_or_has_a_reason_not_to_be(rif):
    version, results = rif
    compared = {result.pair.column.partition("[")[0] for result in results}
    columns = {f"{view}.{column.name}" for view, column in source_records.cclf_columns(version)}
    assert columns - compared == set(NOT_COMPARED)


def test_tables_and_views_hold_the_values_of_idr_records(idr):
    differ_as_listed("v3", idr, source_records.exceptions("idr_exceptions.csv", "v3"))


# The claims of the answers whose records are there, with their type; the drug event is another version of the one sent.
IDR_CLAIMS = {
    "1071939711295": ("hha", "1071939711295"),
    "1071939711297": ("outpatient", "1071939711297"),
    "1071939711298": ("outpatient", "1071939711298"),
    "1409088853949": ("pde", "1409088853940"),
}
IDR_KEY = ("CLM_DT_SGNTR_SK", "CLM_NUM_SK", "GEO_BENE_SK", "CLM_TYPE_CD")
# BENE_ENRLMT_PGM_TYPE_CD: 1 is Medicare Advantage, 2 a drug plan, 3 both.
PARTS = {"1": "c", "2": "d", "3": "cd"}


def idr_rows(table, samples="test_samples2"):
    path = RECORDS / "idr" / f"{samples}.SYNTHETIC_{table}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        # Some lines have more cells than the header.
        return [{name: text for name, text in row.items() if name} for row in csv.DictReader(file)]


def idr_records():
    """The claims, each with its one line; a record for each code of a claim; a record for each plan of a person."""
    for claim in idr_rows("CLM"):
        if claim["CLM_UNIQ_ID"] not in IDR_CLAIMS:
            continue
        kind, number = IDR_CLAIMS[claim["CLM_UNIQ_ID"]]
        key = {"claim_id": number, "claim_number": number, "line_number": 1, "patient_id": None}
        cells = dict(claim)
        for row in idr_rows("CLM_DT_SGNTR"):
            if row["CLM_DT_SGNTR_SK"] == claim["CLM_DT_SGNTR_SK"]:
                cells.update(row)
        tables = ("CLM_INSTNL", "CLM_DCMTN", "CLM_FISS", "CLM_LCTN_HSTRY", "CLM_LINE", "CLM_LINE_INSTNL", "CLM_LINE_RX")
        for row in (row for table in tables for row in of_claim(claim, table)):
            cells.update({**row, **{name: text for name, text in cells.items() if text}})
        yield Record(kind, key, cells)
        for row in of_claim(claim, "CLM_PROD"):
            # BFD sends the admitting diagnosis, then those of type D in order.
            sequence = str(1 + int(row["CLM_VAL_SQNC_NUM"]))
            yield Record(f"product_{row['CLM_PROD_TYPE_CD'].lower()}", key, {**row, "sequence": sequence})
    yield from idr_enrollment()


def of_claim(claim, table):
    return [row for row in idr_rows(table) if all(row[name] == claim[name] for name in IDR_KEY)]


def idr_enrollment():
    sent = {resource["id"] for resource in v3_resources() if resource["resourceType"] == "Coverage"}
    people, plans = (idr_rows(table, "test_samples1") for table in ("BENE_HSTRY", "CNTRCT_PBP_NUM"))
    mbis = {row["BENE_SK"]: row["BENE_MBI_ID"] for row in people if row["IDR_LTST_TRANS_FLG"] == "Y"}
    names = {row["CNTRCT_PBP_SK"]: row["CNTRCT_PBP_NAME"] for row in plans}
    for row in idr_rows("BENE_MAPD_ENRLMT", "test_samples1"):
        for part in PARTS[row["BENE_ENRLMT_PGM_TYPE_CD"]]:
            coverage = f"part-{part}-{row['BENE_SK']}-{row['BENE_CNTRCT_NUM']}-{row['BENE_PBP_NUM']}"
            if coverage in sent:
                joined = {"coverage_id": coverage, "BENE_MBI_ID": mbis[row["BENE_SK"]]}
                if row["CNTRCT_PBP_SK"] in names:
                    joined["CNTRCT_PBP_NAME"] = names[row["CNTRCT_PBP_SK"]]
                yield Record("enrollment", {"patient_id": row["BENE_SK"]}, {**row, **joined})


def v3_resources():
    """What the v3 server's tests expect, each id once: the longest answer, since some leave out tax numbers."""
    found = {}
    for path in sorted((public_samples.SAMPLES / "v3" / "server").glob("*.ndjson")):
        for line in path.read_text().splitlines():
            text = line.replace("9999-12-31T00:00:00.000+00:00", "2024-02-10T03:02:28.123+00:00")
            resource = json.loads(text)
            key = resource["resourceType"], resource["id"]
            if not resource["id"].startswith("00000000-") and len(text) > len(found.get(key, "")):
                found[key] = text
    return [json.loads(text) for text in found.values()]


@pytest.fixture(scope="module")
def idr(tmp_path_factory):
    files = {"Patient": [], "Coverage": [], "ExplanationOfBenefit": []}
    for resource in v3_resources():
        files[resource["resourceType"]].append(json.dumps(resource))
    places = Places.below(tmp_path_factory.mktemp("v3"))
    load(places, [(kind, "\n".join(lines).encode()) for kind, lines in files.items()], version=ApiVersion.V3)
    pairs, _ = source_records.declared("idr.csv")
    # Views have finished claims only.
    pairs = source_records.with_cclf(pairs, "v3", {"hha": "HHA"})
    return list(source_records.compare("v3", list(idr_records()), pairs, Tables(places.warehouse)))


@pytest.mark.parametrize(("name", "records"), [("rif.csv", rif_records), ("idr.csv", idr_records)])
def test_every_column_of_a_record_is_compared_or_has_a_reason_not_to_be(name, records):
    pairs, reasons = source_records.declared(name)
    declared = {(pair.kind, pair.record_column) for pair in pairs} | reasons
    filled = {(record.kind, column) for record in records() for column in record.cells if record.text(column)}
    assert filled - declared == {(kind, column) for kind, column in filled if column in {"sequence", "coverage_id"}}
