-- One row per identifier of a Patient.
-- Key: api_version, patient_id, id_system, id_value (proved by a check; an index would make each load pay for the whole table).
-- Source: Patient.identifier; CCLF9.
-- Trap: Old MBIs stay here with currency 'historic'.
CREATE TABLE patient_identifier (
  api_version VARCHAR,
  patient_id VARCHAR,
  id_system VARCHAR,
  id_value VARCHAR,
  id_kind VARCHAR,
  currency VARCHAR,
  period_start DATE,
  period_end DATE,
  first_run_id VARCHAR,
  last_run_id VARCHAR
);
