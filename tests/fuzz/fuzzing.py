"""How the tests run a fuzzer: a process of its own, for FUZZ_SECONDS, zero findings."""

import os
import subprocess
import sys
from pathlib import Path

SECONDS = int(os.environ.get("FUZZ_SECONDS") or 15)


SEED = os.environ.get("FUZZ_SEED", "2026")
"""The same each time, so that a test that fails fails again; .ci/run has one for each commit, `make fuzz` draws one."""


def assert_no_finding(script: str) -> None:
    """Run a fuzzer and show what it printed; the seed is in it."""
    command = [sys.executable, str(Path(__file__).with_name(script)), "--seconds", str(SECONDS), "--seed", SEED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS * 2 + 120, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-3_000:]
    assert " 0 findings" in done.stdout
