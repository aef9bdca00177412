-- One row per identifier a Patient has ever been sent with.
-- Key: api_version, patient_id, id_system, id_value.
-- Source: Patient.identifier of all versions seen; CCLF9.
-- Trap: Rows stay when a later Patient leaves the identifier out; they turn historic.
CREATE TABLE patient_identifier (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  patient_id VARCHAR, -- Id of the Patient resource
  id_system VARCHAR, -- identifier.system; empty text when none was sent
  id_value VARCHAR, -- identifier.value
  id_kind VARCHAR, -- MBI, BENE_ID, MBI_HASH or OTHER
  type_code VARCHAR, -- identifier.type, first code
  currency VARCHAR, -- current, historic or unknown
  period_start DATE, -- identifier.period.start
  period_end DATE, -- identifier.period.end
  first_run_id VARCHAR, -- Earliest export, by transactionTime, that brought it
  last_run_id VARCHAR, -- Latest export, by transactionTime, that brought it
  first_seen TIMESTAMP, -- transactionTime of first_run_id
  last_seen TIMESTAMP, -- transactionTime of last_run_id
  meta_last_updated TIMESTAMP, -- meta.lastUpdated of the newest Patient version with it; currency and period are from there
  as_of TIMESTAMP -- transactionTime of the export that brought that version
);
