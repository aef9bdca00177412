"""Parquet files of the lake: streamed under a temporary name, put into place by rename."""

import os
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bcda.commit_points import CommitPoint, reached
from bcda.errors import StorageError
from bcda.landed import LakeFile
from bcda.places import private_folder, sync_folder
from bcda.settings import ApiVersion

_LONG_TEXT = frozenset({"body", "line"})
"""Columns whose values are whole resources: no dictionary, no statistics, both would hold copies of them."""


class LakeWriter:
    """Writes the lake files of one batch; nothing is visible under its final name before `commit`."""

    def __init__(self, lake: Path, *, api_version: ApiVersion, export_date: date, run_id: str, batch: int) -> None:
        self._lake = lake
        self._partition = f"api_version={api_version}/export_date={export_date.isoformat()}"
        self._name = f"{run_id}-{batch:03d}.parquet"
        self._writers: dict[str, pq.ParquetWriter] = {}
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
            raise StorageError(
                f"Cannot write to the lake {self._lake}: {error}. Check owner and free space."
            ) from error
        self._rows[table] = self._rows.get(table, 0) + data.num_rows

    def commit(self) -> tuple[LakeFile, ...]:
        """Finish all files, sync them to disk and rename them into place; return what was written, by table.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        done = []
        reached(CommitPoint.LAKE_WRITTEN)
        try:
            for table, writer in self._writers.items():
                writer.close()
                target = self._folder(table) / self._name
                _sync_file(self._temporary(table))
                self._temporary(table).replace(target)
                sync_folder(target.parent)
                reached(CommitPoint.LAKE_FILE_NAMED)
                done.append(LakeFile(table, target.relative_to(self._lake).as_posix(), self._rows[table]))
        except OSError as error:
            raise StorageError(
                f"Cannot write to the lake {self._lake}: {error}. Check owner and free space."
            ) from error
        return tuple(sorted(done, key=lambda file: file.table))

    def discard(self) -> None:
        """Close and remove whatever is still under a temporary name."""
        for table, writer in self._writers.items():
            if writer.is_open:
                writer.close()
            self._temporary(table).unlink(missing_ok=True)

    def _folder(self, table: str) -> Path:
        return self._lake / table / self._partition

    def _temporary(self, table: str) -> Path:
        # Engines that read the lake in place skip names that begin with a dot.
        return self._folder(table) / f".{self._name}.tmp"

    def _open(self, table: str, schema: pa.Schema) -> pq.ParquetWriter:
        private_folder(self._folder(table))
        temporary = self._temporary(table)
        temporary.touch(mode=0o600)
        short = [name for name in schema.names if name not in _LONG_TEXT]
        return pq.ParquetWriter(
            temporary,
            schema,
            compression="zstd",
            use_dictionary=short,  # type: ignore[arg-type]  # names of columns are as good
            write_statistics=short,
            store_schema=False,
        )


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
