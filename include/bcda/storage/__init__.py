"""Where data lies and how it is written: files, objects, Parquet, DuckDB, encryption."""
