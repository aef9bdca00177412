"""Runs the fuzzer of data files; its time is FUZZ_SECONDS, fifteen by default, its seed FUZZ_SEED."""

from fuzzing import assert_no_finding


def test_no_damaged_line_stops_a_run_or_touches_its_neighbors():
    assert_no_finding("fuzz_lines.py")
