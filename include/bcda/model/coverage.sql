-- One row per Coverage resource: one part of Medicare of one person.
-- Key: api_version, coverage_id (proved by a check; an index would make each load pay for the whole table).
-- Source: FHIR Coverage; CCLF8.
-- Trap: The patient's part of the id may begin with a hyphen.
CREATE TABLE coverage (
  api_version VARCHAR,
  coverage_id VARCHAR,
  patient_id VARCHAR,
  part VARCHAR,
  status VARCHAR,
  period_start DATE,
  period_end DATE,
  contract_id VARCHAR,
  pbp_id VARCHAR,
  medicare_status_code VARCHAR,
  original_entitlement_code VARCHAR,
  current_entitlement_code VARCHAR,
  esrd_code VARCHAR,
  termination_code VARCHAR,
  dual_status_code VARCHAR,
  buy_in_code VARCHAR,
  reference_year INTEGER,
  is_stub BOOLEAN,
  meta_last_updated TIMESTAMP,
  run_id VARCHAR
);
