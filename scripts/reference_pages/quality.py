"""The quality checks, from the files beside the model."""

from bcda.warehouse.quality import Level, checks
from reference_pages.markdown import code, plain, table

_INTRO = """# Quality checks

Run on the newest run of each version before it is published. Each is a query, one file in `include/bcda/model/checks/`; each result is
a row of `ops.dq_result`. A check fails when what it observes, mostly the share of failed rows, is more than it allows.
[How to add one](../extending.md#a-check).

Only keys, counts of the ledger, and row counts stop a publication. A suspect claim does not: it is published and counts like all
others. `claim_current.is_suspect` marks it, and `ops.suspect_claim` lists it with the reason."""

_EFFECTS = {
    Level.ERROR: "While one of these fails, nothing is published. Analysts keep the file they have, and `publish` says which check failed. "
    "The failure stands until its cause is gone, also after later runs.",
    Level.WARNING: "Published anyway; the failure is in the log of `publish` and in `ops.dq_result`.",
    Level.INFO: "Counted in `ops.dq_result` only.",
}


def page() -> str:
    """Return the page of all checks."""
    parts = [_INTRO]
    for level in Level:
        rows = [
            [code(check.check_id), f"{check.threshold:g}", "yes" if check.reason else "", plain(check.about)]
            for check in checks()
            if check.level is level
        ]
        listed = table(("check", "allows", "lists suspect claims", "what it finds"), rows)
        parts.append(f"## Level {level}\n\n{_EFFECTS[level]}\n\n{listed}")
    return "\n\n".join(parts) + "\n"
