"""Of equal keys of an object the last counts, at every depth, as it does for the usual parsers."""

import json

import duckdb
import pyarrow as pa
import pytest
from rawfiles import land
from worlds import export

from bcda.landing.odd_json import with_last_keys
from bcda.settings import ApiVersion
from bcda.storage.places import Places
from bcda_simulator.world import World

WRONG = {str: '"2001-01-01"', bool: "true", int: "77", float: "77.77", list: "[]", dict: "{}", type(None): '"x"'}


def doubled(value):
    """Write a JSON value with each member of each object twice: first with a wrong value, then with its own."""
    if isinstance(value, dict):
        return (
            "{"
            + ",".join(f"{json.dumps(k)}:{WRONG[type(v)]},{spelled(k)}:{doubled(v)}" for k, v in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(doubled, value)) + "]"
    return json.dumps(value)


def spelled(key):
    """Write a key otherwise than the first time: it is the same key anyway."""
    return f'"\\u{ord(key[0]):04x}{key[1:]}"'


def rows(places, table):
    files = f"'{places.lake}/{table}/*/*/*.parquet'"
    left_out = "EXCLUDE (body, content_hash)" if table == "resource" else ""
    return duckdb.sql(
        f"SELECT * {left_out} FROM read_parquet({files}, hive_partitioning = false) ORDER BY ALL"
    ).fetchall()


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_the_last_of_equal_keys_counts_at_every_depth_and_in_every_table(tmp_path, version):
    files = export(World(people=3, seed=11), ["0", "1"], week=44, after=None, version=version)
    plain, twice = Places.below(tmp_path / "plain"), Places.below(tmp_path / "twice")
    texts = [[doubled(json.loads(line)).encode() + b"\n" for line in content.splitlines()] for _, content in files]
    odd = [(kind, b"".join(lines)) for (kind, _), lines in zip(files, texts, strict=True)]
    tables = {}
    for places, content in ((plain, files), (twice, odd)):
        _, _, landed = land(places, content, version=ApiVersion(version))
        assert {file.lines_quarantined for file in landed.files} == {0}
        tables[places] = {file.table for file in landed.lake_files} - {"drift"}
    assert tables[plain] == tables[twice] > {"claim_line_amount", "coverage"}
    for table in tables[plain]:
        assert rows(twice, table) == rows(plain, table), table
    # What came stays as it came.
    kept = duckdb.sql(f"SELECT body FROM '{twice.lake}/resource/*/*/*.parquet'").fetchall()
    assert sorted(row[0].encode() + b"\n" for row in kept) == sorted(text for lines in texts for text in lines)


def test_an_amount_of_many_digits_is_exact_beside_equal_keys(tmp_path):
    line = (
        b'{"resourceType":"ExplanationOfBenefit","id":"carrier-1","type":'
        b'{"coding":[{"system":"https://bluebutton.cms.gov/resources/codesystem/eob-type","code":"CARRIER"}]},"patient":{"reference":"Patient/-7"},"payment":'
        b'{"amount":{"value":1.00,"value":9007199254740993.07}}}\n'
    )
    places = Places.below(tmp_path)
    land(places, [("ExplanationOfBenefit", line)])
    paid = duckdb.sql(f"SELECT CAST(paid_amount AS VARCHAR) FROM '{places.lake}/claim/*/*/*.parquet'").fetchall()
    assert paid == [("9007199254740993.07",)]


def table(*texts):
    return pa.table({"body": pa.chunked_array([list(texts)], pa.string())})


ALONE = [
    '{"a":[{"b":1},{"b":1}]}',
    '{"a":"{\\"b\\":1,\\"b\\":2}"}',
    '{"a":[1,],"b":{"c":"c"}}',
    '{"x":' * 2000 + "1" + "}" * 2000,
    "}{",
    "no",
]
ODD = [
    ('{"a":{"b":1,"b":2}}', '{"a": {"b": "2"}}'),
    ('{"a":[{"b":1},{"b":1,"c":{},"b":"x"}]}', '{"a": [{"b": "1"}, {"b": "x", "c": {}}]}'),
    ('{"a":1.10,"\\u0061":2.50}', '{"a": "2.50"}'),
]


@pytest.mark.parametrize("text", ALONE)
def test_a_text_whose_keys_differ_stays_the_same_object(text):
    lines = table(text)
    assert with_last_keys(lines) is lines


@pytest.mark.parametrize(("text", "read"), ODD)
def test_equal_keys_are_found_at_any_depth(text, read):
    assert with_last_keys(table(ALONE[0], text))["body"].to_pylist() == [ALONE[0], read]


@pytest.mark.parametrize("text", ['{"x":' * 2000 + '{"a":1,"a":2}' + "}" * 2000, '{"a":[1,],"b":{"c":1,"\\u0063":2}}'])
def test_equal_keys_that_python_cannot_read_are_refused(text):
    with pytest.raises((ValueError, RecursionError)):
        with_last_keys(table(text))
