"""What to do after a load, in sentences; most loads need nothing."""

from bcda.run_report.facts import RunFacts
from bcda.run_report.wording import count, instant
from bcda.suppression import people


def next_steps(facts: RunFacts) -> tuple[str, ...]:
    """Return what a person should do or know, the most pressing first."""
    run = facts.run
    steps = [*_of_checks(facts), *_of_gaps(facts)]
    if run["lines_quarantined"]:
        steps.append(
            f"Look at the {count(run['lines_quarantined'], 'line')} that {_were(run['lines_quarantined'])} set aside: "
            "ops.quarantine has file, line and reason, the lake table quarantine the text. If BCDA sends the same again, tell it."
        )
    if run["new_elements"]:
        steps.append(
            f"{count(run['new_elements'], 'element')} that no release of this project knows came for the first time: see ops.drift. "
            "Nothing is lost, they are in the resource's JSON."
        )
    if run["type_filter"]:
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
    steps = []
    if errors:
        steps.append(
            f"Decide about the failed checks ({', '.join(errors)}): while one of level error fails, the published database stays as "
            "it was. A later run that passes is published by itself; a full export settles what a partial one broke."
        )
    if warnings:
        steps.append(
            f"Read what the warnings mean ({', '.join(warnings)}); they do not keep data from being published."
        )
    return steps


def _of_gaps(facts: RunFacts) -> list[str]:
    steps = []
    if again := [row for row in facts.gaps if row["open"]]:
        listed = ", ".join(f"{people(row['open'])} for {row['resource_type']}" for row in again)
        steps.append(
            f"Data of some people is missing for some time ({listed}). The next run asks for it again by itself."
        )
    if any(row["is_unnamed"] for row in facts.gaps):
        steps.append("BCDA did not say whose data is missing for some gaps; the next run goes back for everybody's.")
    if given_up := [row["resource_type"] for row in facts.gaps if row["given_up"]]:
        steps.append(
            f"Gaps in {', '.join(given_up)} were given up after three tries. Trigger the export with `full` to close them; "
            "ops.open_gap has them."
        )
    return steps


def _were(number: int) -> str:
    return "was" if number == 1 else "were"
