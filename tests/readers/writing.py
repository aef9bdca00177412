"""Runs in an environment of another DuckDB: have a published file open for writing, as an analyst's tool would.

The argument is its path. Statements come in by line; printed is `open`, then `written` or `refused` for each of them.
"""

import sys

import duckdb

connection = duckdb.connect(sys.argv[1])
connection.execute("SET checkpoint_threshold = '1TB'")
print("open", flush=True)
for line in sys.stdin:
    try:
        connection.execute(line)
        print("written", flush=True)
    except duckdb.Error:
        print("refused", flush=True)
