"""The fault matrix: every fault that the tests inject, with its outcome."""

import sys

from reference_pages.templates import PROJECT

_INTRO = """# Tested faults

The tests inject each of these faults into an export from the simulator. After each one they compare the published database with that
of an undisturbed run. They also search everything that was written or logged for secrets and personal data. The source of this table
is the [fault matrix](../../tests/faults/matrix.py). Killed processes have [tests of their own](../../tests/crash/test_crash.py).

The phase is the request or the step in which the fault occurs. "The next run loads everything" holds once the cause is gone: a failed
run records nothing as covered, so the next run asks for the same interval.
"""


def page() -> str:
    """Return the page of all faults that the tests inject."""
    sys.path[:0] = [str(PROJECT / "tests" / name) for name in ("faults", "integration", "unit")]
    from matrix import table  # noqa: PLC0415 - found through the path that is set above

    return f"{_INTRO}\n{table()}\n"
