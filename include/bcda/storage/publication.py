"""How the published database is written: for which readers, and how many dated copies beside it."""

from collections.abc import Mapping
from dataclasses import dataclass

from bcda.errors import InvalidRequestError

DEFAULT_STORAGE = "v1.4.0"
"""Opens in DuckDB 1.4 (LTS) and newer, and a log of another file is refused instead of replayed."""

STORAGES = ("v1.1.0", "v1.2.0", "v1.3.0", "v1.4.0", "v1.5.0", "v2.0.0")
"""Storage versions that this DuckDB writes, oldest first: each opens in its version of DuckDB and in newer ones."""

ENCRYPTED_STORAGE = "v1.5.0"
"""What DuckDB 2.0 raises the storage version of an encrypted file to, when a lower one is asked for."""

MOST_COPIES = 366


@dataclass(frozen=True, slots=True)
class Publication:
    """Settings of the published database.

    Attributes:
        storage: storage version of its file, one of `STORAGES`.
        readers_group: name or number of the group that may read it; None for its owner alone.
        copies: how many dated copies stay beside it.
    """

    storage: str = DEFAULT_STORAGE
    readers_group: str | None = None
    copies: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Publication":
        """Read the settings.

        Args:
            environment: such as `os.environ`; reads BCDA_PUBLISHED_STORAGE, BCDA_READERS_GROUP and BCDA_PUBLISHED_COPIES.

        Raises:
            InvalidRequestError: a value is malformed; the message names its variable.
        """
        storage = environment.get("BCDA_PUBLISHED_STORAGE") or DEFAULT_STORAGE
        if storage not in STORAGES:
            raise InvalidRequestError(
                f"BCDA_PUBLISHED_STORAGE must be a DuckDB storage version: {', '.join(STORAGES)}. Got: {storage}."
            )
        copies = environment.get("BCDA_PUBLISHED_COPIES") or "0"
        if not (copies.isascii() and copies.isdigit() and int(copies) <= MOST_COPIES):
            raise InvalidRequestError(
                f"BCDA_PUBLISHED_COPIES must be a whole number from 0 to {MOST_COPIES}. Got: {copies}."
            )
        return cls(storage, environment.get("BCDA_READERS_GROUP") or None, int(copies))

    def check_key(self, *, has_key: bool) -> None:
        """Make sure that the file can be encrypted if it must be.

        Raises:
            InvalidRequestError: it must be, and its storage version cannot.
        """
        if has_key and STORAGES.index(self.storage) < STORAGES.index(DEFAULT_STORAGE):
            raise InvalidRequestError(
                f"BCDA_PUBLISHED_STORAGE={self.storage} cannot be encrypted, and an encryption key is set. Set it to "
                f"{DEFAULT_STORAGE} or newer; an encrypted file opens in DuckDB 1.5 and newer only."
            )
