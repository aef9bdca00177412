-- One row per Patient resource, its newest version.
-- Key: api_version, patient_id.
-- Source: FHIR Patient; CCLF8.
-- Trap: One person may have several Patients over time: group by person_key.
CREATE TABLE patient (
  api_version VARCHAR, -- BCDA version the row came from: v1, v2 or v3; never mix them in one sum
  patient_id VARCHAR, -- Id of the Patient resource; ids of v3 differ from those of v1 and v2
  person_key VARCHAR, -- One value per person, across MBI changes, merged Patients and API versions: SHA-256 of the smallest MBI that the oldest Patient of the person was first sent with; without one, of its version and id; see ops.person_change
  mbi_current VARCHAR, -- The MBI in force: flagged current (v1, v2) or without end (v3); else the last one sent
  merged_into_patient_id VARCHAR, -- v3: the Patient that replaces this one (link replaced-by)
  linked_patient_ids VARCHAR[], -- v3: every Patient that a link names, whatever its type
  replaces_patient_ids VARCHAR[], -- v3: the Patients that this one replaces (link replaces)
  first_name VARCHAR, -- name.given, first
  middle_name VARCHAR, -- name.given, second; usually an initial
  last_name VARCHAR, -- name.family
  birth_date DATE, -- birthDate
  death_date DATE, -- deceasedDateTime
  is_deceased BOOLEAN, -- A date of death or deceasedBoolean
  sex_code VARCHAR, -- 1 male, 2 female, 0 unknown (CCLF8 BENE_SEX_CD)
  race_code VARCHAR, -- 0 unknown, 1 White, 2 Black, 3 other, 4 Asian, 5 Hispanic, 6 North American Native (CCLF8 BENE_RACE_CD)
  race_omb_code VARCHAR, -- OMB category of the US Core race extension, as sent
  race_text VARCHAR, -- Text of the US Core race extension
  ethnicity_omb_code VARCHAR, -- OMB category of the US Core ethnicity extension, as sent
  ethnicity_text VARCHAR, -- Text of the US Core ethnicity extension
  sex_extension_code VARCHAR, -- Code of the US Core sex extension, as sent
  language_code VARCHAR, -- v3: communication.language
  is_language_preferred BOOLEAN, -- v3: communication.preferred; NULL when it was not sent
  address_lines VARCHAR[], -- address.line in order; empty source lines are skipped by CMS, so later lines move up
  city VARCHAR, -- address.city
  county_code VARCHAR, -- v1: address.district
  state_raw VARCHAR, -- address.state as sent: SSA code in v1 and v2, letters in v3
  state_usps VARCHAR, -- State as postal letters
  state_fips VARCHAR, -- State as FIPS code
  zip5 VARCHAR, -- First five digits of the postal code
  zip4 VARCHAR, -- Digits six to nine of the postal code
  dual_status_latest VARCHAR, -- v1, v2: dual status of the latest month that has one; for months see coverage_month
  dual_status_codes VARCHAR[], -- v1, v2: dual status of the months of reference_year that have one, from January on
  reference_year INTEGER, -- v1, v2: year of the monthly values
  is_stub BOOLEAN, -- An id without anything else: nothing is known about the person but a link
  meta_last_updated TIMESTAMP, -- meta.lastUpdated in UTC of the first delivery of this content
  run_id VARCHAR -- First export run that brought this content
);
