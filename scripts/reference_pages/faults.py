"""The fault matrix: what goes wrong in the tests, and what comes of it."""

import sys

from reference_pages.templates import PROJECT


def page() -> str:
    """Return the page of all faults that the tests try."""
    sys.path[:0] = [str(PROJECT / "tests" / name) for name in ("faults", "integration", "unit")]
    from matrix import table  # noqa: PLC0415 - found through the path that is set above

    return (
        "# Faults that are tried\n\nThe tests let each of these happen to an export against the simulator, then compare what an analyst "
        "finds afterwards with an undisturbed run, and look for secrets and people in everything that was written or logged "
        "([fault matrix](../../tests/faults/matrix.py)). Processes that are killed have "
        f"[tests of their own](../../tests/crash/test_crash.py).\n\n{table()}\n"
    )
