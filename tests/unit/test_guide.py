"""The guide for analysts says what its queries give on the demo's data."""

import importlib.util
from pathlib import Path

import duckdb
import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.complete
def test_the_results_in_the_guide_are_those_of_its_queries(tmp_path):
    spec = importlib.util.spec_from_file_location("guide", PROJECT / "scripts" / "guide.py")
    guide = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(guide)
    text = guide.GUIDE.read_text(encoding="utf-8")
    with duckdb.connect(str(guide.demo_database(tmp_path)), read_only=True) as connection:
        assert guide.render(text, connection) == text
    assert text.count("```sql") >= 10
