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
            paid = paid_by_claim(claim) + pass_through("v2", claim)
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


VERSIONS = [
    version if version is ApiVersion.V2 else pytest.param(version, marks=pytest.mark.complete) for version in ApiVersion
]


@pytest.fixture(scope="module", params=VERSIONS)
def versioned(request, tmp_path_factory):
    """The generated world in each version: version, places, and its claims that count, as JSON."""
    from bcda.storage.places import Places

    version, places = request.param, Places.below(tmp_path_factory.mktemp("versioned") / "home")
    files = export(World(people=25, seed=4), [str(n) for n in range(25)], week=WEEK, version=version)
    load(places, files, version=version, transaction_time=at(WEEK))
    lines = next(content for kind, content in files if kind == EOB).splitlines()
    return version, places, those_that_count([json.loads(line) for line in lines])


def those_that_count(claims):
    """Claims without drug events that count: active; on v3 also tagged final, and not named as prior by another such claim."""
    final = [claim for claim in claims if claim["status"] == "active" and type_of(claim) != "PDE" and is_final(claim)]
    replaced = {related["reference"]["value"] for claim in final for related in claim.get("related", ())}
    return [claim for claim in final if not any(i["value"] in replaced for i in claim["identifier"])]


def is_final(claim):
    tags = {tag["code"] for tag in claim["meta"].get("tag", ())}
    return not tags or {"NationalClaimsHistory", "FinalAction"} <= tags


def type_of(claim):
    return next(c["code"] for c in claim["type"]["coding"] if c["system"].lower().endswith("/eob-type"))


def named(claim):
    """Amounts and counts of a claim of any version by the end of their names, lower case."""
    balances = [f for balance in claim.get("benefitBalance", ()) for f in balance["financial"]]
    found = {f["type"]["coding"][0]["code"]: f.get("usedUnsignedInt", f.get("usedMoney")) for f in balances}
    found |= {x["url"]: x["valueMoney"] for x in claim.get("extension", ()) if "valueMoney" in x}
    found |= {
        a["category"]["coding"][-1]["code"]: a.get("value", a.get("amount")) for a in claim.get("adjudication", ())
    }
    values = {name.rpartition("/")[2]: v["value"] if isinstance(v, dict) else v for name, v in found.items()}
    return {name: Decimal(str(value)) for name, value in values.items()}


def pass_through(version, claim):
    """CCW, CLM_PMT_AMT: rate of a day times covered days, of hospital claims."""
    if type_of(claim) != "INPATIENT":
        return Decimal(0)
    rate, days = {"v3": ("CLM_INSTNL_PER_DIEM_AMT", "CLM_INSTNL_CVRD_DAY_CNT")}.get(
        version, ("clm_pass_thru_per_diem_amt", "clm_utlztn_day_cnt")
    )
    return named(claim)[rate] * named(claim)[days]


def paid_by_claim(claim):
    return Decimal(str(claim["payment"]["amount"]["value"]))


def test_total_cost_of_hospitals_has_their_pass_through_amounts(versioned):
    version, places, claims = versioned
    years, months, people, stays = defaultdict(lambda: [0, 0, 0]), Counter(), Counter(), Counter()
    newest = at(WEEK).date()
    for claim in claims:
        kind, paid, through = type_of(claim), paid_by_claim(claim), pass_through(version, claim)
        thru = day(claim["billablePeriod"]["end"])
        years[thru.year, kind] = [sum(pair) for pair in zip(years[thru.year, kind], (1, paid, through), strict=True)]
        months[thru.replace(day=1)] += paid + through
        people[claim["patient"]["reference"]] += paid + through
        stays[kind] += paid + through
    assert sum(through for _, _, through in years.values()) > 0
    assert [(*row[:4], row[4] or 0) for row in query(places, asked(1))] == [
        (year, kind, *figures) for (year, kind), figures in sorted(years.items()) if year >= 2025
    ]
    shown = query(places, asked(2))
    assert [(month, spent) for month, _, spent, _ in shown] == [
        (month, months[month]) for month in sorted(months) if month >= shown[0][0]
    ]
    assert shown[-1][0] <= newest
    # Of all stays, whatever their diagnosis.
    whole = asked(5).replace(" LIMIT 5", "")
    assert sum(cost for *_, cost in query(places, whole)) == stays["INPATIENT"]
    ranked = sorted(people.values(), reverse=True)
    tenths = [(tenth, number, spent) for tenth, number, spent, _ in query(places, asked(9).replace(" LIMIT 3", ""))]
    assert sum(number for _, number, _ in tenths) == len(ranked)
    assert tenths[0] == (1, tenths[0][1], sum(ranked[: tenths[0][1]]))


def balances(**amounts):
    kinds = {name: concept(("x", VARIABLES + name)) for name in amounts}
    financial = [
        {"type": kinds[name], **({"usedUnsignedInt": v} if isinstance(v, int) else {"usedMoney": {"value": v}})}
        for name, v in amounts.items()
    ]
    return {"benefitBalance": [{"category": concept(("x", "1")), "financial": financial}]}


def test_pass_through_is_of_hospitals_and_needs_days(places):
    load(
        places,
        [
            ("Patient", patient()),
            (
                EOB,
                v2(1, "INPATIENT", **balances(clm_pass_thru_per_diem_amt=100.15, clm_utlztn_day_cnt=12))
                + v2(2, "INPATIENT", **balances(clm_pass_thru_per_diem_amt=100.15))
                + v2(3, "SNF", **balances(clm_pass_thru_per_diem_amt=100.15, clm_utlztn_day_cnt=12))
                + v2(4, "INPATIENT", **balances(clm_utlztn_day_cnt=12))
                + v2(
                    5, "INPATIENT", status="cancelled", **balances(clm_pass_thru_per_diem_amt=1.5, clm_utlztn_day_cnt=1)
                ),
            ),
        ],
    )
    rows = query(
        places, "SELECT claim_id, covered_days::INTEGER, pass_through_amount FROM claim_pass_through ORDER BY 1"
    )
    assert rows == [("inpatient-1", 12, Decimal("1201.80")), ("inpatient-2", None, None)]
    # All bills are one stay; the one without days counts with what the claim paid.
    assert query(places, asked(5))[0][3] == 3 * Decimal("100.10") + Decimal("1201.80")


DISCIPLINES = ("055", "042", "043", "044", "056", "057")


def test_home_health_visits_by_discipline(versioned):
    _, places, claims = versioned
    periods, begun, visits, paid = Counter(), defaultdict(set), defaultdict(Counter), Counter()
    for claim in claims:
        if type_of(claim) == "HHA":
            year = day(claim["billablePeriod"]["end"]).year
            start = claim["hospitalization"]["start"] if "hospitalization" in claim else stay_of(claim)["start"]
            periods[year] += 1
            begun[year].add((claim["patient"]["reference"], start))
            paid[year] += paid_by_claim(claim)
            visits[year].update(
                item["revenue"]["coding"][0]["code"].zfill(4)[:3] for item in claim["item"] if "revenue" in item
            )
    assert all(sum(visits[year][discipline] for year in visits) for discipline in DISCIPLINES)
    assert query(places, asked(8)) == [
        (year, len(begun[year]), periods[year], *(visits[year][name] for name in DISCIPLINES), paid[year])
        for year in sorted(periods)
    ]


def test_periods_of_one_episode_and_visits_of_many_units(places):
    """Two periods since one admission are an episode; a line is a visit, whatever its units; supplies and therapy elsewhere are none."""
    start = {"admitted": "2026-01-01", "discharged": None}

    def care(number, first, last, *centers):
        claim = json.loads(bill(number, first, last, **start))
        units = [{"url": f"{VARIABLES}rev_cntr_unit_cnt", "valueQuantity": {"value": 4}}]
        items = [
            {"sequence": n, "revenue": concept((f"{VARIABLES}rev_cntr", center)), "extension": units}
            for n, center in enumerate(centers, start=1)
        ]
        eob_type = concept(("https://bluebutton.cms.gov/resources/codesystem/eob-type", "HHA"))
        return json.dumps(claim | {"id": f"hha-{number}", "type": eob_type, "item": items}).encode() + b"\n"

    lines = care(1, "2026-01-01", "2026-01-30", "0551", "551", "0270", "0421", "0001")
    lines += care(2, "2026-01-31", "2026-02-25", "0571", "0552") + bill(
        3, "2026-01-05", "2026-01-06", admitted="2026-01-05", discharged="2026-01-06", center="0420"
    )
    load(places, [("Patient", patient()), (EOB, lines)])
    assert query(places, asked(8)) == [(2026, 1, 2, 3, 1, 0, 0, 0, 1, Decimal("20000.00"))]


@pytest.mark.complete
@pytest.mark.parametrize("version", list(ApiVersion))
def test_every_version_gives_the_same_answers(tmp_path, version, world):
    from bcda.storage.places import Places

    places = Places.below(tmp_path / "home")
    files = export(World(people=25, seed=4), [str(n) for n in range(25)], week=WEEK, version=version)
    load(places, files, version=version, transaction_time=at(WEEK))
    for number, place in ((1, 0), (2, 0), (4, 0), (4, 1), (5, 0), (8, 0), (9, 0)):
        assert query(places, asked(number, place)) == query(world[0], asked(number, place)), (number, place)
    # The simulator's v3 does not say which drugs are generic.
    drugs = [[row[:5] for row in query(home, asked(7))] for home in (places, world[0])]
    assert drugs[0] == drugs[1]
