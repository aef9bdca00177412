"""Every row of the fault matrix against a real server: nothing is lost, nothing counted twice, nothing said about people."""

import hashlib
import logging
import shutil

import arrangements
import duckdb
import lives
import matrix
import pytest
from canaries import canaries, leaks, names_below, texts_of, texts_of_records
from driver import Export
from matrix import ROWS, Outcome

from bcda.places import Places
from bcda.warehouse import database
from bcda_simulator import SimulatorServer


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """API version → a home with the first week's full export."""
    homes = {}

    def home(version):
        if version not in homes:
            homes[version] = tmp_path_factory.mktemp(f"loaded-{version}") / "home"
            with SimulatorServer(arrangements.world(weeks=8), start=arrangements.START) as server:
                one = Export(server, Places.below(homes[version]), {}, {}, version, {})
                one.changes["resource_types"] = arrangements.WITH_COVERAGE
                one.to_the_end()
        return homes[version]

    return home


@pytest.fixture
def short_lock_wait(monkeypatch):
    attach = database.attach_waiting
    monkeypatch.setattr(
        database, "attach_waiting", lambda *given, **options: attach(*given, **{**options, "wait_seconds": 0.3})
    )


def state(places):
    """Return the published bytes and what the ledger says is loaded."""
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        ledger = [
            connection.execute(f"FROM ops.{name} ORDER BY ALL").fetchall()
            for name in ("export_run", "coverage", "gap", "quarantine", "export_file")
        ]
    return hashlib.sha256(places.published.read_bytes()).hexdigest(), ledger


def check_truth(places, server, row):
    """Compare what analysts see with the world."""
    world, now = arrangements.world(), server.clock.now()
    people = world.attribution_lists("A9999", "all", now)[-1].people
    with duckdb.connect(str(places.published), read_only=True) as connection:
        sums = connection.execute("SELECT bool_and(lines_read = rows_landed + lines_quarantined) FROM ops.export_file")
        assert sums.fetchall() == [(True,)]
        covered = connection.execute(
            "SELECT resource_type, max(until_ts) FROM ops.coverage WHERE list_contains($types, resource_type) GROUP BY ALL",
            {"types": list(row.wish["resource_types"])},
        ).fetchall()
        assert dict(covered) == dict.fromkeys(row.wish["resource_types"], world.last_load_at(now).replace(tzinfo=None))
        if row.fault == matrix.MANY_FILES:
            files = connection.execute(
                "SELECT count(*), sum(lines_read) FROM ops.export_file WHERE run_id = (SELECT max(run_id) FROM ops.export_run)"
            ).fetchall()
            assert files[0][0] == files[0][1] >= 5000
            return
        assert connection.execute("SELECT count(*) FROM patient").fetchall() == [(len(people),)]
        if "ExplanationOfBenefit" not in row.wish["resource_types"]:
            return
        expected = world.expected(now, people=people, version=row.api_version)
        claims = dict(connection.execute("SELECT claim_type, count(*) FROM claim GROUP BY ALL").fetchall())
        assert claims == dict(expected.claims)
        assert connection.execute("SELECT count(*) FROM claim_line").fetchall() == [(expected.lines,)]
        paid = connection.execute(
            "SELECT claim_type, sum(paid_amount) FROM claim_current WHERE claim_type <> 'PDE' GROUP BY ALL"
        ).fetchall()
        assert dict(paid) == expected.paid


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_fault(row, loaded, tmp_path, caplog, capfd, short_lock_wait):
    caplog.set_level(logging.DEBUG)
    home = tmp_path / "home"
    shutil.copytree(loaded(row.api_version), home)
    places = Places.below(home)
    source = row.source() if row.source else arrangements.world()
    with SimulatorServer(source, start=row.start, settings=row.server) as server:
        strikes = [matrix.fresh(fault) for fault in row.strikes]
        for fault in strikes:
            server.faults.add(fault)
        one = Export(server, places, dict(row.wish), dict(row.tuning), row.api_version, row.before)
        one.our_clock = row.our_clock
        undo = row.arrange(one) if row.arrange else None
        before = state(places) if places.published.exists() else None
        error = ended(one)
        if undo is not None:
            undo()
        assert [
            fault for given, fault in zip(row.strikes, strikes, strict=True) if not matrix.has_struck(given, fault)
        ] == []
        said = [*texts_of(error), *texts_of_records(caplog.records), *capfd.readouterr(), *names_below(home)]
        if row.outcome in {Outcome.FAILS, Outcome.WAITS}:
            check_failure(row, error)
            # What is merged already stays; it is the published file that must be as it was.
            compared = 1 if row.phase == "publish" else 2
            assert state(places)[:compared] == before[:compared]
            server.faults.clear()
            again(row, server, places).to_the_end()
        else:
            assert error is None, "".join(texts_of(error))
            assert one.waited >= row.waits
        if row.outcome is Outcome.GAP:
            check_gap(places)
            server.faults.clear()
            again(row, server, places).to_the_end()
            check_gap(places, closed=1)
        if row.outcome is Outcome.UNLISTED:
            assert people_without_coverage(places) == arrangements.PEOPLE
            server.faults.clear()
            again(row, server, places, full=True).to_the_end()
            assert people_without_coverage(places) == 0
        if row.outcome is Outcome.SET_ASIDE:
            check_quarantine(places)
        check_truth(places, server, row)
        # A kick-off that was given up can start a job later; it has to end by itself.
        lives.wait_until(lambda: not set(server.jobs().values()) & {"Pending", "In Progress"}, seconds=5)
        assert leaks(said, canaries(arrangements.world(), server, arrangements.PEOPLE)) == []


def ended(one):
    try:
        one.to_the_end()
    except Exception as error:  # noqa: BLE001 - the row says which one it must be
        return error
    return None


def again(row, server, places, **more):
    """Return the next run: nothing is wrong any more."""
    if row.source is not None:
        server.serve(arrangements.world())
    changes = {**row.wish, "scope": matrix.Scope.PATIENT, "since": None, **more}
    return Export(server, places, changes, {}, row.api_version, {})


def check_failure(row, error):
    assert isinstance(error, row.error), "".join(texts_of(error)) or "it loaded"
    assert matrix.matches(row.says, str(error)), str(error)


def check_gap(places, closed=0):
    with duckdb.connect(str(places.published), read_only=True) as connection:
        assert connection.execute(
            "SELECT resource_type, count(closed_run_id) FROM ops.gap GROUP BY ALL"
        ).fetchall() == [("ExplanationOfBenefit", closed)]


def people_without_coverage(places):
    with duckdb.connect(str(places.published), read_only=True) as connection:
        people, with_data, missing = connection.execute(
            "SELECT people_on_list, people_with_data, missing FROM ops.data_status WHERE resource_type = 'Coverage'"
        ).fetchall()[0]
    assert (f"{people - with_data} people without any Coverage" in missing) == (people > with_data)
    return people - with_data


def check_quarantine(places):
    with duckdb.connect(str(places.published), read_only=True) as connection:
        assert connection.execute("SELECT count(*), count(reason) FROM ops.quarantine").fetchall() == [(1, 1)]


def test_the_number_of_cases_is_printed(capsys):
    with capsys.disabled():
        print(f"\nfault matrix: {len(ROWS)} cases")
    assert len({str(row) for row in ROWS}) == len(ROWS), "two rows have one name"


def test_a_planted_leak_is_found(caplog):
    with SimulatorServer(arrangements.world(), start=arrangements.START) as server:
        wanted = canaries(arrangements.world(), server, arrangements.PEOPLE)
    assert len(wanted) > 3 * arrangements.PEOPLE
    for canary in wanted:
        caplog.clear()
        logging.getLogger("bcda.somewhere").warning("cannot read %s", f"x{canary}y")
        assert leaks(texts_of_records(caplog.records), wanted) != []
        error = ValueError("outer")
        error.__cause__ = KeyError(f"{canary}")
        assert leaks(texts_of(error), wanted) != []
