"""Runs the coverage-guided fuzzer; its time is FUZZ_SECONDS, two minutes in CI, its seed FUZZ_SEED."""

import importlib.util

import pytest
from fuzzing import assert_no_finding


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="Atheris is installed where it has wheels: Linux on x86-64, Python up to 3.13",
)
def test_nothing_that_bcda_says_breaks_a_reader():
    assert_no_finding("fuzz_documents.py")
