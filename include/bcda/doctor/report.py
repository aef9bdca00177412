"""Checks as text: a table for a terminal, a few lines for the Test button."""

import textwrap
from collections.abc import Sequence

from bcda.doctor.check import Check, Status

_SHOWN = {Status.OK: "ok", Status.WARNING: "warning", Status.FAILED: "FAILED", Status.SKIPPED: "skipped"}
_STATUS_WIDTH = max(len(shown) for shown in _SHOWN.values())


def has_failed(checks: Sequence[Check]) -> bool:
    """Tell whether any check failed; warnings do not count."""
    return any(check.status is Status.FAILED for check in checks)


def table(checks: Sequence[Check], *, width: int = 110) -> str:
    """Return the checks as aligned lines, with a line at the end that says how many failed.

    Args:
        checks: in the order in which they were made.
        width: columns of the terminal; longer sentences go on below.
    """
    name_width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        head = f"{_SHOWN[check.status]:{_STATUS_WIDTH}}  {check.name:{name_width}}  "
        lines.append(
            textwrap.fill(
                check.text,
                width,
                initial_indent=head,
                subsequent_indent=" " * len(head),
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    return "\n".join([*lines, "", _sum(checks)])


def in_short(checks: Sequence[Check]) -> str:
    """Return what failed first in its own words, or what is known of version and lists, then a short line for each check.

    Airflow shows the text of a connection test in a small box that joins lines, so each line is a sentence.

    Args:
        checks: of a connection, in the order in which they were made.
    """
    known = [check.text for check in checks if check.name in {"version", "attribution"} and check.status is Status.OK]
    failed = [check.text for check in checks if check.status is Status.FAILED]
    return "\n".join([*(failed[:1] or known), *(_line(check) for check in checks)])


def _line(check: Check) -> str:
    said = f": {check.text}" if check.status is Status.WARNING else "."
    return f"{check.name}: {check.status}{said}"


def _sum(checks: Sequence[Check]) -> str:
    failed = [check.name for check in checks if check.status is Status.FAILED]
    warned = [check.name for check in checks if check.status is Status.WARNING]
    if not failed and not warned:
        return "All is well."
    first = f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}." if failed else "Nothing failed."
    return f"{first} Look at {', '.join(warned)}{' too' if failed else ''}." if warned else first
