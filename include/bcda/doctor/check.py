"""What a check says."""

from dataclasses import dataclass
from enum import StrEnum

from bcda.api.deadlines import Finding


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"  # exports work; someone should look anyway
    FAILED = "failed"  # an export cannot work, or not for long
    SKIPPED = "skipped"  # not looked at, because an earlier check failed or there is nothing to look at


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what was looked at.
        status: how it ended.
        text: what was found, and what to do next unless all is well; never a secret, a client id or a person's data.
    """

    name: str
    status: Status
    text: str

    @classmethod
    def of(cls, name: str, finding: Finding | None, *, well: str) -> "Check":
        """Return a check from a rule's finding.

        Args:
            name: what was looked at.
            finding: what is wrong, or None.
            well: text for None.
        """
        if finding is None:
            return cls(name, Status.OK, well)
        return cls(name, Status.FAILED if finding.is_failure else Status.WARNING, finding.text)
