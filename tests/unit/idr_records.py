"""Records of CMS's IDR tables that belong to an answer of the v3 server, and those answers."""

import csv
import json
from collections.abc import Iterator, Mapping
from typing import Any

import public_samples
from source_records import Record

FOLDER = public_samples.SAMPLES / "source-records" / "idr"
Row = dict[str, str]

# The claims of the answers whose records are there, with the type and number of the answer. The drug event and the carrier
# claim are other versions of the ones sent.
CLAIMS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "test_samples2": {
        "1071939711295": ("hha", "1071939711295"),
        "1071939711297": ("outpatient", "1071939711297"),
        "1071939711298": ("outpatient", "1071939711298"),
        "1409088853949": ("pde", "1409088853940"),
    },
    "test_samples1": {"3351266481401": ("carrier", "3351266481402")},
}
KEY = ("CLM_DT_SGNTR_SK", "CLM_NUM_SK", "GEO_BENE_SK", "CLM_TYPE_CD")
TABLES = {
    "institutional": (
        "CLM_INSTNL",
        "CLM_DCMTN",
        "CLM_FISS",
        "CLM_LCTN_HSTRY",
        "CLM_LINE",
        "CLM_LINE_INSTNL",
        "CLM_LINE_RX",
    ),
    # The answer has one line and the diagnoses of a later state of the claim; it keeps the professional part of line 1.
    "professional": ("CLM_PRFNL", "CLM_DCMTN", "CLM_LINE_PRFNL"),
}
# BENE_ENRLMT_PGM_TYPE_CD: 1 is Medicare Advantage, 2 a drug plan, 3 both.
PARTS = {"1": "c", "2": "d", "3": "cd"}
# Tables of what a person has from a drug plan, and how their columns begin; the others are keys and times of the repository.
DRUG_PLAN = {"BENE_MAPD_ENRLMT_RX": "BENE_PDP_ENRLMT_", "BENE_LIS": "BENE_LIS_"}
# Cells that are added here: they find rows of ours, or join two cells of a record.
JOINED = frozenset({"sequence", "coverage_id", "first_month"})


def rows_of(table: str, samples: str = "test_samples2") -> list[Row]:
    """The rows of a table; none if these samples have no such table."""
    path = FOLDER / f"{samples}.SYNTHETIC_{table}.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        # Some lines have more cells than the header.
        return [{name: text for name, text in row.items() if name} for row in csv.DictReader(file)]


def records() -> Iterator[Record]:
    """The claims, each with its first line; a record for each code of a claim; a record for each plan of a person."""
    for samples, claims in CLAIMS.items():
        for claim in rows_of("CLM", samples):
            if claim["CLM_UNIQ_ID"] not in claims:
                continue
            kind, number = claims[claim["CLM_UNIQ_ID"]]
            key = {"claim_id": number, "claim_number": number, "line_number": 1, "patient_id": None}
            yield Record(kind, key, _claim(claim, samples, kind))
            for row in () if kind == "carrier" else _of_claim(claim, "CLM_PROD", samples):
                # BFD sends the admitting diagnosis, then those of type D in order.
                sequence = str(1 + int(row["CLM_VAL_SQNC_NUM"]))
                yield Record(f"product_{row['CLM_PROD_TYPE_CD'].lower()}", key, {**row, "sequence": sequence})
    yield from _enrollment()


def _claim(claim: Row, samples: str, kind: str) -> Row:
    """The cells of a claim, of its first line and condition, and the name of who billed."""
    tables = TABLES["professional" if kind == "carrier" else "institutional"]
    rows = [row for row in rows_of("CLM_DT_SGNTR", samples) if row["CLM_DT_SGNTR_SK"] == claim["CLM_DT_SGNTR_SK"]]
    rows += [row for table in tables for row in _of_claim(claim, table, samples) if row.get("CLM_LINE_NUM", "1") == "1"]
    rows += [
        row for row in rows_of("CLM_RLT_COND_SGNTR_MBR", samples) if row.get("CLM_UNIQ_ID") == claim["CLM_UNIQ_ID"]
    ]
    cells = dict(claim)
    for row in rows:
        cells.update({**row, **{name: text for name, text in cells.items() if text}})
    for provider in rows_of("PRVDR_HSTRY"):
        if provider["PRVDR_NPI_NUM"] == claim.get("PRVDR_BLG_PRVDR_NPI_NUM"):
            cells["PRVDR_1ST_NAME PRVDR_LAST_NAME"] = f"{provider['PRVDR_1ST_NAME']} {provider['PRVDR_LAST_NAME']}"
    return cells


def _of_claim(claim: Row, table: str, samples: str) -> list[Row]:
    return [row for row in rows_of(table, samples) if all(row[name] == claim[name] for name in KEY)]


def _enrollment() -> Iterator[Record]:
    sent = {resource["id"] for resource in answers() if resource["resourceType"] == "Coverage"}
    people, plans = (rows_of(table, "test_samples1") for table in ("BENE_HSTRY", "CNTRCT_PBP_NUM"))
    mbis = {row["BENE_SK"]: row["BENE_MBI_ID"] for row in people if row["IDR_LTST_TRANS_FLG"] == "Y"}
    names = {row["CNTRCT_PBP_SK"]: row["CNTRCT_PBP_NAME"] for row in plans}
    for row in rows_of("BENE_MAPD_ENRLMT", "test_samples1"):
        person, month = row["BENE_SK"], f"{row['BENE_ENRLMT_BGN_DT'][:7]}-01"
        for part in PARTS[row["BENE_ENRLMT_PGM_TYPE_CD"]]:
            coverage = f"part-{part}-{person}-{row['BENE_CNTRCT_NUM']}-{row['BENE_PBP_NUM']}"
            if coverage in sent:
                joined = {"coverage_id": coverage, "first_month": month, "BENE_MBI_ID": mbis[person]}
                if row["CNTRCT_PBP_SK"] in names:
                    joined["CNTRCT_PBP_NAME"] = names[row["CNTRCT_PBP_SK"]]
                yield Record(
                    "enrollment",
                    {"patient_id": person},
                    {**row, **joined, **(_drug_plan(person) if part == "d" else {})},
                )


def _drug_plan(person: str) -> Row:
    """The cells of a person's drug card and low-income subsidy."""
    return {
        name: text
        for table, start in DRUG_PLAN.items()
        for row in rows_of(table, "test_samples1")
        if row["BENE_SK"] == person and row["IDR_LTST_TRANS_FLG"] == "Y"
        for name, text in row.items()
        if name.startswith(start)
    }


def cells_by_table() -> Iterator[tuple[str, int, int, list[tuple[str, str]]]]:
    """For each table: its rows, those about an answer, and the filled cells of these, as kind of record and column.

    A cell that a table before has as well, such as a key, has the kind `repeated`; one of a row that nothing compares, `other`.
    """
    samples = ("test_samples1", "test_samples2")
    names = {path.stem.partition("SYNTHETIC_")[2] for path in FOLDER.glob("*.csv")}
    seen: set[tuple[str, str]] = set()
    for table in sorted(names, key=lambda name: (name not in {"CLM", "BENE_MAPD_ENRLMT"}, name)):
        own = [found for part in samples for found in _of_answers(table, part)]
        cells = []
        for kind, owner, row in own:
            filled = [name for name in row if Record(kind, {}, row).text(name)]
            cells += [("repeated" if (owner, name) in seen else kind, name) for name in filled]
            seen |= {(owner, name) for name in filled if kind != "other"}
        yield table, sum(len(rows_of(table, part)) for part in samples), len(own), cells


def _of_answers(table: str, samples: str) -> Iterator[tuple[str, str, Row]]:
    """The rows of a table about a claim or a plan that was sent, with the kind of record and what tells the record from others."""
    plans = [record.cells for record in _enrollment()] if samples == "test_samples1" else []
    for row in rows_of(table, samples):
        if plan := next((plan for plan in plans if _is_of_plan(row, table, plan)), None):
            yield "enrollment", plan["BENE_SK"], row
    for claim in rows_of("CLM", samples):
        if claim["CLM_UNIQ_ID"] in CLAIMS[samples]:
            kind = CLAIMS[samples][claim["CLM_UNIQ_ID"]][0]
            for row in rows_of(table, samples):
                if _is_of_claim(row, table, claim):
                    yield (
                        _kind(kind, table, row),
                        f"{claim['CLM_UNIQ_ID']} {row.get('CLM_PROD_TYPE_CD')} {row.get('CLM_VAL_SQNC_NUM')}",
                        row,
                    )


def _kind(kind: str, table: str, row: Row) -> str:
    if kind == "carrier" and table not in {"CLM", "CLM_DT_SGNTR"}:
        return kind if table in TABLES["professional"] and row.get("CLM_LINE_NUM", "1") == "1" else "other"
    return f"product_{row['CLM_PROD_TYPE_CD'].lower()}" if table == "CLM_PROD" else kind


def _is_of_plan(row: Row, table: str, plan: Row) -> bool:
    if table == "CNTRCT_PBP_NUM":
        return row["CNTRCT_PBP_SK"] == plan["CNTRCT_PBP_SK"]
    if table in {*DRUG_PLAN, "BENE_LIS_CMBND"} and not plan["coverage_id"].startswith("part-d"):
        return False
    return row.get("BENE_SK") == plan["BENE_SK"] and row.get("IDR_LTST_TRANS_FLG") == "Y"


def _is_of_claim(row: Row, table: str, claim: Row) -> bool:
    if table == "PRVDR_HSTRY":
        return row["PRVDR_NPI_NUM"] == claim.get("PRVDR_BLG_PRVDR_NPI_NUM")
    if table == "CLM_RLT_COND_SGNTR_MBR":
        return row.get("CLM_UNIQ_ID") == claim["CLM_UNIQ_ID"]
    keys = KEY[:1] if table == "CLM_DT_SGNTR" else KEY
    return all(name in row and row[name] == claim[name] for name in keys)


def answers() -> list[dict[str, Any]]:
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
