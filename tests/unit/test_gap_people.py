"""A gap knows the people whose lines were quarantined, when the lines say so."""

import json
import shutil
from datetime import date, timedelta

import duckdb
import pytest
from rawfiles import NOON, land
from test_warehouse import EOB, claim, patient

from bcda import maintenance
from bcda.landing.whose import Whose, whose
from bcda.maintenance.disposal import Period, Person
from bcda.reporting.overview import read_overview
from bcda.storage.places import Places
from bcda.warehouse import merge_run, open_warehouse, publish
from bcda.warehouse.views import view_statements

WEEK = timedelta(days=7)
CUT = b'{"resourceType":"ExplanationOfBenefit","patient":{"reference":"Patient/-1"}\n'


@pytest.fixture
def places(tmp_path):
    return Places.below(tmp_path / "home")


def of(number, claim_id="not an id", **changes):
    """A claim of a Patient that has no usable id, unless one is given."""
    return claim(1, id=claim_id, patient={"reference": f"Patient/-{number}"}, **changes)


def people(number):
    return b"".join(patient((f"{n}AA0",), id=f"-{n}") for n in range(1, number + 1))


def load(places, files, **options):
    run, manifest, landed = land(places, files, **options)
    # A rebuild reads it.
    (places.run_folder(run.run_id) / "manifest.json").write_bytes(manifest.to_bytes())
    merge_run(places, run, manifest, [landed], now=max(NOON, manifest.transaction_time))


def rows(places, statement):
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        return connection.execute(statement).fetchall()


def gaps(places):
    return rows(places, "SELECT opened_run_id, patient_id, mbi, closed_run_id FROM ops.gap ORDER BY ALL")


def whole(places, count=3):
    load(places, [("Patient", people(count)), (EOB, b"".join(of(n, f"carrier-{n}") for n in range(1, count + 1)))])


def changes(places, lines, number):
    load(places, [(EOB, lines)], run_id=f"r{number}", since=NOON, transaction_time=NOON + (number - 1) * WEEK)


MBI = {"system": "http://hl7.org/fhir/sid/us-mbi", "value": "1S00E00AA11"}
LINES = [
    (EOB, {"resourceType": EOB, "patient": {"reference": "Patient/-7"}}, Whose("-7")),
    (EOB, {"patient": {"reference": "http://x/fhir/Patient/7"}}, Whose("7")),
    (EOB, {"resourceType": "Patient", "id": "7"}, Whose()),
    (EOB, {"resourceType": EOB, "patient": "Patient/7"}, Whose()),
    (EOB, {"resourceType": EOB, "patient": {"reference": "Patient/7 or 8"}}, Whose()),
    ("Coverage", {"resourceType": "Coverage", "beneficiary": {"reference": "Patient/7"}}, Whose("7")),
    ("Patient", {"resourceType": "Patient", "id": "7"}, Whose("7")),
    ("Patient", {"resourceType": "Patient", "id": 7}, Whose()),
    (
        "Claim",
        {"resourceType": "Claim", "contained": [{"resourceType": "Patient", "identifier": [MBI]}]},
        Whose(mbi=MBI["value"]),
    ),
    ("ClaimResponse", {"resourceType": "ClaimResponse", "patient": {"identifier": MBI}}, Whose(mbi=MBI["value"])),
    ("Claim", {"resourceType": "Claim", "contained": ["x"], "patient": []}, Whose()),
    # Found by a fuzzer: text that no table can hold, and text that is no MBI.
    ("Claim", {"resourceType": "Claim", "patient": {"identifier": MBI | {"value": "1\ud800"}}}, Whose()),
    ("Claim", {"resourceType": "Claim", "patient": {"identifier": MBI | {"value": "9" * 65}}}, Whose()),
    (EOB, [], Whose()),
]


@pytest.mark.parametrize(("kind", "resource", "named"), LINES)
def test_whom_a_line_names(kind, resource, named):
    assert whose(json.dumps(resource).encode(), kind) == named


@pytest.mark.parametrize("line", [CUT, b"", b"\xff", b'{"id":NaN}', b"[" * 100_000, b'{"id":' + b"9" * 5000 + b"}"])
def test_a_line_that_cannot_be_read_names_nobody(line):
    assert whose(line, "Patient") == Whose()


def test_a_line_with_a_person_is_a_gap_of_that_person_and_any_other_of_everybody(places):
    whole(places)
    changes(places, of(1) + of(1) + of(2), 2)
    assert gaps(places) == [("r2", "-1", None, None), ("r2", "-2", None, None)]
    assert rows(
        places, "SELECT open_gaps, unnamed_gaps FROM ops.data_status WHERE resource_type = 'ExplanationOfBenefit'"
    ) == [(2, 0)]
    keys = rows(places, "SELECT person_key FROM patient WHERE patient_id IN ('-1', '-2') ORDER BY ALL")
    assert rows(places, "SELECT person_key FROM ops.incomplete_person ORDER BY ALL") == keys
    complete = "SELECT patient_id FROM patient AS p WHERE NOT EXISTS (SELECT 1 FROM ops.incomplete_person AS i WHERE i.person_key = p.person_key OR i.person_key IS NULL)"
    assert rows(places, complete) == [("-3",)]
    changes(places, of(2) + CUT, 3)
    # The third run brought the line of the first person whole, but for the one that names nobody.
    assert [row[3] for row in gaps(places)] == [None] * 4
    assert rows(
        places, "SELECT open_gaps, unnamed_gaps FROM ops.data_status WHERE resource_type = 'ExplanationOfBenefit'"
    ) == [(3, 1)]
    assert rows(places, complete) == []


def test_a_gap_of_a_person_is_closed_by_a_run_that_failed_for_another(places):
    whole(places)
    changes(places, of(1) + of(2), 2)
    changes(places, of(2), 3)
    assert gaps(places) == [("r2", "-1", None, "r3"), ("r2", "-2", None, None), ("r3", "-2", None, None)]
    tried = rows(places, "SELECT DISTINCT patient_id, tries, is_tried_again FROM ops.open_gap")
    assert tried == [("-2", 2, True)]
    changes(places, of(2), 4)
    assert rows(places, "SELECT DISTINCT tries, is_tried_again FROM ops.open_gap") == [(3, False)]
    changes(places, of(2, "carrier-9"), 5)
    assert {row[3] for row in gaps(places)} == {"r3", "r5"}


def test_what_bcda_reports_by_mbi_and_a_line_of_the_same_person_count_as_one(places):
    whole(places)
    text = f"Error retrieving {EOB} for beneficiary MBI 1AA0 in ACO"
    error = (
        json.dumps({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "diagnostics": text}]}).encode()
        + b"\n"
    )
    load(places, [(EOB, of(1)), ("OperationOutcome!", error)], run_id="r2", since=NOON, transaction_time=NOON + WEEK)
    assert gaps(places) == [("r2", "-1", None, None), ("r2", None, "1AA0", None)]
    assert rows(places, "SELECT open_gaps FROM ops.data_status WHERE resource_type = 'ExplanationOfBenefit'") == [(1,)]
    # By whichever of the two someone fails again: it is known to be the same person, and another is not.
    changes(places, of(1), 3)
    assert [row[3] for row in gaps(places)] == [None, None, None]
    changes(places, of(2), 4)
    assert {row[1:] for row in gaps(places)} == {("-1", None, "r4"), (None, "1AA0", "r4"), ("-2", None, None)}


def test_the_warehouse_built_anew_has_the_same_gaps(places, tmp_path):
    whole(places)
    changes(places, of(1) + of(2) + CUT, 2)
    rebuilt = maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb")
    assert rebuilt.differing == ()


EARLIER = """
DELETE FROM ops.gap;
DROP VIEW ops.incomplete_person;
ALTER TABLE ops.gap DROP COLUMN patient_id;
CREATE OR REPLACE VIEW ops.open_gap AS SELECT *, 1 AS tries, true AS is_tried_again FROM ops.gap;
DELETE FROM ops.setting WHERE name = 'views';
"""


def test_a_home_of_an_earlier_release_gets_the_column_and_its_gaps_when_it_is_opened(places, tmp_path):
    whole(places)
    changes(places, of(1), 2)
    publish(places)
    earlier = shutil.copy(places.published, tmp_path / "earlier.duckdb")
    for path in (places.warehouse, earlier):
        with duckdb.connect(str(path)) as connection:
            connection.execute(EARLIER)
            status = next(s for s in view_statements() if "VIEW ops.data_status AS" in s and "CREATE" in s)
            connection.execute(
                status.replace("coalesce(person, '')", "coalesce(mbi, '')").replace("person IS", "mbi IS")
            )
    with duckdb.connect(str(earlier)) as connection:
        # The page asks it before anything is published again.
        connection.execute(
            "INSERT INTO ops.gap SELECT 'v2', 'patient', 'Patient', n, 'changes', NULL, now(), 'r2', NULL FROM range(12) AS t(n)"
        )
    earlier.replace(places.published)
    assert [row["people"] for row in read_overview(places).gaps] == [12]
    for _ in range(2):
        with open_warehouse(places.warehouse):
            pass
    # Of whom is not known: its lake files do not say.
    assert gaps(places) == [("r2", None, None, None)]
    about = "SELECT comment FROM duckdb_columns() WHERE table_name = 'gap' AND column_name = 'patient_id'"
    assert rows(places, about)[0][0].startswith("Patient that a quarantined line named")
    # A disposal works on a published database that lacks the column, too.
    assert maintenance.dispose(places, Person("-1"), now=NOON + 9 * WEEK) is not None


@pytest.mark.parametrize(
    ("scope", "left"),
    [(Person("-1"), [("",), ("-2",), (None,)]), (Period(None, date(2026, 12, 31)), [("-1",), ("-2",), (None,)])],
    ids=["person", "period"],
)
def test_somebody_who_is_disposed_of_is_in_no_gap_and_others_stay(places, tmp_path, scope, left):
    whole(places)
    changes(places, of(1) + of(2) + CUT, 2)
    assert maintenance.dispose(places, scope, now=NOON + 9 * WEEK) is not None
    assert gaps(places) == [("r2", patient_id, None, None) for (patient_id,) in left if patient_id != ""]
    files = f"'{places.lake}/quarantine/*/*/*.parquet'"
    assert duckdb.sql(f"SELECT patient_id FROM {files} ORDER BY raw_line").fetchall() == left
    assert duckdb.sql(f"SELECT sum(octet_length(line)) FROM {files} WHERE patient_id IN ('', '-1')").fetchall() == [
        (0,)
    ]
    assert maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb").differing == ()
