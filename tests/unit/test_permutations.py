"""Whatever the order of the same runs, repeated or overlapping, the tables are the same."""

import json
import shutil
from functools import cache
from itertools import count

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rawfiles import NOON, land
from worlds import at, export

from bcda import model
from bcda.settings import ApiVersion
from bcda.storage.places import Places
from bcda.warehouse import merge_run
from bcda_simulator.world import World

PEOPLE = ["0", "1", "2", "3"]
# name: week, changes after, people of the run (windows overlap, a full pull comes again, people come and go)
RUNS = {
    "full-90": (90, None, PEOPLE[:3]),
    "after-91": (91, 90, PEOPLE[:3]),
    "after-93": (93, 91, PEOPLE[:3]),
    "overlap-94": (94, 90, PEOPLE),
    "new-94": (94, None, PEOPLE[3:]),
    "full-96": (96, None, PEOPLE[1:]),
    "late-92": (92, 89, PEOPLE),
}
TABLES = [*(table.relation for table in model.core_tables()), "patient_identifier", "resource_version", "roster"]
VIEWS = ["claim_current", "claim_line_current", "cclf.cclf1", "cclf.cclf5", "cclf.cclf7", "cclf.cclf8", "cclf.cclf9"]


@pytest.fixture(scope="module", params=["v2", "v3"])
def landed(request, tmp_path_factory):
    """The runs of one version, landed once; merging is what is repeated."""
    places = Places.below(tmp_path_factory.mktemp(request.param))
    world = World(people=4, seed=5, history_weeks=30)
    runs = {}
    for name, (week, after, people) in RUNS.items():
        files = export(world, people, week=week, after=after, version=request.param)
        files.append(("Patient", changed_mbi(files[0][1], week)))
        runs[name] = land(
            places,
            files,
            run_id=name,
            version=ApiVersion(request.param),
            transaction_time=at(week),
            since=at(after) if after else None,
        )
    homes = count()

    def merged(order):
        home = tmp_path_factory.mktemp(f"order-{next(homes)}")
        mine = Places(places.raw, places.lake, home / "working.duckdb", home / "bcda.duckdb")
        for name in order:
            run, manifest, batch = runs[name]
            merge_run(mine, run, manifest, [batch], now=NOON)
        with duckdb.connect(str(mine.warehouse)) as connection:
            # Which version is shown is a choice, here the only one there is.
            found = {name: connection.execute(f"FROM {name} ORDER BY ALL").fetchall() for name in TABLES + VIEWS}
            found["reconciled"] = connection.execute("FROM ops.reconciliation ORDER BY ALL").fetchall()
        shutil.rmtree(home)
        return found

    merged.forward = cache(lambda: merged(list(RUNS)))
    return merged


def changed_mbi(lines, week):
    """A Patient of the world with another MBI each week, as an extra person."""
    if not lines:
        return b""
    resource = json.loads(lines.splitlines()[0])
    mbis = [i for i in resource["identifier"] if i["system"].endswith("/us-mbi")]
    mbis[0]["value"] = f"1S00A00AA{week}"
    resource["identifier"] = [*mbis, {**mbis[0], "value": "1S00A00AA00"}]
    resource["id"] = "-9"
    resource["meta"]["lastUpdated"] = at(week).isoformat()
    return json.dumps(resource, sort_keys=True, separators=(",", ":")).encode() + b"\n"


@pytest.mark.complete
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_any_order_of_the_same_runs_gives_the_same_tables(landed, data):
    order = data.draw(st.permutations(list(RUNS)))
    found, expected = landed(order), landed.forward()
    for name, rows in expected.items():
        assert found[name] == rows, (order, name)


@pytest.mark.complete
def test_the_runs_of_the_property_hold_what_it_is_about(landed):
    found = landed.forward()
    assert len({row[2] for row in found["resource_version"]}) > 60
    assert any(row[-1] for row in found["reconciled"])
    people = {row[2] for row in found["patient"] if row[1] == "-9"}
    assert len(people) == 1
    mbis = {(row[3], row[6]) for row in found["patient_identifier"] if row[1] == "-9"}
    assert ("1S00A00AA96", "current") in mbis
    assert ("1S00A00AA90", "historic") in mbis
