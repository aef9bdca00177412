-- The identifiers of a run whose Patients have none: those they had are former ones now.
CREATE TEMP TABLE delivered_identifier AS
SELECT patient_id, id_system, id_value, id_kind, type_code, currency, period_start, period_end, '' AS raw_file, 0 AS raw_line
FROM patient_identifier
LIMIT 0;
