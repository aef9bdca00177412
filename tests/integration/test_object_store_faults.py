"""What goes wrong at an object store: each time a sentence with what, with what and what next, and never a secret."""

import hashlib
import os
import socket
import threading
from dataclasses import replace

import pytest
from object_server import CUT, S3Server

from bcda import doctor
from bcda.api.manifest import FileKind, OutputFile
from bcda.doctor import Status
from bcda.errors import IncompleteFileError, ManifestError, StorageError, StoreUnavailableError
from bcda.runs.folders import folders_of, run_folder
from bcda.runs.landed import LakeFile, LandedBatch
from bcda.runs.receipts import Receipt, write_receipt
from bcda.storage.object_store import ObjectStore, store_of
from bcda.storage.places import Places

RUN = "20261121T000000Z-patient-v2-abcdef"
RAW = "00001-Patient.ndjson.gz"
PIECE = 8 << 20


@pytest.fixture(scope="module")
def s3():
    with S3Server() as server:
        yield server


@pytest.fixture
def shared(s3, tmp_path, request):
    """A worker that has one raw file with its receipt, and another that has nothing; the fault ends with the test."""
    address = s3.address(f"faults-{abs(hash(request.node.name)):x}")
    here, other = (replace(Places.below(tmp_path / name), store=address) for name in ("here", "other"))
    yield here, other, _raw_file(here)
    s3.fault = lambda method, path: None


def _raw_file(places, content=b"\x1f\x8bfull of CANARY records"):
    folder = places.run_folder(RUN)
    folder.mkdir(parents=True)
    (folder / RAW).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    receipt = Receipt(RAW, FileKind.OUTPUT, "Patient", "https://bcda/1", len(content), digest, 9, 1)
    write_receipt(folder, receipt)
    return receipt


def says(caught):
    text, error = str(caught.value), caught.value
    while error is not None:
        assert "CANARY" not in f"{error}{error.args}", "a secret, or the server's own text"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return text


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (403, StorageError, "refuses s3://claims/.* Check the credentials"),
        (401, StorageError, "refuses s3://claims/.* Check the credentials"),
        (500, StoreUnavailableError, "does not answer for s3://claims/.*endpoint_override"),
        (503, StoreUnavailableError, "does not answer for s3://claims/.*endpoint_override"),
        (400, StorageError, "cannot do what was asked .*region"),
    ],
)
def test_a_server_that_refuses_or_fails(shared, s3, answer, error, text):
    here, other, receipt = shared
    s3.fault = lambda method, path: answer
    calls = [
        lambda: run_folder(here, RUN).share_file(receipt),
        lambda: run_folder(other, RUN).bring_files([RAW]),
        lambda: store_of(here).sizes("raw"),
        lambda: store_of(here).delete(["raw/x"]),
    ]
    # A 503 is retried with pauses each time.
    for call in calls if answer != 503 else calls[:1]:
        with pytest.raises(error, match=text) as caught:
            call()
        says(caught)
    # Nothing was taken for done, and it works when the server does.
    s3.fault = lambda method, path: None
    assert s3.names(here.store.prefix) == set()
    run_folder(here, RUN).share_file(receipt)
    run_folder(other, RUN).bring_files([RAW])
    assert (other.run_folder(RUN) / RAW).read_bytes() == (here.run_folder(RUN) / RAW).read_bytes()


def test_a_server_that_recovers_at_once_is_not_noticed(shared, s3):
    here, _, receipt = shared
    failed = []

    def once_each(method, path):
        if (method, path) in failed:
            return None
        failed.append((method, path))
        return 503

    s3.fault = once_each
    run_folder(here, RUN).share_file(receipt)
    assert len(failed) >= 2
    assert s3.names(here.store.prefix) == {f"raw/{RUN}/{RAW}", f"raw/{RUN}/{RAW}.receipt.json"}


def test_a_server_that_stops_in_the_middle_of_a_file(shared, s3):
    here, other, receipt = shared
    run_folder(here, RUN).share_file(receipt)
    s3.fault = lambda method, path: CUT if method == "GET" and path.endswith(".gz") else None
    with pytest.raises(StoreUnavailableError, match=RAW) as caught:
        run_folder(other, RUN).bring_files([RAW])
    says(caught)
    # Neither file, receipt nor anything hidden: what follows finds nothing that it could mistake.
    assert not [path for path in other.raw.rglob("*") if path.is_file()]


def test_an_upload_that_breaks_off_leaves_no_receipt(shared, s3):
    here, other, receipt = shared
    s3.fault = lambda method, path: 500 if method == "PUT" and path.endswith(".receipt.json") else None
    with pytest.raises(StoreUnavailableError):
        run_folder(here, RUN).share_file(receipt)
    assert s3.names(here.store.prefix) == {f"raw/{RUN}/{RAW}"}
    run_folder(other, RUN).bring_files([RAW])
    assert not other.raw.exists()


def test_a_server_that_is_not_there(shared):
    here, _, receipt = shared
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = replace(here, store=replace(here.store, endpoint=f"127.0.0.1:{closed.getsockname()[1]}"))
        with pytest.raises(StoreUnavailableError, match="endpoint_override, region, network") as caught:
            run_folder(away, RUN).share_file(receipt)
    says(caught)


def test_a_server_that_says_nothing(shared):
    here, _, _ = shared
    with socket.create_server(("127.0.0.1", 0)) as silent:
        threading.Thread(target=lambda: [silent.accept() for _ in range(3)], daemon=True).start()
        address = replace(here.store, endpoint=f"127.0.0.1:{silent.getsockname()[1]}", request_timeout_seconds=1)
        with pytest.raises(StoreUnavailableError, match="NETWORK_CONNECTION"):
            ObjectStore(address).read("run.json")


@pytest.mark.parametrize("call", ["write", "read", "sizes", "delete"])
def test_a_bucket_that_is_not_there(s3, call):
    store = ObjectStore(s3.address("x", bucket="another"))
    with pytest.raises(StorageError, match=r"There is no bucket for s3://another.*never made from here"):
        {"write": lambda: store.write("a", b""), "delete": lambda: store.delete(["a"])}.get(
            call, lambda: getattr(store, call)("a")
        )()


def test_an_object_that_is_gone_or_another_one(shared):
    here, other, receipt = shared
    run_folder(here, RUN).share_file(receipt)
    store, name = store_of(here), f"raw/{RUN}/{RAW}"
    store.write(name, b"?" * receipt.wire_bytes)
    with pytest.raises(
        StorageError, match=rf"{RAW} is not what its record says.*, or others\. Clear the task that makes it, `fetch`"
    ):
        run_folder(other, RUN).bring_files([RAW])
    store.write(name, b"short")
    with pytest.raises(StorageError, match=f"{RAW} is not what its record says: 5 bytes came of {receipt.wire_bytes}"):
        run_folder(other, RUN).bring_files([RAW])
    store.delete([name])
    with pytest.raises(StorageError, match=f"{RAW} is not in the object store although a record says so"):
        run_folder(other, RUN).bring_files([RAW])
    assert not [path for path in other.raw.rglob("*") if path.is_file()]


def test_a_raw_file_with_other_bytes_of_the_same_size_counts_as_missing_and_is_uploaded_again(shared):
    here, other, receipt = shared
    run_folder(here, RUN).share_file(receipt)
    store, name = store_of(here), f"raw/{RUN}/{RAW}"
    files = [OutputFile(RAW, FileKind.OUTPUT, receipt.resource_type, receipt.url)]
    assert run_folder(other, RUN).fetched(files) == {RAW: receipt}
    store.write(name, b"?" * receipt.wire_bytes)
    assert run_folder(other, RUN).fetched(files) == {}
    run_folder(here, RUN).share_file(receipt)
    assert run_folder(other, RUN).fetched(files) == {RAW: receipt}
    run_folder(other, RUN).bring_files([RAW])
    assert (other.run_folder(RUN) / RAW).read_bytes() == (here.run_folder(RUN) / RAW).read_bytes()


def test_lake_files_with_other_bytes_of_the_same_size_count_as_missing(shared):
    here, _, _ = shared
    path = "claim/v2/2026-11-24/part.parquet"
    source = here.lake / path
    source.parent.mkdir(parents=True)
    source.write_bytes(b"PAR1 rows PAR1")
    file = folders_of(here).put_lake_file(LakeFile("claim", path, 1))
    landed = LandedBatch(RUN, 0, (), (file,))
    assert folders_of(here).has_lake_files(landed)
    store_of(here).write(f"lake/{path}", b"PAR1 ruin PAR1")
    assert not folders_of(here).has_lake_files(landed)


def test_a_raw_file_that_rots_before_it_is_uploaded_gets_no_receipt_in_the_bucket(shared, s3):
    here, _, receipt = shared
    (here.run_folder(RUN) / RAW).write_bytes(b"?" * receipt.wire_bytes)
    with pytest.raises(IncompleteFileError, match="no longer what its receipt says"):
        run_folder(here, RUN).share_file(receipt)
    assert f"raw/{RUN}/{RAW}.receipt.json" not in s3.names(here.store.prefix)


def test_an_account_that_names_a_place_outside_of_the_lake(shared):
    here, other, _ = shared
    account = b'{"run_id": "%s", "batch": 0, "files": [], "lake_files": [{"table": "claim", "path": "%s", "rows": 1}]}'
    for path in (b"../../home/.bashrc.parquet", b"claim/../../x.parquet", b"/etc/x.parquet"):
        store_of(here).write(f"raw/{RUN}/landed-000.json", account % (RUN.encode(), path))
        with pytest.raises(ManifestError, match="cannot be read"):
            run_folder(other, RUN).account(0)


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, 10 << 20, (25 << 20) + 7])
def test_large_files_go_in_parts_and_come_back_whole(s3, tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "there.parquet").write_bytes(content)
    store, before = ObjectStore(s3.address("large")), len(s3.log)
    sent = store.put(tmp_path / "there.parquet", "large.parquet")
    parts = [entry for entry in s3.log[before:] if entry[0] == "PUT"]
    assert (sent.bytes, sent.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert (len(parts) > 1) is (size > 10 << 20)
    store.get("large.parquet", tmp_path / "back" / "here.parquet", size=size, sha256=sent.sha256)
    assert (tmp_path / "back" / "here.parquet").read_bytes() == content


def test_a_file_that_cannot_be_read_to_its_end_leaves_no_object(s3, tmp_path, monkeypatch):
    path, read = tmp_path / "x.parquet", os.fstat
    path.write_bytes(b"x" * 100)
    # As if it had grown shorter between a look at its size and the end of the upload.
    monkeypatch.setattr(
        os, "fstat", lambda descriptor: os.stat_result([*read(descriptor)[:6], 101, *read(descriptor)[7:10]])
    )
    with pytest.raises(StorageError, match="changed while it was uploaded"):
        ObjectStore(s3.address("short")).put(path, "x.parquet")
    assert s3.names("short") == set()


def test_the_doctor_tries_the_store_and_leaves_nothing(shared, s3):
    here, other, _ = shared

    def found(places):
        return next(check for check in doctor.check_storage(places) if check.name == "object store")

    assert found(here).status is Status.OK
    assert s3.names(here.store.prefix) == set()
    store_of(here).write("warehouse.mark", b"of another place")
    assert found(here).status is Status.WARNING
    assert "another place merges" in found(here).text
    s3.fault = lambda method, path: 403 if method == "DELETE" else None
    assert found(here).status is Status.FAILED
    assert "DeleteObject" in found(here).text
    s3.fault = lambda method, path: 500
    assert found(other).status is Status.FAILED
    assert "does not answer" in found(other).text
    assert "object store" not in [check.name for check in doctor.check_storage(replace(here, store=None))]
