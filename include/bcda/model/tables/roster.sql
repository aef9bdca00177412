-- One row per person and export run that asked for Patient.
-- Key: run_id, api_version, patient_id.
-- Source: Patient resources of the run.
-- Trap: Only runs that asked for Patient without _since show everyone: see ops.export_run.is_full.
CREATE TABLE roster (
  run_id VARCHAR, -- Export run
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  patient_id VARCHAR, -- Person delivered by it
  mbi_current VARCHAR -- Current MBI at that time
);
