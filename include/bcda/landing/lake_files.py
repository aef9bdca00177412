"""Parquet files of the lake: streamed into a folder of the attempt's own, put into place by rename."""

from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from bcda.errors import StorageError
from bcda.runs.landed import LakeFile
from bcda.settings import ApiVersion
from bcda.storage import parquet_files
from bcda.storage.commit_points import CommitPoint, reached
from bcda.storage.encryption import EncryptionKey
from bcda.storage.files import open_new, private_folder, put_in_place, reason_of


def partition_of(api_version: ApiVersion, export_date: date) -> str:
    """Return the folders below a table's own that hold the files of an export."""
    return f"api_version={api_version}/export_date={export_date.isoformat()}"


class LakeWriter:
    """Writes the lake files of one batch; nothing is visible under its final name before `commit`."""

    def __init__(
        self,
        lake: Path,
        *,
        workspace: Path,
        partition: str,
        name: str,
        connection: duckdb.DuckDBPyConnection,
        key: EncryptionKey | None = None,
    ) -> None:
        """Begin.

        Args:
            lake: the lake.
            workspace: folder of the attempt.
            partition: folders below a table's own, as of `partition_of`.
            name: of the file of each table.
            connection: of `duckdb_files.connected`, with the key.
            key: of the lake.
        """
        self._lake = lake
        self._workspace = workspace
        self._connection = connection
        self._key = key
        self._partition = partition
        self._name = name
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._files: dict[str, BinaryIO] = {}
        self._rows: dict[str, int] = {}

    def write(self, table: str, rows: pa.Table | pa.RecordBatch) -> None:
        """Append rows to a table's file as one row group.

        Args:
            table: name of the lake table.
            rows: columns as in the rows written before.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        if not rows.num_rows:
            return
        data = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        try:
            if table not in self._writers:
                self._writers[table] = self._open(table, data.schema)
            self._writers[table].write_table(data, row_group_size=data.num_rows)
        except OSError as error:
            raise self._unwritable(reason_of(error)) from error
        self._rows[table] = self._rows.get(table, 0) + data.num_rows

    def commit(self, path_of: Callable[[Path], Path] = lambda path: path) -> tuple[LakeFile, ...]:
        """Finish all files, sync them to disk and rename them into place; return what was written, by table.

        Another attempt at the same batch may have put its files there; they have the same rows.

        Args:
            path_of: gives where a file is put instead of its own path; what is returned names its own path.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        done = []
        try:
            for table, writer in self._writers.items():
                writer.close()
                self._files[table].close()
                target = private_folder(self._folder(table)) / self._name
                put_in_place(self._finished(table), path_of(target))
                reached(CommitPoint.LAKE_FILE_NAMED)
                done.append(LakeFile(table, target.relative_to(self._lake).as_posix(), self._rows[table]))
        except OSError as error:
            raise self._unwritable(reason_of(error)) from error
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise self._unwritable(type(error).__name__) from None
        return tuple(sorted(done, key=lambda file: file.table))

    def discard(self) -> None:
        """Close what is still open; its folder goes with the attempt."""
        for table, writer in self._writers.items():
            # A full disk has been told of already.
            with suppress(OSError):
                if writer.is_open:
                    writer.close()
                self._files[table].close()

    def _finished(self, table: str) -> Path:
        """Return what takes the file's name: what was written, or with a key what DuckDB makes of it."""
        if self._key is None:
            return self._temporary(table)
        rows = parquet_files.encrypt(self._connection, self._temporary(table), self._encrypted(table), self._key)
        if rows != self._rows[table]:
            raise StorageError(
                f"Of {self._rows[table]} rows of {table} {rows} were encrypted. Nothing more was put into place."
            )
        self._temporary(table).unlink()
        return self._encrypted(table)

    def _folder(self, table: str) -> Path:
        return self._lake / table / self._partition

    def _temporary(self, table: str) -> Path:
        return self._workspace / f"{table}.parquet"

    def _encrypted(self, table: str) -> Path:
        return self._workspace / f"{table}.encrypted.parquet"

    def _open(self, table: str, schema: pa.Schema) -> pq.ParquetWriter:
        self._files[table] = open_new(self._temporary(table))
        return parquet_files.writer(self._files[table], schema, self._key)

    def _unwritable(self, reason: str) -> StorageError:
        return StorageError(f"Cannot write to the lake {self._lake}: {reason}. Check owner and free space.")
