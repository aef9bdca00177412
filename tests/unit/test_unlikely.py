"""Exports that cannot be right are refused as a whole, and what could not be read is a gap."""

import json
from dataclasses import replace
from datetime import timedelta

import duckdb
import pytest
from rawfiles import NOON, land, load
from test_warehouse import EOB, claim, patient

from bcda.acceptance import Acceptance
from bcda.errors import InvalidRequestError, UnlikelyExportError
from bcda.runs.run import amend_run, read_run
from bcda.storage.places import Places
from bcda.warehouse import merge_run

WEEK = timedelta(days=7)
BAD = b"{no JSON\n"
EDGES = [(1, 1, False), (1000, 10, False), (1, 10, True)]


@pytest.fixture
def places(tmp_path):
    return Places.below(tmp_path)


def people(number):
    return b"".join(patient((f"{n}AA0",), id=f"-{n}") for n in range(1, number + 1))


def claims(number):
    return b"".join(claim(n) for n in range(1, number + 1))


def merged(places, files, *, run_id="r2", acceptance=None, accepted=(), **options):
    run, manifest, landed = land(places, files, run_id=run_id, **options)
    run = replace(run, **dict.fromkeys(accepted, True))
    return merge_run(
        places, run, manifest, [landed], now=manifest.transaction_time, acceptance=acceptance or Acceptance()
    )


def rows(places, statement):
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        return connection.execute(statement).fetchall()


@pytest.mark.parametrize(
    ("good", "bad", "is_refused"),
    [
        (0, 1, True),
        (1, 9, False),
        (980, 10, True),
        *(pytest.param(*case, marks=pytest.mark.complete) for case in EDGES),
    ],
)
def test_a_run_is_refused_when_too_much_cannot_be_read(places, good, bad, is_refused):
    files = [("Patient", people(1)), (EOB, claims(good) + BAD * bad)]
    if is_refused:
        with pytest.raises(
            UnlikelyExportError, match=rf"{bad} of {good + bad} ExplanationOfBenefit lines cannot be read"
        ):
            merged(places, files)
        assert rows(places, "FROM ops.export_run") == []
    else:
        merged(places, files)
        assert rows(places, "SELECT lines_quarantined FROM ops.export_run") == [(bad,)]


@pytest.mark.complete
def test_the_share_is_a_setting(places):
    files = [(EOB, claims(10) + BAD * 10)]
    assert Places.from_environment({"BCDA_HOME": "/x", "BCDA_QUARANTINED_SHARE": "0.5"}).acceptance == Acceptance(0.5)
    merged(places, files, acceptance=Acceptance(0.5))


@pytest.mark.parametrize("text", ["-0.1", "1.1", "nan", "one", "1%"])
def test_a_malformed_share_is_refused_by_its_name(text):
    with pytest.raises(InvalidRequestError, match=f"BCDA_QUARANTINED_SHARE must be a number from 0 to 1.*Got: {text}"):
        Acceptance.from_environment({"BCDA_QUARANTINED_SHARE": text})


FULL = [("Patient", people(4)), (EOB, claims(3))]


@pytest.mark.parametrize(
    ("files", "says", "accepted"),
    [
        ([("Patient", b""), (EOB, claims(3))], "no people, and the last one did", "accept_empty"),
        pytest.param(
            [("Patient", people(4)), (EOB, b"")],
            "no claims, and the last one did",
            "accept_empty",
            marks=pytest.mark.complete,
        ),
        ([("Patient", people(1)), (EOB, claims(3))], "fewer than half of the people", "accept_smaller_list"),
    ],
    ids=["nobody", "no claims", "half"],
)
def test_a_full_export_of_hardly_anything_is_loaded_only_when_a_person_has_accepted_it(places, files, says, accepted):
    load(places, FULL)
    before = rows(places, "FROM ops.export_run")
    later = {"transaction_time": NOON + WEEK}
    other = {"accept_empty", "accept_smaller_list"} - {accepted}
    for not_accepted in ((), other):
        with pytest.raises(UnlikelyExportError, match=says) as refused:
            merged(places, files, accepted=not_accepted, **later)
    assert accepted in str(refused.value)
    assert rows(places, "FROM ops.export_run") == before
    assert rows(places, "SELECT count(*) FROM claim") == [(3,)]
    merged(places, files, accepted=[accepted], **later)
    # Nobody is deleted because of it.
    assert rows(places, "SELECT (SELECT count(*) FROM claim), (SELECT count(*) FROM patient)") == [(3, 4)]


@pytest.mark.complete
@pytest.mark.parametrize(
    ("files", "options"),
    [
        ([("Patient", b""), (EOB, b"")], {"since": NOON}),
        ([("Patient", people(2)), (EOB, claims(1))], {}),
        ([("Coverage", b"")], {}),
    ],
    ids=["changes only", "half exactly", "another type"],
)
def test_what_can_be_right_is_loaded(places, files, options):
    load(places, FULL)
    merged(places, files, transaction_time=NOON + WEEK, **options)


def test_a_first_export_can_be_empty(places):
    merged(places, [("Patient", b""), (EOB, b"")])


def test_what_a_person_accepts_is_kept_with_the_run(places):
    land(places, FULL)
    folder = places.run_folder("r1")
    assert not read_run(folder).accept_empty
    amend_run(folder, accept_empty=True)
    assert (read_run(folder).accept_empty, read_run(folder).accept_smaller_list) == (True, False)


def gaps(places):
    return rows(places, "SELECT opened_run_id, resource_type, mbi, since_ts, closed_run_id FROM ops.gap ORDER BY ALL")


def test_a_quarantined_line_is_a_gap_of_its_type_until_a_run_brings_the_interval_whole(places):
    load(places, [("Patient", people(1)), (EOB, claims(1))])
    since, naive = NOON, NOON.replace(tzinfo=None)
    load(places, [("Patient", b""), (EOB, claim(2) + BAD)], run_id="r2", since=since, transaction_time=NOON + WEEK)
    assert gaps(places) == [("r2", EOB, None, naive, None)]
    load(places, [(EOB, b"")], run_id="r3", since=NOON + WEEK, transaction_time=NOON + 2 * WEEK)
    assert gaps(places) == [("r2", EOB, None, naive, None)]
    load(places, [(EOB, claim(2) + claim(3))], run_id="r4", since=since, transaction_time=NOON + 3 * WEEK)
    assert gaps(places) == [("r2", EOB, None, naive, "r4")]


@pytest.mark.complete
def test_a_line_that_stays_unreadable_is_asked_for_three_times(places):
    load(places, [(EOB, claims(1))])
    for number in range(2, 6):
        (tried,) = rows(places, "SELECT count(*), max(tries), bool_and(is_tried_again) FROM ops.open_gap")
        assert tried == ((number - 2, number - 2, number < 5) if number > 2 else (0, None, None))
        load(places, [(EOB, claim(2) + BAD)], run_id=f"r{number}", since=NOON, transaction_time=NOON + number * WEEK)


@pytest.mark.complete
def test_quarantined_lines_of_an_earlier_release_become_gaps_with_the_next_merge(places):
    load(places, [(EOB, claims(1))])
    load(places, [(EOB, claim(2) + BAD)], run_id="r2", since=NOON, transaction_time=NOON + WEEK)
    with duckdb.connect(str(places.warehouse)) as connection:
        # What earlier releases left.
        connection.execute("DELETE FROM ops.gap")
        connection.execute("ALTER TABLE ops.gap DROP COLUMN patient_id")
    load(places, [(EOB, b"")], run_id="r3", since=NOON + WEEK, transaction_time=NOON + 2 * WEEK)
    assert [row[:2] for row in gaps(places)] == [("r2", EOB)]


def test_what_the_server_deleted_is_listed_and_a_gap_of_every_type(places):
    load(places, [("Patient", people(1)), (EOB, claims(1))])
    entry = {"request": {"method": "DELETE", "url": "ExplanationOfBenefit/carrier-1"}}
    bundle = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [entry]}).encode() + b"\n"
    load(
        places,
        [("Patient", b""), (EOB, b""), ("Bundle", bundle)],
        run_id="r2",
        since=NOON,
        transaction_time=NOON + WEEK,
    )
    assert [row[:3] for row in gaps(places)] == [("r2", EOB, None), ("r2", "Patient", None)]
    listed = "SELECT kind, resource_type, lines_read, rows_landed, lines_quarantined FROM ops.export_file WHERE kind = 'deleted'"
    assert rows(places, listed) == [("deleted", "Bundle", 1, 1, 0)]
    # Nothing says that it was right to delete it.
    assert rows(places, "SELECT count(*) FROM claim") == [(1,)]
