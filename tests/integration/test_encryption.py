"""One key for lake, working and published database: what it opens, what it refuses, and how it is changed."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import duckdb_cryptography
import pytest
from duckdb_cryptography import KEY, OTHER_KEY
from plain_export import planned, run_export
from rawfiles import load

from bcda import export, maintenance, model, warehouse
from bcda.api.export_request import Scope
from bcda.errors import EncryptionError, InvalidRequestError
from bcda.settings import ApiVersion, ConnectionSettings
from bcda.storage import duckdb_files
from bcda.storage.encryption import EncryptionKey
from bcda.storage.places import Places
from bcda.warehouse import open_warehouse
from bcda_simulator import SimulatorServer
from bcda_simulator.world import World

NOW = datetime.now(UTC)
TABLES = [table.relation for table in model.core_tables()] + ["patient_identifier", "roster"]


@pytest.fixture(autouse=True)
def cryptography_of_the_tests(monkeypatch):
    monkeypatch.setattr(duckdb_files, "LOAD_CRYPTOGRAPHY", duckdb_cryptography.statement())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Homes with one and the same export, without and with a key."""
    homes = {None: tmp_path_factory.mktemp("plain"), KEY: tmp_path_factory.mktemp("encrypted")}
    with pytest.MonkeyPatch.context() as patch, SimulatorServer(World(people=5, seed=6, history_weeks=20)) as server:
        patch.setattr(duckdb_files, "LOAD_CRYPTOGRAPHY", duckdb_cryptography.statement())
        settings = ConnectionSettings(server.base_url, server.entity.client_id, server.entity.client_secret)
        for key, home in homes.items():
            run_export(settings, replace(Places.below(home), key=key))
    return homes


@pytest.fixture
def kept(exported, tmp_path):
    """Return a copy of a home, with the key it was written with."""

    def copy(key):
        home = shutil.copytree(exported[key], tmp_path / f"home{len(list(tmp_path.iterdir()))}", symlinks=True)
        return replace(Places.below(home), key=key)

    return copy


def contents(places):
    """Every row of the working database, and what analysts see of it."""
    with open_warehouse(places.warehouse, key=places.key, read_only=True) as connection:
        rows = {table: connection.execute(f"FROM {table} ORDER BY ALL").fetchall() for table in TABLES}
    with published(places) as connection:
        texts = connection.execute("SELECT resource_id, body FROM resource ORDER BY ALL").fetchall()
    # Runs have names of their own.
    run = r"\d{8}T\d{6}Z-[\w-]+"
    return json.loads(re.sub(run, "RUN", json.dumps([rows, texts], default=str)))


def published(places):
    """Open the published database as the guide for analysts says."""
    connection = duckdb.connect()
    options = f", ENCRYPTION_KEY '{places.key.text}'" if places.key else ""
    connection.execute(f"ATTACH '{places.published}' AS bcda (READ_ONLY{options})")
    connection.execute("USE bcda")
    if places.key:
        connection.execute(f"PRAGMA add_parquet_key('bcda', '{places.key.text}')")
    return connection


def on_disk(places):
    return {path: path.read_bytes() for path in sorted(places.raw.parent.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "text", ["", "short", "x" * 44, KEY.text[:-4], f"{KEY.text}AAAA", "ключ", KEY.text[:-2] + "\n="]
)
def test_what_is_no_key_is_refused_and_not_repeated(text):
    with pytest.raises(InvalidRequestError, match="openssl rand") as caught:
        EncryptionKey.from_text(text)
    assert not text or text not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_key_is_read_from_the_environment_and_never_shown(tmp_path):
    environment = {"BCDA_HOME": str(tmp_path), "BCDA_ENCRYPTION_KEY": f" {KEY.text}\n"}
    places = Places.from_environment(environment, default_home=Path("x"))
    assert places.key == places.of_source("second").key == KEY
    assert Places.from_environment({"BCDA_ENCRYPTION_KEY": ""}, default_home=Path("x")).key is None
    for secret in (KEY.text, repr(KEY.value), KEY.value.hex()):
        assert secret not in f"{places!r} {KEY!r} {KEY} {[KEY]}"


def test_an_encrypted_export_holds_what_a_plain_one_holds(kept):
    plain, encrypted = kept(None), kept(KEY)
    assert contents(encrypted) == contents(plain)
    assert any(row for row in contents(plain)[0]["patient"] if any(isinstance(value, list) and value for value in row))


def test_analysts_ask_it_without_the_extension(kept):
    places = kept(KEY)
    with published(places) as connection:
        assert connection.execute("SELECT count(*) FROM claim_current").fetchall()[0][0]
        assert connection.execute("SELECT missing FROM ops.data_status").fetchall()
        assert connection.execute("SELECT count(*) FROM cclf.cclf1").fetchall()
        some = connection.execute("SELECT resource_id FROM resource ORDER BY ALL LIMIT 1 OFFSET 3").fetchall()[0][0]
        found = connection.execute("SELECT body ->> '$.id' FROM resource WHERE resource_id = ?", [some]).fetchall()
        assert found == [(some,)]
        loaded = connection.execute("SELECT extension_name FROM duckdb_extensions() WHERE loaded").fetchall()
        if duckdb_cryptography.statement() != "LOAD httpfs":
            assert ("httpfs",) not in loaded
        for table in ("patient", "claim_supporting_info"):
            pattern = str(places.lake / table / "*" / "*" / "*.parquet")
            query = "FROM read_parquet($lake, encryption_config = {footer_key: 'bcda'}) WHERE raw_line > 1"
            assert connection.execute(query, {"lake": pattern}).fetchall()


@pytest.mark.complete
def test_the_text_of_a_resource_is_found_among_many_pages_and_groups(places):
    """What the standard's form of encryption fails at in DuckDB: filters, lists, and more than a page in a column."""
    places = replace(places, key=KEY)
    roll = random.Random(7)
    address = [{"line": ["1 Long Way", "Apt 2"], "state": "CA"}]
    people = [
        json.dumps(
            {
                "resourceType": "Patient",
                "id": f"-{n}",
                "address": address,
                "note": roll.randbytes(1500).hex(),
            }
        )
        for n in range(4000)
    ]
    load(places, [("Patient", "".join(f"{line}\n" for line in people).encode())])
    warehouse.publish(places)
    (file,) = places.lake.glob("resource/*/*/*.parquet")
    assert file.stat().st_size > 1 << 20
    with published(places) as connection:
        rows = connection.execute(
            "SELECT body FROM resource WHERE resource_id IN ('-7', '-3999') ORDER BY ALL"
        ).fetchall()
        assert sorted(row[0] for row in rows) == sorted([people[7], people[3999]])
        assert connection.execute("SELECT sum(length(body)) FROM resource").fetchall() == [(sum(map(len, people)),)]
        assert connection.execute("SELECT DISTINCT address_lines FROM patient").fetchall() == [
            (["1 Long Way", "Apt 2"],)
        ]


OPERATIONS = {
    "plan": lambda places, run: warehouse.read_ledger(places, ApiVersion.V2, Scope.PATIENT, ["Patient"]),
    "land": lambda places, run: [
        *map(Path.unlink, places.run_folder(run).glob("landed-*")),
        export.land_batch(places, run, 0, 2),
    ],
    "publish": lambda places, run: export.publish(places),
    "compact": lambda places, run: maintenance.compact_lake(places, [run]),
    "vacuum": lambda places, run: warehouse.vacuum(places, worth_it=0.0),
    "status": lambda places, run: maintenance.data_status(places),
    "rebuild the warehouse": lambda places, run: maintenance.rebuild_warehouse(
        places, places.lake.parent / "new.duckdb"
    ),
    "change the key": lambda places, run: maintenance.change_key(places, EncryptionKey(b"y" * 32)),
}


@pytest.mark.parametrize(
    ("written_with", "opened_with", "said"),
    [
        (KEY, None, "is encrypted and no key is set"),
        (KEY, OTHER_KEY, "is encrypted with another key"),
        (None, KEY, "is not encrypted, but a key is set"),
    ],
    ids=["missing", "wrong", "not-encrypted"],
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_key_that_does_not_fit_is_refused_and_changes_nothing(kept, operation, written_with, opened_with, said):
    places = kept(written_with)
    run = next(places.raw.iterdir()).name
    before = on_disk(places)
    with pytest.raises(EncryptionError) as caught:
        OPERATIONS[operation](replace(places, key=opened_with), run)
    if operation != "change the key":
        assert said in str(caught.value)
    assert KEY.text not in str(caught.value)
    after = on_disk(places)
    if operation == "land":
        before = {path: content for path, content in before.items() if not path.name.startswith("landed-")}
    assert after == before


def test_a_lake_file_with_another_key_is_named_before_anything_is_merged(kept):
    places = kept(KEY)
    run = next(places.raw.iterdir()).name
    places.warehouse.unlink()
    with pytest.raises(EncryptionError, match=r"lake file .*\.parquet is encrypted with another key"):
        export.merge(replace(places, key=OTHER_KEY), run, 2, now=NOW)
    with open_warehouse(places.warehouse, key=OTHER_KEY) as connection:
        assert connection.execute("SELECT count(*) FROM ops.export_run").fetchall() == [(0,)]


def test_without_the_extension_nothing_is_written_and_the_error_says_how_to_install_it(kept, monkeypatch, tmp_path):
    monkeypatch.setattr(duckdb_files, "LOAD_CRYPTOGRAPHY", f"LOAD '{tmp_path}/httpfs.duckdb_extension'")
    places = kept(None)
    run = next(places.raw.iterdir()).name
    empty = replace(Places.below(tmp_path / "empty"), raw=places.raw, key=KEY)
    for path in places.run_folder(run).glob("landed-*"):
        path.unlink()
    with pytest.raises(EncryptionError, match="INSTALL httpfs"):
        export.land_batch(empty, run, 0, 2)
    with pytest.raises(EncryptionError, match="INSTALL httpfs"), open_warehouse(empty.warehouse, key=KEY):
        pass
    assert not [path for path in empty.lake.parent.rglob("*") if path.is_file()]


@pytest.mark.complete
@pytest.mark.parametrize(
    ("old", "new"),
    [pytest.param(None, KEY, id="on"), pytest.param(KEY, None, id="off"), pytest.param(KEY, OTHER_KEY, id="another")],
)
def test_a_changed_key_keeps_every_row(kept, old, new):
    places = kept(old)
    before, files = contents(places), sorted(path.name for path in on_disk(places))
    lake_files = len(list(places.lake.rglob("*.parquet")))
    changed = maintenance.change_key(places, new)
    assert (changed.lake_files, changed.databases) == (lake_files, 2)
    after = replace(places, key=new)
    assert contents(after) == before
    assert sorted(path.name for path in on_disk(places)) == files
    for path in [*places.lake.rglob("*.parquet"), places.warehouse, places.published]:
        assert path.stat().st_mode & 0o777 == 0o600
        if new is not None:
            assert b"Synthea" not in path.read_bytes()
    assert maintenance.rebuild_warehouse(after, places.raw.parent / "anew.duckdb").differing == ()
    assert maintenance.rebuild_lake(after, places.raw.parent / "rebuilt").differing == ()
    with pytest.raises(EncryptionError):
        warehouse.merged_runs(places)


@pytest.mark.complete
def test_an_encrypted_home_is_remapped_and_stays_encrypted(kept):
    places = kept(KEY)
    before, paths = contents(places), sorted(on_disk(places))
    for path in places.raw.glob("*/landed-*.json"):
        path.write_text(re.sub(r'"mapping_version": \d+', '"mapping_version": 0', path.read_text()))
    assert maintenance.remap(places, now=NOW).is_new_database
    assert contents(places) == before
    assert sorted(on_disk(places)) == paths
    for path in [*places.lake.rglob("*.parquet"), places.warehouse]:
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"Synthea" not in path.read_bytes()
    assert maintenance.rebuild_warehouse(places, places.raw.parent / "anew.duckdb").differing == ()


def test_a_change_that_is_killed_goes_on_where_it_was(kept, monkeypatch):
    places = kept(None)
    before = contents(places)

    class KilledError(BaseException):
        pass

    replaced, original = [], Path.replace
    total = len(list(places.lake.rglob("*.parquet"))) + 2

    def killed_after(count):
        def step(path, target):
            if len(replaced) == count:
                raise KilledError
            replaced.append(target)
            return original(path, target)

        return step

    for count in (0, 1, total // 2, total - 2, total - 1):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", killed_after(count))
            with pytest.raises(KilledError):
                maintenance.change_key(places, KEY)
    last = maintenance.change_key(places, KEY)
    assert (last.lake_files, last.databases) == (0, 1)
    assert contents(replace(places, key=KEY)) == before
    with pytest.raises(InvalidRequestError, match="same as the current key"):
        maintenance.change_key(places, None)


@pytest.mark.complete
def test_a_merge_killed_after_its_commit_is_found_in_the_encrypted_log(exported, settings_for, serve, tmp_path):
    places = replace(Places.below(shutil.copytree(exported[KEY], tmp_path / "home", symlinks=True)), key=KEY)
    run = next(places.raw.iterdir()).name
    places.warehouse.unlink()
    script = f"""
        import os, signal, sys
        from dataclasses import replace
        from datetime import UTC, datetime
        from pathlib import Path
        from bcda import export
        from bcda.storage import commit_points, duckdb_files
        from bcda.storage.encryption import EncryptionKey
        from bcda.storage.places import Places
        duckdb_files.LOAD_CRYPTOGRAPHY = {duckdb_cryptography.statement()!r}
        def die(event, arguments):
            if event == commit_points.EVENT and arguments[0] == commit_points.CommitPoint.MERGE_COMMITTED:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(die)
        places = replace(Places.below(Path({str(tmp_path / "home")!r})), key=EncryptionKey.from_text({KEY.text!r}))
        export.merge(places, {run!r}, 2, now=datetime.now(UTC))
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert killed.returncode == -signal.SIGKILL
    log = places.warehouse.with_name(f"{places.warehouse.name}.wal")
    assert log.stat().st_size
    assert b"Synthea" not in log.read_bytes()
    assert list(warehouse.merged_runs(places)) == [run]
    assert export.publish(places).runs == 1


def command(places, *arguments, **environment):
    load = (
        f"from bcda.storage import duckdb_files; duckdb_files.LOAD_CRYPTOGRAPHY = {duckdb_cryptography.statement()!r}"
    )
    return subprocess.run(
        [sys.executable, "-c", f"{load}; from bcda.__main__ import main; main()", *arguments],
        env={"BCDA_HOME": str(places.raw.parent), "PATH": "/usr/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.complete
def test_the_command_changes_the_key_and_the_others_take_it(kept):
    places = kept(None)
    both = {"BCDA_ENCRYPTION_KEY": KEY.text, "BCDA_NEW_ENCRYPTION_KEY": OTHER_KEY.text}
    for wrong in (command(places, "change-key"), command(places, "change-key", "--off", **both)):
        assert (wrong.returncode, "not both" in wrong.stderr) == (1, True)
    on = command(places, "change-key", BCDA_NEW_ENCRYPTION_KEY=KEY.text)
    assert "2 databases are rewritten" in on.stdout
    refused = command(places, "status")
    assert (refused.returncode, "no key is set" in refused.stderr) == (1, True)
    assert "complete" in command(places, "status", BCDA_ENCRYPTION_KEY=KEY.text).stdout
    turned = command(places, "change-key", **both)
    assert "put the new key" in turned.stdout
    off = command(places, "change-key", "--off", BCDA_ENCRYPTION_KEY=OTHER_KEY.text)
    assert "unset the key" in off.stdout
    assert "complete" in command(places, "status").stdout
    for done in (on, refused, turned, off):
        assert KEY.text not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.complete
def test_a_first_export_can_still_be_given_a_key_or_none(serve, settings_for, places):
    settings = settings_for(serve())
    with pytest.raises(InvalidRequestError, match="nothing is loaded"):
        maintenance.change_key(places, KEY)
    run_export(settings, replace(places, key=KEY))
    run = planned(settings, replace(places, key=KEY))
    assert run.request.since is not None
