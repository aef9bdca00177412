"""The key that databases and lake are encrypted with at rest; without one they are written as they are."""

import base64
import binascii
from dataclasses import dataclass, field

from bcda.errors import InvalidRequestError

KEY_BYTES = 32
"""AES with 256 bits, for DuckDB as for Parquet."""

LAKE_KEY = "bcda"
"""Name under which a session of DuckDB knows the key of the lake; views name it, so they hold no secret."""


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """One key for the lake, the working database and the published one; never shown by `repr`.

    Attributes:
        value: its 32 bytes.
    """

    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse a key of another length.

        Raises:
            InvalidRequestError: it has not 32 bytes.
        """
        if len(self.value) != KEY_BYTES:
            raise InvalidRequestError(_WHAT_A_KEY_IS)

    @classmethod
    def from_text(cls, text: str) -> "EncryptionKey":
        """Read a key as people and secrets backends keep it.

        Args:
            text: Base64 of 32 random bytes, as `openssl rand -base64 32` prints it.

        Raises:
            InvalidRequestError: it is something else; the message does not repeat it.
        """
        try:
            return cls(base64.b64decode(text.strip(), validate=True))
        except (binascii.Error, ValueError):
            # Raised without its cause: that could quote the text.
            raise InvalidRequestError(_WHAT_A_KEY_IS) from None

    @property
    def text(self) -> str:
        """The key as `from_text` reads it, and as DuckDB takes it for databases and lake alike."""
        return base64.b64encode(self.value).decode()


def lake_key_name(key: EncryptionKey | None) -> str | None:
    """Return the name under which a session knows the key of the lake; None when the lake is not encrypted."""
    return None if key is None else LAKE_KEY


_WHAT_A_KEY_IS = (
    "The encryption key must be 32 random bytes in Base64; make one with `openssl rand -base64 32` and keep it in a secrets "
    "backend: what is encrypted with it cannot be read without it."
)
