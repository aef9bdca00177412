"""Runs the coverage-guided fuzzer; its time is FUZZ_SECONDS, fifteen by default, its seed FUZZ_SEED."""

import platform
import sys

import pytest
from fuzzing import assert_no_finding

HAS_WHEEL = (sys.platform, platform.machine()) == ("linux", "x86_64") and sys.version_info < (3, 14)
"""As requirements-dev.in has it: there a missing Atheris is a failure."""


@pytest.mark.skipif(not HAS_WHEEL, reason="Atheris has wheels for Linux on x86-64 and Python up to 3.13 only")
def test_nothing_that_bcda_says_breaks_a_reader():
    assert_no_finding("fuzz_documents.py")
