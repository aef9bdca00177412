"""The questions of the analysts' guide: each query against a second computation, from the JSON of the resources."""

import json
import re
from collections import Counter, defaultdict
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from rawfiles import load
from test_cases import EOB, VARIABLES, concept, diagnosis, patient, query, v2
from worlds import at, export

from bcda.settings import ApiVersion
from bcda_simulator.world import World

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "analysts.md").read_text(encoding="utf-8")
WEEK = 100


def asked(number, place=0):
    """Return a query of the guide by the number of its question."""
    (section,) = re.findall(rf"^### {number}\. .*?(?=^###|\Z)", GUIDE, re.MULTILINE | re.DOTALL)
    return re.findall(r"```sql\n(.*?)```", section, re.DOTALL)[place]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A generated world of v2, loaded, and its claims as JSON."""
    from bcda.storage.places import Places

    places = Places.below(tmp_path_factory.mktemp("questions") / "home")
    files = export(World(people=25, seed=4), [str(n) for n in range(25)], week=WEEK)
    load(places, files, transaction_time=at(WEEK))
    lines = next(content for kind, content in files if kind == EOB).splitlines()
    coverage = next(content for kind, content in files if kind == "Coverage").splitlines()
    return places, [json.loads(line) for line in lines], [json.loads(line) for line in coverage]


def kind_of(claim):
    return next(c["code"] for c in claim["type"]["coding"] if c["system"].endswith("/eob-type"))


def variable(elements, name):
    """The code of a CMS variable among extensions, or None."""
    return next((x["valueCoding"]["code"] for x in elements or () if x["url"] == f"{VARIABLES}{name}"), None)


def counted(claims):
    return [claim for claim in claims if claim["status"] == "active"]


def test_denied_claims_and_lines(world):
    places, claims, _ = world
    expected, lines = defaultdict(Counter), defaultdict(Counter)
    for claim in counted(claims):
        kind = kind_of(claim)
        if kind != "PDE":
            denial, reason = (
                variable(claim.get("extension"), n) for n in ("carr_clm_pmt_dnl_cd", "clm_mdcr_non_pmt_rsn_cd")
            )
            expected[kind].update(claims=1, denied=denial in {"0", "D"} or reason in set("BCNR"))
        if kind in {"CARRIER", "DME"}:
            for item in claim.get("item", ()):
                code = variable(item.get("extension"), "line_prcsg_ind_cd")
                lines[kind].update(lines=1, denied=code in set("BCDILMNOP"))
    assert any(counts["denied"] for counts in expected.values())
    assert [row[:3] for row in query(places, asked(4))] == [
        (kind, expected[kind]["claims"], expected[kind]["denied"]) for kind in sorted(expected)
    ]
    assert [row[:3] for row in query(places, asked(4, 1))] == [
        (kind, lines[kind]["lines"], lines[kind]["denied"]) for kind in sorted(lines)
    ]


PROFESSIONAL = {"0": True, "D": True}
ALLOWED = ["00", *"123456789ABEFGHJKPQTUVXY", "12", "13", "14", "21", "43"]


@pytest.mark.complete
@pytest.mark.parametrize("code", [*PROFESSIONAL, *ALLOWED])
def test_which_denial_codes_mean_denied(places, code):
    """CCW: 0 denied, D denied due to demonstration; the others name who was paid or say that another payer comes first."""
    load(places, [(EOB, v2(1, extension=[{"url": f"{VARIABLES}carr_clm_pmt_dnl_cd", "valueCoding": {"code": code}}]))])
    assert query(places, asked(4))[0][:3] == ("CARRIER", 1, int(code in PROFESSIONAL))


def emergency(item):
    code = next((c["code"] for c in item.get("revenue", {}).get("coding", [])), "").zfill(4)
    return code.startswith("045") or code == "0981"


def day(text):
    return date.fromisoformat(text[:10])


def stay_of(claim):
    """Admission and discharge of a claim of v2."""
    for info in claim.get("supportingInfo", ()):
        if "timingPeriod" in info:
            return info["timingPeriod"]
    return claim["billablePeriod"]


def test_emergency_visits_per_member_months(world):
    places, claims, coverage = world
    visits, months = set(), set()
    for claim in counted(claims):
        kind, person = kind_of(claim), claim["patient"]["reference"]
        for item in claim.get("item", ()):
            if kind in {"OUTPATIENT", "INPATIENT"} and emergency(item):
                start = (
                    item.get("servicedPeriod", {}).get("start")
                    or item.get("servicedDate")
                    or claim["billablePeriod"]["start"]
                )
                visits.add((person, day(stay_of(claim)["start"] if kind == "INPATIENT" else start)))
    for part in coverage:
        if part["id"].startswith("part-b"):
            year = next(x["valueDate"] for x in part["extension"] if x["url"].endswith("/rfrnc_yr"))
            for extension in part["extension"]:
                name = re.search(r"/mdcr_stus_cd|/buyin(\d\d)$", extension["url"])
                if name and name.group(1) and extension["valueCoding"]["code"] in {"2", "3", "B", "C"}:
                    months.add((part["beneficiary"]["reference"], int(year), int(name.group(1))))
    by_year, members = Counter(on.year for _, on in visits), Counter(year for _, year, _ in months)
    answer = query(places, asked(6))
    assert [(year, number) for year, number, _, _ in answer] == sorted(by_year.items())
    for year, number, member_months, per_1000 in answer:
        assert member_months == (members[year] or None)
        assert per_1000 == (round(Decimal(12000) * number / member_months) if member_months else None)


def bill(number, first, last, *, admitted, discharged, person="-7", center="0450", **changes):
    revenue = concept((f"{VARIABLES}rev_cntr", center))
    return v2(
        number,
        "INPATIENT",
        patient={"reference": f"Patient/{person}"},
        billablePeriod={"start": first, "end": last},
        payment={"amount": {"value": 10000, "currency": "USD"}},
        supportingInfo=[
            {
                "sequence": 1,
                "category": concept(
                    ("http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBSupportingInfoType", "admissionperiod")
                ),
                "timingPeriod": {"start": admitted, **({"end": discharged} if discharged else {})},
            }
        ],
        diagnosis=[diagnosis(1, changes.get("dx", "A419"), "principal")],
        item=[{"sequence": 1, "revenue": revenue}],
    )


def test_bills_and_transfers_of_one_stay_are_one_stay_and_one_visit(places):
    """Three bills of a long stay, a transfer on the day of discharge, and a stay of its own a day later."""
    first = {"admitted": "2026-01-01", "discharged": None}
    load(
        places,
        [
            ("Patient", patient("-7") + patient("-8", ("2BB0",))),
            (
                EOB,
                bill(1, "2026-01-01", "2026-01-31", **first)
                + bill(2, "2026-02-01", "2026-02-28", **first)
                + bill(3, "2026-03-01", "2026-03-10", admitted="2026-01-01", discharged="2026-03-10")
                + bill(
                    4,
                    "2026-03-10",
                    "2026-03-12",
                    admitted="2026-03-10",
                    discharged="2026-03-12",
                    center="0120",
                    dx="I10",
                )
                + bill(
                    5,
                    "2026-03-13",
                    "2026-03-14",
                    admitted="2026-03-13",
                    discharged="2026-03-14",
                    center="0120",
                    dx="I10",
                )
                + bill(
                    6, "2026-05-01", "2026-05-01", admitted="2026-05-01", discharged="2026-05-01", person="-8", dx="R05"
                ),
            ),
        ],
    )
    assert query(places, asked(5)) == [
        ("A419", 1, 70.0, Decimal("40000.00")),
        ("I10", 1, 1.0, Decimal("10000.00")),
        ("R05", 1, 0.0, Decimal("10000.00")),
    ]
    assert [row[:2] for row in query(places, asked(6))] == [(2026, 2)]


def test_stays_of_a_generated_world(world):
    places, claims, _ = world
    bills = defaultdict(list)
    for claim in counted(claims):
        if kind_of(claim) == "INPATIENT":
            period = stay_of(claim)
            principal = next(
                d["diagnosisCodeableConcept"]["coding"][0]["code"].replace(".", "")
                for d in claim["diagnosis"]
                if any(c["code"] == "principal" for t in d["type"] for c in t["coding"])
            )
            bills[claim["patient"]["reference"]].append((day(period["start"]), day(period["end"]), principal, claim))
    stays = []
    for of_person in bills.values():
        last = None
        for start, end, principal, claim in sorted(
            of_person, key=lambda b: (b[0], b[3]["billablePeriod"]["start"], b[3]["id"])
        ):
            paid = Decimal(str(claim["payment"]["amount"]["value"]))
            if last is not None and start <= last:
                stays[-1][1] = max(stays[-1][1], end)
                stays[-1][3] += paid
            else:
                stays.append([start, end, principal, paid])
            last = end if last is None else max(last, end)
    found = Counter(stay[2] for stay in stays)
    top = sorted(found, key=lambda code: (-found[code], code))[:5]
    answer = query(places, asked(5))
    assert [(code, number) for code, number, _, _ in answer] == [(code, found[code]) for code in top]
    assert [paid for *_, paid in answer] == [sum(stay[3] for stay in stays if stay[2] == code) for code in top]


def test_drugs_and_what_people_pay_of_them(world):
    places, claims, _ = world
    expected = defaultdict(lambda: [0, Decimal(0), Decimal(0)])
    for claim in counted(claims):
        deleted = any(
            c["code"] == "D" and c["system"].endswith("/adjstmt_dltn_cd")
            for info in claim.get("supportingInfo", ())
            for c in info.get("code", {}).get("coding", ())
        )
        if kind_of(claim) != "PDE" or deleted:
            continue
        (line,) = claim["item"]
        amounts = {
            c["code"].rpartition("/")[2]: Decimal(str(a["amount"]["value"]))
            for a in line["adjudication"]
            if "amount" in a
            for c in a["category"]["coding"]
        }
        total = expected[day(line["servicedDate"]).year]
        total[0] += 1
        total[1] += amounts["tot_rx_cst_amt"]
        total[2] += amounts["ptnt_pay_amt"]
    assert [row[:4] for row in query(places, asked(7))] == [(year, *expected[year]) for year in sorted(expected)]


@pytest.mark.complete
@pytest.mark.parametrize("version", list(ApiVersion))
def test_every_version_gives_the_same_answers(tmp_path, version, world):
    from bcda.storage.places import Places

    places = Places.below(tmp_path / "home")
    files = export(World(people=25, seed=4), [str(n) for n in range(25)], week=WEEK, version=version)
    load(places, files, version=version, transaction_time=at(WEEK))
    for number, place in ((4, 0), (4, 1), (5, 0)):
        assert query(places, asked(number, place)) == query(world[0], asked(number, place)), (number, place)
    # The simulator's v3 does not say which drugs are generic.
    drugs = [[row[:5] for row in query(home, asked(7))] for home in (places, world[0])]
    assert drugs[0] == drugs[1]
