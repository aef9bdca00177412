import os
import threading
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcda.api.governor import Governor
from bcda.api.manifest import FileKind, Manifest, OutputFile
from bcda.errors import InvalidRequestError, ManifestError, StorageError
from bcda.runs.batches import split_into_batches
from bcda.runs.receipts import Receipt, read_receipt, write_receipt
from bcda.settings import ConnectionSettings, Tuning
from bcda.storage import home
from bcda.storage.files import private_files, private_folder, write_durably
from bcda.storage.places import Places

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def files(*types):
    listed = tuple(OutputFile(f"{n:05d}-{t}.ndjson.gz", FileKind.OUTPUT, t, f"u{n}") for n, t in enumerate(types))
    return Manifest("1", T0, "", None, listed)


@given(st.lists(st.sampled_from(["Patient", "Coverage", "ExplanationOfBenefit"]), max_size=50), st.integers(1, 64))
def test_batches_hold_every_file_once_and_are_even(types, count):
    manifest = files(*types)
    batches = split_into_batches(manifest, count)
    held = [file for batch in batches for file in batch.files]
    assert sorted(held, key=lambda f: f.name) == list(manifest.files)
    assert [batch.number for batch in batches] == list(range(min(count, len(types))))
    sizes = {len(batch.files) for batch in batches}
    assert not sizes or max(sizes) - min(sizes) <= 1
    assert split_into_batches(manifest, count) == batches


@pytest.mark.parametrize("count", [0, -1, 65])
def test_a_count_of_batches_out_of_range_is_refused(count):
    with pytest.raises(InvalidRequestError):
        split_into_batches(files("Patient"), count)


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "http://api.example.org"},
        {"base_url": "api.example.org"},
        {"base_url": "https://"},
        {"base_url": "https://user:word@api.example.org"},
        {"base_url": "https://api.example.org/api/v2"},
        {"client_id": ""},
        {"client_secret": ""},
    ],
    ids=["plain-http", "no-scheme", "no-host", "credentials", "path", "no-id", "no-secret"],
)
def test_settings_that_cannot_work_are_refused(changes):
    with pytest.raises(InvalidRequestError):
        ConnectionSettings(**{"base_url": "https://api.example.org", "client_id": "a", "client_secret": "b", **changes})


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1:8888", "[::1]:9"])
def test_plain_http_is_for_loopback(host):
    assert ConnectionSettings(f"http://{host}/", "a", "b").base_url == f"http://{host}"


@pytest.mark.parametrize("value", [0, -1, "5", True, None, float("nan")])
def test_tuning_that_cannot_work_is_refused(value):
    with pytest.raises(InvalidRequestError):
        Tuning(poll_seconds=value)


@pytest.mark.parametrize("run_id", ["../x", "", ".", "a/b", "x" * 200, "-x"])
def test_a_run_id_cannot_leave_the_raw_folder(run_id):
    with pytest.raises(InvalidRequestError):
        Places.below(Path("home")).run_folder(run_id)


def test_places_follow_the_environment(tmp_path):
    home = str(tmp_path)
    assert Places.from_environment({"BCDA_HOME": home}, default_home=Path("x")) == Places.below(tmp_path)
    moved = Places.from_environment({"BCDA_HOME": home, "BCDA_LAKE": "/elsewhere"}, default_home=Path("x"))
    assert (moved.lake, moved.raw) == (Path("/elsewhere"), tmp_path / "raw")


CHECKOUT = '[project]\nname = "airflow-provider-bcda"\n'


@pytest.mark.parametrize(
    ("folder", "project", "is_checkout"),
    [
        ("include/bcda/storage", CHECKOUT, True),
        # A wheel, and a wheel in an environment below a project of its user.
        ("lib/python3.12/packages/bcda/storage", None, False),
        ("include/bcda/storage", None, False),
        ("include/bcda/storage", '[project]\nname = "claims"\n', False),
        ("include/bcda/storage", "no [toml", False),
        ("vendor/bcda/storage", CHECKOUT, False),
    ],
)
def test_only_a_checkout_has_a_home_by_itself(tmp_path, monkeypatch, folder, project, is_checkout):
    monkeypatch.setattr(home, "_THIS_FILE", tmp_path / folder / "home.py")
    if project is not None:
        (tmp_path / "pyproject.toml").write_text(project)
    if is_checkout:
        assert Places.from_environment({}) == Places.below(tmp_path / "data")
        return
    for environment in ({}, {"BCDA_HOME": ""}, {"BCDA_RAW": "/raw", "BCDA_LAKE": "/lake"}):
        with pytest.raises(InvalidRequestError, match="BCDA_HOME is not set"):
            Places.from_environment(environment)
    each = {f"BCDA_{name}": f"/srv/{name}" for name in ("RAW", "LAKE", "WAREHOUSE", "PUBLISHED")}
    assert Places.from_environment(each).lake == Path("/srv/LAKE")


def test_this_checkout_is_one():
    assert home.default_home() == Path(__file__).resolve().parents[2] / "data"


RECEIPT = Receipt("00001-Patient.ndjson.gz", FileKind.OUTPUT, "Patient", "u", 3, "0" * 64, 9, 1)


def test_a_receipt_needs_its_file(tmp_path):
    assert read_receipt(tmp_path, RECEIPT.name) is None
    write_receipt(tmp_path, RECEIPT)
    with pytest.raises(ManifestError, match="does not match"):
        read_receipt(tmp_path, RECEIPT.name)
    (tmp_path / RECEIPT.name).write_bytes(b"abc")
    assert read_receipt(tmp_path, RECEIPT.name) == RECEIPT
    (tmp_path / f"{RECEIPT.name}.receipt.json").write_text("{")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_receipt(tmp_path, RECEIPT.name)


def test_small_files_are_written_whole_private_and_leave_nothing_else(tmp_path):
    folder = private_folder(tmp_path / "a" / "b")
    write_durably(folder / "x", b"one")
    write_durably(folder / "x", b"two")
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("x", b"two")]
    assert (folder.stat().st_mode & 0o777, (folder / "x").stat().st_mode & 0o777) == (0o700, 0o600)
    with pytest.raises(StorageError):
        write_durably(tmp_path / "missing" / "x", b"")


def test_the_umask_is_narrow_while_anybody_is_inside_and_as_before_afterwards(tmp_path):
    def modes(name):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
        return [path.stat().st_mode & 0o777 for path in (tmp_path / name, tmp_path / name / "x")]

    second_is_inside, first_has_left, found = threading.Event(), threading.Event(), []

    def second():
        with private_files:
            second_is_inside.set()
            first_has_left.wait(10)
            found.extend(modes("second"))

    before = os.umask(0)
    thread = threading.Thread(target=second)
    try:
        with private_files:
            thread.start()
            second_is_inside.wait(10)
            assert modes("first") == [0o700, 0o600]
        first_has_left.set()
        thread.join()
        assert found == [0o700, 0o600]
        assert modes("after") == [0o777, 0o666]
    finally:
        os.umask(before)


@pytest.mark.parametrize("budget", [1, 3, 10, 240, 2400])
async def test_the_governor_never_lets_more_than_the_budget_pass_in_five_minutes_and_never_stands_still(budget):
    now, passed = 0.0, []

    async def sleep(seconds):
        nonlocal now
        now += seconds

    governor = Governor(budget, clock=lambda: now, sleep=sleep)
    for _ in range(3 * budget + 10):
        await governor.acquire()
        passed.append(now)
        now += 0.001
    for first, beyond in zip(passed, passed[budget:], strict=False):
        assert beyond - first >= 300 - 1e-6
    assert passed[int(budget * 0.8)] <= 301
    longest = max(later - earlier for earlier, later in pairwise(passed))
    # Of the default budget each request waits for less than a second; one that is a few for five minutes cannot be spread.
    assert longest <= 0.01 + 300 / max(1, budget - int(budget * 0.8))
    # Spreading costs nothing of the budget.
    assert passed[-1] <= 301 * 4 + (300 * 10 if budget < 10 else 0)
