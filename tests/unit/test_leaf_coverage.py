"""Nothing of a resource is lost: every leaf value is in its text, and nearly all have a column; elements equal rows.

The samples are real and derived resources kept beside the project; where they are not, these tests are skipped.
"""

import json
import re
from collections import Counter
from decimal import Decimal

import public_samples
import pyarrow.parquet as pq
import pytest
from rawfiles import land

from bcda.settings import ApiVersion

EOB = "ExplanationOfBenefit"
FILES = sorted(public_samples.SAMPLES.glob("v?/ndjson/*.ndjson"))

pytestmark = public_samples.needed


def resource_type(path):
    return path.name.split(".")[0]


def landed_tables(places, path):
    """Land one sample file; return its parsed lines and the rows of every lake table, by table and line."""
    version = ApiVersion(path.parents[1].name)
    content = path.read_bytes()
    _, _, landed = land(places, [(resource_type(path), content)], version=version)
    assert landed.files[0].lines_quarantined == 0
    tables = {file.table: pq.ParquetFile(places.lake / file.path).read().to_pylist() for file in landed.lake_files}
    return [json.loads(line) for line in content.splitlines() if line.strip()], tables


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)
    else:
        yield path, value


def forms(value):
    """Every way in which a column may show a leaf value."""
    if isinstance(value, bool):
        return {str(value).lower()}
    text = str(value).strip()
    short = re.sub(r"^https?://bluebutton\.cms\.gov/(resources/variables|resources/codesystem|resources/identifier|identifiers"
                   r"|fhir/identifiers|fhir/CodeSystem|fhir/StructureDefinition)/", "", text)  # fmt: skip
    found = {
        text,
        short,
        text.upper().replace(".", ""),
        text.rpartition("/")[2],
        text[:10],
        text.zfill(2),
        text.zfill(4),
    }
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        found.add(str(Decimal(text).normalize() + 0))
    return found


def shown(rows):
    """Every value of a resource's rows, as texts."""
    found = set()
    for row in rows:
        for name, value in row.items():
            if name in ("raw_file", "raw_line") or value is None:
                continue
            for item in value if isinstance(value, list) else [value]:
                found.add(str(item).lower() if isinstance(item, bool) else str(item))
                if isinstance(item, Decimal):
                    found.add(str(item.normalize() + 0))
    return found


def typed_rows(tables):
    by_line = {}
    for table, rows in tables.items():
        if table != "resource":
            for row in rows:
                by_line.setdefault(row["raw_line"], []).append(row)
    return by_line


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_every_leaf_is_in_the_text_of_the_resource(places, path):
    resources, tables = landed_tables(places, path)
    bodies = [json.loads(row["body"]) for row in sorted(tables["resource"], key=lambda row: row["raw_line"])]
    assert [sorted(map(str, leaves(body))) for body in bodies] == [sorted(map(str, leaves(r))) for r in resources]


@pytest.mark.parametrize("version", list(ApiVersion))
def test_nearly_every_leaf_has_a_column(places, tmp_path, version, record_property, capsys):
    totals, missed, report = Counter(), Counter(), []
    for path in (path for path in FILES if path.parents[1].name == version):
        resources, tables = landed_tables(places.below(tmp_path / path.stem), path)
        by_line = typed_rows(tables)
        for number, resource in enumerate(resources, start=1):
            values = shown(by_line.get(number, []))
            for leaf, value in leaves(resource):
                # The names of extensions are rows of claim_extension; those of people and coverages are columns.
                if leaf[-1] in ("display", "text", "system") or (leaf[-1] == "url" and resource_type(path) != EOB):
                    continue
                totals[resource_type(path)] += 1
                if not forms(value) & values:
                    missed[(resource_type(path), ".".join(leaf))] += 1
    for kind, total in sorted(totals.items()):
        lost = sum(count for (of, _), count in missed.items() if of == kind)
        share = 1 - lost / total
        record_property(f"{version}.{kind}", round(share, 4))
        report.append(f"{version} {kind}: {share:.1%} of {total:,} leaves have a column")
    with capsys.disabled():
        print("", *report, *(f"  {kind} {leaf}: {n}" for (kind, leaf), n in missed.most_common(8)), sep="\n")
    lost = sum(count for (of, _), count in missed.items() if of == EOB)
    assert lost <= (0.03 if version is ApiVersion.V2 else 0.06) * totals[EOB]


ELEMENTS = {
    "claim_line": lambda r: r.get("item", []),
    "claim_line_amount": lambda r: [a for item in r.get("item", []) for a in item.get("adjudication", [])],
    "claim_diagnosis": lambda r: [
        d for d in r.get("diagnosis", []) if d.get("diagnosisCodeableConcept", {}).get("coding", [{}])[0].get("code")
    ],
    "claim_procedure": lambda r: r.get("procedure", []),
    "claim_care_team": lambda r: r.get("careTeam", []),
    "claim_supporting_info": lambda r: r.get("supportingInfo", r.get("information", [])),
}


def money(value):
    return f"{Decimal(str(value)):.2f}"


def amounts_of(resource):
    """Every amount of money of a claim as a whole, as texts to the cent."""
    found = [t["amount"]["value"] for t in resource.get("total", [])]
    found += [a["amount"]["value"] for a in resource.get("adjudication", []) if "amount" in a]
    found += [
        f["usedMoney"]["value"]
        for b in resource.get("benefitBalance", [])
        for f in b.get("financial", [])
        if "usedMoney" in f
    ]
    found += [x["valueMoney"]["value"] for x in resource.get("extension", []) if "valueMoney" in x]
    found += [resource["totalCost"]["value"]] if "totalCost" in resource else []
    found += [resource["payment"]["amount"]["value"]] if "amount" in resource.get("payment", {}) else []
    return sorted(money(value) for value in found)


@pytest.mark.parametrize(
    "path", [p for p in FILES if resource_type(p) == EOB], ids=lambda path: f"{path.parents[1].name}-{path.stem}"
)
def test_elements_are_rows_and_amounts_are_equal_to_the_cent(places, path):
    resources, tables = landed_tables(places, path)
    assert len(tables["claim"]) == len(resources)
    for table, elements in ELEMENTS.items():
        expected = Counter({n: len(elements(r)) for n, r in enumerate(resources, start=1) if elements(r)})
        assert Counter(row["raw_line"] for row in tables.get(table, [])) == expected, table
    for number, resource in enumerate(resources, start=1):
        rows = [row for row in tables.get("claim_amount", []) if row["raw_line"] == number]
        assert sorted(str(row["amount"]) for row in rows if row["amount"] is not None) == amounts_of(resource)
        lines = [row for row in tables.get("claim_line_amount", []) if row["raw_line"] == number]
        assert sorted(str(row["amount"]) for row in lines if row["amount"] is not None) == sorted(
            money(a["amount"]["value"]) for a in ELEMENTS["claim_line_amount"](resource) if "amount" in a
        )
