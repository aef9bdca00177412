"""Which elements have a column is found by changing them; the committed page says so for the public samples."""

import importlib.util
import json
import re
from pathlib import Path

import public_samples
import pytest

from bcda import model
from bcda.reporting.elements import Element, element_report, typed_share
from bcda.settings import ApiVersion

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs" / "reference" / "elements.md"
AIM = 0.97

BUY_IN = "https://bluebutton.cms.gov/fhir/StructureDefinition/BENE-BUYIN-CD"


def coverage(number, **more):
    return {
        "resourceType": "Coverage",
        "id": f"part-a-{number}",
        "status": "active",
        "beneficiary": {"reference": f"Patient/{number}"},
        **more,
    }


def extension(code, *, url=BUY_IN, display="Buy-in"):
    system = url.replace("StructureDefinition", "CodeSystem")
    return {"url": url, "valueCoding": {"code": code, "system": system, "display": display}}


def report(*resources, version=ApiVersion.V3, kind="Coverage"):
    lines = [json.dumps(resource).encode() for resource in resources]
    return {element.path: element for element in element_report(version, kind, lines)}


def test_an_element_is_held_by_the_column_that_changes_with_it():
    found = report(coverage(1, extension=[extension("A")]), coverage(2))["extension[BENE-BUYIN-CD].valueCoding.code"]
    assert (found.values, found.probed, found.held) == (1, 1, 1)
    assert found.columns[0] == "coverage.buy_in_code"
    assert found.typed_values == 1


def test_an_element_without_a_column_is_not_held():
    url = "https://bluebutton.cms.gov/fhir/StructureDefinition/NO-SUCH-CD"
    found = report(coverage(1, extension=[extension("A", url=url)]))
    # What hangs on a value that no column holds is not implied by it.
    for name in ("url", "valueCoding.code", "valueCoding.display", "valueCoding.system"):
        element = found[f"extension[NO-SUCH-CD].{name}"]
        assert (element.held, element.implied, element.typed_values) == (0, "", 0)


def test_the_catch_all_of_extensions_is_no_column():
    url = "https://bluebutton.cms.gov/resources/variables/no_such_cd"
    claim = {
        "resourceType": "ExplanationOfBenefit",
        "id": "carrier-1",
        "status": "active",
        "extension": [extension("A", url=url)],
    }
    found = report(claim, version=ApiVersion.V2, kind="ExplanationOfBenefit")
    assert found["extension[no_such_cd].valueCoding.code"].held == 0
    assert found["status"].columns == ("claim.eob_status",)


def test_the_words_for_a_code_are_implied_as_long_as_they_are_the_same():
    path = "extension[BENE-BUYIN-CD].valueCoding.display"
    same = report(coverage(1, extension=[extension("A")]), coverage(2, extension=[extension("A")]))[path]
    assert (same.held, same.implied, same.typed_values) == (0, "The words for the code.", 2)
    other = report(coverage(1, extension=[extension("A")]), coverage(2, extension=[extension("A", display="?")]))[path]
    assert (other.held, other.implied, other.typed_values) == (0, "", 0)


def test_what_is_no_resource_after_a_change_is_not_evidence():
    found = report(coverage(1))
    assert (found["resourceType"].probed, found["resourceType"].implied) == (0, "A table holds one type.")


def test_an_element_that_is_held_now_and_then_counts_in_part():
    element = Element("x", values=10, probed=4, held=1, columns=("coverage.part",), implied="", left_out="")
    assert element.typed_values == 2.5
    assert typed_share([element]) == 0.25


def sections():
    """Heading → rows of cells."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        heading: [[cell.strip() for cell in line.split(" | ")] for line in text.splitlines() if line.startswith("| `")]
        for heading, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_every_column_that_the_page_names_is_there():
    there = {f"{name}.{column}" for name, _ in model.lake_tables() for column, *_ in model.columns(name)}
    named = {name for rows in sections().values() for row in rows for name in re.findall(r"`([a-z_]+\.\w+)`", row[-1])}
    assert len(named) > 200
    assert named - there - {"resource.meta_last_updated"} == set()


def test_columns_hold_nearly_all_of_each_type_or_the_page_says_why_not():
    shares = dict(re.findall(r"^\| \[(v\d \w+)\].*\| ([0-9.]+)% \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert shares.keys() == sections().keys()
    below = [name for name, share in shares.items() if float(share) < 100 * AIM]
    assert [row for name in below for row in sections()[name] if row[-1] == "no column |"] == []
    assert len(below) <= 1


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "scripts"))
    spec = importlib.util.spec_from_file_location("elements_script", PROJECT / "scripts" / "elements.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.samples
@public_samples.needed[1]
def test_the_page_is_that_of_the_samples(script):
    assert PAGE.read_text(encoding="utf-8") == script.page(public_samples.SAMPLES), "Run python scripts/elements.py."
