"""Who is one person: what identifiers say now, for whoever they touch, with a record of every merge and split."""

import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from functools import cache
from itertools import permutations
from pathlib import Path

import duckdb
import pytest
from earlier_code import code_of
from rawfiles import NOON, land

from bcda.maintenance import rebuild_warehouse
from bcda.settings import ApiVersion
from bcda.storage.places import Places
from bcda.warehouse import merge_run, publish

COMMIT = "7d75af7"
"""The last one that never parted persons again."""

WEEK = timedelta(days=7)
MBI = "http://hl7.org/fhir/sid/us-mbi"


def patient(identifier, mbis, week=0, **changes):
    resource = {
        "resourceType": "Patient",
        "id": identifier,
        "meta": {"lastUpdated": (NOON - timedelta(days=300) + week * WEEK).isoformat()},
        "birthDate": "1940-02-03",
        "identifier": [{"system": MBI, "value": mbi} for mbi in sorted(mbis)],
    }
    return json.dumps(resource | changes, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def week(places, number, *patients, version=ApiVersion.V2):
    run_id = f"w{number}-{version}"
    run, manifest, landed = land(
        places,
        [("Patient", b"".join(patients))],
        run_id=run_id,
        transaction_time=NOON + number * WEEK,
        since=NOON + (number - 1) * WEEK if number else None,
        version=version,
    )
    (places.run_folder(run_id) / "manifest.json").write_bytes(manifest.to_bytes())
    merge_run(places, run, manifest, [landed], now=NOON + number * WEEK)


def query(places, sql):
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def keys(places):
    return dict(query(places, "SELECT patient_id, person_key FROM patient"))


def changes(places, number, version="v2"):
    sql = "SELECT patient_id, change, person_key_before, person_key_now FROM ops.person_change WHERE run_id = 'w{}-{}'"
    return sorted(query(places, sql.format(number, version)))


# What happens to the MBIs of an older person A and a younger one B, who has one of their own each.
STEPS = {
    "A is given B's": ("A", "b", True),
    "A loses B's": ("A", "b", False),
    "B is given A's": ("B", "a", True),
    "B loses A's": ("B", "a", False),
}
ORDERS = list(permutations(STEPS))


def test_an_mbi_is_given_and_withdrawn_in_all_orders(places):
    """One pair of persons for each order, and someone else beside them; after each step who shares an MBI is one person."""
    held = {n: {"A": {f"1A{n:03}"}, "B": {f"1B{n:03}"}} for n in range(len(ORDERS))}
    named = {(n, who): f"-{n:03}{who}" for n in held for who in "AB"}
    week(places, 0, *(patient(named[n, "A"], held[n]["A"]) for n in held), patient("-9", {"1C999"}))
    week(places, 1, *(patient(named[n, "B"], held[n]["B"]) for n in held))
    first = keys(places)
    assert len(set(first.values())) == 2 * len(ORDERS) + 1
    for number in range(4):
        before, sent = keys(places), []
        for n, order in enumerate(ORDERS):
            who, whose, is_given = STEPS[order[number]]
            mbi = f"1{whose.upper()}{n:03}"
            held[n][who] = held[n][who] | {mbi} if is_given else held[n][who] - {mbi}
            sent.append(patient(named[n, who], held[n][who], number + 1))
        week(places, number + 2, *sent)
        now, expected = keys(places), []
        assert now["-9"] == first["-9"]
        for n in held:
            older, younger = named[n, "A"], named[n, "B"]
            assert now[older] == first[older]
            is_one = bool(held[n]["A"] & held[n]["B"])
            assert now[younger] == (first[older] if is_one else first[younger]), ORDERS[n][: number + 1]
            if before[younger] != now[younger]:
                expected.append((younger, "merge" if is_one else "split", before[younger], now[younger]))
        assert changes(places, number + 2) == sorted(expected)
    assert {row[0] for row in query(places, "SELECT DISTINCT change FROM ops.person_change")} == {"merge", "split"}


@pytest.mark.complete
def test_the_order_in_which_runs_are_merged_makes_no_difference(tmp_path):
    runs = {
        0: [patient("-1", {"1A"}), patient("-2", {"1B"})],
        1: [patient("-2", {"1A", "1B"}, 1), patient("-3", {"1B"}, 1)],
        2: [patient("-2", {"1B"}, 2), patient("-1", {"0A"}, 2)],
        3: [patient("-3", {"1C"}, 3), patient("-4", {"1A"}, 3)],
    }
    landing = Places.below(tmp_path / "landed")
    landed = {
        n: land(landing, [("Patient", b"".join(sent))], run_id=f"r{n}", transaction_time=NOON + n * WEEK)
        for n, sent in runs.items()
    }

    @cache
    def merged(order):
        home = tmp_path / "-".join(map(str, order))
        mine = Places(landing.raw, landing.lake, home / "working.duckdb", home / "bcda.duckdb")
        for n in order:
            run, manifest, batch = landed[n]
            merge_run(mine, run, manifest, [batch], now=NOON + 4 * WEEK)
        return keys(mine)

    expected = merged((0, 1, 2, 3))
    assert len(set(expected.values())) == 4
    for order in list(permutations(runs))[::3]:
        assert merged(order) == expected, order


@pytest.mark.complete
def test_two_who_shared_an_mbi_from_the_beginning_are_parted_when_it_is_withdrawn(places):
    week(places, 0, patient("-1", {"1A"}), patient("-2", {"1A"}))
    shared = keys(places)
    assert shared["-1"] == shared["-2"]
    week(places, 1, patient("-2", {"1B"}, 1))
    now = keys(places)
    assert now["-1"] == shared["-1"] != now["-2"]
    week(places, 2, patient("-2", {"1A", "1B"}, 2))
    assert keys(places) == shared
    week(places, 3, patient("-2", {"1B"}, 3))
    assert keys(places) == now
    assert [changes(places, n)[0][1] for n in (1, 2, 3)] == ["split", "merge", "split"]


@pytest.mark.complete
def test_a_split_keeps_the_key_on_the_older_person_whose_mbi_is_withdrawn_too(places):
    week(places, 0, patient("-2", {"1B"}))
    week(places, 1, patient("-1", {"1B"}))
    shared = keys(places)
    week(places, 2, patient("-2", {"1X"}, 2))
    now = keys(places)
    assert now["-2"] == shared["-2"] != now["-1"]


@pytest.mark.complete
def test_a_smaller_mbi_leaves_the_key_of_a_person_as_it_was(places):
    week(places, 0, patient("-1", {"5E"}))
    before = keys(places)
    week(places, 1, patient("-1", {"5E", "1A"}, 1))
    week(places, 2, patient("-1", {"1A"}, 2))
    assert keys(places) == before
    assert query(places, "FROM ops.person_change") == []


@pytest.mark.complete
def test_versions_of_the_api_are_one_person_and_are_parted_together(places):
    week(places, 0, patient("-1", {"1A"}))
    week(places, 1, patient("-2", {"1B"}))
    week(places, 2, patient("1", {"1A"}), patient("2", {"1B"}), version=ApiVersion.V3)
    before = keys(places)
    assert (before["1"], before["2"]) == (before["-1"], before["-2"])
    week(places, 3, patient("2", {"1A", "1B"}, 3), version=ApiVersion.V3)
    assert set(keys(places).values()) == {before["-1"]}
    week(places, 4, patient("2", {"1B"}, 4), version=ApiVersion.V3)
    assert keys(places) == before
    assert [row[:2] for row in changes(places, 4, "v3")] == [("-2", "split"), ("2", "split")]


@pytest.mark.complete
def test_a_link_that_is_withdrawn_parts_persons(places):
    link = {"link": [{"type": "replaced-by", "other": {"reference": "Patient/1"}}]}
    week(places, 0, patient("1", {"1A"}), version=ApiVersion.V3)
    week(places, 1, patient("2", {"1B"}, **link), version=ApiVersion.V3)
    assert len(set(keys(places).values())) == 1
    week(places, 2, patient("2", {"1B"}, 2), version=ApiVersion.V3)
    assert len(set(keys(places).values())) == 2


EARLIER = """
import sys
from pathlib import Path
from bcda.places import Places
from test_identity_home import patient, week

places = Places.below(Path(sys.argv[1]))
week(places, 0, patient("-1", {"1A"}), patient("-2", {"1B"}), patient("-3", {"5E"}), patient("-4", {"1D"}))
week(places, 1, patient("-2", {"1A", "1B"}, 1), patient("-3", {"5E", "1C"}, 1))
week(places, 2, patient("-2", {"1B"}, 2))
"""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A home of the earlier release: -1 and -2 stay merged, -3 changed the key with a smaller MBI."""
    folder = tmp_path_factory.mktemp("earlier")
    code_of(COMMIT, folder / "code", "include", "tests/unit")
    text = Path(__file__).read_text()
    head = text[text.index("WEEK = ") : text.index("def query")]
    imports = "import json\nfrom datetime import timedelta\nfrom rawfiles import NOON, land\nfrom bcda.settings import ApiVersion\nfrom bcda.warehouse import merge_run\n"
    (folder / "code" / "test_identity_home.py").write_text(imports + head)
    path = os.pathsep.join(str(folder / "code" / part) for part in ("include", "", "tests/unit"))
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", EARLIER, str(folder / "home")], env=environment, check=True)
    return folder / "home"


@pytest.mark.complete
def test_a_home_of_an_earlier_release_parts_who_is_apart_and_keeps_all_other_keys(earlier, tmp_path):
    home = Places.below(shutil.copytree(earlier, tmp_path / "home"))
    before = keys(home)
    assert before["-1"] == before["-2"]
    week(home, 3, patient("-5", {"1F"}))
    now = keys(home)
    assert [now[who] for who in ("-1", "-3", "-4")] == [before[who] for who in ("-1", "-3", "-4")]
    assert now["-2"] not in {*before.values(), now["-5"]}
    assert changes(home, 3) == [("-2", "split", before["-2"], now["-2"])]
    week(home, 4, patient("-3", {"5E", "0A"}, 4), patient("-2", {"1B", "1A"}, 4))
    assert keys(home) == {**now, "-2": now["-1"]}
    assert publish(home).runs == 5


@pytest.mark.complete
@pytest.mark.parametrize("is_opened_before", [True, False])
def test_a_database_that_is_built_anew_has_the_keys_of_the_earlier_release(earlier, tmp_path, is_opened_before):
    home = Places.below(shutil.copytree(earlier, tmp_path / "home"))
    if is_opened_before:
        week(home, 3, patient("-5", {"1F"}))
    expected = keys(home)
    done = rebuild_warehouse(home, tmp_path / "fresh.duckdb")
    found = keys(Places(home.raw, home.lake, tmp_path / "fresh.duckdb", home.published))
    assert (found["-1"], found["-3"], found["-4"]) == (expected["-1"], expected["-3"], expected["-4"])
    assert found["-2"] != found["-1"]
    assert done.differing == (() if is_opened_before else ("patient",))
