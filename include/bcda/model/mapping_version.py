"""The version of the mapping: which rules made the rows of a run, so that rows of older rules can be told and made again."""

import hashlib
from collections.abc import Iterator
from importlib.resources import files

from bcda import model

MAPPING_VERSION = 2
"""Raise it by one when a change gives rows other values. Rows that were loaded before versions were recorded have version 0.

`python -m bcda remap` derives rows of an older version again.
"""

MAPPING_DIGEST = "10208971578d09e9ca4734ce7b22da130d4a0d6553e2ced1695e27940c253f32"
"""The rules of this version, as `mapping_digest` sums them up. A test fails when they change and this does not.

Raise MAPPING_VERSION with it, unless no value of any row can change, such as with a comment.
"""

_FOLDERS = ("declarations", "shapes", "merge")
_FILES = ("no_id_keys.toml", "states.csv")


def mapping_digest() -> str:
    """Return the SHA-256 of all that decides the values of rows: declarations, shapes, merges, and types of columns."""
    whole = hashlib.sha256()
    for part in _parts():
        whole.update(hashlib.sha256(part.encode()).digest())
    return whole.hexdigest()


def _parts() -> Iterator[str]:
    top = files("bcda.model")
    for folder in _FOLDERS:
        for path in sorted((top / folder).iterdir(), key=lambda path: path.name):
            if path.is_file():
                yield f"{folder}/{path.name}\n{path.read_text(encoding='utf-8')}"
    for name in _FILES:
        yield f"{name}\n{(top / name).read_text(encoding='utf-8')}"
    for name, _ in model.lake_tables():
        yield f"{name}\n" + "\n".join(f"{column} {sql_type}" for column, sql_type, _ in model.columns(name))
