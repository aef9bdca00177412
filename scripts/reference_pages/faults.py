"""The fault matrix: what goes wrong in the tests, and what comes of it."""

import re
import sys

from reference_pages.templates import PROJECT

_MARKED = re.compile(r"(<!-- faults, by make reference -->\n).*?(<!-- end of faults -->)", re.DOTALL)


def page() -> str:
    """Return the page of all faults that the tests try."""
    return (
        "# Faults that are tried\n\nThe tests let each of these happen to an export against the simulator, then compare what an analyst "
        "finds afterwards with an undisturbed run, and look for secrets and people in everything that was written or logged "
        "([fault matrix](../../tests/faults/matrix.py)). Processes that are killed have "
        f"[tests of their own](../../tests/crash/test_crash.py).\n\n{_table()}\n"
    )


def readme() -> str:
    """Return the README with its table of faults as it is now."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    made, count = _MARKED.subn(lambda found: f"{found[1]}\n{_table()}\n\n{found[2]}", text)
    if count != 1:
        raise ValueError("README.md has no place for the table of faults: two comments mark it")
    return made


def _table() -> str:
    sys.path[:0] = [str(PROJECT / "tests" / name) for name in ("faults", "integration", "unit")]
    from matrix import table  # noqa: PLC0415 - found through the path that is set above

    return table()
