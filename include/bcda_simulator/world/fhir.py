"""Small pieces of FHIR as the v2 server writes them."""

import json
from decimal import Decimal
from typing import Any

VARIABLES = "https://bluebutton.cms.gov/resources/variables/"
CODESYSTEM = "https://bluebutton.cms.gov/resources/codesystem/"
CARIN = "http://hl7.org/fhir/us/carin-bb/CodeSystem/"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"

Json = dict[str, Any]


def line(resource: Json) -> bytes:
    """Return a resource as a line: keys sorted, no blanks, a newline at the end (docs/bcda.md#data-files)."""
    text = json.dumps(resource, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode() + b"\n"


def number(value: Decimal | float) -> float | int:
    """Return a number as it leaves a system that keeps doubles: `100.00` becomes `100`."""
    as_float = float(value)
    return int(as_float) if as_float.is_integer() else as_float


def money(value: Decimal) -> Json:
    """Return a Money element."""
    return {"currency": "USD", "value": number(value)}


def coding(system: str, code: str, display: str | None = None) -> Json:
    """Return a Coding."""
    return {"system": system, "code": code} | ({"display": display} if display else {})


def concept(*codings: Json) -> Json:
    """Return a CodeableConcept."""
    return {"coding": list(codings)}


def variable(name: str, code: str, display: str | None = None) -> Json:
    """Return an extension that carries the code of a CMS variable."""
    return {"url": VARIABLES + name, "valueCoding": coding(VARIABLES + name, code, display)}


def variable_identifier(name: str, value: str) -> Json:
    """Return an extension that carries an identifier under the name of a CMS variable."""
    return {"url": VARIABLES + name, "valueIdentifier": {"system": VARIABLES + name, "value": value}}


def adjudication(category: str, name: str, amount: Decimal, label: str) -> Json:
    """Return an adjudication: the standard's category beside the CMS variable."""
    system = (
        f"{TERMINOLOGY}adjudication"
        if category in {"submitted", "benefit", "deductible", "coinsurance", "eligible"}
        else f"{CARIN}C4BBAdjudication"
    )
    return {
        "amount": money(amount),
        "category": concept(
            coding(system, category, category.capitalize()),
            coding(f"{CODESYSTEM}adjudication", VARIABLES + name, label),
        ),
    }


def information(sequence: int, name: str, code: str, display: str | None = None) -> Json:
    """Return supporting information that carries the code of a CMS variable."""
    return {
        "sequence": sequence,
        "category": concept(
            coding(f"{TERMINOLOGY}claiminformationcategory", "info", "Information"),
            coding(f"{CODESYSTEM}information", VARIABLES + name, name.replace("_", " ").title()),
        ),
        "code": concept(coding(VARIABLES + name, code, display)),
    }


def npi(value: str) -> Json:
    """Return an identifier that is an NPI."""
    return {
        "type": concept(coding(f"{CARIN}C4BBIdentifierType", "npi", "National Provider Identifier")),
        "value": value,
    }
