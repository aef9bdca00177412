"""Every value of CMS's source records against the tables and CCLF views that come from the resources made of them.

BFD, the server behind BCDA, makes resources from records; its tests publish both. The columns to compare, and the differences
that are BFD's own, are in `source_records/`.
"""

import csv
import json
from collections import Counter
from pathlib import Path

import idr_records
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

# Columns of the CCLF views that no RIF record can prove; those of v3 are in source_records/idr_views.csv.
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


@pytest.fixture(scope="module")
def idr(tmp_path_factory):
    files = {"Patient": [], "Coverage": [], "ExplanationOfBenefit": []}
    for resource in idr_records.answers():
        files[resource["resourceType"]].append(json.dumps(resource))
    places = Places.below(tmp_path_factory.mktemp("v3"))
    load(places, [(kind, "\n".join(lines).encode()) for kind, lines in files.items()], version=ApiVersion.V3)
    pairs, _ = source_records.declared("idr.csv")
    # Views have finished claims only.
    pairs = source_records.with_cclf(pairs, "v3", {"hha": "HHA", "carrier": "CARRIER"})
    return list(source_records.compare("v3", list(idr_records.records()), pairs, Tables(places.warehouse)))


@pytest.mark.parametrize(("name", "records"), [("rif.csv", rif_records), ("idr.csv", idr_records.records)])
def test_every_column_of_a_record_is_compared_or_has_a_reason_not_to_be(name, records):
    pairs, reasons = source_records.declared(name)
    declared = {(pair.kind, pair.record_column) for pair in pairs} | reasons
    filled = {(record.kind, column) for record in records() for column in record.cells if record.text(column)}
    assert filled - declared == {(kind, column) for kind, column in filled if column in idr_records.JOINED}


def test_the_page_says_how_many_cells_of_each_idr_table_are_compared(idr):
    compared = {(result.record.kind, result.pair.record_column) for result in idr if result.expected is not None}
    compared |= {(kind, part) for kind, column in compared for part in column.split()}
    tables = list(idr_records.cells_by_table())
    lines = [
        f"| `{table}` | {rows:,} | {own} | {len(cells)} | {sum(cell in compared for cell in cells)} |"
        for table, rows, own, cells in tables
        if own
    ]
    everything = [cell for _, _, _, cells in tables for cell in cells]
    numbers = [
        sum(cell in compared for cell in everything),
        *(sum(kind == name for kind, _ in everything) for name in ("repeated", "other")),
    ]
    lines.append(f"| all | | | {len(everything):,} | {numbers[0]} |")
    lines.append(
        f"Of the others {numbers[1]} repeat a key, and {numbers[2]} are of other lines and states of the carrier claim. The rest"
    )
    lines.append(", ".join(f"`{table}`" for table, _, own, _ in tables if not own) + ".")
    comparisons = sum(result.expected is not None for result in idr)
    lines.append(f"can be in several of our columns, {numbers[0]} cells make {comparisons} comparisons.")
    page = (Path(__file__).parents[2] / "docs" / "cclf.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line not in page] == [], "\n".join(lines)


def test_every_column_of_the_views_on_v3_is_compared_or_the_page_says_why_not(idr):
    compared = {result.pair.column for result in idr if result.pair.column.startswith("cclf")}
    compared = {column.partition("[")[0] for column in compared}
    columns = [f"{view}.{column.name}" for view, column in source_records.cclf_columns("v3")]
    page = (Path(__file__).parents[2] / "docs" / "cclf.md").read_text(encoding="utf-8").splitlines()
    unnamed = set(columns) - compared
    for row in source_records.rows_of("idr_views.csv"):
        for view in row["views"].split("|"):
            of_view = {column for column in columns if column.startswith(f"{view}.")}
            named = (
                {f"{view}.{name}" for name in row["columns"].split("|")} if row["columns"] != "*" else of_view & unnamed
            )
            assert named
            assert named <= unnamed, named - unnamed
            unnamed -= named
        names = "all" if row["columns"] == "*" else row["columns"]
        assert f"| {row['views'].replace('|', ', ')} | {names.replace('|', ', ')} | {row['reason']} |" in page
    assert not unnamed
    total = len(columns) - len(compared)
    assert f"{len(compared)} of {len(columns)} columns are compared, {total} are not:" in " ".join(page)
