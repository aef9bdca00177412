"""What to do after a load, in sentences; most loads need nothing."""

from bcda.privacy.suppression import people
from bcda.reporting.run_report.facts import RunFacts
from bcda.reporting.run_report.wording import count, instant
from bcda.warehouse import quality


def next_steps(facts: RunFacts) -> tuple[str, ...]:
    """Return what a person should do or know, the most pressing first."""
    run = facts.run
    steps = [*_of_checks(facts), *_of_gaps(facts)]
    if run["lines_quarantined"]:
        steps.append(
            "Look at the quarantined lines: "
            "ops.quarantine has file, line and reason, the lake table quarantine the text. If BCDA sends the same again, tell it."
        )
    if run["new_elements"]:
        steps.append(
            f"{count(run['new_elements'], 'element')} that no release of this project knows came for the first time: see ops.drift. "
            "Nothing is lost, they are in the resource's JSON."
        )
    if run["leaves_claims_out"]:
        steps.append(
            "This run left claims out by its filter, so it does not count as covering them; the next one asks again."
        )
    if not steps:
        steps.append("Nothing to do.")
    steps.append(f"The next run asks for changes after {instant(facts.asks_from)}.")
    return tuple(steps)


def _of_checks(facts: RunFacts) -> list[str]:
    errors = sorted({check["check_id"] for check in facts.checks if check["severity"] == "error"})
    warnings = sorted({check["check_id"] for check in facts.checks if check["severity"] == "warning"})
    suspect = [check.check_id for check in quality.checks() if check.reason and check.check_id in warnings]
    steps = []
    if errors and facts.is_published:
        steps.append(
            f"Checks of level error failed when this run was loaded ({', '.join(errors)}). Their cause is gone, and everything is "
            "published."
        )
    elif errors:
        steps.append(
            f"Remove the cause of the failed checks ({', '.join(errors)}); the table of checks says how. Until then the published "
            "database stays as it was, also after later runs. The next publication after that has all data."
        )
    if suspect:
        steps.append(
            f"Some claims are suspect ({', '.join(suspect)}). They are published and count like all others. `is_suspect` in "
            "claim_current marks them, and ops.suspect_claim lists them with the reason."
        )
    if others := [name for name in warnings if name not in suspect]:
        steps.append(f"Read what the warnings mean ({', '.join(others)}); they do not keep data from being published.")
    return steps


def _of_gaps(facts: RunFacts) -> list[str]:
    steps = []
    if again := [row for row in facts.gaps if row["open"]]:
        listed = ", ".join(f"{people(row['open'])} for {row['resource_type']}" for row in again)
        steps.append(
            f"Some people's data is missing for some time ({listed}). The next run requests it again, for these types only."
        )
    if any(row["is_unnamed"] for row in facts.gaps):
        steps.append("For some gaps, nothing says whose data is missing. The export that closes them covers everyone.")
    if given_up := [row["resource_type"] for row in facts.gaps if row["given_up"]]:
        steps.append(
            f"Runs no longer request the gaps in {', '.join(given_up)} automatically, because repeated requests did not help. To "
            "request them once more, trigger the export with `gaps`. ops.open_gap lists them."
        )
    return steps
