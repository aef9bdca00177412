"""How files are written: no link is followed, no live attempt's file is touched, and what a receipt relies on is on the disk."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from datetime import timedelta
from pathlib import Path

import pytest
import rawfiles

from bcda import export, maintenance, warehouse
from bcda.api.manifest import FileKind
from bcda.by_hand.folder import Asked, held_folder
from bcda.doctor import check_storage
from bcda.errors import BcdaError, InvalidRequestError, ManifestError, StorageError
from bcda.landing import land_files
from bcda.runs.receipts import Receipt, check_bytes, proved_receipt, write_receipt
from bcda.storage import duckdb_files, files, folder_modes
from bcda.storage.places import Places

PATIENT = ("Patient", b'{"resourceType":"Patient","id":"p1","meta":{"lastUpdated":"2026-11-01T00:00:00Z"}}\n')
RECEIPT = Receipt("00001-X.ndjson.gz", FileKind.OUTPUT, "X", "http://x/1", 3, "0" * 64, 3, 1)


@pytest.fixture
def places(tmp_path):
    return Places.below(tmp_path / "home")


@pytest.fixture
def victim(tmp_path):
    """A file of someone, which nothing of ours may touch."""
    path = tmp_path / "victim"
    path.write_bytes(b"precious")
    yield path
    assert path.read_bytes() == b"precious"


# Links


def test_a_link_under_the_temporary_name_of_an_earlier_release_is_not_followed(places, victim):
    """The attack: whoever could write in the folder planted a link, and the writer emptied the file that it led to."""
    folder = files.private_folder(places.run_folder("r1"))
    for name in ("run.json", "manifest.json", "00001-X.ndjson.gz.receipt.json"):
        (folder / f".{name}.{os.getpid()}.tmp").symlink_to(victim)
        files.write_durably(folder / name, b"{}")
        assert not (folder / name).is_symlink()


@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to], ids=["link", "second name"])
def test_a_planted_lock_file_is_refused_and_not_written(places, victim, plant):
    rawfiles.load(places, [PATIENT])
    plant(places.published.parent / f".{places.published.name}.lock", victim)
    with pytest.raises(StorageError, match=r"\.lock"):
        warehouse.publish(places)
    assert not places.published.exists()


@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to], ids=["link", "second name"])
def test_a_planted_lock_file_of_an_export_by_hand_is_refused(tmp_path, victim, plant):
    folder = files.private_folder(tmp_path / "export")
    plant(folder / ".lock", victim)
    with pytest.raises(StorageError, match=r"\.lock"), held_folder(folder, Asked("all", "http://x", "c"), "patient"):
        pass
    assert victim.stat().st_mode & 0o777 == 0o644


def test_a_link_in_place_of_the_working_database_is_refused(places, victim):
    files.private_folder(places.warehouse.parent)
    places.warehouse.symlink_to(victim)
    with pytest.raises(StorageError, match="is a link or no file"), warehouse.open_warehouse(places.warehouse):
        pass


def test_a_link_in_place_of_a_record_is_replaced_and_not_written_through(tmp_path, victim):
    (tmp_path / "run.json").symlink_to(victim)
    files.write_durably(tmp_path / "run.json", b"{}")
    assert (tmp_path / "run.json").read_bytes() == b"{}"
    assert not (tmp_path / "run.json").is_symlink()


def test_what_was_planted_as_a_part_is_not_taken_over(tmp_path, victim):
    part = files.own_name(tmp_path / "x", "part")
    part.hardlink_to(victim)
    other = files.own_name(tmp_path / "x", "part")
    other.symlink_to(victim)
    assert files.take_over(files.parts_in(tmp_path)["x"]) is None


def test_a_mode_is_set_on_the_open_file_and_does_not_give_back_a_lock(places):
    with warehouse.open_warehouse(places.warehouse):
        files.make_private(places.warehouse)
        script = "import duckdb, sys; duckdb.connect(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", script, str(places.warehouse)], capture_output=True, text=True, check=False
        )
    assert "Could not set lock" in done.stderr


# Modes of folders


def opened(tmp_path, mode):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    return Places.below(home)


def test_a_folder_that_everybody_can_write_is_refused_with_the_command_that_repairs_it(tmp_path):
    places = opened(tmp_path, 0o777)
    with pytest.raises(StorageError) as refused:
        files.private_folder(places.run_folder("r1").parent)
    command = f"chmod o-w {tmp_path / 'home'}"
    assert f"Run `{command}`" in str(refused.value)
    found = next(check for check in check_storage(places) if check.name == "folders")
    assert (found.status, command in found.text) == ("failed", True)
    subprocess.run(command.split(), check=True)
    folder_modes._said.clear()
    files.private_folder(places.raw)


def test_a_folder_below_one_in_which_everybody_can_rename_is_refused(tmp_path):
    places = opened(tmp_path, 0o777)
    (tmp_path / "home" / "raw").mkdir(mode=0o700)
    with pytest.raises(StorageError, match="Every account can write"):
        files.private_folder(places.raw)
    # As in /tmp: nobody can rename what belongs to another there.
    (tmp_path / "home").chmod(0o1777)
    files.private_folder(places.raw)


@pytest.mark.parametrize(("setting", "warned"), [("", True), ("group", False), ("mount", False)])
def test_a_folder_that_its_group_can_write_passes(tmp_path, monkeypatch, caplog, setting, warned):
    monkeypatch.setenv("BCDA_FOLDER_MODES", setting)
    folder = opened(tmp_path, 0o770).raw.parent
    for _ in range(3):
        files.private_folder(folder)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == warned
    assert all(f"chmod g-w {folder}" in text and "BCDA_FOLDER_MODES=group" in text for text in said)
    found = next(check for check in check_storage(Places.below(folder)) if check.name == "folders")
    assert found.status == ("warning" if warned else "ok")


@pytest.mark.parametrize("kind", ["cifs", "nfs4"])
def test_a_mount_without_modes_passes_with_the_setting_and_is_warned_of_without(tmp_path, monkeypatch, caplog, kind):
    folder = opened(tmp_path, 0o777).raw.parent
    monkeypatch.setattr(folder_modes, "_file_system_of", lambda device: kind)
    if kind == "nfs4":
        with pytest.raises(StorageError, match="chmod o-w"):
            files.private_folder(folder)
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    files.private_folder(folder)
    assert "BCDA_FOLDER_MODES=mount" in caplog.text
    monkeypatch.undo()
    monkeypatch.setenv("BCDA_FOLDER_MODES", "mount")
    files.private_folder(folder)


def test_the_setting_is_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("BCDA_FOLDER_MODES", "0777")
    with pytest.raises(InvalidRequestError, match="BCDA_FOLDER_MODES must be `group` or `mount`"):
        files.private_folder(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a link to someone else")
def test_a_link_on_the_way_that_a_stranger_has_made_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "home"
    link.symlink_to(tmp_path / "elsewhere")
    files.private_folder(link / "raw")
    os.chown(link, 12345, -1, follow_symlinks=False)
    with pytest.raises(StorageError, match=f"chown -h {os.geteuid()} {link}"):
        files.private_folder(link / "raw")


# Attempts


def started(script, *given):
    """Start a process that holds something, and wait until it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, given)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    return process


HOLDING = """
    import sys
    from pathlib import Path
    from bcda.storage import files
    folder = Path(sys.argv[1])
    with files.own_file(folder / "x.json"), files.own_folder(folder, "landing-r1-000") as own:
        part = files.open_own(folder / "y.gz", "part")
        part.memo.write_text("{}")
        (own / "claim.parquet").write_text("x")
        print("held", flush=True)
        sys.stdin.read()
"""


def test_what_a_dead_attempt_left_goes_and_what_a_live_one_has_stays(tmp_path):
    process = started(HOLDING, tmp_path)
    held = {path.name for path in tmp_path.iterdir()}
    assert len(held) == 4
    assert files.remove_dead(tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == held
    assert files.take_over(files.parts_in(tmp_path)["y.gz"]) is None
    process.kill()
    process.communicate()
    assert files.remove_dead(tmp_path, parts=False) == 2
    taken = files.take_over(files.parts_in(tmp_path)["y.gz"])
    assert taken.memo.read_text() == "{}"
    # Who has taken it over is alive.
    assert files.remove_dead(tmp_path) == 0
    taken.close()
    assert files.remove_dead(tmp_path) > 0
    assert list(tmp_path.iterdir()) == []


def test_maintenance_removes_what_dead_attempts_left_in_the_lake_and_in_old_runs(places):
    _, _, landed = rawfiles.land(places, [PATIENT])
    lake_file = places.lake / landed.lake_files[0].path
    left = [
        files.own_name(lake_file),
        files.own_name(places.lake / "landing-r1-000"),
        files.own_name(places.raw / "r1" / "x"),
    ]
    for path in left:
        path.touch()
    maintenance.compact_lake(places, [])
    maintenance.purge_raw(places, now=rawfiles.NOON + timedelta(days=40))
    assert [path for path in left if path.exists()] == []
    assert lake_file.exists()


def test_what_holds_no_lock_goes_when_it_is_old(tmp_path):
    """Names of earlier releases, and files on mounts without locks."""
    names = (
        ".run.json.17.tmp", ".r1-000.parquet.tmp", ".r1-000.parquet.encrypted", ".00001-X.ndjson.gz.part",
        ".00001-X.ndjson.gz.part.json", ".working.duckdb.copy", ".spill-r1-000", "working.spill",
    )  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".r1-all.parquet.compact").touch()
    (tmp_path / "run.json").touch()
    assert files.remove_dead(tmp_path) == 0
    for path in tmp_path.iterdir():
        os.utime(path, times=(0, time.time() - files.ABANDONED.total_seconds() - 1))
    assert files.remove_dead(tmp_path) == len(names)
    assert {path.name for path in tmp_path.iterdir()} == {".r1-all.parquet.compact", "run.json"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes someone else")
def test_what_another_account_left_stops_nobody():
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    with files.own_folder(folder, "spill") as own:
        part = files.open_own(folder / "x", "part")
        part.close()
        assert part.path.exists()
        os.seteuid(65534)
        try:
            assert files.remove_dead(folder) == 0
            assert files.take_over(files.parts_in(folder)["x"]) is None
        finally:
            os.seteuid(0)
        assert own.exists()
    shutil.rmtree(folder)


def test_a_mount_without_locks_is_tidied_by_age_alone(tmp_path, monkeypatch):
    def none(file, operation):
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(fcntl, "flock", none)
    own = files.open_own(tmp_path / "x", "part")
    assert files.take_over(files.parts_in(tmp_path)["x"]) is None
    assert files.remove_dead(tmp_path) == 0
    own.close()
    os.utime(own.path, times=(0, time.time() - files.ABANDONED.total_seconds() - 1))
    assert files.remove_dead(tmp_path) == 1


def test_two_connections_spill_into_folders_of_their_own(tmp_path):
    with (
        duckdb_files.connected(spill=tmp_path, memory="64MB") as one,
        duckdb_files.connected(spill=tmp_path, memory="64MB") as two,
    ):
        settings = [c.execute("SELECT current_setting('temp_directory')").fetchall()[0][0] for c in (one, two)]
        assert len({Path(setting).parent for setting in settings}) == 2
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o700}
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_attempts_names_a_file(tmp_path):
    target = tmp_path / "x"
    with files.own_file(target) as one, files.own_file(target) as other:
        assert one.path != other.path
        one.file.write(b"one")
        other.file.write(b"other")
        assert other.name_first(target)
        assert not one.name_first(target)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"other")]


def test_a_part_that_has_its_lasting_name_is_not_written_on(tmp_path):
    part = files.open_own(tmp_path / "x", "part")
    part.file.write(b"whole")
    assert part.name_first(tmp_path / "x")
    part.close()
    assert files.take_over(files.parts_in(tmp_path)["x"]) is None
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"whole")]


# Raw files and their receipts


def test_a_raw_file_that_differs_from_its_receipt_counts_for_nothing(tmp_path):
    write_receipt(tmp_path, RECEIPT)
    (tmp_path / RECEIPT.name).write_bytes(b"abc")
    assert proved_receipt(tmp_path, RECEIPT.name, RECEIPT.url) is None
    with pytest.raises(ManifestError, match="clear the task `fetch` of its batch"):
        check_bytes(tmp_path, RECEIPT)


def test_landing_reads_nothing_of_a_batch_with_a_file_of_other_bytes(places):
    run, manifest, landed = rawfiles.land(places, [PATIENT])
    file = landed.files[0]
    receipt = Receipt(file.name, file.kind, "Patient", "u", file.wire_bytes, file.wire_sha256, file.content_bytes, 1)
    raw = places.run_folder("r1") / receipt.name
    content = bytearray(raw.read_bytes())
    # The time in the header of gzip: no CRC covers it, so the file can be read to its end.
    content[4] ^= 0xFF
    raw.write_bytes(content)
    with pytest.raises(ManifestError, match=r"does not match its receipt\. Nothing of it was read"):
        land_files(run, manifest, [receipt], batch=1, places=places)
    assert not list(places.lake.rglob("*-001.parquet"))


# The disk


def test_every_name_that_a_record_relies_on_is_synced_before_it(places, monkeypatch):
    """Names made by this process, and folders whose names were synced, up to each record that stages rely on."""
    unsynced, late, fsync = {}, [], os.fsync

    def hook(event, arguments):
        if not is_watching or event not in {"os.rename", "os.link", "os.mkdir"}:
            return
        name = Path(os.fsdecode(arguments[0] if event == "os.mkdir" else arguments[1]))
        if places.raw.parent not in name.parents:
            return
        if name.suffix == ".json":
            late.extend(f"{name.name} before {other}" for others in unsynced.values() for other in others)
        if not name.name.startswith(".") and not any(part.startswith(".") for part in name.parts):
            unsynced.setdefault(name.parent, []).append(name.name)

    def synced(descriptor):
        unsynced.pop(Path(f"/proc/self/fd/{descriptor}").readlink(), None)
        return fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    is_watching = True
    sys.addaudithook(hook)
    try:
        rawfiles.load(places, [PATIENT])
        warehouse.publish(places)
        assert places.published.exists()
    finally:
        is_watching = False
    assert late == []
    assert unsynced == {}


# What people read


def _a_folder(path):
    path.unlink()
    path.mkdir()


STEPS = {
    "plan that cannot be read": ("run.json", lambda p: export.merge(p, "r1", 1, now=rawfiles.NOON)),
    "manifest that cannot be read": ("manifest.json", lambda p: export.plan_batches(p, "r1", 1)),
    "account that cannot be read": ("landed-000.json", lambda p: export.merge(p, "r1", 1, now=rawfiles.NOON)),
    "receipt that cannot be read": (
        "00001-Patient.ndjson.gz.receipt.json", lambda p: export.land_batch(p, "r1", 0, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_no_error_of_the_system_or_of_a_library_travels_on_raw(places, name):
    _, manifest, landed = rawfiles.land(places, [PATIENT])
    folder = places.run_folder("r1")
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    file = landed.files[0]
    receipt = Receipt(file.name, file.kind, "Patient", manifest.files[0].url, file.wire_bytes, file.wire_sha256, 1, 1)
    write_receipt(folder, receipt)
    record, step = STEPS[name]
    _a_folder(folder / record)
    with pytest.raises(BcdaError) as failed:
        step(places)
    assert "Errno" not in str(failed.value)
    assert json.dumps(str(failed.value)).count(record) >= 1


def test_a_full_disk_says_so_and_nothing_of_the_library(places):
    rawfiles.land(places, [PATIENT])
    script = """
        import resource, sys
        from datetime import UTC, datetime
        from pathlib import Path
        import rawfiles
        from bcda.errors import BcdaError
        from bcda.storage.places import Places
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            rawfiles.land(Places.below(Path(sys.argv[1])), [("Patient", b'{"resourceType":"Patient","id":"p2"}\\n')], run_id="r2")
        except BcdaError as error:
            print(type(error).__name__, error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(places.raw.parent)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)}, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("StorageError"), done.stdout + done.stderr
    assert "Errno" not in done.stdout
