"""The published database: its settings, who may read it, what becomes of another process's log, and dated copies."""

import lzma
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import duckdb
import duckdb_cryptography
import pytest
from rawfiles import load
from test_warehouse import EOB, LATER, claim, patient

from bcda.doctor.check import Status
from bcda.doctor.storage import check_storage
from bcda.errors import InvalidRequestError, StorageError
from bcda.maintenance import change_key
from bcda.storage import duckdb_files
from bcda.storage.commit_points import EVENT, CommitPoint
from bcda.storage.encryption import EncryptionKey
from bcda.storage.places import Places
from bcda.storage.publication import ENCRYPTED_STORAGE, STORAGES, Publication
from bcda.warehouse import open_warehouse, placement, publish

EARLIER = Path(__file__).parent / "earlier" / "working-1.0.duckdb.xz"
"""A working database with two claims and a Patient, written by release 1.0."""

OUTSIDER, READER = 65534, 54321
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
SILENT = Publication(storage="v1.1.0")
"""A storage version in which DuckDB replays the log of another file without a word."""


def published(places, publication=None):
    """Publish two claims."""
    places = replace(places, publication=publication or Publication())
    load(places, [(EOB, claim(1) + claim(2)), ("Patient", patient())])
    publish(places)
    return places


def claims(path):
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute("SELECT count(*) FROM claim_current").fetchall()[0][0]


def storage(path, key=None):
    with duckdb.connect() as connection:
        options = f", ENCRYPTION_KEY '{key.text}'" if key else ""
        connection.execute(f"ATTACH '{path}' AS it (READ_ONLY{options})")
        found = connection.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'it'").fetchall()
        return found[0][0]["storage_version"].removesuffix("+")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BCDA_PUBLISHED_STORAGE", "v1.4", r"must be a DuckDB storage version: v1\.1\.0, .* Got: v1\.4\."),
        ("BCDA_PUBLISHED_STORAGE", "latest", "Got: latest"),
        ("BCDA_PUBLISHED_COPIES", "-1", "whole number from 0 to 366. Got: -1"),
        ("BCDA_PUBLISHED_COPIES", "three", "Got: three"),
        ("BCDA_PUBLISHED_COPIES", "367", "Got: 367"),
    ],
)
def test_a_malformed_setting_is_refused_by_its_name(name, value, said, tmp_path):
    with pytest.raises(InvalidRequestError, match=f"^{name} .*{said}"):
        Places.from_environment({"BCDA_HOME": str(tmp_path), name: value}, default_home=tmp_path)
    assert not list(tmp_path.iterdir())


def test_settings_are_read_for_every_source(tmp_path):
    environment = {"BCDA_PUBLISHED_STORAGE": "v1.1.0", "BCDA_READERS_GROUP": "staff", "BCDA_PUBLISHED_COPIES": "3"}
    places = Places.from_environment(environment, default_home=tmp_path)
    assert places.publication == places.of_source("second").publication == Publication("v1.1.0", "staff", 3)
    assert Places.from_environment({}, default_home=tmp_path).publication == Publication("v1.4.0", None, 0)


@pytest.mark.complete
def test_an_encrypted_file_of_an_older_storage_version_is_refused(places):
    key = EncryptionKey(bytes(32))
    with pytest.raises(InvalidRequestError, match=r"BCDA_PUBLISHED_STORAGE=v1\.1\.0 cannot be encrypted"):
        replace(places, publication=SILENT, key=key)
    here = published(places, SILENT)
    before = here.warehouse.read_bytes()
    with pytest.raises(InvalidRequestError, match="cannot be encrypted"):
        change_key(here, key)
    assert here.warehouse.read_bytes() == before


@pytest.mark.parametrize(
    "version",
    [STORAGES[0], *(pytest.param(version, marks=pytest.mark.complete) for version in STORAGES[1:])],
)
def test_the_published_file_has_the_storage_version_that_is_set(version, places):
    here = published(places, Publication(storage=version))
    assert storage(here.published) == version.replace("v1.1.0", "v1.0.0")
    assert storage(here.warehouse) == "v1.4.0"
    assert claims(here.published) == 2


def test_a_database_of_the_earlier_release_gets_storage_and_views_of_this_one(places):
    places.warehouse.parent.mkdir(parents=True)
    places.warehouse.write_bytes(lzma.decompress(EARLIER.read_bytes()))
    assert storage(places.warehouse) == "v2.0.0"
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{places.warehouse}' AS other (READ_ONLY)")
        with pytest.raises(duckdb.CatalogException, match="claim_current does not exist"):
            connection.execute("FROM other.cclf.cclf5")
    publish(places)
    assert storage(places.warehouse) == storage(places.published) == "v1.4.0"
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{places.published}' AS other (READ_ONLY)")
        assert connection.execute("SELECT count(*) FROM other.cclf.cclf5").fetchall() == [(4,)]
        uncommented = "SELECT view_name FROM duckdb_views() WHERE database_name = 'other' AND comment IS NULL"
        assert not connection.execute(uncommented).fetchall()
    before = places.warehouse.stat().st_ino
    publish(places)
    assert places.warehouse.stat().st_ino == before


@pytest.mark.complete
def test_views_are_made_once(places):
    load(places, [(EOB, claim(1))])
    with open_warehouse(places.warehouse) as connection:
        connection.execute("COMMENT ON VIEW main.claim_current IS 'mine'")
    with open_warehouse(places.warehouse) as connection:
        found = "SELECT comment FROM duckdb_views() WHERE schema_name = 'main' AND view_name = 'claim_current'"
        assert connection.execute(found).fetchall() == [("mine",)]
        connection.execute("UPDATE ops.setting SET value = 'an earlier release' WHERE name = 'views'")
    with open_warehouse(places.warehouse) as connection:
        assert connection.execute(found).fetchall()[0][0].startswith("One row per claim that counts now")


@pytest.mark.complete
def test_a_copy_without_the_lake_says_what_is_missing(places, tmp_path):
    here = published(places)
    here.lake.rename(tmp_path / "elsewhere")
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(here.published.read_bytes())
    with duckdb.connect(str(copy), read_only=True) as connection:
        with pytest.raises(duckdb.IOException, match="the view resource reads the lake, which is not on this computer"):
            connection.execute("FROM resource")
        views = connection.execute("SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        for schema, view in views:
            if view != "resource":
                connection.execute(f"FROM {schema}.{view}").fetchall()
    (tmp_path / "elsewhere").rename(here.lake)
    with duckdb.connect(str(copy), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM resource").fetchall() == [(3,)]


WRITER = """
    import sys, duckdb
    connection = duckdb.connect(sys.argv[1])
    connection.execute("SET checkpoint_threshold = '1TB'")
    print("open", flush=True)
    for line in sys.stdin:
        try:
            connection.execute(line)
            print("written", flush=True)
        except duckdb.Error as error:
            print("refused", flush=True)
"""


class Writer:
    """An analyst's tool that has the published database open for writing."""

    def __init__(self, path):
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout.readline() == "open\n"

    def execute(self, statement):
        self.process.stdin.write(f"{statement}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self):
        self.process.kill()
        self.process.wait()


def unguarded(places):
    """What a release that left the log's name free had published."""
    log = places.published.with_name(f"{places.published.name}.wal")
    log.unlink()
    return log


def next_claims(places):
    load(places, [(EOB, claim(3) + claim(4) + claim(5))], run_id="r2", transaction_time=LATER)


@pytest.mark.parametrize(
    "publication", [pytest.param(SILENT, marks=pytest.mark.complete), Publication()], ids=["v1.1.0", "v1.4.0"]
)
def test_a_writer_killed_before_the_publication_changes_nothing_in_it(places, publication):
    here = published(places, publication)
    log = unguarded(here)
    writer = Writer(here.published)
    assert writer.execute("DELETE FROM claim") == "written"
    writer.kill()
    assert log.stat().st_size
    next_claims(here)
    publish(here)
    assert claims(here.published) == 5


@pytest.mark.complete
def test_without_the_order_the_log_of_a_killed_writer_is_replayed(places, monkeypatch):
    here = published(places, SILENT)
    unguarded(here)
    writer = Writer(here.published)
    writer.execute("DELETE FROM claim")
    writer.kill()
    next_claims(here)
    monkeypatch.setattr(placement, "_take_log_name", lambda target: None)
    publish(here)
    assert claims(here.published) != 5


@pytest.mark.complete
@pytest.mark.parametrize("publication", [SILENT, Publication()], ids=["v1.1.0", "v1.4.0"])
@pytest.mark.parametrize("writes_before", [False, True])
def test_a_writer_that_opened_before_the_publication_and_writes_after_it_changes_nothing(
    places, publication, writes_before
):
    here = published(places, publication)
    unguarded(here)
    writer = Writer(here.published)
    if writes_before:
        assert writer.execute("DELETE FROM claim WHERE claim_id = 'carrier-1'") == "written"
    next_claims(here)
    publish(here)
    assert writer.execute("DELETE FROM claim") == ("written" if writes_before else "refused")
    writer.kill()
    assert claims(here.published) == 5


@pytest.mark.complete
def test_no_log_can_be_written_beside_a_published_file(places):
    here = published(places)
    writer = Writer(here.published)
    assert writer.execute("DELETE FROM claim") == "refused"
    writer.kill()
    assert claims(here.published) == 2


@pytest.mark.complete
def test_a_folder_without_symbolic_links_loses_the_log_of_a_killed_writer(places, monkeypatch):
    here = published(places, SILENT)
    unguarded(here)
    writer = Writer(here.published)
    writer.execute("DELETE FROM claim")
    writer.kill()
    next_claims(here)

    def refuse(self, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    publish(here)
    assert claims(here.published) == 5


@pytest.mark.complete
def test_the_key_is_changed_of_what_was_published_not_of_a_writers_log(places, monkeypatch):
    monkeypatch.setattr(duckdb_files, "LOAD_CRYPTOGRAPHY", duckdb_cryptography.statement())
    here = published(places, Publication(copies=2))
    unguarded(here)
    writer = Writer(here.published)
    assert writer.execute("DELETE FROM claim") == "written"
    writer.kill()
    assert change_key(here, duckdb_cryptography.KEY).databases == 3
    for path in (here.published, *placement.dated_copies(here.published)):
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH '{path}' AS it (READ_ONLY, ENCRYPTION_KEY '{duckdb_cryptography.KEY.text}')")
            assert connection.execute("SELECT count(*) FROM it.main.claim_current").fetchall() == [(2,)]
            assert storage(path, duckdb_cryptography.KEY) == ENCRYPTED_STORAGE
    encrypted = replace(here, key=duckdb_cryptography.KEY)
    before = here.warehouse.stat().st_ino
    publish(encrypted)
    assert here.warehouse.stat().st_ino == before, "a working database in order is not rewritten"


@pytest.mark.complete
@pytest.mark.parametrize(
    ("event", "count"),
    [
        (EVENT, CommitPoint.SNAPSHOT_COPIED.value),
        (EVENT, CommitPoint.LOG_SHUT_OUT.value),
        (EVENT, CommitPoint.PUBLISHED.value),
        ("os.rename", 1),
        ("os.rename", 2),
        ("os.rename", 3),
    ],
)
def test_killed_at_any_step_a_reader_sees_the_old_file_or_the_new_one(places, event, count):
    here = published(places, SILENT)
    unguarded(here)
    writer = Writer(here.published)
    writer.execute("DELETE FROM claim")
    writer.kill()
    next_claims(here)
    script = f"""
        import os, signal, sys
        from dataclasses import replace
        from pathlib import Path
        from bcda.storage.places import Places
        from bcda.storage.publication import Publication
        from bcda.warehouse import publish
        seen = 0
        def watch(event, arguments):
            global seen
            if event != {event!r}:
                return
            seen += 1
            if {count!r} in (seen, *arguments):
                os.kill(os.getpid(), signal.SIGKILL)
        places = replace(Places.below(Path({str(here.raw.parent)!r})), publication=Publication("v1.1.0", copies=1))
        sys.addaudithook(watch)
        publish(places)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    replaced = claims(here.published)
    # 0: the old file with the log that its writer left, as before the publication; 2: the old file without it.
    assert replaced in {0, 2, 5}
    assert all(claims(path) == 5 for path in placement.dated_copies(here.published))
    publish(here)
    assert claims(here.published) == 5
    assert {path.name for path in here.published.parent.glob(".*")} == {".bcda.duckdb.lock"}


def as_outsider(act, *, groups=()):
    """Do something as a user who is in some groups only, in a process of its own; return what it returns or raises."""

    def outside(answer):
        os.setgroups(groups)
        os.setgid(OUTSIDER)
        os.setuid(OUTSIDER)
        try:
            answer.send(act())
        except (OSError, duckdb.Error, StorageError) as error:
            answer.send(f"{type(error).__name__}: {error}")

    # Forked, not started: the interpreter of the tests can be in a folder that others cannot enter.
    context = multiprocessing.get_context("fork")
    theirs, ours = context.Pipe(duplex=False)
    process = context.Process(target=outside, args=(ours,))
    process.start()
    said = theirs.recv()
    process.join()
    return said


@pytest.fixture
def reachable():
    """A home that other users can get to; pytest closes its own folders to them each time that it starts."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Places.below(Path(folder) / "home")


@NEEDS_ROOT
def test_without_a_group_the_file_is_its_owners(reachable):
    here = published(reachable)
    assert here.published.stat().st_mode & 0o777 == 0o600
    assert here.published.parent.stat().st_mode & 0o777 == 0o700
    assert "Permission denied" in as_outsider(partial(claims, here.published), groups=[READER])


def readable_below(home):
    """Return the names of files that can be read, and of folders that can be written."""
    read, written = set(), set()
    for folder, _, files in os.walk(home):
        read |= {name for name in files if os.access(Path(folder, name), os.R_OK)}
        written |= {folder} if os.access(folder, os.W_OK) else set()
    return read, written


def emptied(path):
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM claim")


@NEEDS_ROOT
@pytest.mark.parametrize("source", ["bcda_default", "second"])
def test_a_group_reads_the_published_file_and_nothing_else(reachable, source):
    readers = Publication(readers_group=str(READER), copies=1)
    here = published(reachable.of_source(source), readers)
    (copy,) = placement.dated_copies(here.published)
    for path in (here.published, copy):
        assert (path.stat().st_mode & 0o777, path.stat().st_gid) == (0o440, READER)
    folder = here.published.parent.stat()
    assert (folder.st_mode & 0o777, folder.st_gid) == (0o750, READER)
    assert "Permission denied" in as_outsider(partial(claims, here.published))
    assert as_outsider(partial(claims, here.published), groups=[READER]) == 2
    home = reachable.raw.parent
    assert as_outsider(partial(readable_below, home), groups=[READER]) == ({"bcda.duckdb", copy.name}, set())
    assert "Permission denied" in as_outsider(partial(emptied, here.published), groups=[READER])
    assert claims(here.published) == 2


def test_a_group_that_does_not_exist_is_refused_before_anything_is_written(places):
    load(places, [(EOB, claim(1))])
    with pytest.raises(
        InvalidRequestError, match="BCDA_READERS_GROUP names the group nobodys-group, which this machine"
    ):
        publish(replace(places, publication=Publication(readers_group="nobodys-group")))
    assert not places.published.exists()
    assert not list(places.published.parent.glob(".*"))


def test_the_doctor_says_whether_the_group_can_be_given_the_file(places):
    def found(group):
        checks = check_storage(replace(places, publication=Publication(readers_group=group)))
        return [(check.status, check.text) for check in checks if check.name == "readers"]

    assert found(None) == []
    assert found(str(os.getegid())) == [
        (Status.OK, f"The published database can be given to the group {os.getegid()}.")
    ]
    ((status, text),) = found("nobodys-group")
    assert (status, "BCDA_READERS_GROUP" in text) == (Status.FAILED, True)


@NEEDS_ROOT
def test_a_process_that_is_not_in_the_group_is_refused_before_anything_is_written(reachable):
    reachable.raw.parent.mkdir()
    check = partial(placement.check_readers, replace(reachable, publication=Publication(readers_group=str(READER))))
    assert "user id 65534) is not in, so it cannot give the published database to it" in as_outsider(check)
    assert "to belong to the account of this process" in as_outsider(check, groups=[READER])
    os.chown(reachable.raw.parent, OUTSIDER, OUTSIDER)
    assert as_outsider(check, groups=[READER]) is None


@pytest.mark.complete
def test_dated_copies_are_kept_up_to_their_number(places):
    here = published(places, Publication(copies=3))
    kept = [path.name for path in placement.dated_copies(here.published)]
    assert kept == [f"bcda-{datetime.now(UTC):%Y-%m-%d}.duckdb"]
    mine = here.published.with_name("bcda-before-the-audit.duckdb")
    mine.write_bytes(b"an analyst's own")
    for day in ("2027-01-09", "2027-01-10", "2027-01-10", "2027-01-10"):
        placement.keep_dated_copy(here, now=datetime.fromisoformat(f"{day}T06:00:00+00:00"))
    kept = [path.name for path in placement.dated_copies(here.published)]
    assert kept == ["bcda-2027-01-10.duckdb", "bcda-2027-01-10-2.duckdb", "bcda-2027-01-10-3.duckdb"]
    assert mine.exists()
    assert all(claims(here.published.with_name(name)) == 2 for name in kept)
    placement.keep_dated_copy(replace(here, publication=Publication(copies=0)))
    assert len(placement.dated_copies(here.published)) == 3


@pytest.mark.complete
def test_a_dated_copy_goes_with_its_log_and_takes_none_over(places):
    here = published(places, Publication(copies=1))
    (copy,) = placement.dated_copies(here.published)
    left = copy.with_name(f"{copy.name}.wal")
    left.write_bytes(b"claims that an analyst's tool wrote")
    stale = here.published.with_name("bcda-2027-01-09.duckdb.wal")
    stale.write_bytes(b"of a copy that a person removed")
    placement.keep_dated_copy(here, now=datetime(2027, 1, 9, tzinfo=UTC))
    assert [path.name for path in placement.dated_copies(here.published)] == ["bcda-2027-01-09.duckdb"]
    assert not left.exists()
    assert not stale.exists()


@pytest.mark.complete
@NEEDS_ROOT
def test_a_folder_above_that_lets_readers_in_stays_as_it_is(reachable):
    home = reachable.raw.parent
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    here = published(reachable.of_source("second"), Publication(readers_group=str(READER)))
    assert (home.stat().st_mode & 0o777, home.stat().st_gid) == (0o755, os.getegid())
    assert as_outsider(partial(claims, here.published), groups=[READER]) == 2


@pytest.mark.complete
def test_a_dated_copy_that_cannot_be_removed_stays_and_the_rest_goes_on(places, monkeypatch, caplog):
    here = published(places, Publication(copies=1))
    unlink = Path.unlink

    def held(self, missing_ok=False):
        if self.name.startswith("bcda-2") and self.suffix == ".duckdb":
            raise PermissionError(13, "Permission denied")
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", held)
    placement.keep_dated_copy(here, now=datetime(2027, 1, 9, tzinfo=UTC))
    assert len(placement.dated_copies(here.published)) == 2
    assert "stays until the next publication" in caplog.text


@pytest.mark.complete
def test_a_file_that_a_share_does_not_let_go_leaves_the_old_one(places, monkeypatch):
    here = published(places)
    rename = Path.replace

    def held(self, target):
        if Path(target) == here.published:
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", held)
    next_claims(here)
    with pytest.raises(StorageError, match=r"Cannot replace .*BCDA_PUBLISHED_COPIES"):
        publish(here)
    assert claims(here.published) == 2
    assert {path.name for path in here.published.parent.glob(".*")} == {".bcda.duckdb.lock"}
