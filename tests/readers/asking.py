"""Runs in an environment of another DuckDB: open published files read-only and answer every view of each.

The first argument is JSON: `files`, paths by the name they are attached under; `use`, name of the current one or null; `key`.
Printed is JSON: for each name and view the number of rows and a digest of them, or the error.
"""

import hashlib
import json
import sys

import duckdb

given = json.loads(sys.argv[1])
connection = duckdb.connect()
options = f", ENCRYPTION_KEY '{given['key']}'" if given["key"] else ""
for name, path in given["files"].items():
    connection.execute(f"ATTACH '{path}' AS {name} (READ_ONLY{options})")
if given["key"]:
    connection.execute(f"PRAGMA add_parquet_key('bcda', '{given['key']}')")
if given["use"]:
    connection.execute(f"USE {given['use']}")
answers = {}
for name in given["files"]:
    if given["use"] not in {None, name} and duckdb.__version__ < "1.4":
        continue
    listed = "SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = ? AND NOT internal"
    for schema, view in connection.execute(listed, [name]).fetchall():
        try:
            rows = sorted(map(repr, connection.execute(f"FROM {name}.{schema}.{view}").fetchall()))
            answer = [len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest()]
        except duckdb.Error as error:
            answer = str(error)
        answers[f"{name} {schema}.{view}"] = answer
    try:
        macro = f"SELECT {name}.main.npi_is_valid('1234567893'), {name}.main.icd_indicator('9')"
        answers[f"{name} macros"] = list(connection.execute(macro).fetchall()[0])
    except duckdb.Error as error:
        answers[f"{name} macros"] = str(error)
    commented = "SELECT count(*) FROM duckdb_columns() WHERE database_name = ? AND comment IS NOT NULL"
    answers[f"{name} comments"] = connection.execute(commented, [name]).fetchall()[0][0]
print(json.dumps(answers))
