"""Parquet files of the lake: written by pyarrow as they come, and encrypted by DuckDB when there is a key.

Encrypted files are in DuckDB's form of Parquet's modular encryption (AES-GCM, footer included), which DuckDB alone reads.
The standard's own form, as pyarrow writes it, is read by DuckDB 2.0 only as far as there is no filter, no list and one page
a column ("Computed AES tag differs" otherwise), which is too little for the merge and for the view `resource`. It serves
while a file grows: rows come in pieces, which DuckDB cannot append.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.parquet import encryption

from bcda.errors import EncryptionError, InvalidRequestError, ManifestError
from bcda.storage.encryption import LAKE_KEY, EncryptionKey
from bcda.storage.files import sync_file
from bcda.storage.sql_text import literal

_LONG_TEXT = frozenset({"body", "line"})
"""Columns whose values are whole resources: no dictionary, no statistics, both would hold copies of them."""

_ENCRYPTED = b"PARE"
"""Last bytes of a file whose footer is encrypted; `PAR1` is the mark of the others."""

_ROW_GROUP = "ROW_GROUP_SIZE_BYTES '16MB'"
"""Bounds what DuckDB holds of a file while it writes it."""

_FEW_ROWS, _MANY_ROWS = 256, 16_384
"""Rows that are handed over at a time. Measured: 2,048 resources at a time take 100 MiB more."""


def writer(file: BinaryIO, schema: pa.Schema, key: EncryptionKey | None) -> pq.ParquetWriter:
    """Return a writer of a Parquet file.

    Args:
        file: open and empty; it is not closed by the writer.
        schema: of its rows.
        key: for a file that `encrypt` takes up; None for one that stays as it is.
    """
    short = [name for name in schema.names if name not in _LONG_TEXT]
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd" if key is None else "lz4",
        use_dictionary=short,  # type: ignore[arg-type]  # names of columns are as good
        write_statistics=short,
        store_schema=False,
        encryption_properties=_properties("encryption")(key.value) if key is not None else None,
    )


def check_library(key: EncryptionKey | None) -> None:
    """Make sure that the installed pyarrow can write the files of the lake.

    Args:
        key: of the lake; None for files that stay as they are.

    Raises:
        InvalidRequestError: there is a key, and this pyarrow cannot encrypt with it.
    """
    if key is not None:
        _properties("encryption")


def _properties(kind: str) -> Callable[[bytes], Any]:
    """Return pyarrow's function for properties of a kind, `encryption` or `decryption`; pyarrow has them since release 25."""
    found: Callable[[bytes], Any] | None = getattr(encryption, f"create_{kind}_properties", None)
    if found is None:
        raise InvalidRequestError(
            f"Encryption at rest needs pyarrow 25 or newer; this is {pa.__version__}. Upgrade pyarrow, or unset the encryption key "
            "if nothing is encrypted yet."
        )
    return found


def encrypt(connection: duckdb.DuckDBPyConnection, source: Path, target: Path, key: EncryptionKey) -> int:
    """Write what a `writer` with a key has written in the form that the lake keeps, and return the number of rows.

    Args:
        connection: of `duckdb_files.connected`, with the key.
        source: written by `writer`.
        target: the new file.
        key: of both.

    Raises:
        OSError, duckdb.Error: the disk is full, or a file cannot be read.
    """
    with pq.ParquetFile(source, decryption_properties=_properties("decryption")(key.value)) as file:
        names = file.schema_arrow.names
        rows = _FEW_ROWS if _LONG_TEXT & set(names) else _MANY_ROWS
        connection.register("grown", pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(rows)))
        written = _copy(connection, "grown", target, LAKE_KEY)
        connection.unregister("grown")
    return written


def put_together(
    connection: duckdb.DuckDBPyConnection, sources: Sequence[Path], target: Path, *, read: str | None, write: str | None
) -> int:
    """Copy files of one table into one and return the number of its rows.

    Args:
        connection: of `duckdb_files.connected`.
        sources: the files.
        target: the new file.
        read: name of the sources' key; None when they are not encrypted.
        write: name of the new file's key; None to leave it as it is.

    Raises:
        duckdb.Error: the disk is full, or a file cannot be read.
    """
    return _copy(connection, relation([str(source) for source in sources], read, are_alike=False), target, write)


def write_rows(connection: duckdb.DuckDBPyConnection, rows: str, target: Path, key_name: str | None) -> int:
    """Write what a relation gives into a new file and return the number of its rows.

    Args:
        connection: of `duckdb_files.connected`.
        rows: what stands in the FROM; ours, never from outside.
        target: the new file.
        key_name: name of its key; None to leave it as it is.

    Raises:
        duckdb.Error: the disk is full, or a file cannot be read.
    """
    return _copy(connection, rows, target, key_name)


def relation(files: Sequence[str], key_name: str | None, *, are_alike: bool = True) -> str:
    """Return what stands for the rows of lake files in a FROM, without the columns of their folders.

    Args:
        files: of one table.
        key_name: name of their key; None when they are not encrypted.
        are_alike: whether all have the same columns; else one that some lack is NULL in their rows, as when two releases
            landed the batches of a run.
    """
    listed = ", ".join(literal(file) for file in files)
    by_name = "" if are_alike else ", union_by_name = true"
    return f"read_parquet([{listed}], hive_partitioning = false{by_name}{_config(key_name)})"


def show(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    key_name: str | None,
    name: str = "lake_rows",
    *,
    are_alike: bool = True,
) -> None:
    """Let a name stand for the rows of lake files in the statements that follow.

    Args:
        connection: of `duckdb_files.connected`.
        files: of one table.
        key_name: name of their key; None when they are not encrypted.
        name: name of the relation; ours, never from outside.
        are_alike: see `relation`.
    """
    rows = relation(files, key_name, are_alike=are_alike)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS FROM {rows}")


def count_rows(connection: duckdb.DuckDBPyConnection, path: Path, key_name: str | None) -> int:
    """Return the number of rows of a lake file.

    Args:
        connection: of `duckdb_files.connected`.
        path: the file.
        key_name: name of its key; None when it is not encrypted.

    Raises:
        EncryptionError: it needs a key, another key or none.
        ManifestError: it is missing or broken.
    """
    try:
        _check_mark(path, has_key=key_name is not None)
        rows = connection.execute(f"SELECT count(*) FROM {relation([str(path)], key_name)}").fetchall()[0][0]  # noqa: S608
    except (OSError, duckdb.Error) as error:
        if "AES tag" in str(error):
            raise EncryptionError(
                f"The lake file {path} is encrypted with another key. Set BCDA_ENCRYPTION_KEY, or the Airflow Variable, to "
                "the key it was written with."
            ) from None
        raise ManifestError(
            f"The lake file {path} is missing or broken ({type(error).__name__}), although its batch has landed. Run the land "
            "task again; if the run is loaded, rebuild the lake from raw."
        ) from error
    return int(rows)


def opens(connection: duckdb.DuckDBPyConnection, path: Path, key_name: str | None) -> bool:
    """Tell whether a key, or none, is that of a lake file.

    Args:
        connection: of `duckdb_files.connected`.
        path: the file.
        key_name: name of the key; None for none.

    Raises:
        ManifestError: the file is missing or broken.
    """
    try:
        count_rows(connection, path, key_name)
    except EncryptionError:
        return False
    return True


def check_key(connection: duckdb.DuckDBPyConnection, lake: Path, key_name: str | None) -> None:
    """Compare the key with a file of the lake, so that none is written that the others' key does not open.

    A secrets backend that is away looks like one that has no key: without this look, people's records would be written
    in the clear beside encrypted ones.

    Args:
        connection: of `duckdb_files.connected`.
        lake: the lake.
        key_name: name of what is to be written with; None for nothing.

    Raises:
        EncryptionError: the lake needs a key, another key or none.
    """
    some = next(lake.glob("*/*/*/*.parquet"), None)
    if some is not None:
        count_rows(connection, some, key_name)


def _check_mark(path: Path, *, has_key: bool) -> None:
    """Raise EncryptionError for a file that is encrypted without a key at hand, or the other way round."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_ENCRYPTED)))
        is_encrypted = file.read() == _ENCRYPTED
    if is_encrypted and not has_key:
        raise EncryptionError(
            f"The lake file {path} is encrypted and no key is set. Set BCDA_ENCRYPTION_KEY, or BCDA_ENCRYPTION_VARIABLE for "
            "Airflow, to its key."
        )
    if has_key and not is_encrypted:
        raise EncryptionError(
            f"The lake file {path} is not encrypted, but a key is set. Unset it, or encrypt what is there with "
            "`python -m bcda change-key`."
        )


def _copy(connection: duckdb.DuckDBPyConnection, source: str, target: Path, key_name: str | None) -> int:
    """Write a relation into a new file, sync it to disk and return the number of rows."""
    options = f"FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false, {_ROW_GROUP}{_config(key_name)}".replace(
        " = ", " "
    )
    # Row groups are bounded by size only where rows may change their order; one thread keeps it anyway.
    connection.execute("SET preserve_insertion_order = false")
    rows = connection.execute(f"COPY (FROM {source}) TO {literal(str(target))} ({options})").fetchall()[0][0]
    sync_file(target)
    return int(rows)


def _config(key_name: str | None) -> str:
    return f", encryption_config = {{footer_key: {literal(key_name)}}}" if key_name is not None else ""
