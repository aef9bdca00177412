"""The rule of coverage stands in `runs/coverage.py` and in `ops.data_status`: both say the same of any history."""

from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcda import model
from bcda.api.export_request import RESOURCE_TYPES
from bcda.runs import coverage
from bcda.runs.coverage import Covered, TypeLedger
from bcda.warehouse.views import renew_views

SCOPES = ("patient", "group-all", "group-runout")
KINDS = [(version, name) for version, names in RESOURCE_TYPES.items() for name in names]

# Few instants, so that intervals touch, and some around each floor and its overlap.
INSTANTS = sorted(
    {floor + timedelta(days=days) for floor in coverage.FLOORS.values() for days in (-1, 0, 1, 3, 4, 5, 30)}
)
MAYBE = st.none() | st.sampled_from(INSTANTS)


@st.composite
def loaded_runs(draw):
    """One loaded run: kind, scope, interval, date of its list, whether it brings history, and gaps of history it opened."""
    until = draw(st.sampled_from(INSTANTS))
    since = draw(st.none() | st.sampled_from([i for i in INSTANTS if i < until] or [None]))
    needs = draw(st.lists(st.sampled_from(("changes", "history")), max_size=2))
    return (
        *draw(st.sampled_from(KINDS)),
        draw(st.sampled_from(SCOPES)),
        since,
        until,
        draw(MAYBE),
        draw(st.booleans()),
        needs,
    )


@pytest.fixture(scope="module")
def database():
    connection = duckdb.connect()
    for statement in model.schema_sql():
        connection.execute(statement)
    renew_views(connection)
    yield connection
    connection.close()


def write(connection, runs):
    for table in ("ops.export_run", "ops.coverage", "ops.gap"):
        connection.execute(f"DELETE FROM {table}")
    for number, (version, name, scope, since, until, list_at, brings, needs) in enumerate(runs):
        at = [value and value.replace(tzinfo=None) for value in (since, until, list_at)]
        run = {"run": f"r{number}", "version": version, "scope": scope, "type": name, "since": at[0], "until": at[1]}
        connection.execute(
            "INSERT INTO ops.export_run SELECT $run, 's', $version, $scope, [$type], $since, $until, $since IS NULL, NULL, '', "
            "$list_at, NULL, $run, 'done', $until, $until, 0, 0, 0, 0, 0",
            run | {"list_at": at[2]},
        )
        connection.execute(
            "INSERT INTO ops.coverage VALUES ($version, $scope, $type, $since, $until, $until, $list_at, $brings, $run)",
            run | {"list_at": at[2], "brings": brings},
        )
        for need in needs:
            connection.execute(
                "INSERT INTO ops.gap (api_version, export_scope, resource_type, mbi, needs, since_ts, transaction_time, "
                "opened_run_id) VALUES ($version, $scope, $type, 'm', $need, $since, $until, $run)",
                run | {"need": need},
            )


def by_python(connection, version, population, name):
    asked = {"api_version": version, "is_runout": population == "runout", "resource_types": [name]}
    rows = connection.execute(model.sql("ops/type_ledger"), asked).fetchall()
    held = tuple(Covered(*(value and value.replace(tzinfo=UTC) for value in row[1:5]), row[5]) for row in rows)
    since = coverage.next_since({name: TypeLedger(held)}, version)
    return coverage.covered_until(held), since, coverage.loaded_list(held)


def told(value: datetime | None) -> datetime | None:
    return value and value.replace(tzinfo=UTC)


@settings(max_examples=25, deadline=None)
@given(runs=st.lists(loaded_runs(), min_size=1, max_size=14))
def test_data_status_says_what_the_next_run_is_planned_from(database, runs):
    write(database, runs)
    query = "SELECT api_version, population, resource_type, covered_until, asks_from, list_loaded FROM ops.data_status"
    found = database.execute(query).fetchall()
    assert {row[:3] for row in found} == {
        (version.value, "runout" if scope == "group-runout" else "current", name) for version, name, scope, *_ in runs
    }
    versions = {version.value: version for version in RESOURCE_TYPES}
    for version, population, name, *said in found:
        assert tuple(map(told, said)) == by_python(database, versions[version], population, name)


@pytest.mark.parametrize("tries", [1, coverage.GAP_TRIES - 1, coverage.GAP_TRIES, coverage.GAP_TRIES + 1])
def test_a_gap_is_given_up_after_the_tries_of_the_rule(database, tries):
    since = INSTANTS[0]
    runs = [(*KINDS[0], "patient", since, INSTANTS[1 + n], None, False, ["changes"]) for n in range(tries)]
    write(database, runs)
    found = database.execute("SELECT DISTINCT tries, is_tried_again FROM ops.open_gap").fetchall()
    assert found == [(tries, tries < coverage.GAP_TRIES)]


def test_a_database_of_a_release_with_another_constant_gets_that_of_this_one(database, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(coverage, "GAP_TRIES", 1)
        renew_views(database)
    write(database, [(*KINDS[0], "patient", INSTANTS[0], INSTANTS[1], None, False, ["changes"])])
    assert database.execute("SELECT is_tried_again FROM ops.open_gap").fetchall() == [(False,)]
    renew_views(database)
    assert database.execute("SELECT is_tried_again FROM ops.open_gap").fetchall() == [(True,)]
