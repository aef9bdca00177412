"""Resources that the server sends in order and that are wrong in themselves: a claim with a flaw, an MBI of two people."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from bcda_simulator.world.fhir import line

Json = dict[str, Any]

_MBI = "http://hl7.org/fhir/sid/us-mbi"


def _swap_dates(claim: Json) -> None:
    claim["billablePeriod"]["end"] = "2001-02-03"


def _point_to_nothing(claim: Json) -> None:
    claim["item"][0]["diagnosisSequence"] = [99]


def _leave_out_payment(claim: Json) -> None:
    del claim["payment"]


def _rename_type(claim: Json) -> None:
    for coding in claim["type"]["coding"]:
        if coding["system"].endswith("/eob-type"):
            coding["code"] = "TELEHEALTH"


def _number_alike(claim: Json) -> None:
    claim["item"] = [{**item, "sequence": 1} for item in claim["item"]]


FLAWS: dict[str, Callable[[Json], None]] = {
    "swapped dates": _swap_dates,
    "a diagnosis pointer to nothing": _point_to_nothing,
    "no payment": _leave_out_payment,
    "a new claim type": _rename_type,
    "lines of one number": _number_alike,
    "two contents": _leave_out_payment,
}
"""What can be wrong with a claim. The claim with two contents comes as it is too, under the same lastUpdated."""


def flawed(lines: Iterator[bytes], flaw: str) -> Iterator[bytes]:
    """Yield claims, of which the first that counts and was paid has a flaw.

    Args:
        lines: of ExplanationOfBenefit.
        flaw: one of `FLAWS`.
    """
    is_done = False
    for text in lines:
        claim = json.loads(text)
        if is_done or claim["status"] != "active" or "amount" not in claim.get("payment", {}):
            yield text
            continue
        is_done = True
        if flaw == "two contents":
            yield text
        FLAWS[flaw](claim)
        yield line(claim)


def sharing(lines: Iterator[bytes], *, whose: str, given_to: str) -> Iterator[bytes]:
    """Yield Patients, of whom the one with the MBI `given_to` has the MBI `whose` beside it.

    Args:
        lines: of Patient.
        whose: MBI of someone else.
        given_to: MBI of who gets it.
    """
    for text in lines:
        patient = json.loads(text)
        mbis = [entry for entry in patient["identifier"] if entry["system"] == _MBI]
        if given_to not in {entry["value"] for entry in mbis}:
            yield text
            continue
        patient["identifier"].append({**mbis[0], "value": whose})
        yield line(patient)
