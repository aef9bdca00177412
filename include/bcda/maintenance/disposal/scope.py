"""What a disposal is about: a person, a period, or everything of a source."""

import re
from dataclasses import dataclass, field
from datetime import date

from bcda.errors import InvalidRequestError

_MBI = re.compile(r"[1-9][A-Z0-9]{10}")
_LONGEST = 128


@dataclass(frozen=True, slots=True)
class Person:
    """Everything about one person.

    Attributes:
        identifier: an MBI, a `person_key` or the id of a Patient; never shown, logged or kept.
    """

    identifier: str = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what can be no identifier.

        Raises:
            InvalidRequestError: it is empty, has blanks in it, or is longer than any identifier.
        """
        if (
            not self.identifier
            or len(self.identifier) > _LONGEST
            or not self.identifier.isprintable()
            or " " in self.identifier
        ):
            raise InvalidRequestError(
                "Name one person by an MBI, a person_key, or the id of a Patient, and say nothing else. No changes were made."
            )

    @property
    def mbi(self) -> str | None:
        """The identifier as an MBI, without dashes and in capitals; None when it is none."""
        text = self.identifier.replace("-", "").upper()
        return text if _MBI.fullmatch(text) else None

    @property
    def kind(self) -> str:
        """Word for the certificate."""
        return "person"

    @property
    def in_words(self) -> str:
        """What the certificate says."""
        return "everything about one person, whom this certificate does not name"


@dataclass(frozen=True, slots=True)
class Period:
    """Claims by their last day of service, months of coverage, and attribution lists by their date.

    Attributes:
        first: first day; None for the beginning.
        last: last day, which belongs to the period.
    """

    first: date | None
    last: date

    def __post_init__(self) -> None:
        """Refuse a period that ends before it begins.

        Raises:
            InvalidRequestError: it does.
        """
        if self.first is not None and self.first > self.last:
            raise InvalidRequestError(
                f"The period ends on {self.last}, before it begins on {self.first}. No changes were made."
            )

    @property
    def kind(self) -> str:
        """Word for the certificate."""
        return "period"

    @property
    def in_words(self) -> str:
        """What the certificate says."""
        begin = f"from {self.first} " if self.first else ""
        return (
            f"claims, months of coverage and attribution lists {begin}up to and including {self.last}, and people of whom nothing "
            "else is left"
        )


@dataclass(frozen=True, slots=True)
class WholeSource:
    """Everything of a source."""

    @property
    def kind(self) -> str:
        """Word for the certificate."""
        return "source"

    @property
    def in_words(self) -> str:
        """What the certificate says."""
        return "everything of the source"


Scope = Person | Period | WholeSource
