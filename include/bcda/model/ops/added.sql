-- One row per suspect claim and reason: the claim is published, counts in claim_current, and is flagged there.
-- Key: api_version, claim_id, check_id.
-- Made again by the checks before each publication, so that a row goes when its cause is gone.
CREATE TABLE ops.suspect_claim (
  api_version VARCHAR NOT NULL, -- BCDA version: v1, v2 or v3
  claim_id VARCHAR NOT NULL, -- Id of the ExplanationOfBenefit; joins to claim.claim_id
  check_id VARCHAR NOT NULL, -- Check that found it
  reason VARCHAR NOT NULL -- What is wrong with it
);

-- One row per run and resource that came with several contents and one lastUpdated. The content whose hash is the greatest
-- counts, whatever the order of files and lines. Key: run_id, resource_type, resource_id.
CREATE TABLE ops.version_conflict (
  run_id VARCHAR NOT NULL, -- Our export run
  api_version VARCHAR NOT NULL, -- BCDA version: v1, v2 or v3
  resource_type VARCHAR NOT NULL, -- FHIR type
  resource_id VARCHAR NOT NULL, -- Id of the resource
  meta_last_updated TIMESTAMP, -- meta.lastUpdated that the contents share, UTC; NULL when none was sent
  contents BIGINT NOT NULL, -- How many contents came
  content_hash VARCHAR NOT NULL -- SHA-256 of the one that counts
);

-- One row per run and Patient whose person_key changed because persons became one or one person became several.
-- Key: run_id, api_version, patient_id, change.
CREATE TABLE ops.person_change (
  run_id VARCHAR NOT NULL, -- Run that brought the identifiers
  api_version VARCHAR NOT NULL, -- BCDA version of the Patient: v1, v2 or v3
  patient_id VARCHAR NOT NULL, -- Id of the Patient resource
  change VARCHAR NOT NULL, -- merge: it joined another person; split: it left one; new key: the whole person has another key
  person_key_before VARCHAR NOT NULL, -- patient.person_key before the run
  person_key_now VARCHAR NOT NULL -- patient.person_key after the run
);

-- One row per Patient that an earlier release loaded, with the person_key that it had then. That key stays; newer
-- Patients have a key made from their first MBI. Key: api_version, patient_id.
CREATE TABLE ops.earlier_person_key (
  api_version VARCHAR NOT NULL, -- BCDA version of the Patient: v1, v2 or v3
  patient_id VARCHAR NOT NULL, -- Id of the Patient resource
  person_key VARCHAR NOT NULL -- patient.person_key of that release
);

-- One row per run whose rows have a known version of the mapping. A run without a row was loaded before versions were recorded.
-- Key: run_id.
CREATE TABLE ops.run_mapping (
  run_id VARCHAR NOT NULL, -- Our export run
  mapping_version INTEGER NOT NULL -- Version of the rules that made its rows; the oldest of its batches
);

-- What `python -m bcda remap` changed, one row per table, and one per version and claim type with the payments of claims that
-- count. Key: remapped_at, measure, name.
CREATE TABLE ops.mapping_change (
  mapping_version INTEGER NOT NULL, -- Version of the rules from then on
  remapped_at TIMESTAMP NOT NULL, -- When the tables were made again, UTC
  measure VARCHAR NOT NULL, -- rows: of a table; paid: sum of claim.paid_amount where is_current, USD; claims: their number; drug cost: sum of claim_drug.gross_drug_cost, USD
  name VARCHAR NOT NULL, -- The table, or API version and claim type, with Medicare Advantage apart
  before DECIMAL(38,2), -- Before; NULL where there was none
  after DECIMAL(38,2), -- After; NULL where there is none
  differing BIGINT -- Rows that are not the same before and after; NULL for sums
);
