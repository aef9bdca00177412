"""The outermost guard of a step: what a library says in its own words of a file or a statement stays inside."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from bcda.errors import StorageError, WarehouseError
from bcda.storage.files import reason_of


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Raise errors of the file system and of DuckDB, which no inner step knew what to say of, as ours.

    Args:
        what: cannot be done then, such as `land the batch`.

    Raises:
        StorageError: in place of an OSError.
        WarehouseError: in place of an error of DuckDB, whose text can quote a row.
    """
    try:
        yield
    except duckdb.Error as error:
        failure = WarehouseError(
            f"Cannot {what}: the database engine refused ({type(error).__name__}). Nothing was committed. Report this with the run id."
        )
    except OSError as error:
        failed = f" {error.filename}" if error.filename else ""
        raise StorageError(
            f"Cannot {what}: {reason_of(error)}{failed}. Check owner, mount and free space, then run the task again."
        ) from error
    else:
        return
    # Raised out here, so that the engine's text is not chained to it.
    raise failure
