"""Files that go far beyond what landing takes at a time, each landed by a process of its own with a hard limit of its memory."""

import importlib.util
import json
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from rawfiles import NOON, counts, land, load

from bcda import budgets
from bcda.errors import EngineMemoryError
from bcda.landing import KEPT_TABLES, land_again
from bcda.landing.engine import Engine
from bcda.settings import ApiVersion
from bcda.storage.query_files import rows_of

_SPEC = importlib.util.spec_from_file_location(
    "landing_budgets", Path(__file__).parents[2] / "benchmarks" / "landing_budgets.py"
)
cases = importlib.util.module_from_spec(_SPEC)
sys.modules["landing_budgets"] = cases
_SPEC.loader.exec_module(cases)

EOB = "ExplanationOfBenefit"

# What becomes of the lines: read, landed, quarantined.
OUTCOMES = {
    "one-text": (1, 0, 1),
    "elements": (1, 0, 1),
    "deep": (1, 0, 1),
}
SLOWER = {
    "blank": (1 << 30, 0, 1 << 30),
    "bad-lines": (1_000_000, 0, 1_000_000),
    "long-lines": (3, 0, 3),
    "side-lists": (4, 0, 4),
    "repeated-text": (4, 0, 4),
    "deep-short": (50, 0, 50),
}


@pytest.mark.parametrize("name", [*OUTCOMES, *(pytest.param(name, marks=pytest.mark.complete) for name in SLOWER)])
def test_a_file_far_beyond_a_budget_lands_within_the_memory(tmp_path, name):
    cases.write(tmp_path, cases.CASES[name])
    landed = cases.land(tmp_path)
    assert landed.lines == {**OUTCOMES, **SLOWER}[name], landed.error
    assert landed.peak_mib < budgets.LANDING_BYTES >> 20


def quarantined(places):
    (path,) = (places.lake / "quarantine").glob("*/*/*.parquet")
    return pq.read_table(path, partitioning=None).to_pylist()


def test_of_many_quarantined_lines_the_first_are_listed_with_the_beginning_of_their_text_and_all_are_counted(places):
    many, long = budgets.QUARANTINE_LISTED * 3, budgets.QUARANTINE_TEXT_BYTES * 2
    content = b"x" * long + b"\n" + b"bad\n" * many + b"\n" * many + cases.claim() + b"\n"
    summary = load(places, [("Patient", b'{"id":"p","resourceType":"Patient"}\n'), (EOB, content)])
    assert counts(summary, EOB) == {"new": 1, "quarantined": 2 * many + 1}
    listed = quarantined(places)
    assert [row["reason"] for row in listed].count("not JSON") == budgets.QUARANTINE_LISTED
    assert [row["reason"] for row in listed].count("empty line") == budgets.QUARANTINE_LISTED
    assert max(len(row["line"]) for row in listed) == budgets.QUARANTINE_TEXT_BYTES
    with duckdb.connect(str(places.warehouse), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM ops.quarantine").fetchall() == [(len(listed),)]
        told = rows_of(connection, "bcda.reporting.run_report", "quarantined", {"run_id": "r1"})
    assert sum(row["lines"] for row in told) == 2 * many + 1
    rest = next(row["lines"] for row in told if row["reason"] == "not listed one by one")
    assert rest == 2 * many + 1 - 2 * budgets.QUARANTINE_LISTED


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"x" * (budgets.LINE_BYTES + 1), "longer than a line may be"),
        (b"x" * (budgets.SLICE_BYTES * 2 + 5), "longer than a line may be"),
        (cases.listing("item", b"{}", 130_000), "more elements than a line may have"),
        (cases.listing("careTeam", b"{}", 1_001) + b" " * (1 << 20), "more elements than a line may have"),
    ],
    ids=["longer-than-a-line", "longer-than-the-buffer", "elements", "side-list"],
)
def test_a_line_beyond_a_budget_is_set_aside_with_reason_and_length_and_its_neighbors_land(places, text, reason):
    land(places, [(EOB, cases.claim(1) + b"\n" + text + b"\n" + cases.claim(2) + b"\n")])
    (row,) = quarantined(places)
    assert (row["raw_line"], row["reason"], row["line_bytes"]) == (2, reason, len(text))
    assert row["line"] == text[: budgets.QUARANTINE_TEXT_BYTES]
    pattern = str(places.lake / "claim" / "*" / "*" / "*.parquet")
    found = duckdb.execute(f"SELECT claim_id FROM read_parquet('{pattern}') ORDER BY ALL").fetchall()
    assert found == [("carrier-1",), ("carrier-2",)]


def parse_little(monkeypatch):
    """Let the engine have memory for two rows at a time; return how many rows it was given each time."""
    parse, calls = Engine.parse, []

    def parsed(self, lines, *, resource_type):
        calls.append(lines.num_rows)
        if lines.num_rows > 2:
            raise EngineMemoryError("no memory")
        return parse(self, lines, resource_type=resource_type)

    monkeypatch.setattr(Engine, "parse", parsed)
    return calls


def test_a_batch_that_the_engine_has_no_memory_for_is_landed_a_little_at_a_time(places, monkeypatch):
    calls = parse_little(monkeypatch)
    monkeypatch.setattr("bcda.landing.portions.PORTION_ELEMENTS", 20)
    content = b"".join(cases.listing("item", b"{}", 6, n) + b"\n" for n in range(9))
    _, _, landed = land(places, [(EOB, content)])
    assert landed.files[0].rows_landed == 9
    assert calls[0] == 9
    assert max(calls[1:]) <= 2


def test_resources_that_the_engine_has_no_memory_for_are_landed_again_a_little_at_a_time(places, monkeypatch):
    content = b"".join(cases.listing("item", b"{}", 6, n) + b"\n" for n in range(4))
    _, _, landed = land(places, [(EOB, content)])
    calls = parse_little(monkeypatch)
    monkeypatch.setattr("bcda.landing.again.PORTION_ELEMENTS", 400)
    texts = [file for file in landed.lake_files if file.table == "resource"]
    again = land_again(places, texts, api_version=ApiVersion.V2, path_of=lambda path: path.with_suffix(".again"))
    assert calls[0] == 4
    assert max(calls[1:]) <= 2
    before = {file.table: file.path for file in landed.lake_files if file.table not in KEPT_TABLES}
    assert before.keys() == {file.table for file in again}
    for file in again:
        made, was = (places.lake / before[file.table]).with_suffix(".again"), places.lake / before[file.table]
        assert pq.read_table(made, partitioning=None).equals(pq.read_table(was, partitioning=None))


def test_the_text_of_a_claim_counts_where_it_stands_between_quotation_marks(places):
    long_text = "x" * (2 << 20)
    lines = [
        cases.listing("item", b"{}", 3_000),
        cases.claim(2, note=long_text),
        cases.listing("item", b"{}", 100, 3)[:-1] + json.dumps({"note": long_text}).encode()[1:].join([b",", b""]),
    ]
    _, _, landed = land(places, [(EOB, b"\n".join(lines) + b"\n")])
    assert landed.files[0].rows_landed == 2
    assert [row["reason"] for row in quarantined(places)] == ["a text too long for so many items"]


def test_the_landing_of_tables_in_groups_keeps_every_row(places, monkeypatch):
    from bcda.landing import engine

    monkeypatch.setattr(engine, "GROUP_ROWS", 2_000)
    lines = [cases.listing("item", b'{"sequence":1}', 700, n) + b"\n" for n in range(9)]
    _, _, landed = land(places, [(EOB, b"".join(lines))], transaction_time=NOON)
    assert {file.table: file.rows for file in landed.lake_files}["claim_line"] == 6_300
    (path,) = (places.lake / "claim_line").glob("*/*/*.parquet")
    assert pq.ParquetFile(path).num_row_groups > 2
