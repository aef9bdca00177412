"""What a row of the fault matrix proves against a real server: nothing is lost, nothing counted twice, nothing said about people."""

import hashlib
import logging
import shutil
from datetime import timedelta

import arrangements
import duckdb
import killed_exports
import matrix
import pytest
from canaries import canaries, leaks, names_below, texts_of, texts_of_records
from matrix import ROWS, Outcome
from retried_export import Export

from bcda.bounds import LONGEST_MESSAGE
from bcda.runs.plan import GapWish
from bcda.storage.places import Places
from bcda_simulator import SimulatorServer


def rows(*, of_files):
    """Return the rows about files, or all others; those that end as another row of their phase does are of the complete matrix only.

    Two files of tests run side by side, and each has about half of the rows.
    """
    first = matrix.one_of_each_end()
    return [
        pytest.param(row, id=str(row), marks=() if str(row) in first else pytest.mark.complete)
        for row in ROWS
        if (row.phase in OF_FILES) is of_files
    ]


FRAME = 300
"""Characters that a line of a log may have around an error."""

OF_FILES = ("data", "land", "merge", "publish")
"""Phases in which files are at work."""


def prove(row, loaded, tmp_path, caplog, capfd):
    """Run an export with the fault of a row, and the next one without it where the first must not succeed.

    Args:
        row: of the matrix.
        loaded: the fixture.
        tmp_path, caplog, capfd: pytest's.
    """
    caplog.set_level(logging.DEBUG)
    home = tmp_path / "home"
    shutil.copytree(loaded(row.api_version), home, symlinks=True)
    places = Places.below(home)
    source, weeks = row.source() if row.source else arrangements.world(), arrangements.WEEKS
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
        # A server may say megabytes, and nobody's log or message gets them.
        lines = [record.getMessage() for record in caplog.records if record.name.startswith("bcda.")]
        assert max(map(len, [str(error), *lines])) <= LONGEST_MESSAGE + FRAME
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
        if row.outcome is Outcome.QUARANTINED:
            check_quarantine(places)
        if row.outcome in GAPS:
            check_gap(places, GAPS[row.outcome], is_closed=False)
            server.faults.clear()
            again(row, server, places, gaps=GapWish()).to_the_end()
            check_gap(places, GAPS[row.outcome], is_closed=True)
        if row.outcome is Outcome.UNLISTED:
            assert people_without_coverage(places) == arrangements.PEOPLE
            server.faults.clear()
            again(row, server, places, full=True).to_the_end()
            assert people_without_coverage(places) == 0
        if row.outcome in IN_RESOURCES:
            weeks = correct_resources(row, server, places, weeks)
        check_truth(places, server, row, arrangements.world(weeks))
        # A kick-off that was given up can start a job later; it has to end by itself.
        killed_exports.wait_until(lambda: not set(server.jobs().values()) & {"Pending", "In Progress"}, seconds=5)
        assert leaks(said, canaries(arrangements.world(), server, arrangements.PEOPLE)) == []


def correct_resources(row, server, places, weeks):
    """Check what the flaw left, load what BCDA corrects a week later, and check again; return the weeks of that world."""
    IN_RESOURCES[row.outcome](places, row, is_over=False)
    server.clock.advance(timedelta(weeks=1).total_seconds())
    server.serve(arrangements.world(weeks + 1))
    again(row, server, places).to_the_end()
    IN_RESOURCES[row.outcome](places, row, is_over=True)
    return weeks + 1


def state(places):
    """Return the published bytes and what the ledger says is loaded."""
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        ledger = [
            connection.execute(f"FROM ops.{name} ORDER BY ALL").fetchall()
            for name in ("export_run", "coverage", "gap", "quarantine", "export_file")
        ]
    return hashlib.sha256(places.published.read_bytes()).hexdigest(), ledger


def check_truth(places, server, row, world):
    """Compare what analysts see with the world."""
    now = server.clock.now()
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


GAPS = {
    Outcome.GAP: ("ExplanationOfBenefit",),
    Outcome.QUARANTINED: ("ExplanationOfBenefit",),
    Outcome.DELETED: ("ExplanationOfBenefit", "Patient"),
}
"""Types that have a gap."""


def check_gap(places, types, *, is_closed):
    with duckdb.connect(str(places.published), read_only=True) as connection:
        found = connection.execute(
            "SELECT resource_type, closed_run_id IS NOT NULL FROM ops.gap GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    assert found == [(resource_type, is_closed) for resource_type in types], found


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


FOUND_BY = {
    "swapped dates": "date_order",
    "a diagnosis pointer to nothing": "line_pointer",
    "no payment": "amount_missing",
    "a new claim type": "unknown_claim_type",
}


def check_suspect(places, row, *, is_over):
    """Every claim of the world is published; the one with the flaw is flagged and listed while it has the flaw."""
    with duckdb.connect(str(places.published), read_only=True) as connection:
        listed = connection.execute("SELECT claim_id, check_id, reason FROM ops.suspect_claim").fetchall()
        flagged = connection.execute("SELECT claim_id FROM claim_current WHERE is_suspect").fetchall()
        lines = connection.execute(
            "SELECT lines = (SELECT count(*) FROM claim) FROM ops.export_count WHERE resource_type = 'ExplanationOfBenefit' "
            "ORDER BY run_id DESC LIMIT 1"
        ).fetchall()
    assert lines == [(True,)]
    assert (FOUND_BY[row.strikes[0].text] in {found[1] for found in listed}) is not is_over
    assert {found[0] for found in listed} == {found[0] for found in flagged}
    assert len(flagged) == (0 if is_over else 1)
    assert all(reason for _, _, reason in listed)


def check_conflict(places, row, *, is_over):
    """The resource is listed once, with the content that counts."""
    with duckdb.connect(str(places.published), read_only=True) as connection:
        listed = connection.execute(
            "SELECT v.contents, v.content_hash = r.content_hash FROM ops.version_conflict AS v "
            "JOIN resource_version AS r USING (resource_type, resource_id, content_hash) WHERE r.first_run_id <= v.run_id"
        ).fetchall()
    assert listed == [(2, True)]


def check_shared(places, row, *, is_over):
    """Two people are one person while they share an MBI; everyone else keeps the key."""
    with duckdb.connect(str(places.published), read_only=True) as connection:
        people, persons = connection.execute("SELECT count(*), count(DISTINCT person_key) FROM patient").fetchall()[0]
        changes = connection.execute("SELECT change FROM ops.person_change ORDER BY run_id").fetchall()
    assert people - persons == (0 if is_over else 1)
    assert changes == ([("merge",), ("split",)] if is_over else [("merge",)])


IN_RESOURCES = {
    Outcome.SUSPECT: check_suspect,
    Outcome.CONFLICT: check_conflict,
    Outcome.SHARED: check_shared,
}
"""Outcomes of what is wrong in a resource itself, until BCDA sends it as it should be."""
