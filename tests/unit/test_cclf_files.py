"""CCLF files, read back by the positions of the crosswalk files and by nothing of the code that writes them."""

import csv
import os
import signal
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from rawfiles import NOON, load
from test_cases import EOB, diagnosis, patient, v2
from typer.testing import CliRunner

import bcda
from bcda.__main__ import app
from bcda.errors import InvalidRequestError, StorageError
from bcda.export import publish
from bcda.maintenance import Month, write_cclf_files
from bcda.maintenance.cclf_files import short_number
from bcda.storage import files
from bcda.storage.places import Places

pytestmark = pytest.mark.complete

NOVEMBER = Month.parse("2026-11")
DECEMBER = Month.parse("2026-12")
NEXT = NOON.replace(month=12)
NAMES = [f"CCLF{n}" for n in "123456789AB"]


def positions(name):
    path = Path(bcda.__file__).parent / "model" / "cclf" / "crosswalk_v2.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["cclf_file"] == name]


def value(text, kind):
    text = text.strip()
    if not text:
        return None
    if kind == "DATE":
        return date.fromisoformat(text)
    if kind == "INTEGER":
        return int(text)
    return Decimal(text) if kind.startswith("DECIMAL") else text


def read(path, name):
    fields = positions(name)
    width = int(fields[-1]["end_pos"])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert {len(line) for line in lines} <= {width}
    return [
        {f["column"]: value(line[int(f["start_pos"]) - 1 : int(f["end_pos"])], f["type"]) for f in fields}
        for line in lines
    ]


def read_month(folder, month="2026-11"):
    return {name: read(folder / f"derived-from-bcda-{month}-{name}.txt", name) for name in NAMES}


def in_view(places, name):
    """The rows of a view; of blanks a file cannot tell whether they are an empty text or nothing."""
    with duckdb.connect(str(places.published), read_only=True) as connection:
        result = connection.execute(f"SELECT * EXCLUDE (file_name, file_date) FROM cclf.{name}")
        names = [column[0] for column in result.description]
        return [{n: None if v == "" else v for n, v in zip(names, row, strict=True)} for row in result.fetchall()]


def sorted_rows(rows):
    return sorted(rows, key=repr)


def stay(number):
    """An outpatient claim of 100.10 whose two lines sum to it, and the total line 0001 that repeats it."""
    item = [
        {
            "sequence": n,
            "revenue": {
                "coding": [{"system": "https://bluebutton.cms.gov/resources/variables/rev_cntr", "code": code}]
            },
            "adjudication": [
                {
                    "category": {
                        "coding": [{"code": "https://bluebutton.cms.gov/resources/variables/rev_cntr_pmt_amt_amt"}]
                    },
                    "amount": {"value": amount, "currency": "USD"},
                }
            ],
        }
        for n, code, amount in ((1, "0300", 60.05), (2, "0450", 40.05), (3, "0001", 100.10))
    ]
    return v2(number, "OUTPATIENT", item=item, diagnosis=[diagnosis(1, "A41.9", "principal")])


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A list of two people in November with three claims, one of whom left in December, when one claim came."""
    places = Places.below(tmp_path_factory.mktemp("cclf") / "home")
    name = {"name": [{"family": "Müller", "given": ["Ana"]}]}
    both = patient("-7", ("1AA0AA0AA00",), **name) + patient("-8", ("2AA0AA0AA00",))
    load(places, [("Patient", both), (EOB, stay(1) + v2(2) + v2(3, "DME"))])
    load(
        places,
        [("Patient", patient("-7", ("1AA0AA0AA00",), **name)), (EOB, stay(1) + stay(4))],
        run_id="r2",
        transaction_time=NEXT,
    )
    publish(places)
    return places


def test_each_value_of_the_views_is_in_the_file_of_one_month(published, tmp_path):
    months = [(NOVEMBER, "2026-11"), (DECEMBER, "2026-12")]
    read_back = []
    for month, name in months:
        write_cclf_files(published, month, tmp_path / "out", now=NOON)
        read_back.append(read_month(tmp_path / "out", name))
    november, december = read_back
    assert {name: len(rows) for name, rows in december.items() if rows} == {
        "CCLF1": 1,
        "CCLF2": 3,
        "CCLF4": 1,
        "CCLF8": 1,
        "CCLFA": 1,
    }
    for name in NAMES:
        assert sorted_rows(november[name] + december[name]) == sorted_rows(in_view(published, name)), name
    assert [row["BENE_MBI_ID"] for row in december["CCLF8"]] == ["1AA0AA0AA00"]
    assert december["CCLF8"][0]["BENE_LAST_NAME"] == "Müller"


def test_lines_sum_to_headers(published, tmp_path):
    write_cclf_files(published, NOVEMBER, tmp_path / "out", now=NOON)
    found = read_month(tmp_path / "out")
    headers = {row["CUR_CLM_UNIQ_ID"]: row["CLM_PMT_AMT"] for row in found["CCLF1"]}
    lines = [row for row in found["CCLF2"] if row["CLM_LINE_PROD_REV_CTR_CD"] != "0001"]
    assert {row["CUR_CLM_UNIQ_ID"] for row in lines} == headers.keys()
    assert sum(row["CLM_LINE_CVRD_PD_AMT"] for row in lines) == sum(headers.values()) == Decimal("100.10")


def test_the_summary_has_count_and_width_of_every_file(published, tmp_path):
    write_cclf_files(published, NOVEMBER, tmp_path / "out", now=NOON)
    found = read_month(tmp_path / "out")
    lines = (tmp_path / "out" / "derived-from-bcda-2026-11-CCLF0.txt").read_text().splitlines()
    assert {len(line) for line in lines} == {69}
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert [(name, int(count), int(width)) for name, _, count, width in cells] == [
        (name, len(found[name]), int(positions(name)[-1]["end_pos"])) for name in NAMES
    ]


def test_the_files_are_private_and_have_cms_names_when_asked_for(published, tmp_path):
    written = write_cclf_files(published, NOVEMBER, tmp_path / "out", now=NOON, aco_id="A1234")
    names = {file.path.name for file in written}
    assert names == {f"P.A1234.ACO.ZC{n}Y26.D261110.T1200000" for n in "0123456789AB"}
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == names
    assert {entry.stat().st_mode & 0o777 for entry in (tmp_path / "out").iterdir()} == {0o600}
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


def test_a_value_wider_than_its_field_is_refused_without_being_told(places, tmp_path):
    load(places, [("Patient", patient("-7", ("SECRET-AND-TOO-LONG",))), (EOB, v2(1))])
    publish(places)
    with pytest.raises(StorageError, match=r"cclf\.cclf5\.BENE_MBI_ID has 19 characters, .* has 11") as refused:
        write_cclf_files(places, NOVEMBER, tmp_path / "out", now=NOON)
    assert "SECRET" not in str(refused.value)
    assert not [p for p in (tmp_path / "out").iterdir() if "CCLF5" in p.name or "CCLF0" in p.name]


WIDE = ("-10000001553535", "-10000001553536", "100000015535350", "7")


def test_claim_numbers_too_wide_are_refused_or_written_in_base_36(places, tmp_path):
    claims = b"".join(stay(number) for number in WIDE)
    load(places, [("Patient", patient("-7", ("1AA0AA0AA00",))), (EOB, claims)])
    publish(places)
    with pytest.raises(StorageError, match=r"CUR_CLM_UNIQ_ID has 15 characters.*--short-claim-numbers writes"):
        write_cclf_files(places, NOVEMBER, tmp_path / "out", now=NOON)
    write_cclf_files(places, NOVEMBER, tmp_path / "out", now=NOON, short_claim_numbers=True)
    found = read_month(tmp_path / "out")
    numbers = [row["CUR_CLM_UNIQ_ID"] for row in found["CCLF1"]]
    assert sorted(len(number) for number in numbers) == [1, 13, 13, 13]
    signs = {"N": -1, "P": 1}
    back = {str(signs[n[0]] * int(n[1:], 36)) if n[0] in signs else n: n for n in numbers}
    assert back.keys() == set(WIDE)
    assert {row["CUR_CLM_UNIQ_ID"] for row in found["CCLF2"]} == set(numbers)


@pytest.mark.parametrize(
    ("number", "written"),
    [
        ("1071939711295", "1071939711295"),
        ("-100000015535", "-100000015535"),
        ("-1000000155353", "N0000CRE69U55"),
        ("10000001553535", "P0003JLXQQDFJ"),
        ("00000001553535", "00000001553535"),
        ("claim-10000001553535", "claim-10000001553535"),
        ("9" * 20, "9" * 20),
        ("9" * 18, "P7LIEEXZX4KXR"),
    ],
)
def test_the_short_form_of_a_claim_number(number, written):
    assert short_number(number, 13) == written


LIFE = """
import importlib, os, signal, sys
module, name, left, when = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
module, _, kind = module.partition(":")
owner = importlib.import_module(module)
owner = getattr(owner, kind) if kind else owner
original = getattr(owner, name)
def killing(*arguments, **options):
    global left
    left -= 1
    if left >= 0:
        return original(*arguments, **options)
    if when == "after":
        original(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, killing)
from bcda.__main__ import main
sys.argv = ["bcda", *sys.argv[5:]]
main()
"""
RECORDS = "bcda.maintenance.cclf_files"
LASTING = "bcda.storage.files:OwnFile"
KILLS = {
    "with the earlier summary in place": (RECORDS, "_check_list", 0, "after"),
    "with the earlier summary gone": ("bcda.storage.files", "sync_folder", 0, "before"),
    "in the first file": (RECORDS, "_record", 1, "before"),
    "with the first file written but not named": (LASTING, "replace", 0, "before"),
    "with the first file named": (LASTING, "replace", 0, "after"),
    "in the second file": (RECORDS, "_record", 3, "before"),
    "with four files named": (LASTING, "replace", 3, "after"),
    "in the people's file": (RECORDS, "_record", 9, "before"),
    "with all files but one named": (LASTING, "replace", 10, "before"),
    "with all files named": (LASTING, "replace", 10, "after"),
    "in the summary": (RECORDS, "_summary", 5, "before"),
    "with the summary written but not named": (LASTING, "replace", 11, "before"),
    "with the summary named": (LASTING, "replace", 11, "after"),
}


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture(scope="module")
def earlier_files(tmp_path_factory):
    """The files of the same month from a home with one claim."""
    folder = tmp_path_factory.mktemp("earlier")
    places = Places.below(folder / "home")
    load(places, [("Patient", patient("-7", ("1AA0AA0AA00",))), (EOB, stay(9))])
    publish(places)
    write_cclf_files(places, NOVEMBER, folder / "out", now=NOON)
    return contents(folder / "out")


@pytest.mark.parametrize("point", KILLS.values(), ids=KILLS)
def test_killed_at_any_point_no_summary_tells_of_what_is_not_there(published, earlier_files, tmp_path, point):
    out = tmp_path / "out"
    write_cclf_files(published, NOVEMBER, tmp_path / "whole", now=NOON)
    whole = contents(tmp_path / "whole")
    assert whole.keys() == earlier_files.keys()
    files.private_folder(out)
    for name, data in earlier_files.items():
        (out / name).write_bytes(data)
    command = ["cclf-files", "--month", "2026-11", "--into", str(out), "--source", published.source_id]
    environment = {**os.environ, "BCDA_HOME": str(published.raw.parent)}
    life = [sys.executable, "-c", LIFE, *map(str, point), *command]
    done = subprocess.run(life, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    left = {name: data for name, data in contents(out).items() if not name.startswith(".")}
    # Each file is the earlier one or the new one, and a summary is only where all are of its set.
    assert all(data in {earlier_files[name], whole[name]} for name, data in left.items())
    summary = "derived-from-bcda-2026-11-CCLF0.txt"
    assert left.keys() >= whole.keys() - {summary}
    assert summary not in left or left in (earlier_files, whole)
    write_cclf_files(published, NOVEMBER, out, now=NOON)
    assert contents(out) == whole
    assert {p.stat().st_mode & 0o777 for p in out.iterdir()} == {0o600}


def test_a_month_without_a_list_of_people_is_refused(published, tmp_path):
    with pytest.raises(InvalidRequestError, match=r"No attribution list of 2026-10 is loaded"):
        write_cclf_files(published, Month.parse("2026-10"), tmp_path / "out", now=NOON)


@pytest.mark.parametrize("text", ["2026-13", "2026-1", "2026", "2026-11-01", ""])
def test_what_is_no_month_is_refused(text):
    with pytest.raises(InvalidRequestError, match="is not a month"):
        Month.parse(text)


def test_the_command_writes_them(published, tmp_path, monkeypatch):
    monkeypatch.setenv("BCDA_HOME", str(published.raw.parent))
    arguments = ["cclf-files", "--month", "2026-11", "--into", str(tmp_path / "out"), "--source", published.source_id]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert len(done.output.splitlines()) == 12
    with pytest.raises(InvalidRequestError, match="go together"):
        CliRunner().invoke(app, [*arguments, "--cms-names"], catch_exceptions=False)
