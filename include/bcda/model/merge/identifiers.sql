-- The identifiers of a run. Reads lake_rows: the run's lake files of `patient_identifier`.
CREATE TEMP TABLE delivered_identifier AS
SELECT * FROM lake_rows;
