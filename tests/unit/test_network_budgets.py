"""Budgets of what comes over the network, by arithmetic; tests/integration/test_budgets.py feeds each with ten times of it."""

import gzip
import zlib
from datetime import UTC, datetime

import pytest

from bcda import budgets
from bcda.api import protocol, transfer
from bcda.api.bounded_body import BoundedBody
from bcda.api.transfer import FirstBytes, TransferBudget
from bcda.errors import (
    FileFormatError,
    IncompleteFileError,
    ManifestError,
    OversizedFileError,
    ServerError,
    StorageError,
)
from bcda.settings import Tuning
from bcda.storage.documents import read_json

LINES = b'{"resourceType":"Patient","id":"1"}\n' * 100
MB = budgets.MEGABYTE


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
@pytest.mark.parametrize("encoding", ["", "identity", "gzip", " GZIP "])
def test_a_body_within_its_budget_is_what_came(encoding, size):
    body = BoundedBody(len(LINES), encoding, "It")
    wire = gzip.compress(LINES) if "gzip" in encoding.lower() else LINES
    assert all(body.add(wire[place : place + size]) for place in range(0, len(wire), size))
    assert (body.content(), body.is_over) == (LINES, False)


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_a_body_beyond_its_budget_is_cut_there(encoding):
    body = BoundedBody(1000, encoding, "It")
    assert not body.add(gzip.compress(LINES) if encoding else LINES)
    assert (body.content(), body.is_over) == (LINES[:1000], True)


def test_a_small_piece_that_unpacks_to_a_thousandfold_is_not_unpacked():
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(b" " * (64 << 20)) + packer.flush()
    assert len(bomb) < 1 << 17
    body = BoundedBody(1 << 20, "gzip", "It")
    assert not body.add(bomb)
    assert len(body.content()) == 1 << 20


def test_what_is_no_gzip_or_another_encoding_is_refused():
    with pytest.raises(ServerError, match="It: the answer is damaged"):
        BoundedBody(1000, "gzip", "It").add(LINES)
    for encoding in ("br", "deflate", "gzip, gzip", "zstd"):
        with pytest.raises(ServerError, match="It: the answer came in an encoding that was not asked for"):
            BoundedBody(1000, encoding, "It")


@pytest.mark.parametrize("text", ["[" + "[]," * 99 + "[]]", "[" + "{}," * 99 + "{}]", "[" + "0," * 200 + "0]"])
def test_values_are_counted_before_they_are_read(text):
    assert read_json(text.encode())
    with pytest.raises(ValueError, match="more than 100 values"):
        read_json(text.encode(), most_values=100)


def test_a_manifest_of_too_many_values_is_refused_and_a_list_of_jobs_asked_for_again(monkeypatch):
    monkeypatch.setattr(budgets, "MOST_JSON_VALUES", 100)
    text = ("[" + "[]," * 99 + "[]]").encode()
    with pytest.raises(ManifestError, match="more than 100 values"):
        protocol.manifest_of(text, base_url="https://x", expires_in=None)
    with pytest.raises(ServerError, match="cannot be read"):
        protocol.jobs_of(text, as_of=datetime.now(UTC))


def test_no_wait_that_a_server_asks_for_is_longer_than_a_day():
    now = datetime(2026, 11, 10, tzinfo=UTC)
    for text in ("86401", "9" * 30, "9" * 5_000, "99999999999.5", "Fri, 31 Dec 9999 23:59:59 GMT"):
        assert protocol.retry_after_seconds(text, now) == budgets.LONGEST_WAIT_SECONDS
    for text in ("Fri, 31 Dec 99999 23:59:59 GMT", "1e9", "-5", "inf", "nan"):
        assert protocol.retry_after_seconds(text, now) is None


PAGE = b"<!DOCTYPE html><html><body>Please log in.</body></html>" * 3


@pytest.mark.parametrize("size", [1, 5, 1 << 16])
@pytest.mark.parametrize(
    ("wire", "error"),
    [
        (gzip.compress(LINES), None),
        (gzip.compress(b"\xef\xbb\xbf" + LINES), None),
        (gzip.compress(b"{}\n"), None),
        (gzip.compress(b""), None),
        (gzip.compress(PAGE), ServerError),
        (gzip.compress(b"<p>\n"), ServerError),
        (PAGE, ServerError),
        (LINES, IncompleteFileError),
        (gzip.compress(LINES)[:2] + b"\xff" + gzip.compress(LINES)[3:], IncompleteFileError),
        (gzip.compress(b"[" + LINES), FileFormatError),
        (gzip.compress(gzip.compress(LINES)), FileFormatError),
        (gzip.compress(LINES.decode().encode("utf-16")), FileFormatError),
    ],
    ids=["lines", "mark", "short", "empty", "page", "short page", "page as it is", "not gzip", "damaged", "array", "twice",
         "UTF-16"],
)  # fmt: skip
def test_the_first_bytes_tell_a_file_from_what_is_none(wire, error, size):
    first = FirstBytes("a.ndjson.gz", is_gzip=True)

    def look():
        for place in range(0, len(wire), size):
            first.look(wire[place : place + size])
        first.end()

    if error is None:
        look()
        return
    with pytest.raises(error, match=r"a\.ndjson\.gz: ") as caught:
        look()
    assert type(caught.value) is error


def test_a_file_that_comes_plain_is_looked_at_too():
    FirstBytes("a", is_gzip=False).look(LINES)
    with pytest.raises(ServerError, match="page of HTML"):
        FirstBytes("a", is_gzip=False).look(PAGE)


class Clock:
    """Seconds as the test says."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def budget(tmp_path, clock=None, *, held=0, **tuning):
    return TransferBudget(
        "a", tmp_path, Tuning(**tuning), held=held, ends_at=budgets.FILE_SECONDS, clock=clock or Clock()
    )


def test_a_file_is_as_large_as_its_budget_and_no_larger(tmp_path):
    one = budget(tmp_path, file_megabytes=1, held=MB // 2)
    one.begin(str(MB // 2))
    one.add(MB // 2)
    with pytest.raises(OversizedFileError, match=r"1,000,000 bytes are the most.*file_megabytes"):
        one.add(1)
    for length in (str(MB // 2 + 1), "9" * 18):
        with pytest.raises(OversizedFileError, match="the file has"):
            budget(tmp_path, file_megabytes=1, held=MB // 2).begin(length)
    for length in (None, "", "many", "-1", "9" * 19, "²"):
        budget(tmp_path).begin(length)


def test_a_download_leaves_the_reserve_free(tmp_path, monkeypatch):
    free = [600 * MB]
    monkeypatch.setattr(transfer, "free_bytes", lambda _: free[0])
    with pytest.raises(
        StorageError, match="600,000,000 bytes free and the file has 100,000,001 more; 500,000,000 bytes have to"
    ):
        budget(tmp_path).begin("100000001")
    one = budget(tmp_path)
    one.begin("100000000")
    free[0] = 499 * MB
    one.add(budgets.DISK_CHECK_BYTES - 1)
    with pytest.raises(StorageError, match="499,000,000 bytes free; 500,000,000 bytes have to stay free"):
        one.add(1)
    with pytest.raises(StorageError):
        budget(tmp_path).begin(None)


def test_a_download_keeps_its_speed(tmp_path):
    clock = Clock()
    one = budget(tmp_path, clock, least_bytes_per_second=100)
    for _ in range(200):
        clock.now += 1
        one.add(100)
    # It may stand still for a while, if it was no slower than that on the average of a minute.
    clock.now += 59
    one.add(6_000)
    clock.now += 61
    with pytest.raises(IncompleteFileError, match=r"slower than 100 bytes/s .* for 61 s"):
        one.add(100)
    assert one.is_slow


def test_a_file_has_an_end_however_often_it_goes_on(tmp_path):
    clock = Clock()
    one = budget(tmp_path, clock, least_bytes_per_second=0.001)
    clock.now = budgets.FILE_SECONDS - 1
    one.add(10**6)
    clock.now += 1
    with pytest.raises(IncompleteFileError, match="did not come within 4 hours"):
        one.add(10**6)
