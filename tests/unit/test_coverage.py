"""The arithmetic of coverage, and the ledger in SQL that has to agree with it."""

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bcda.api.export_request import ExportRequest, Scope
from bcda.api.manifest import Manifest
from bcda.runs.coverage import (
    OVERLAP,
    Covered,
    Gap,
    Interval,
    TypeLedger,
    covered_until,
    is_covered,
    loaded_list,
    next_since,
    oldest,
)
from bcda.runs.landed import LakeFile, LandedBatch
from bcda.runs.plan import GapWish, ListDates, NotNeeded, Wish, decide
from bcda.runs.run import ExportRun
from bcda.settings import ApiVersion
from bcda.storage.places import Places
from bcda.warehouse import merge_run, open_warehouse, read_ledger

T0 = datetime(2026, 4, 1, tzinfo=UTC)
EOB = "ExplanationOfBenefit"


def day(number):
    return T0 + timedelta(days=number)


def covered(since, until, **more):
    return Covered(None if since is None else day(since), day(until), **more)


@pytest.mark.parametrize(
    ("runs", "reached"),
    [
        ([], None),
        ([(3, 9)], None),
        ([(None, 5)], 5),
        ([(None, 5), (5, 9)], 9),
        ([(5, 9), (None, 5)], 9),
        ([(None, 5), (6, 9)], 5),
        ([(None, 5), (3, 4)], 5),
        ([(None, 5), (None, 7), (2, 9), (11, 12)], 9),
    ],
    ids=["none", "no-beginning", "full", "chain", "any-order", "hole", "inside", "mixed"],
)
def test_covered_until_stops_at_the_first_hole(runs, reached):
    assert covered_until(covered(*pair) for pair in runs) == (None if reached is None else day(reached))


@given(
    st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 30)), st.integers(0, 30)), max_size=8),
    st.integers(0, 30),
    st.integers(0, 30),
)
def test_coverage_agrees_with_counting_days(pairs, since, until):
    runs = tuple(covered(a, b) for a, b in pairs if a is None or a < b)
    # Day n stands for the changes in (n - 1, n]; the beginning is everything up to day 0.
    days = {n for r in runs for n in range(0 if r.since is None else (r.since - T0).days + 1, (r.until - T0).days + 1)}
    reached = covered_until(runs)
    expected = next(n for n in range(32) if n not in days) - 1
    assert ((reached - T0).days if reached else -1) == max(expected, -1)
    if since < until:
        wanted = Interval(day(since), day(until))
        assert is_covered(wanted, TypeLedger(runs)) == (set(range(since + 1, until + 1)) <= days)


def test_the_next_export_starts_where_the_least_covered_type_ends():
    loaded = {
        "Patient": TypeLedger((covered(None, 9),)),
        "Coverage": TypeLedger((covered(None, 5), covered(5, 7))),
    }
    assert next_since(loaded, ApiVersion.V2) == day(7)
    assert next_since(loaded, ApiVersion.V3) == day(7) - OVERLAP
    assert next_since({**loaded, "Claim": TypeLedger((covered(None, 9),))}, ApiVersion.V2) == day(9) - OVERLAP
    assert next_since({**loaded, EOB: TypeLedger()}, ApiVersion.V2) is None
    assert next_since({}, ApiVersion.V2) is None


def test_a_gap_leaves_the_start_where_it_is_and_is_asked_for_from_the_oldest_on():
    runs = (covered(None, 5), covered(5, 9))
    assert next_since({EOB: TypeLedger(runs, (Gap(None, day(5)), Gap(day(5), day(9))))}, ApiVersion.V2) == day(9)
    assert oldest([Gap(day(7), day(9)), Gap(day(5), day(9))], ApiVersion.V2) == day(5)
    assert oldest([Gap(None, day(5)), Gap(day(5), day(9))], ApiVersion.V2) is None
    assert oldest([Gap(datetime(2026, 3, 1, tzinfo=UTC), day(9))], ApiVersion.V3) is None
    given_up = TypeLedger(runs, (Gap(day(5), day(9), is_tried_again=False),))
    assert not is_covered(Interval(day(6), day(8)), given_up)
    assert is_covered(Interval(day(1), day(5)), given_up)


def test_before_its_floor_a_version_is_asked_for_everything():
    old = datetime(2026, 3, 1, tzinfo=UTC)
    entry = {EOB: TypeLedger((Covered(None, old),))}
    assert next_since(entry, ApiVersion.V2) == old
    assert next_since(entry, ApiVersion.V3) is None
    older = {EOB: TypeLedger((Covered(None, datetime(2020, 2, 1, tzinfo=UTC)),))}
    assert next_since(older, ApiVersion.V2) is None


def test_what_bcda_had_nothing_newer_than_ends_a_chain_and_is_no_link_of_one():
    runs = (covered(None, 5, known_until=day(8)),)
    assert is_covered(Interval(day(4), day(8)), TypeLedger(runs))
    assert not is_covered(Interval(day(4), day(9)), TypeLedger(runs))
    assert not is_covered(Interval(day(4), day(12)), TypeLedger((*runs, covered(8, 12))))
    assert covered_until(runs) == day(5)


def test_a_list_is_loaded_from_the_beginning_or_from_the_date_of_a_loaded_one():
    full = covered(None, 5, list_at=day(0))
    chained = covered(0, 40, list_at=day(35), brings_history=True)
    changes = covered(5, 40, list_at=day(35))
    late = covered(5, 80, list_at=day(70), brings_history=True)
    assert loaded_list([full]) == day(0)
    assert loaded_list([chained]) is None
    assert loaded_list([chained, full]) == day(35)
    assert loaded_list([full, changes]) == day(0)
    # Who was on the list of day 35 but not on that of day 0 is not new after day 5 plus the list in between.
    assert loaded_list([full, late]) == day(0)
    assert loaded_list([full, chained, covered(35, 80, list_at=day(70), brings_history=True)]) == day(70)
    assert loaded_list([covered(None, 5)]) is None


PEOPLE = {"1AA0": 0, "1BB0": 0, "1CC0": 20, "1DD0": 45}
"""People and the day from which lists name them; lists come every twenty days."""

FAILING = st.sets(st.sampled_from(sorted(PEOPLE)), max_size=1)
ACTIONS = st.one_of(
    st.tuples(st.just("weekly"), FAILING),
    st.tuples(st.just("attribution"), FAILING),
    st.tuples(st.just("backfill"), st.integers(1, 60), st.integers(1, 20), st.booleans(), FAILING),
    st.tuples(st.just("since"), st.sampled_from([Scope.PATIENT, Scope.GROUP_ALL]), st.integers(1, 60), FAILING),
    st.tuples(st.just("full"), FAILING),
    st.tuples(st.just("gaps"), st.booleans(), FAILING),
    st.tuples(st.just("nothing loads")),
)


@dataclass
class Simulated:
    """A BCDA of one change a day and person, and the warehouse that is fed from it."""

    places: Places
    today: int = 1
    runs: int = 0
    got: dict[str, set[int]] = field(default_factory=lambda: {person: set() for person in PEOPLE})

    def list_at(self, on):
        return on // 20 * 20

    def on_list(self, list_day):
        return {person for person, joined in PEOPLE.items() if joined <= list_day}

    def ledger(self):
        return read_ledger(self.places, ApiVersion.V2, Scope.PATIENT, [EOB]).types

    def run(self, scope, failing, *, then=None, **wish):
        """Ask for what the plan says; what is fetched goes to `got`, what is claimed to the ledger."""
        asked = Wish(ApiVersion.V2, scope, (EOB,), **wish)
        decision = decide(asked, self.ledger(), ListDates(day(self.list_at(self.today))))
        if isinstance(decision, NotNeeded):
            return None
        since = None if decision.since is None else (decision.since - T0).days
        named = self.on_list(self.list_at(self.today))
        known = self.on_list(self.list_at(since)) if since is not None and scope is Scope.GROUP_ALL else named
        for person in named - failing:
            self.got[person] |= set(range(0 if since is None or person not in known else since + 1, self.today + 1))
        self.load(scope, decision.since, failing & named)
        return decision

    def load(self, scope, since, failing):
        self.runs += 1
        run = ExportRun(
            f"r{self.runs}",
            ExportRequest(ApiVersion.V2, scope, (EOB,), since),
            day(self.today),
            list_at=day(self.list_at(self.today)),
        )
        files = ()
        if failing:
            self.places.lake.mkdir(parents=True, exist_ok=True)
            rows = [f"Error retrieving {EOB} for beneficiary MBI {mbi} in ACO x" for mbi in sorted(failing)]
            lines = {"raw_file": ["00001-OperationOutcome.ndjson.gz"] * len(rows), "raw_line": range(1, len(rows) + 1)}
            table = pa.table({"severity": ["error"] * len(rows), "text": rows, **lines})
            pq.write_table(table, self.places.lake / f"{run.run_id}.parquet")
            files = (LakeFile("operation_outcome", f"{run.run_id}.parquet", len(rows)),)
        manifest = Manifest("1", day(self.today), "", None, ())
        merge_run(self.places, run, manifest, [LandedBatch(run.run_id, 0, (), files)], now=day(self.today))

    def check(self):
        """Whatever the ledger calls covered has been fetched, but for the people it lists as missing."""
        entry = self.ledger()[EOB]
        reached, loaded = covered_until(entry.covered), loaded_list(entry.covered)
        with duckdb.connect(str(self.places.warehouse), read_only=True) as connection:
            gaps = connection.execute("SELECT mbi, needs, since_ts, transaction_time FROM ops.open_gap").fetchall()
            (status,) = connection.execute(
                "SELECT covered_until, asks_from, list_loaded FROM ops.data_status"
            ).fetchall() or [(None, None, None)]
        naive = [
            value and value.replace(tzinfo=None) for value in (reached, next_since({EOB: entry}, ApiVersion.V2), loaded)
        ]
        assert list(status) == naive
        if reached is None or loaded is None:
            return
        for person in self.on_list((loaded - T0).days) & self.on_list(self.list_at(self.today)):
            listed = {
                n
                for mbi, needs, since, until in gaps
                if mbi == person
                for n in range(0 if since is None or needs == "history" else days(since) + 1, days(until) + 1)
            }
            missing = set(range((reached - T0).days + 1)) - self.got[person] - listed
            assert not missing, (person, missing)


def days(naive):
    return (naive.replace(tzinfo=UTC) - T0).days


@pytest.fixture(scope="module")
def empty_warehouse(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "working.duckdb"
    with open_warehouse(path) as connection:
        connection.execute("CHECKPOINT").fetchall()
    return path


@pytest.mark.complete
@example([(20, ("nothing loads",)), (20, ("since", Scope.GROUP_ALL, 30, set()))])
@example([(20, ("attribution", {"1CC0"})), (7, ("weekly", set()))])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from([1, 7, 20]), ACTIONS), min_size=2, max_size=7))
def test_no_sequence_of_runs_leaves_a_hole_that_the_ledger_calls_covered(tmp_path, empty_warehouse, steps):
    home = tmp_path / "home"
    shutil.rmtree(home, ignore_errors=True)
    world = Simulated(Places.below(home))
    world.places.warehouse.parent.mkdir(parents=True)
    shutil.copy(empty_warehouse, world.places.warehouse)
    for later, (kind, *how) in [(0, ("weekly", set())), *steps]:
        world.today += later
        if kind == "weekly":
            world.run(Scope.PATIENT, how[0])
        elif kind == "attribution":
            world.run(Scope.GROUP_ALL, how[0])
        elif kind == "gaps":
            world.run(Scope.PATIENT, how[1], gaps=GapWish(given_up_too=how[0]))
        elif kind == "full":
            world.run(Scope.PATIENT, how[0], full=True)
        elif kind == "since" and how[1] < world.today:
            world.run(how[0], how[2], since=day(how[1]))
        elif kind == "backfill" and how[0] + how[1] < world.today:
            wanted = Interval(day(how[0]), day(how[0] + how[1]))
            world.run(Scope.PATIENT, how[3], interval=wanted, force=how[2])
        world.check()
