"""Disposing of a person, a period and a whole source: no byte is left, everyone else is as before, and later runs work."""

import asyncio
import json
import os
import pty
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import duckdb_cryptography
import pytest
from duckdb_cryptography import KEY
from isal import igzip
from object_server import S3Server
from plain_export import fetch, planned, run_export
from rawfiles import land, load
from typer.testing import CliRunner

from bcda import export, maintenance, model, warehouse
from bcda.__main__ import app
from bcda.errors import InvalidRequestError, StorageError, WarehouseLockedError
from bcda.maintenance.disposal import Period, Person, WholeSource, paths_of, rules
from bcda.reporting import overview, run_report
from bcda.settings import ConnectionSettings
from bcda.storage import duckdb_files
from bcda.storage.places import Places
from bcda.storage.publication import Publication
from bcda_simulator import SimulatorServer
from bcda_simulator.world import World

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A home with two weeks of exports, reports and figures, and the world that it is from."""
    home = tmp_path_factory.mktemp("exported") / "home"
    places = replace(Places.below(home), publication=Publication(copies=1))
    with SimulatorServer(World(people=4, seed=7, history_weeks=16)) as server:
        settings = ConnectionSettings(server.base_url, server.entity.client_id, server.entity.client_secret)
        for _ in range(2):
            summary = run_export(settings, places)
            overview.keep_overview(places)
            run_report.write_report(places, summary.run_id, now=NOW)
            server.clock.advance(7 * 86_400)
    return home


@pytest.fixture
def places(exported, tmp_path):
    home = shutil.copytree(exported, tmp_path / "home", symlinks=True)
    return replace(Places.below(home), publication=Publication(copies=1))


def query(path, sql, *parameters):
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql, parameters).fetchall()


def someone(places):
    """Person with the most claims: person_key, patient ids, MBIs and claim ids."""
    key, mbi = query(
        places.warehouse,
        "SELECT p.person_key, any_value(p.mbi_current) FROM claim AS c JOIN patient AS p USING (api_version, patient_id) "
        "GROUP BY ALL ORDER BY count(DISTINCT c.run_id) DESC, count(*) DESC, 1 LIMIT 1",
    )[0]
    patients = [row[0] for row in query(places.warehouse, "SELECT patient_id FROM patient WHERE person_key = ?", key)]
    mbis = query(
        places.warehouse,
        "SELECT DISTINCT id_value FROM patient_identifier WHERE id_kind = 'MBI' AND list_contains(?, patient_id)",
        patients,
    )
    claims = query(places.warehouse, "SELECT claim_id FROM claim WHERE list_contains(?, patient_id)", patients)
    assert claims
    return key, mbi, [key, mbi, *patients, *(row[0] for row in mbis), *(row[0] for row in claims)]


def texts_of(path, connection):
    """Return what a file says: its bytes, and what is packed into them."""
    yield path.read_bytes()
    if path.suffix == ".gz":
        yield igzip.open(path).read()
    if path.suffix == ".parquet":
        yield str(connection.execute(f"FROM read_parquet('{path}')").fetchall()).encode()
    if path.suffix == ".duckdb":
        connection.execute(f"ATTACH '{path}' AS looked_at (READ_ONLY)")
        tables = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'looked_at'"
        )
        for schema, table in tables.fetchall():
            yield str(connection.execute(f'FROM looked_at."{schema}"."{table}"').fetchall()).encode()
        connection.execute("DETACH looked_at")


def names_anybody(home, needles):
    """Return the files whose name, bytes or content have one of the needles."""
    wanted = [needle.encode() for needle in needles]
    found = set()
    with duckdb.connect() as connection:
        for path in home.rglob("*"):
            if path.is_file() and not path.is_symlink():
                texts = b"".join([path.name.encode(), *texts_of(path, connection)])
                found |= {path for needle in wanted if needle in texts}
    return sorted(str(path.relative_to(home)) for path in found)


def everybody_else(path, key):
    """Return the rows of all tables of the model that are not about a person."""
    gone = f"(SELECT patient_id FROM patient WHERE person_key = '{key}')"
    claims = f"(SELECT claim_id FROM claim WHERE patient_id IN {gone})"
    coverages = f"(SELECT coverage_id FROM coverage WHERE patient_id IN {gone})"
    tables = {}
    connection = duckdb.connect(str(path), read_only=True)
    for name in model.all_tables():
        columns = {column for column, _, _ in model.columns(name)}
        if name == "resource_version":
            where = f"resource_id NOT IN (FROM {gone} UNION FROM {claims} UNION FROM {coverages})"
        elif "patient_id" in columns:
            where = f"patient_id NOT IN {gone}"
        elif "coverage_id" in columns and "claim_id" not in columns:
            where = f"coverage_id NOT IN {coverages}"
        elif name.startswith("partial_"):
            where = "true"
        else:
            where = f"claim_id NOT IN {claims}"
        tables[name] = connection.execute(f"FROM {model.relation(name)} WHERE {where} ORDER BY ALL").fetchall()
    connection.close()
    return tables


def dispose(places, scope, **options):
    return maintenance.dispose(places, scope, now=datetime.now(UTC), **options)


def test_a_person_is_in_no_byte_of_the_home_and_everybody_else_is_as_before(places, tmp_path):
    key, mbi, needles = someone(places)
    before = everybody_else(places.warehouse, key)
    assert names_anybody(places.raw.parent, needles)
    certificate = dispose(places, Person(mbi))
    assert names_anybody(places.raw.parent, needles) == []
    for path in (places.warehouse, places.published, *warehouse.dated_copies(places.published)):
        assert everybody_else(path, key) == before or path not in {places.warehouse, places.published}
    assert certificate.finished_at is not None
    assert certificate.rows["main.claim"] == certificate.counts["ExplanationOfBenefit resources"] > 0
    for path in paths_of(places, certificate.number):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not [needle for needle in needles if needle in path.read_text()]
    # The same again finds nothing.
    assert dispose(places, Person(mbi)) is None
    assert maintenance.look(places, Person(mbi), now=NOW).is_empty
    # Nothing brings the person back, and what is rebuilt is what is there.
    rebuilt = maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb")
    assert rebuilt.differing == ()
    assert everybody_else(rebuilt.path, key) == before
    assert names_anybody(tmp_path, needles) == []


LIFE = """
import importlib, os, signal, sys
owner, name, left, when = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
module = importlib.import_module(f"bcda.maintenance.disposal.{owner}")
original = getattr(module, name)
def killing(*arguments, **options):
    global left
    left -= 1
    if left >= 0:
        return original(*arguments, **options)
    if when == "after":
        original(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(module, name, killing)
from bcda.__main__ import main
sys.argv = ["bcda", "dispose", "--person-file", sys.argv[5], "--yes"]
main()
"""

STEPS = {
    "before the raw files go": ("raw", "remove_raw_data", 0, "before"),
    "after the raw files went": ("raw", "remove_raw_data", 0, "after"),
    "with the first new lake files written": ("lake", "_finish", 0, "before"),
    "with a lake file in place and no account": ("lake", "read_accounts", 0, "before"),
    "with a run accounted for": ("lake", "note_disposed", 0, "after"),
    "in the second run": ("lake", "_finish", 0, "before"),
    "before the published database": ("databases", "write_published", 0, "before"),
    "between the published database and its copies": ("databases", "write_published", 1, "before"),
    "before the working database": ("databases", "write_working", 0, "before"),
    "after the working database": ("databases", "write_working", 0, "after"),
    "before the certificate says that it ended": ("certificate", "finish", 0, "before"),
}
"""Each kills the life that goes on after the one before."""


@pytest.mark.complete
def test_a_disposal_that_is_killed_again_and_again_ends_as_one_that_was_not(places, tmp_path):
    key, mbi, needles = someone(places)
    before = everybody_else(places.warehouse, key)
    expected = maintenance.look(places, Person(mbi), now=NOW)
    named = tmp_path / "who.txt"
    named.write_text(mbi)
    environment = {**os.environ, "BCDA_HOME": str(places.raw.parent), "BCDA_PUBLISHED_COPIES": "1"}
    for title, step in STEPS.items():
        life = [sys.executable, "-c", LIFE, *map(str, step), str(named)]
        done = subprocess.run(life, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, (title, done.stderr[-2000:])
    certificate = dispose(places, Person(mbi))
    assert certificate.finished_at is not None
    assert (certificate.counts, certificate.rows, certificate.lake_rows) == (
        expected.counts,
        expected.rows,
        expected.lake_rows,
    )
    assert len(list((places.raw.parent / "disposals").glob("*.json"))) == 1
    assert names_anybody(places.raw.parent, needles) == []
    assert everybody_else(places.published, key) == everybody_else(places.warehouse, key) == before
    assert maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb").differing == ()
    assert dispose(places, Person(mbi)) is None


@pytest.mark.complete
def test_a_period_goes_by_day_of_service_by_month_and_by_date_of_list(places, tmp_path):
    days = [row[0] for row in query(places.warehouse, "SELECT service_thru FROM claim ORDER BY 1")]
    last = days[len(days) // 2]
    keep = "claim.service_thru > ?"
    claims = query(places.warehouse, f"FROM claim WHERE {keep} ORDER BY ALL", last)
    lines = query(
        places.warehouse,
        f"SELECT l.* FROM claim_line AS l JOIN claim USING (api_version, claim_id) WHERE {keep} ORDER BY ALL",
        last,
    )
    months = query(places.warehouse, "FROM coverage_month WHERE last_day(month_start) > ? ORDER BY ALL", last)
    people = query(places.warehouse, "FROM patient ORDER BY ALL")
    gone = [row[0] for row in query(places.warehouse, "SELECT claim_id FROM claim WHERE service_thru <= ?", last)]
    assert gone
    assert claims
    certificate = dispose(places, Period(None, last))
    assert certificate.counts["ExplanationOfBenefit resources"] == len(gone)
    for path in (places.warehouse, places.published):
        assert query(path, "FROM claim ORDER BY ALL") == claims
        assert query(path, "SELECT * FROM claim_line ORDER BY ALL") == lines
        assert query(path, "FROM coverage_month ORDER BY ALL") == months
        assert query(path, "FROM patient ORDER BY ALL") == people
    assert names_anybody(places.raw.parent, gone) == []
    assert maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb").differing == ()
    assert dispose(places, Period(None, last)) is None
    # Up to today: the lists go too, and with them the people of whom nothing is left.
    certificate = dispose(places, Period(None, date(2100, 1, 1)))
    assert certificate.counts["attribution lists"] == 1
    left = sum(
        query(places.warehouse, f"SELECT count(*) FROM {table}")[0][0] for table in ("claim", "roster", "patient")
    )
    assert left == 0
    assert maintenance.rebuild_warehouse(places, tmp_path / "empty.duckdb").differing == ()


@pytest.mark.complete
def test_a_list_that_is_disposed_of_makes_nobody_leave_or_come_back(places):
    days = [date(2026, 1, 5), date(2026, 2, 5)]
    with warehouse.open_warehouse(places.warehouse) as connection:
        runs = [
            row[0] for row in connection.execute("SELECT run_id FROM ops.export_run ORDER BY finished_at").fetchall()
        ]
        for run_id, day in zip(runs, days, strict=True):
            values = {"day": day, "run_id": run_id}
            connection.execute(
                "UPDATE ops.export_run SET list_at = $day, is_full = true WHERE run_id = $run_id", values
            )
        connection.execute("DELETE FROM roster WHERE run_id = $run_id", {"run_id": runs[1]})
        roster = "INSERT INTO roster SELECT $run_id, api_version, patient_id, mbi_current FROM roster"
        connection.execute(roster, {"run_id": runs[1]})
    gaps = query(places.warehouse, "FROM ops.open_gap ORDER BY ALL")
    assert {row[0] for row in query(places.warehouse, "SELECT change FROM roster_change")} == {"stayed"}
    assert dispose(places, Period(days[0], days[0])).counts["attribution lists"] == 1
    assert query(places.warehouse, "SELECT DISTINCT run_id FROM roster") == [(runs[1],)]
    # Nobody joined with the list that is left, and nobody was away before it.
    assert query(places.warehouse, "FROM roster_change") == []
    assert query(places.warehouse, "FROM ops.open_gap ORDER BY ALL") == gaps


def test_of_a_whole_source_the_certificate_is_left_and_another_source_stays(places):
    _, _, needles = someone(places)
    other = places.of_source("second")
    shutil.copytree(places.raw, other.raw)
    (places.warehouse.parent / ".working.duckdb.repaired").write_bytes(b"a copy")
    certificate = dispose(places, WholeSource())
    left = sorted(str(path.relative_to(places.raw.parent)) for path in places.raw.parent.rglob("*") if path.is_file())
    number = certificate.number
    own = [path for path in left if not path.startswith("sources/")]
    assert own == [".bcda.duckdb.lock", f"disposals/{number}.json", f"disposals/{number}.txt"]
    assert len(left) > len(own)
    assert certificate.rows["main.claim"] > 0
    assert certificate.counts["lake files"] > 0
    shutil.rmtree(other.raw)
    assert names_anybody(places.raw.parent, needles) == []
    assert dispose(places, WholeSource()) is None


@pytest.mark.complete
def test_a_source_whose_key_is_lost_can_be_disposed_of(places):
    places.warehouse.write_bytes(b"what nobody can open")
    with pytest.raises(InvalidRequestError, match="--end-unfinished-runs"):
        # Nothing tells that its runs are loaded, and they are young.
        dispose(places, WholeSource())
    assert dispose(places, WholeSource(), ends_runs=True).rows == {}
    assert not places.warehouse.exists()


def test_every_table_has_a_rule_or_is_said_to_be_about_nobody(places):
    tables = query(places.warehouse, "SELECT schema_name || '.' || table_name FROM duckdb_tables()")
    assert {name for (name,) in tables} == rules.WAREHOUSE.keys()
    assert {path.name for path in places.lake.iterdir() if path.is_dir()} <= rules.LAKE.keys()
    assert {name for name, _ in model.lake_tables()} <= rules.LAKE.keys()
    # A table that says something of people by a column of these cannot be one about nobody.
    personal = {
        "patient_id",
        "claim_id",
        "coverage_id",
        "resource_id",
        "mbi",
        "mbi_current",
        "person_key",
        "person_key_before",
    }
    columns = query(
        places.warehouse,
        "SELECT schema_name || '.' || table_name, column_name FROM duckdb_columns() WHERE NOT internal",
    )
    views = {name for (name,) in query(places.warehouse, "SELECT schema_name || '.' || view_name FROM duckdb_views()")}
    for table, column in columns:
        assert table in views or column not in personal or rules.WAREHOUSE[table] is not None, (table, column)


@pytest.mark.complete
def test_a_table_that_no_rule_is_about_is_refused(places):
    with warehouse.open_warehouse(places.warehouse) as connection:
        connection.execute("CREATE TABLE kept_by_somebody (mbi VARCHAR)")
    with pytest.raises(StorageError, match="kept_by_somebody"):
        dispose(places, Person("1A00A00AA00"))


@pytest.mark.complete
def test_what_bcda_says_of_a_person_and_lines_that_cannot_be_read_are_emptied(tmp_path):
    places = Places.below(tmp_path / "home")
    mine, other = "1S00E00AA11", "1S00E00AA22"

    def patient(number, mbi):
        identifier = [{"system": "http://hl7.org/fhir/sid/us-mbi", "value": mbi}]
        return {
            "resourceType": "Patient",
            "id": number,
            "meta": {"lastUpdated": "2026-11-01T00:00:00Z"},
            "identifier": identifier,
        }

    def failed(mbi):
        text = f"Error retrieving ExplanationOfBenefit for beneficiary MBI {mbi} in ACO"
        return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "details": {"text": text}}]}

    def lines(*documents):
        return b"".join(json.dumps(document).encode() + b"\n" for document in documents)

    broken = b'{"resourceType":"Patient","id":"x","note":"%s"\n'
    files = [
        (
            "Patient",
            lines(patient("p-1", mine), patient("p-2", other)) + broken % mine.encode() + broken % other.encode(),
        ),
        ("OperationOutcome!Patient", lines(failed(mine), failed(other))),
    ]
    _, manifest, _ = land(places, files)
    (places.run_folder("r1") / "manifest.json").write_bytes(manifest.to_bytes())
    load(places, files)
    (places.run_folder("r1") / "server-text-001.txt").write_text(f"no such person: {mine}")
    gaps = {row[0] for row in query(places.warehouse, "SELECT mbi FROM ops.gap")}
    assert gaps == {mine, other, None}
    certificate = dispose(places, Person(mine))
    assert certificate.counts["texts of lake rows emptied"] == 2
    assert names_anybody(tmp_path, [mine, "p-1"]) == []
    assert {row[0] for row in query(places.warehouse, "SELECT mbi FROM ops.gap")} == {other, None}
    assert names_anybody(places.lake, [other])
    rebuilt = maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb")
    assert rebuilt.differing == ()


def test_an_identifier_of_two_people_is_refused_and_their_person_key_is_not(tmp_path):
    places = Places.below(tmp_path / "home")

    def patient(number, *mbis):
        identifier = [{"system": "http://hl7.org/fhir/sid/us-mbi", "value": mbi} for mbi in mbis]
        return (
            json.dumps(
                {
                    "resourceType": "Patient",
                    "id": number,
                    "meta": {"lastUpdated": "2026-11-01T00:00:00Z"},
                    "identifier": identifier,
                }
            ).encode()
            + b"\n"
        )

    load(places, [("Patient", patient("p-1", "1S00E00AA11") + patient("p-2", "1S00E00AA22"))])
    with warehouse.open_warehouse(places.warehouse) as connection:
        # An MBI that CMS gave to one and then to the other.
        connection.execute(
            "INSERT INTO patient_identifier BY NAME SELECT * REPLACE ('p-1' AS patient_id) FROM patient_identifier WHERE patient_id = 'p-2'"
        )
        key = connection.execute("SELECT person_key FROM patient WHERE patient_id = 'p-1'").fetchall()[0][0]
    with pytest.raises(InvalidRequestError, match="is or was that of 2 people") as refused:
        dispose(places, Person("1S00E00AA22"))
    assert "1S00E00AA22" not in str(refused.value)
    certificate = dispose(places, Person(key))
    assert certificate.counts["Patient resources"] == 1
    assert any("also those of someone else" in note for note in certificate.notes)
    assert query(places.warehouse, "SELECT patient_id, mbi_current FROM patient") == [("p-2", "1S00E00AA22")]


@pytest.mark.complete
def test_a_run_that_is_not_loaded_is_in_the_way_until_somebody_says_that_it_ends(serve, settings_for, places):
    _, mbi, needles = someone(places)
    server = serve(World(people=6, seed=3, history_weeks=20))
    run = planned(settings_for(server), places, full=True)
    asyncio.run(fetch(settings_for(server), places, run.run_id))
    with pytest.raises(InvalidRequestError, match=rf"{run.run_id} has files.*--end-unfinished-runs"):
        dispose(places, Person(mbi))
    assert dispose(places, Person(mbi), ends_runs=True).counts["runs that were not loaded"] == 1
    assert names_anybody(places.raw.parent, needles) == []
    # After two days nothing can complete it, and nobody has to say so.
    asyncio.run(fetch(settings_for(server), places, planned(settings_for(server), places, full=True).run_id))
    later = datetime.now(UTC) + timedelta(days=40)
    assert maintenance.dispose(places, WholeSource(), now=later) is not None


@pytest.mark.complete
def test_a_load_and_a_publication_are_waited_for(places):
    _, mbi, _ = someone(places)
    holder = f"import sys; from pathlib import Path; from bcda import warehouse\nwith warehouse.open_warehouse(Path({str(places.warehouse)!r})):\n    print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(WarehouseLockedError):
            dispose(places, Person(mbi), wait_seconds=0)
        process.stdin.close()
    with warehouse.publication_held(places.published, wait_seconds=0), pytest.raises(WarehouseLockedError):
        dispose(places, Person(mbi), wait_seconds=0)


@pytest.mark.complete
def test_a_disk_without_space_for_a_copy_is_told_before_anything_is_written(places, monkeypatch):
    _, mbi, needles = someone(places)
    before = names_anybody(places.raw.parent, needles)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1 << 40, 1 << 40, 1 << 20))
    with pytest.raises(StorageError, match="Free some space"):
        dispose(places, Person(mbi))
    assert names_anybody(places.raw.parent, needles) == before
    assert not (places.raw.parent / "disposals").exists()


@pytest.mark.complete
def test_compacted_runs_and_a_home_with_a_key_lose_a_person_too(places, tmp_path, monkeypatch):
    monkeypatch.setattr(duckdb_files, "LOAD_CRYPTOGRAPHY", duckdb_cryptography.statement())
    _, mbi, needles = someone(places)
    maintenance.compact_lake(places, warehouse.merged_runs(places))
    maintenance.change_key(places, KEY)
    locked = replace(places, key=KEY)
    dispose(locked, Person(mbi))
    assert names_anybody_with_key(locked, tmp_path, needles) == []
    assert maintenance.rebuild_warehouse(locked, tmp_path / "anew.duckdb").differing == ()
    assert [row.missing for row in maintenance.data_status(locked)] == ["", "", ""]


def names_anybody_with_key(locked, tmp_path, needles):
    """Take the key away from a copy of a home, and look into it."""
    copy = shutil.copytree(locked.raw.parent, tmp_path / "opened", symlinks=True)
    opened = replace(Places.below(copy), key=locked.key)
    maintenance.change_key(opened, None)
    return names_anybody(copy, needles)


@pytest.mark.complete
def test_objects_lose_a_person_too_and_another_place_rebuilds_from_them(places, tmp_path):
    _, mbi, needles = someone(places)
    with S3Server() as server:
        shared = replace(places, store=server.address("disposal"))
        maintenance.upload(shared)
        dispose(shared, Person(mbi))
        files = server.files()
        names = [info.path for info in server.infos("disposal") if info.is_file]
        assert names
        for number, name in enumerate(names):
            target = tmp_path / "objects" / f"{number}{Path(name).suffix}"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(files.open_input_file(name).read())
        assert names_anybody(tmp_path / "objects", needles) == []
        shutil.rmtree(places.raw)
        shutil.rmtree(places.lake)
        assert maintenance.rebuild_warehouse(shared, tmp_path / "anew.duckdb").differing == ()
        places.warehouse.unlink()
        maintenance.rebuild_warehouse(shared, tmp_path / "lost.duckdb")
        assert (
            query(tmp_path / "lost.duckdb", "SELECT count(*) FROM ops.setting WHERE name LIKE 'disposed %'")[0][0] >= 1
        )
        mark = places.warehouse.parent / "warehouse.mark"
        content = mark.read_bytes()
        (tmp_path / "lost.duckdb").rename(places.warehouse)
        assert mark.read_bytes() == content
        assert dispose(shared, WholeSource()).counts["objects of the object store"] > 0
        assert [info.path for info in server.infos("disposal") if info.is_file] == []


@pytest.mark.complete
def test_weekly_runs_maintenance_and_reports_work_afterwards(serve, settings_for, tmp_path):
    places = Places.below(tmp_path / "home")
    server = serve(World(people=6, seed=3, history_weeks=20))
    run_export(settings_for(server), places)
    _, mbi, _ = someone(places)
    dispose(places, Person(mbi))
    server.clock.advance(7 * 86_400)
    summary = run_export(settings_for(server), places)
    overview.keep_overview(places)
    report = run_report.write_report(places, summary.run_id, now=NOW)
    assert "no longer known" not in report.text.read_text()
    first = min(warehouse.merged_runs(places))
    assert "no longer known" in run_report.write_report(places, first, now=NOW).text.read_text()
    assert maintenance.compact_lake(places, warehouse.merged_runs(places)) > 0
    maintenance.purge_raw(places, now=NOW)
    warehouse.vacuum(places, worth_it=0)
    assert maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb").differing == ()
    # A database that was rebuilt is one to publish from.
    (tmp_path / "anew.duckdb").replace(places.warehouse)
    export.publish(places)
    for folder in places.raw.iterdir():
        for batch in export.plan_batches(places, folder.name, 2):
            export.land_batch(places, folder.name, batch, 2)
        export.merge(places, folder.name, 2, now=NOW)
    # While the person is on the list, a full export brings the person again.
    run_export(settings_for(server), places, full=True)
    assert query(places.published, "SELECT count(*) FROM patient WHERE mbi_current = ?", mbi) == [(1,)]


@pytest.mark.complete
def test_the_command_asks_shows_counts_and_never_says_who(places, monkeypatch):
    _, mbi, needles = someone(places)
    monkeypatch.setenv("BCDA_HOME", str(places.raw.parent))

    def command(*arguments, typed=f"{mbi}\n"):
        return CliRunner().invoke(app, ["dispose", *arguments], input=typed)

    looked = command("--person", "--dry-run")
    assert looked.exit_code == 0
    assert "ExplanationOfBenefit resources" in looked.output
    assert names_anybody(places.lake, needles)
    refused = command("--person")
    assert isinstance(refused.exception, InvalidRequestError)
    assert "Pass --yes" in str(refused.exception)
    assert names_anybody(places.lake, needles)
    named = places.raw.parent.parent / "who.txt"
    named.write_text(f"{mbi}\n")
    done = command("--person-file", str(named), "--yes", typed="")
    assert (done.exit_code, "CERTIFICATE OF DISPOSAL" in done.output) == (0, True)
    assert len(list(places.reports.glob("*.txt"))) == 2
    again = command("--person", "--yes")
    assert (again.exit_code, again.output) == (0, "No data matches. No changes were made.\n")
    said = "".join(run.output for run in (looked, refused, done, again))
    assert not [needle for needle in needles if needle in said]
    assert names_anybody(places.raw.parent, needles) == []


@pytest.mark.complete
@pytest.mark.parametrize(("word", "is_done"), [("yes", False), ("dispose", True)])
def test_at_a_terminal_the_person_is_not_shown_and_the_word_confirms(places, word, is_done):
    _, mbi, needles = someone(places)
    command = [sys.executable, "-m", "bcda", "dispose", "--person"]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "BCDA_HOME": str(places.raw.parent), "BCDA_PUBLISHED_COPIES": "1"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = ""
        for prompt, typed in (("or Patient id: ", mbi), ("to go on: ", word), (None, "")):
            while prompt is None or not shown.endswith(prompt):
                try:
                    shown += os.read(ours, 4096).decode()
                except OSError:
                    # The other end is closed: the command has ended.
                    break
            os.write(ours, f"{typed}\n".encode())
    os.close(ours)
    assert "ExplanationOfBenefit resources" in shown
    assert (process.returncode == 0, "CERTIFICATE OF DISPOSAL" in shown) == (is_done, is_done)
    assert ("Not confirmed. No changes were made." in shown) is not is_done
    assert not [needle for needle in needles if needle in shown]
    assert bool(names_anybody(places.raw.parent, needles)) is not is_done


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Say what to dispose of"),
        (("--person", "--everything"), "Say what to dispose of"),
        (("--from", "2026-01-01"), "A period needs both"),
        (("--from", "2026-02-01", "--to", "2026-01-01"), "before it begins"),
        (("--person",), "Name one person"),
    ],
)
def test_half_a_wish_is_refused(tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.setenv("BCDA_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["dispose", *arguments], input="\n")
    assert isinstance(result.exception, InvalidRequestError)
    assert sentence in str(result.exception)
