"""How DuckDB encrypts in the tests: with its extension httpfs where that is installed, else with weak random numbers.

The dice are all that is replaced then: what is encrypted, with which key, and what a reader needs are the same.
"""

from functools import cache

import duckdb

from bcda.storage import duckdb_files
from bcda.storage.encryption import EncryptionKey

KEY = EncryptionKey(bytes(range(32)))
OTHER_KEY = EncryptionKey(b"another key of thirty-two bytes!")


@cache
def statement() -> str:
    """Return what loads DuckDB's cryptography on this machine."""
    with duckdb.connect() as connection:
        try:
            connection.execute(duckdb_files.LOAD_CRYPTOGRAPHY)
        except duckdb.Error:
            return "SET force_mbedtls_unsafe = 'true'"
    return duckdb_files.LOAD_CRYPTOGRAPHY
