-- The identifiers of a run. Parameters: files (lake files of `patient_identifier`).
CREATE TEMP TABLE delivered_identifier AS
SELECT * FROM read_parquet($files, hive_partitioning = false);
