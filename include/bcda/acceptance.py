"""How much of an export may be unreadable for the export to be loaded anyway."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bcda.errors import InvalidRequestError

QUARANTINED_SHARE = "BCDA_QUARANTINED_SHARE"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """How many lines of a resource type may be quarantined. When all of them are, the run is refused in any case.

    Attributes:
        quarantined_share: largest share of the lines, from 0 to 1.
        quarantined_lines: fewer quarantined lines than these are accepted whatever their share.
    """

    quarantined_share: float = 0.01
    quarantined_lines: int = 10

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Acceptance":
        """Read the settings.

        Args:
            environment: such as `os.environ`; reads BCDA_QUARANTINED_SHARE.

        Raises:
            InvalidRequestError: the value is not a number from 0 to 1.
        """
        text = environment.get(QUARANTINED_SHARE)
        if not text:
            return cls()
        try:
            share = float(text)
        except ValueError:
            share = math.nan
        if not 0 <= share <= 1:
            raise InvalidRequestError(
                f"{QUARANTINED_SHARE} must be a number from 0 to 1, such as 0.01 for one percent. Got: {text}."
            )
        return cls(share)
