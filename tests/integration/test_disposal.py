"""Disposing of a person, a period and a whole source: no byte is left, everybody else is as before, and later runs work."""

import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
import weak_dice
from exporting import fetch, planned, run_export
from isal import igzip
from object_server import S3Server
from weak_dice import KEY

from bcda import duckdb_files, export, maintenance, model, overview, run_report, warehouse
from bcda.errors import InvalidRequestError, StorageError, WarehouseLockedError
from bcda.landed import read_landed
from bcda.maintenance.disposal import Period, Person, WholeSource, databases, lake, paths_of, raw, rules
from bcda.places import Places
from bcda.publication import Publication
from bcda.settings import ConnectionSettings
from bcda_simulator import SimulatorServer
from bcda_simulator.world import World

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A home with two weeks of exports, reports and figures, and the world that it is from."""
    home = tmp_path_factory.mktemp("exported") / "home"
    places = replace(Places.below(home), publication=Publication(copies=3))
    with SimulatorServer(World(people=8, seed=4, history_weeks=60)) as server:
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
    return replace(Places.below(home), publication=Publication(copies=3))


def query(path, sql, *parameters):
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql, parameters).fetchall()


def somebody(places):
    """Person with the most claims: person_key, patient ids, MBIs and claim ids."""
    key, mbi = query(
        places.warehouse,
        "SELECT p.person_key, any_value(p.mbi_current) FROM claim AS c JOIN patient AS p USING (api_version, patient_id) "
        "GROUP BY ALL ORDER BY count(*) DESC, 1 LIMIT 1",
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


def texts_of(path, key=None):
    """Return what a file says: its bytes, and what is packed into them."""
    yield path.read_bytes()
    if path.suffix == ".gz":
        yield igzip.open(path).read()
    if path.suffix == ".parquet" and key is None:
        with duckdb.connect() as connection:
            connection.execute(f"FROM read_parquet('{path}')")
            yield str(connection.fetchall()).encode()
    if path.suffix == ".duckdb" and key is None:
        with duckdb.connect(str(path), read_only=True) as connection:
            for schema, table in connection.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall():
                yield str(connection.execute(f'FROM "{schema}"."{table}"').fetchall()).encode()


def names_anybody(home, needles):
    """Return the files whose bytes or content have one of the needles, and names that have one."""
    wanted = [needle.encode() for needle in needles]
    found = set()
    for path in home.rglob("*"):
        if any(needle in path.name for needle in needles):
            found.add(path)
        if path.is_file() and not path.is_symlink():
            for text in texts_of(path):
                found |= {path for needle in wanted if needle in text}
    return sorted(str(path.relative_to(home)) for path in found)


def everybody_else(path, key):
    """Return the rows of all tables of the model that are not about a person."""
    gone = f"(SELECT patient_id FROM patient WHERE person_key = '{key}')"
    claims = f"(SELECT claim_id FROM claim WHERE patient_id IN {gone})"
    coverages = f"(SELECT coverage_id FROM coverage WHERE patient_id IN {gone})"
    tables = {}
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
        tables[name] = query(path, f"FROM {model.relation(name)} WHERE {where} ORDER BY ALL")
    return tables


def dispose(places, scope, **options):
    return maintenance.dispose(places, scope, now=datetime.now(UTC), **options)


def test_a_person_is_in_no_byte_of_the_home_and_everybody_else_is_as_before(places, tmp_path):
    key, mbi, needles = somebody(places)
    before = everybody_else(places.warehouse, key)
    assert names_anybody(places.raw.parent, needles)
    certificate = dispose(places, Person(mbi))
    assert names_anybody(places.raw.parent, needles) == []
    for path in (places.warehouse, places.published):
        assert everybody_else(path, key) == before
    assert certificate.finished_at is not None
    assert certificate.rows["main.claim"] == certificate.counts["ExplanationOfBenefit resources"] > 0
    # The same again finds nothing.
    assert dispose(places, Person(mbi)) is None
    assert maintenance.look(places, Person(mbi), now=NOW).is_empty
    # Nothing brings the person back, and what is built anew is what is there.
    rebuilt = maintenance.rebuild_warehouse(places, tmp_path / "anew.duckdb")
    assert rebuilt.differing == ()
    assert everybody_else(rebuilt.path, key) == before
    assert names_anybody(tmp_path / "anew.duckdb", needles) == []
