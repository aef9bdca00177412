"""BCDA exports to Parquet and DuckDB: client, landing engine, warehouse and ledger. Knows nothing of Airflow."""
