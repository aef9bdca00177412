-- What the error files of a run say. Reads lake_rows: the run's lake files of `operation_outcome`, one row per issue.
CREATE OR REPLACE TEMP TABLE outcome AS
SELECT raw_file, raw_line, severity, text
FROM lake_rows;
