"""The way of docs/v2-to-v3.md for a home that has loaded v2 for three years: beside each other, compared, switched, and back."""

import duckdb
import pytest
from rawfiles import load
from worlds import at, export

from bcda.settings import ApiVersion
from bcda.warehouse import publish
from bcda_simulator.world import World

WORLD = World(people=5, seed=23, history_weeks=400)
LISTS = {0: list("01234"), 52: list("0124"), 104: list("0123"), 148: list("012")}
"""Who is on the list of each full export of v2, by week: one person comes back, and two have left by the end."""

BASELINE = 148
STAYED = set(LISTS[BASELINE])

PAID = """
SELECT p.person_key, c.claim_type, count(*), sum(c.paid_amount)
FROM {view} AS c JOIN (SELECT DISTINCT person_key FROM patient) AS p ON p.person_key = c.person_key
GROUP BY ALL ORDER BY ALL
"""
SHOWN = {
    "claims": PAID.format(view="claim_current"),
    "cclf1": "SELECT bene_mbi_id, clm_type_cd, count(*), sum(clm_pmt_amt) FROM cclf.cclf1 GROUP BY ALL ORDER BY ALL",
    "people": "SELECT bene_mbi_id, file_date FROM cclf.cclf8 ORDER BY ALL",
}
OF_EVERY_VERSION = {
    "history": PAID.format(view="claim_across_versions"),
    "months": "SELECT person_key, month_start FROM enrollment ORDER BY ALL",
    "lists": "SELECT list_at::DATE, person_key, change FROM roster_change ORDER BY ALL",
}
KEYS = "SELECT patient_id, person_key FROM patient WHERE api_version = 'v2' ORDER BY ALL"


def ask(places, query):
    with duckdb.connect(str(places.published), read_only=True) as connection:
        return connection.execute(query).fetchall()


def answers(places, queries):
    return {name: ask(places, query) for name, query in queries.items()}


def load_week(places, week, people, version, after=None):
    files = export(WORLD, people, week=week, after=after, version=version)
    since = at(after) if after else None
    load(places, files, run_id=f"{version}-{week}", version=ApiVersion(version), transaction_time=at(week), since=since)


@pytest.mark.complete
def test_a_home_of_three_years_goes_from_v2_to_v3_and_back(places):
    for week, people in LISTS.items():
        load_week(places, week, people, "v2")
    publish(places)
    before, keys = answers(places, SHOWN | OF_EVERY_VERSION), ask(places, KEYS)
    assert before["claims"] == before["history"]
    mbi = {person: WORLD.mbi(person, at(BASELINE)) for person in LISTS[0]}
    assert before["people"] == sorted(
        (mbi[person], at(week).date()) for week, people in LISTS.items() for person in people
    )
    assert ask(places, "SELECT file_name FROM cclf.cclf8 GROUP BY ALL ORDER BY max(file_date)") == [
        (f"cclf8-v2-{week}",) for week in LISTS
    ]
    assert len({row[0] for row in before["history"]}) == len(keys) == 5

    # Beside each other: nothing that analysts see changes, and each person keeps the key.
    load_week(places, BASELINE, LISTS[BASELINE], "v3")
    publish(places)
    assert answers(places, SHOWN | OF_EVERY_VERSION) == before
    assert ask(places, KEYS) == keys
    keys_of_v3 = {key for (key,) in ask(places, "SELECT person_key FROM patient WHERE api_version = 'v3'")}
    left = {key for _, key in keys} - keys_of_v3
    assert (len(keys_of_v3), len(left)) == (len(STAYED), 5 - len(STAYED))
    compared = "SELECT sum(v2_claims) > 100, sum(abs(claims_differ)), sum(abs(paid_differs)) FROM version_comparison"
    assert ask(places, compared) == [(True, 0, 0)]

    # Switched: who left is in none of the views that show one version, and nothing of the others is lost.
    publish(places, shown_version=ApiVersion.V3)
    after = answers(places, SHOWN | OF_EVERY_VERSION)
    assert after["claims"] == [row for row in before["claims"] if row[0] in keys_of_v3]
    of_who_stayed = {mbi[person] for person in STAYED}
    assert after["people"] == [row for row in before["people"] if row[0] in of_who_stayed]
    assert [after[name] for name in OF_EVERY_VERSION] == [before[name] for name in OF_EVERY_VERSION]
    assert ask(
        places,
        "SELECT DISTINCT api_version, count(DISTINCT person_key) FROM claim_across_versions GROUP BY 1 ORDER BY 1",
    ) == [
        ("v2", len(left)),
        ("v3", len(STAYED)),
    ]
    paid_in_cclf = {
        row[0]: row[3]
        for row in ask(places, "SELECT bene_mbi_id, 1, count(*), sum(clm_pmt_amt) FROM cclf.cclf1 GROUP BY ALL")
    }
    of_v2 = {}
    for mbi, _, _, paid in before["cclf1"]:
        of_v2[mbi] = of_v2.get(mbi, 0) + paid
    assert paid_in_cclf == {mbi: paid for mbi, paid in of_v2.items() if mbi in paid_in_cclf}

    # Weeks go on with v3 alone. A change of v2 that nobody loads any more is not missed.
    load_week(places, BASELINE + 2, LISTS[BASELINE], "v3", after=BASELINE)
    publish(places)
    later = answers(places, OF_EVERY_VERSION)
    assert [row for row in later["history"] if row[0] in left] == [row for row in before["history"] if row[0] in left]
    assert sum(row[2] for row in later["history"]) > sum(row[2] for row in before["history"])

    # Back: what is shown is what v2 had.
    publish(places, shown_version=ApiVersion.V2)
    assert answers(places, SHOWN) == {name: before[name] for name in SHOWN}
