"""CCLF views against the crosswalk: every value computed a second time, from the JSON by FHIRPath, without our mapping.

The crosswalk says in `fhir_path` and `fallback_path` where a value is and in `transform`, in words, what becomes of it; the
words are written out here once more, in Python. Source: docs/cclf.md#the-crosswalk.
"""

import json
from collections import defaultdict
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path

import duckdb
import fhirpathpy
import public_samples
import pytest
from rawfiles import NOON, load

from bcda.model import cclf_views, data_path
from bcda.settings import ApiVersion

EOB = "ExplanationOfBenefit"
INSTITUTIONAL = ("INPATIENT", "OUTPATIENT", "SNF", "HOSPICE", "HHA")
TYPES = {
    "cclf1": INSTITUTIONAL,
    "cclf2": INSTITUTIONAL,
    "cclf3": ("INPATIENT", "OUTPATIENT", "SNF"),
    "cclf4": INSTITUTIONAL,
    "cclf5": ("CARRIER",),
    "cclf6": ("DME",),
    "cclf7": ("PDE",),
    "cclfa": INSTITUTIONAL,
    "cclfb": ("CARRIER",),
}
AVAILABLE = {"v1": 227, "v2": 226, "v3": 257}
UNKNOWN_DATES = {"0999-12-27", "1000-01-01", "9999-12-31"}

pytestmark = public_samples.needed


@cache
def compiled(path):
    return fhirpathpy.compile(path)


def found(path, resource, number=0):
    """Every value that a path of the crosswalk gives for a resource."""
    if not path or not path.startswith(f"{resource['resourceType']}."):
        return []
    return [v for v in compiled(path)(resource, {"i": number, "resource": resource}) if v not in ("", None)]


def first(row, resource, number=0):
    values = found(row["fhir_path"], resource, number) or found(row["fallback_path"], resource, number)
    return values[0] if values else None


@cache
def states():
    rows = [line.split(",") for line in Path(data_path("states.csv")).read_text().split()[1:]]
    return {ssa: (fips, usps) for ssa, fips, usps in rows}


def state(value, place):
    """FIPS code (place 0) or letters (place 1) of a state sent as SSA code or as letters."""
    if value is None:
        return None
    by_letters = {usps: (fips, usps) for fips, usps in sorted(states().values(), reverse=True)}
    return (states().get(str(value).zfill(2)) or by_letters.get(value) or (None, None))[place]


def no_dot(code):
    return str(code).replace(".", "").upper() if code is not None else None


def icd_indicator(system):
    text = str(system or "").lower().replace("-", "")
    return "9" if "icd9" in text else "0" if "icd10" in text else "U"


def typed(value, sql_type):
    """A JSON value as DuckDB returns the column's type."""
    if value is None:
        return None
    if sql_type == "DATE":
        return None if str(value)[:10] in UNKNOWN_DATES else date.fromisoformat(str(value)[:10])
    if sql_type.startswith("DECIMAL"):
        return Decimal(str(value)).quantize(Decimal("0.01" if sql_type.endswith(",2)") else "0.0001"))
    return int(Decimal(str(value))) if sql_type == "INTEGER" else str(value).strip()


class Golden:
    """The samples of one version and what the crosswalk makes of them."""

    def __init__(self, version):
        self.version = version
        self.resources = defaultdict(list)
        folder = public_samples.SAMPLES / version / "ndjson"
        seen = set()
        for path in sorted(folder.glob("*.ndjson")):
            for text in path.read_text().splitlines():
                resource = json.loads(text, parse_float=Decimal)
                kind = resource["resourceType"]
                if kind == EOB and "id" not in resource:
                    # Resources of v3 come from mapping sources and have placeholders where an export has numbers.
                    number = 700 + len(self.resources[EOB])
                    resource["id"] = str(number)
                    for identifier in resource["identifier"]:
                        if identifier.get("type", {}).get("coding", [{}])[0].get("code") == "uc":
                            identifier["value"] = str(number)
                if (kind, resource["id"]) not in seen:
                    seen.add((kind, resource["id"]))
                    self.resources[kind].append(resource)
        self.patients = {p["id"]: p for p in self.resources["Patient"]}
        self.coverages = {c["id"].lower(): c for c in self.resources["Coverage"]}

    def load(self, places):
        files = []
        for kind in ("Patient", "Coverage", EOB):
            lines = [json.dumps(r, sort_keys=True, separators=(",", ":"), default=float) for r in self.resources[kind]]
            files.append((kind, ("\n".join(lines) + "\n").encode()))
        load(places, files, version=ApiVersion(self.version))

    def claim_type(self, claim):
        return next(
            (c["code"] for c in claim["type"]["coding"] if c["system"].lower().endswith("/eob-type")), "UNKNOWN"
        )

    def claims(self, view):
        """Current claims that a view is about, as the crosswalk's notes tell them."""
        for claim in self.resources[EOB]:
            tags = {t["code"] for t in claim["meta"].get("tag", [])} if "meta" in claim else set()
            is_current = claim.get("status") == "active" and not tags & {"SharedSystem", "NotFinalAction"}
            if self.claim_type(claim) in TYPES[view] and is_current:
                yield claim

    def rows_of(self, view, claim):
        """Numbers of the elements that a claim's rows stand for, and what tells them apart."""
        if view in ("cclf2", "cclf5", "cclf6", "cclfb"):
            return range(len(claim["item"]))
        if view == "cclf3":
            return range(len(claim.get("procedure", [])))
        return self.diagnoses(claim) if view == "cclf4" else range(1)

    def kinds(self, diagnosis):
        return {c["code"] for t in diagnosis.get("type", []) for c in t.get("coding", [])}

    def code(self, diagnosis):
        return no_dot(diagnosis.get("diagnosisCodeableConcept", {}).get("coding", [{}])[0].get("code"))

    def diagnoses(self, claim):
        """Numbers of the diagnoses that cclf4 has: of a code that comes twice the principal one, else the first."""
        elements = list(enumerate(claim.get("diagnosis", [])))
        has_principal = any("principal" in self.kinds(d) for _, d in elements)
        kept = {}
        for number, element in sorted(elements, key=lambda one: "principal" not in self.kinds(one[1])):
            kinds = self.kinds(element)
            if not self.code(element) or kinds & {"patientreasonforvisit", "reason-for-visit"}:
                continue
            if "principal" not in kinds and "admitting" in kinds and (has_principal or self.version == "v3"):
                continue
            if self.untyped_admitting(claim) == number:
                continue
            kept.setdefault((self.is_external(element), self.code(element)), number)
        return sorted(kept.values())

    def untyped_admitting(self, claim):
        """v2 SNF claims begin with the admitting diagnosis, typed other."""
        elements = claim.get("diagnosis", [])
        kinds = [self.kinds(d) for d in elements]
        is_one = self.version == "v2" and self.claim_type(claim) == "SNF" and elements and "other" in kinds[0]
        return (
            0 if is_one and any("principal" in k for k in kinds) and not any("admitting" in k for k in kinds) else None
        )

    def is_total(self, line):
        """Revenue center 0001 repeats the sum of the others."""
        return any(
            str(coding.get("code", "")).zfill(4) == "0001" for coding in line.get("revenue", {}).get("coding", [])
        )

    def diagnosis_class(self, claim, number):
        external = [n for n in self.diagnoses(claim) if self.is_external(claim["diagnosis"][n])]
        if number not in external:
            return "D"
        return "1" if number == external[0] else "E"

    def is_external(self, diagnosis):
        return bool(self.kinds(diagnosis) & {"externalcauseofinjury", "external-first", "external"})

    def value(self, view, row, claim, number):  # noqa: C901, PLR0911, PLR0912 - one branch for each transform in words
        """The value of one column in one row, before it gets its type."""
        column, version, kind = row["column"], self.version, self.claim_type(claim)
        value = first(row, claim, number)
        if column == "BENE_MBI_ID":
            patient = self.patients.get(claim["patient"]["reference"].rpartition("/")[2])
            return first(row, patient) if patient else None
        if column == "DGNS_PRCDR_ICD_IND":
            return icd_indicator(value)
        if column == "CLM_PROD_TYPE_CD":
            return self.diagnosis_class(claim, number)
        if column == "CLM_VAL_SQNC_NUM" and view == "cclf4":
            # The principal one first, then its class, then the first external cause, then the others.
            def place(n):
                is_principal = "principal" in self.kinds(claim["diagnosis"][n])
                return "D1E".index(self.diagnosis_class(claim, n)), not is_principal, n

            return 1 + sorted(self.diagnoses(claim), key=place).index(number)
        if column == "CLM_POA_IND" and value is None:
            # Only one of the elements with the same code may have it.
            diagnosis = claim["diagnosis"][number]
            same = (self.is_external(diagnosis), self.code(diagnosis))
            others = (n for n, d in enumerate(claim["diagnosis"]) if (self.is_external(d), self.code(d)) == same)
            return next((code for n in others if (code := first(row, claim, n)) is not None), None)
        if column == "ADMTG_DGNS_CD" and value is None and self.untyped_admitting(claim) is not None:
            return self.code(claim["diagnosis"][0])
        if version == "v3" and column.startswith("CLM_DGNS_") and column[9].isdigit() and not column.endswith("_1_CD"):
            others = [self.code(d) for d in claim["diagnosis"] if "principal" not in self.kinds(d)]
            principal = [self.code(d) for d in claim["diagnosis"] if "principal" in self.kinds(d)]
            others = others[1:] if others[:1] == principal[:1] else others
            place = int(column.split("_")[2]) - 2
            return others[place] if place < len(others) else None
        if "DGNS" in column and column != "DGNS_DRG_CD":
            return no_dot(value)
        if column in ("PRVDR_FAC_FIPS_ST_CD", "RNDRG_PRVDR_FIPS_ST_CD") and version != "v3":
            return state(value, 0)
        if column in ("CLM_BILL_FAC_TYPE_CD", "CLM_BILL_CLSFCTN_CD", "CLM_BILL_FREQ_CD") and version == "v3":
            return value and value[-1]
        if column == "CLM_ADJSMT_TYPE_CD":
            return self.adjustment(view, value, claim)
        if column == "CLM_TYPE_CD" and view == "cclf7":
            return str(value).zfill(2) if version == "v3" else {"A": "02", "D": "03", "R": "04"}.get(value, "01")
        if column == "PRVDR_SRVC_ID_QLFYR_CD" and version != "v3":
            names = {"NPI": "01", "UPIN": "06", "NCPDP": "07", "SL": "08", "TAX": "11"}
            return "01" if value == "http://hl7.org/fhir/sid/us-npi" else names.get(str(value).upper(), "99")
        if column == "PRVDR_PRSBNG_ID_QLFYR_CD" and version != "v3":
            return "01"
        if column == "CLM_CNTL_NUM" and value is None:
            return next(i["value"] for i in claim["identifier"] if i.get("system", "").endswith(("clm_id", "pde_id")))
        if column in ("CLM_LINE_FROM_DT", "CLM_LINE_INSTNL_REV_CTR_DT", "CLM_LINE_THRU_DT") and value is None:
            return claim["billablePeriod"]["end" if "THRU" in column else "start"]
        if column == "CLM_LINE_SRVC_UNIT_QTY" and (version, view) == ("v2", "cclf2"):
            # The fallback is for older extracts; today item.quantity is the quantity of the drug (see the row's note).
            return (found(row["fhir_path"], claim, number) or [0])[0]
        if column == "CLM_LINE_SRVC_UNIT_QTY" and value is None:
            return 0 if (view == "cclf2" and version != "v1") or version == "v3" else None
        if column == "CLM_LINE_CVRD_PD_AMT" and view == "cclf2" and self.is_total(claim["item"][number]):
            return None
        if column == "CLM_LINE_CVRD_PD_AMT" and version != "v3" and view == "cclf2":
            return None if kind in ("INPATIENT", "SNF") else self.rev_center_paid(row, claim, number)
        if column.startswith("CLM_1_REV_CNTR_ANSI"):
            reasons = [v for n in range(len(claim["item"])) for v in found(row["fhir_path"], claim, n)]
            if not reasons or version == "v3":
                return reasons[0] if reasons else None
            return reasons[0][:2] if column.endswith("GRP_CD") else reasons[0][2:]
        widths = {"BENE_PTNT_STUS_CD": 2, "CLM_DISP_CD": 2, "DGNS_DRG_CD": 3, "CLM_LINE_PROD_REV_CTR_CD": 4}
        return str(value).zfill(widths[column]) if column in widths and value is not None else value

    def rev_center_paid(self, row, claim, number):
        amount = "rev_cntr_pmt_amt_amt" if self.claim_type(claim) == "HHA" else "rev_cntr_prvdr_pmt_amt"
        path = row["fhir_path"].replace("rev_cntr_prvdr_pmt_amt", amount)
        values = found(path, claim, number) or found(row["fallback_path"], claim, number)
        return values[0] if values else None

    def adjustment(self, view, value, claim):
        if self.version == "v3":
            return (value or "0") if view == "cclf7" else value if value in ("0", "2") else "0"
        if view != "cclf7":
            return "0"
        key = "supportingInfo" if self.version == "v2" else "information"
        codes = [
            s["code"]["coding"][0]["code"]
            for s in claim[key]
            if any(c["code"].endswith("adjstmt_dltn_cd") for c in s["category"]["coding"])
        ]
        return {"D": "1", "A": "2"}.get(codes[0] if codes else None, "0")

    def person(self, row, patient):  # noqa: PLR0911
        """The value of one column of CCLF8."""
        column = row["column"]
        part = {"part-a": "a", "part-b": "b", "dual": "dual", "part-a|part-b": "a"}.get(row["claim_types"])
        if column == "BENE_AGE":
            birth = date.fromisoformat(str(patient["birthDate"]))
            return NOON.year - birth.year - ((NOON.month, NOON.day) < (birth.month, birth.day))
        if row["resource"] == "Coverage":
            coverage = self.coverages.get(f"part-{part}-{patient['id']}".lower())
            values = found(row["fhir_path"], coverage) if coverage else []
            return values[-1] if values and column == "BENE_ENTLMT_BUYIN_IND" else values[0] if values else None
        if row["resource"] == EOB:
            spans = [
                v
                for claim in self.resources[EOB]
                if self.claim_type(claim) == "HOSPICE" and claim["patient"]["reference"] == f"Patient/{patient['id']}"
                for v in found(row["fhir_path"], claim)
            ]
            return (min if column.endswith("BGN_DT") else max)(spans, default=None)
        value = first(row, patient)
        if column == "BENE_DUAL_STUS_CD":
            return (found(row["fhir_path"], patient) or [None])[-1]
        if column in ("BENE_FIPS_STATE_CD", "GEO_USPS_STATE_CD"):
            return state(value, 0 if "FIPS" in column else 1)
        if column in ("BENE_ZIP_CD", "GEO_ZIP5_CD"):
            return str(value)[:5] if value else None
        if column == "GEO_ZIP4_CD":
            return str(value).replace("-", "")[5:9] or None if value else None
        if column == "BENE_SEX_CD":
            return {"male": "1", "female": "2", "unknown": "0"}.get(value)
        omb = {"2106-3": "1", "2054-5": "2", "2131-1": "3", "2028-9": "4", "2135-2": "5", "1002-5": "6", "UNK": "0"}
        return omb.get(value) if column == "BENE_RACE_CD" and self.version == "v3" else value


@pytest.fixture(scope="module", params=["v1", "v2", "v3"])
def golden(request, tmp_path_factory):
    from bcda.storage.places import Places

    made = Golden(request.param)
    made.places = Places.below(tmp_path_factory.mktemp(request.param))
    made.load(made.places)
    return made


def rows_of_view(golden, view):
    """The rows of a view with None for blanks, which is what text is never: the layout has blanks."""
    text = {column.name for column in cclf_views.layout()[view] if column.sql_type == "VARCHAR"}
    with duckdb.connect(str(golden.places.warehouse), read_only=True) as connection:
        result = connection.execute(f"FROM cclf.{view}")
        names = [column[0] for column in result.description]
        rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    assert not [name for row in rows for name in text if row[name] is None]
    return [{name: None if name in text and value == "" else value for name, value in row.items()} for row in rows]


def available(golden, view):
    return [c for c in cclf_views.layout()[view] if c.is_available(golden.version)]


def normal(rows, columns):
    return sorted(tuple(str(row[c.name]) for c in columns) for row in rows)


def test_all_available_columns_are_compared(golden):
    views = list(cclf_views.layout())
    assert sum(len(available(golden, view)) for view in views) == AVAILABLE[golden.version]
    assert set(views) == {*TYPES, "cclf8", "cclf9"}


@pytest.mark.parametrize("view", sorted(set(TYPES) - {"cclfa"}))
def test_a_claim_view_holds_what_the_crosswalk_says(golden, view):
    columns = available(golden, view)
    expected = [
        {c.name: typed(golden.value(view, c.crosswalk[golden.version], claim, n), c.sql_type) for c in columns}
        for claim in golden.claims(view)
        for n in golden.rows_of(view, claim)
    ]
    rows = rows_of_view(golden, view)
    assert expected
    assert len(rows) == len(expected)
    for column in columns:
        assert normal(rows, [column]) == normal(expected, [column]), column.name
    assert normal(rows, columns) == normal(expected, columns)


def test_cclfa_has_a_row_for_each_condition_code(golden):
    columns = available(golden, "cclfa")
    expected = []
    for claim in golden.claims("cclfa"):
        kind = golden.claim_type(claim)
        row = {}
        for column in columns:
            source = column.crosswalk[golden.version]
            row[column.name] = typed(golden.value("cclfa", source, claim, 0), column.sql_type)
            if column.name == "CLM_NCVRD_CHRG_AMT" and golden.version != "v3" and kind not in ("INPATIENT", "SNF"):
                row[column.name] = uncovered(claim)
        codes = [
            code
            for c in columns
            if c.name == "CLM_RLT_COND_CD"
            for code in found(c.crosswalk[golden.version]["fhir_path"], claim)
        ]
        expected += [{**row, "CLM_RLT_COND_CD": code} for code in codes] or [row]
    rows = rows_of_view(golden, "cclfa")
    for column in columns:
        assert normal(rows, [column]) == normal(expected, [column]), column.name
    assert normal(rows, columns) == normal(expected, columns)


def uncovered(claim):
    amounts = [
        Decimal(str(a["amount"]["value"]))
        for item in claim["item"]
        for a in item.get("adjudication", [])
        if any(c["code"].endswith("/rev_cntr_ncvrd_chrg_amt") for c in a["category"]["coding"])
        if item["revenue"]["coding"][0]["code"].zfill(4) != "0001"
    ]
    return sum(amounts).quantize(Decimal("0.01")) if amounts else None


def test_cclf8_is_the_person_with_coverage_and_hospice(golden):
    columns = available(golden, "cclf8")
    expected = [
        {c.name: typed(golden.person(c.crosswalk[golden.version], patient), c.sql_type) for c in columns}
        for patient in golden.resources["Patient"]
    ]
    rows = rows_of_view(golden, "cclf8")
    assert len(rows) == len(expected)
    for column in columns:
        assert normal(rows, [column]) == normal(expected, [column]), column.name
    assert normal(rows, columns) == normal(expected, columns)


def test_cclf9_names_every_former_mbi(golden):
    expected = []
    for patient in golden.resources["Patient"]:
        row = {c.name: c.crosswalk[golden.version] for c in cclf_views.layout()["cclf9"]}
        current = first(row["CRNT_NUM"], patient)
        former = found(row["PRVS_NUM"]["fhir_path"], patient)
        starts = found(row["PRVS_ID_EFCTV_DT"]["fhir_path"], patient)
        ends = found(row["PRVS_ID_OBSLT_DT"]["fhir_path"], patient)
        expected += [
            ("M", current, mbi, starts[n] if n < len(starts) else None, ends[n] if n < len(ends) else None)
            for n, mbi in enumerate(former)
            if mbi != current
        ]
    with duckdb.connect(str(golden.places.warehouse), read_only=True) as connection:
        rows = connection.execute(
            "SELECT HICN_MBI_XREF_IND, CRNT_NUM, PRVS_NUM, PRVS_ID_EFCTV_DT, PRVS_ID_OBSLT_DT FROM cclf.cclf9"
        ).fetchall()
    estimated = golden.version != "v3"
    assert sorted(row[:3] for row in rows) == sorted(row[:3] for row in expected)
    if not estimated:
        assert sorted(str(row) for row in rows) == sorted(
            str((*row[:3], typed(row[3], "DATE"), typed(row[4], "DATE"))) for row in expected
        )


def test_what_a_version_does_not_supply_is_empty(golden):
    for view, columns in cclf_views.layout().items():
        for row in rows_of_view(golden, view):
            for column in columns:
                assert column.is_available(golden.version) or row[column.name] is None, (view, column.name)
