"""Rows know which rules made them: the version of the mapping, and what keeps it in step with the rules."""

from dataclasses import replace

import duckdb
import pyarrow.parquet as pq
import pytest
from rawfiles import NOON, land, load

from bcda import warehouse
from bcda.model import mapping_version
from bcda.model.mapping_version import MAPPING_DIGEST, MAPPING_VERSION, mapping_digest
from bcda.runs.landed import read_landed, write_landed

PATIENT = b'{"resourceType":"Patient","id":"1","meta":{"lastUpdated":"2026-11-09T00:00:00Z"}}\n'


def test_rules_that_changed_have_a_new_version():
    assert mapping_digest() == MAPPING_DIGEST, (
        "A declaration, a shape, a merge, or the type of a column is not what it was. In include/bcda/model/mapping_version.py, raise "
        "MAPPING_VERSION if a row can have another value, so that homes are told to remap, and in any case set "
        f'MAPPING_DIGEST = "{mapping_digest()}".'
    )


@pytest.mark.parametrize(
    "name", ["declarations/claim.toml", "shapes/v2.Patient.json", "merge/claim_currency.sql", "no_id_keys.toml"]
)
def test_the_digest_is_of_every_kind_of_rule(name, monkeypatch, tmp_path):
    for part in ("declarations", "shapes", "merge", "no_id_keys.toml", "states.csv"):
        (tmp_path / part).symlink_to(mapping_version.files("bcda.model") / part)
    folder = name.partition("/")[0]
    (tmp_path / folder).unlink()
    changed = mapping_version.files("bcda.model") / folder
    for path in [changed] if changed.is_file() else changed.iterdir():
        target = tmp_path / folder if changed.is_file() else tmp_path / folder / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_text(path.read_text() + ("#" if target == tmp_path / name else ""))
    monkeypatch.setattr(mapping_version, "files", lambda _: tmp_path)
    assert mapping_digest() != MAPPING_DIGEST


def ask(places, query):
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        return connection.execute(query).fetchall()


STATUS = "SELECT resource_type, older_mapping_runs, missing FROM ops.data_status"


def test_what_is_landed_now_is_of_this_version(places):
    load(places, [("Patient", PATIENT)])
    account = read_landed(places.run_folder("r1"), 0)
    assert account.mapping_version == MAPPING_VERSION
    assert ask(places, "FROM ops.run_mapping") == [("r1", MAPPING_VERSION)]
    assert ask(places, STATUS) == [("Patient", 0, "")]
    assert warehouse.read_older_runs(places) == 0


def test_a_run_that_an_earlier_release_landed_stays_older_beside_new_ones(places):
    run, manifest, landed = land(places, [("Patient", PATIENT)])
    path = places.run_folder("r1") / "landed-000.json"
    write_landed(path.parent, landed)
    path.write_text(path.read_text().replace(f',\n "mapping_version": {MAPPING_VERSION}', ""))
    old = read_landed(path.parent, 0)
    assert old.mapping_version == 0
    warehouse.merge_run(places, run, manifest, [old], now=NOON)
    load(places, [("Patient", PATIENT)], run_id="r2", since=NOON, transaction_time=NOON.replace(day=17))
    assert ask(places, STATUS) == [("Patient", 1, "")]
    assert warehouse.read_older_runs(places) == 1
    assert "python -m bcda remap --source other`" in warehouse.older_in_words(1, "other")
    assert warehouse.older_in_words(0, "other") == ""


def test_a_column_that_an_earlier_release_did_not_land_is_empty_until_the_run_is_remapped(places):
    run, manifest, landed = land(places, [("Patient", PATIENT)])
    path = places.lake / next(file.path for file in landed.lake_files if file.table == "patient")
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns("birth_date"), path)
    warehouse.merge_run(places, run, manifest, [replace(landed, mapping_version=0)], now=NOON)
    assert ask(places, "SELECT patient_id, birth_date FROM patient") == [("1", None)]
