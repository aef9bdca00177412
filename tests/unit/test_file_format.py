"""Files that are whole and not NDJSON in UTF-8."""

import gzip

import pytest
from rawfiles import land, load
from test_unlikely import gaps, places, rows  # noqa: F401 - a fixture
from test_warehouse import EOB, claim, patient

from bcda.errors import FileFormatError
from bcda.runs.fetch import verify_gzip

LINES = claim(1) + claim(2)
TEXT = LINES.decode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(LINES), "is compressed twice"),
        (TEXT.encode("utf-16"), "is in UTF-16"),
        (TEXT.encode("utf-16-be"), "is in UTF-16"),
        (TEXT.encode("utf-16-le"), "is in UTF-16"),
        (TEXT.encode("utf-32"), "is in UTF-16 or UTF-32"),
        (b"[" + LINES.replace(b"\n", b",") + b"{}]", "is a JSON array"),
        (b" \n[\n" + LINES + b"]", "is a JSON array"),
        (b"\x1e" + LINES, "record separators"),
        (LINES + b"\x1e" + LINES, "record separators"),
        (LINES.replace(b"\n", b"\r"), "carriage return"),
        (LINES + claim(3).replace(b"\n", b"\r"), "carriage return"),
        (b"x" * ((1 << 17) - 1) + b"\r" + LINES, "carriage return"),
    ],
    ids=["gzip", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "array", "array later", "separator", "separator later",
         "returns", "last return", "at the end of a buffer"],
)  # fmt: skip
def test_another_form_than_ndjson_fails_the_file(tmp_path, content, says):
    path = tmp_path / "00001-x.ndjson.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(FileFormatError, match=says) as error:
        verify_gzip(path)
    assert (error.value.file_name, path.name in str(error.value)) == (path.name, True)


@pytest.mark.parametrize(
    "content",
    [
        LINES,
        LINES.replace(b"\n", b"\r\n"),
        b"x" * ((1 << 17) - 1) + b"\r\n",
        b"",
        b"\xef\xbb\xbf" + LINES,
        LINES + b"[1]\n",
    ],
    ids=["lines", "Windows", "at the end of a buffer", "nothing", "mark", "an array as a line"],
)
def test_ndjson_passes(tmp_path, content):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(content))
    assert verify_gzip(path).lines == len([line for line in content.split(b"\n") if line])


def test_a_byte_order_mark_is_left_out(places):  # noqa: F811
    load(places, [("Patient", b"\xef\xbb\xbf" + patient()), (EOB, b"\xef\xbb\xbf" + LINES)])
    assert rows(places, "SELECT sum(rows_landed), sum(lines_quarantined) FROM ops.export_file") == [(3, 0)]
    assert gaps(places) == []


def test_line_separators_of_unicode_end_no_line(places):  # noqa: F811
    name = [{"family": "A\u2028B\u2029C\u0085D"}]
    line = patient(name=name)
    assert b"\\u2028" in line
    load(places, [("Patient", line.replace(b"\\u2028", "\u2028".encode()).replace(b"\\u2029", "\u2029".encode()))])
    assert rows(places, "SELECT last_name FROM patient") == [("A\u2028B\u2029C\u0085D",)]


def test_windows_line_ends_land(places):  # noqa: F811
    _, _, landed = land(places, [(EOB, LINES.replace(b"\n", b"\r\n"))])
    assert [(file.rows_landed, file.lines_quarantined) for file in landed.files] == [(2, 0)]
