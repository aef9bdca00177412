"""A whole life of a source under an umask of 0000, in a process of its own, with everything on disk watched.

The tree is walked at each commit point and around each call that makes, renames or removes something, so that files count
that live for a moment only: DuckDB's log and spilled data, Parquet and downloads under their temporary names. Printed are
every mode that was seen, and every canary that was found in the bytes of a file, by the file's name.
"""

import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
from plain_export import run_export

from bcda import maintenance, warehouse
from bcda.landing import land_files
from bcda.settings import ConnectionSettings
from bcda.storage import commit_points, duckdb_files
from bcda.storage.encryption import EncryptionKey
from bcda.storage.places import Places
from bcda.warehouse import database

LOOK_AT = {
    commit_points.EVENT,
    "os.rename",
    "os.link",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "os.mkdir",
    "shutil.rmtree",
}
SPILLED = "CANARY-SPILLED"
MEMORY = 96 << 20

given = json.loads(sys.argv[1])
home = Path(given["home"])
canaries = re.compile("|".join(map(re.escape, [*given["canaries"], SPILLED])).encode())
connected = duckdb_files.connected
modes: dict[str, set[str]] = {}
found: dict[str, set[str]] = {}
filled: set[Path] = set()
searched: dict[Path, tuple[int, int]] = {}


def look(event: str, _: tuple[object, ...]) -> None:
    """Note the mode of everything there is, and what is in the bytes of what has changed."""
    if event not in LOOK_AT:
        return
    for folder, folders, files in os.walk(home):
        for name in (*folders, *files):
            path = Path(folder, name)
            try:
                state = path.lstat()
                if not stat.S_ISLNK(state.st_mode):
                    modes.setdefault(name, set()).add(f"{stat.S_IFMT(state.st_mode):o} {stat.S_IMODE(state.st_mode):o}")
                if stat.S_ISREG(state.st_mode) and searched.get(path) != (state.st_mtime_ns, state.st_size):
                    searched[path] = (state.st_mtime_ns, state.st_size)
                    found.setdefault(name, set()).update(text.decode() for text in canaries.findall(path.read_bytes()))
            except FileNotFoundError:
                continue  # DuckDB's own threads come and go


@contextmanager
def connected_full(**options: object) -> Iterator[duckdb.DuckDBPyConnection]:
    """Connect; the first time in each folder, fill the memory with a table, so that everything else makes it spill."""
    with connected(**options) as connection:
        spill = options["spill"]
        folder = spill.parent if spill.name.startswith(".") else spill
        if folder not in filled:
            filled.add(folder)
            connection.execute(
                f"CREATE TEMP TABLE ballast AS SELECT '{SPILLED}' || hash(i) AS text FROM range({MEMORY // 32}) AS t(i)"
            )
        yield connection


def main() -> None:
    """Export twice, maintain, rebuild, and export another source."""
    key = EncryptionKey.from_text(given["key"]) if given["key"] else None
    settings, places = ConnectionSettings(**given["settings"]), replace(Places.below(home / "home"), key=key)
    duckdb_files.LOAD_CRYPTOGRAPHY = given["cryptography"]
    duckdb_files.connected = connected_full
    land_files.__kwdefaults__["memory_bytes"] = MEMORY
    database.MEMORY_LIMIT = f"{MEMORY >> 20}MiB"
    os.umask(0)
    sys.addaudithook(look)
    for _ in range(2):
        run_export(settings, places, full=True)
    maintenance.compact_lake(places, warehouse.merged_runs(places))
    warehouse.vacuum(places, worth_it=0.0)
    assert maintenance.rebuild_lake(places, home / "lake").differing == ()
    assert maintenance.rebuild_warehouse(places, home / "rebuilt" / "anew.duckdb").differing == ()
    run_export(settings, places.of_source("second"), full=True)
    assert os.umask(0) == 0
    look("os.chmod", ())
    print(
        json.dumps(
            {"modes": {n: sorted(m) for n, m in modes.items()}, "found": {n: sorted(f) for n, f in found.items()}}
        )
    )


if __name__ == "__main__":
    main()
