-- One row per Patient resource, its newest version.
-- Key: api_version, patient_id (proved by a check; an index would make each load pay for the whole table).
-- Source: FHIR Patient; CCLF8.
-- Trap: One person may have several Patients over time: group by person_key.
CREATE TABLE patient (
  api_version VARCHAR,
  patient_id VARCHAR,
  person_key VARCHAR,
  mbi_current VARCHAR,
  merged_into_patient_id VARCHAR,
  first_name VARCHAR,
  middle_name VARCHAR,
  last_name VARCHAR,
  birth_date DATE,
  death_date DATE,
  is_deceased BOOLEAN,
  sex_code VARCHAR,
  race_code VARCHAR,
  address_lines VARCHAR[],
  city VARCHAR,
  state_raw VARCHAR,
  state_usps VARCHAR,
  state_fips VARCHAR,
  zip5 VARCHAR,
  zip4 VARCHAR,
  dual_status_latest VARCHAR,
  reference_year INTEGER,
  is_stub BOOLEAN,
  meta_last_updated TIMESTAMP,
  run_id VARCHAR
);
