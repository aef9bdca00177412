-- The ledger: what each run asked for, what it got, and what the warehouse therefore covers.
-- Written in the transaction that commits the rows, so that it cannot say anything else than the tables do.
-- All instants are UTC without zone.
CREATE SCHEMA ops;

-- One row: the release of the table model that the database was made by.
CREATE TABLE ops.schema_info (
  schema_version INTEGER NOT NULL -- Release of the table model; another one needs a rebuild from the lake
);

-- One row per loaded export run. Key: run_id.
CREATE TABLE ops.export_run (
  run_id VARCHAR NOT NULL, -- Our export run
  source_id VARCHAR NOT NULL, -- Connection it was asked over
  api_version VARCHAR NOT NULL, -- BCDA version: v1, v2 or v3
  export_scope VARCHAR NOT NULL, -- patient, group-all or group-runout
  resource_types VARCHAR[] NOT NULL, -- Types that were asked for
  since_ts TIMESTAMP, -- Changes after this instant, UTC; NULL from the beginning
  transaction_time TIMESTAMP NOT NULL, -- As BCDA said, UTC: the run is complete up to here
  is_full BOOLEAN NOT NULL, -- Asked for everything from the beginning
  type_filter VARCHAR, -- v3: which claims were asked for, JSON; NULL for no filter
  reason VARCHAR NOT NULL, -- Why it asked for what it asked
  list_at TIMESTAMP, -- Date of the attribution list it was made from, UTC; NULL when not known
  asked_at TIMESTAMP, -- When BCDA accepted it, by BCDA's clock, UTC; NULL when a running job was adopted
  job_id VARCHAR NOT NULL, -- BCDA's job
  status VARCHAR NOT NULL, -- done
  started_at TIMESTAMP NOT NULL, -- When the run was planned, UTC
  finished_at TIMESTAMP NOT NULL, -- When it was merged, UTC
  output_files INTEGER NOT NULL, -- Output files of the manifest
  error_files INTEGER NOT NULL, -- Error files of the manifest
  lines_read BIGINT NOT NULL, -- Lines read; rows_landed plus lines_quarantined
  rows_landed BIGINT NOT NULL, -- Lines that became a resource
  lines_quarantined BIGINT NOT NULL -- Lines quarantined
);

-- One row per file of a run's manifest. Key: run_id, file_name. lines_read = rows_landed + lines_quarantined.
CREATE TABLE ops.export_file (
  run_id VARCHAR NOT NULL, -- Our export run
  batch INTEGER NOT NULL, -- Batch that fetched and landed the file
  file_name VARCHAR NOT NULL, -- Our name of the raw file
  kind VARCHAR NOT NULL, -- output or error
  resource_type VARCHAR NOT NULL, -- FHIR type
  wire_bytes BIGINT NOT NULL, -- Bytes received
  wire_sha256 VARCHAR NOT NULL, -- SHA-256 of them
  content_bytes BIGINT NOT NULL, -- Bytes after unpacking
  lines_read BIGINT NOT NULL, -- Lines read; rows_landed plus lines_quarantined
  rows_landed BIGINT NOT NULL, -- Lines that became a resource
  lines_quarantined BIGINT NOT NULL -- Lines quarantined
);

-- One row per run and requested resource type: what became of its resources.
-- new_resources + changed + unchanged + older + duplicates = rows landed of the type.
CREATE TABLE ops.export_count (
  run_id VARCHAR NOT NULL, -- Our export run
  resource_type VARCHAR NOT NULL, -- FHIR type
  files INTEGER NOT NULL, -- Output files of the type
  lines BIGINT NOT NULL, -- Lines in them
  new_resources BIGINT NOT NULL, -- Resources never seen before
  changed BIGINT NOT NULL, -- Resources whose content replaced an older one
  unchanged BIGINT NOT NULL, -- Resources that came again as they were
  older BIGINT NOT NULL, -- Resources older than the stored ones; only recorded
  duplicates BIGINT NOT NULL, -- Further lines of a resource within the run
  quarantined BIGINT NOT NULL -- Lines quarantined
);

-- One row per run and requested resource type: changes after since_ts (NULL: from the beginning) up to until_ts, but for
-- the gaps that the run opened. A run whose filter left claims out covers no ExplanationOfBenefit.
CREATE TABLE ops.coverage (
  api_version VARCHAR NOT NULL, -- BCDA version: v1, v2 or v3
  export_scope VARCHAR NOT NULL, -- patient, group-all or group-runout
  resource_type VARCHAR NOT NULL, -- FHIR type
  since_ts TIMESTAMP, -- Changes after this instant, UTC; NULL from the beginning
  until_ts TIMESTAMP NOT NULL, -- Up to this instant, UTC
  known_until TIMESTAMP NOT NULL, -- BCDA had nothing newer up to this instant, UTC
  list_at TIMESTAMP, -- Date of the attribution list it is about, UTC; NULL when not known
  brings_history BOOLEAN NOT NULL, -- People new on the list came with everything, not only with changes
  run_id VARCHAR NOT NULL -- Our export run
);

-- One row per person, type and need of which data is missing: what BCDA reported as not retrieved, and what came in lines that could
-- not be read. Who names nobody, by mbi or patient_id, can be anybody. An MBI never leaves the warehouse.
-- A gap is closed by a run, loaded before or after, that asked for its interval and did not fail for this person.
CREATE TABLE ops.gap (
  api_version VARCHAR NOT NULL, -- BCDA version: v1, v2 or v3
  export_scope VARCHAR NOT NULL, -- patient, group-all or group-runout
  resource_type VARCHAR NOT NULL, -- FHIR type
  mbi VARCHAR, -- Person that BCDA, or a line of an unfinished claim, named by MBI; else NULL
  needs VARCHAR NOT NULL, -- changes: those of the interval; history: everything, if the person is new on the list
  since_ts TIMESTAMP, -- Changes after this instant, UTC; NULL from the beginning
  transaction_time TIMESTAMP NOT NULL, -- As BCDA said, UTC: the run is complete up to here
  opened_run_id VARCHAR NOT NULL, -- Run that met the gap
  closed_run_id VARCHAR, -- Run that covers the interval; NULL while the gap is open
  patient_id VARCHAR -- Patient that a quarantined line named; NULL when it named none, and for what BCDA reported
);

-- One row per line that could not land, up to 1,000 for each file and reason; ops.export_file counts all of them. The beginning of the line
-- is in the lake table `quarantine`.
CREATE TABLE ops.quarantine (
  run_id VARCHAR NOT NULL, -- Our export run
  file_name VARCHAR NOT NULL, -- Our name of the raw file
  line_number BIGINT NOT NULL, -- Line of the file, from 1
  resource_type VARCHAR NOT NULL, -- FHIR type
  reason VARCHAR NOT NULL, -- Why it could not land
  line_bytes BIGINT NOT NULL -- Length of the line
);

-- One row per element that no declaration knows. Key: api_version, resource_type, path.
CREATE TABLE ops.drift (
  api_version VARCHAR NOT NULL, -- BCDA version: v1, v2 or v3
  resource_type VARCHAR NOT NULL, -- FHIR type; Manifest for a field of BCDA's manifests
  path VARCHAR NOT NULL, -- Element or name
  first_run_id VARCHAR NOT NULL, -- Run that saw it first
  first_file_name VARCHAR NOT NULL, -- Raw file that has it first
  first_line_number BIGINT NOT NULL, -- Line that has it first
  occurrences BIGINT NOT NULL -- How often it was seen, over all runs
);

-- One row per check and scope of a run. Key: run_id, check_id, scope.
CREATE TABLE ops.dq_result (
  run_id VARCHAR NOT NULL, -- Our export run
  check_id VARCHAR NOT NULL, -- Check
  scope VARCHAR NOT NULL, -- Claim type, column or other part that the row is about; empty for all
  severity VARCHAR NOT NULL, -- error, warning or info
  rows_checked BIGINT, -- Rows looked at
  rows_failed BIGINT, -- Rows that failed
  observed DOUBLE, -- What was measured; a share is between 0 and 1
  threshold DOUBLE, -- What would have been allowed
  passed BOOLEAN NOT NULL, -- Whether the check passed
  detail VARCHAR -- What to know; holds nothing about a person
);

-- One row per full pull that brought people and claims without an error. Key: run_id.
-- delivered: claims it brought, by type.
CREATE TABLE ops.full_pull (
  run_id VARCHAR NOT NULL, -- Our export run
  api_version VARCHAR NOT NULL, -- BCDA version: v1, v2 or v3
  transaction_time TIMESTAMP NOT NULL, -- As BCDA said, UTC: the run is complete up to here
  delivered STRUCT(claim_type VARCHAR, claims BIGINT)[] NOT NULL -- Claims it brought, by type
);

-- One row per full pull and claim type: current claims of people on its roster that it did not bring.
-- is_applied: they no longer count; false when so many are missing that the pull is in doubt.
CREATE TABLE ops.reconciliation (
  api_version VARCHAR NOT NULL, -- BCDA version: v1, v2 or v3
  run_id VARCHAR NOT NULL, -- Our export run
  claim_type VARCHAR NOT NULL, -- Type of claim
  delivered BIGINT NOT NULL, -- Claims it brought, by type
  missing BIGINT NOT NULL, -- Current claims of people on the roster that it did not bring
  is_applied BOOLEAN NOT NULL -- Whether they no longer count
);

-- Facts about the database. Key: name. shown_api_version: the version of the API whose rows the views show; source_id and
-- server: the only connection and BCDA whose runs are merged into it. disposed RUN_ID: something that the run brought was disposed
-- of, and when; disposed list RUN_ID: its list of people was.
CREATE TABLE ops.setting (
  name VARCHAR NOT NULL, -- Setting
  value VARCHAR NOT NULL -- Its value
);

-- One row per run and group of claims that the run changed: what came new, what replaced an older content, and what began
-- or ceased to count although it did not come again. Key: run_id, grouped_by, change, superseded_reason, claim_type,
-- service_month. grouped_by says which table a row belongs to: `run` (one row), `change`, `reason` (change and
-- superseded_reason), `claim type` (change and claim_type) or `service month`; or `Medicare Advantage` (one row), whose records are
-- in none of the others. Never sum over two of them: people are counted once in each row. Known only while a run is merged, since rows of an older content are replaced.
CREATE TABLE ops.export_change (
  run_id VARCHAR NOT NULL, -- Our export run
  grouped_by VARCHAR NOT NULL, -- run, change, reason, claim type, service month or Medicare Advantage: the table that the row belongs to
  change VARCHAR, -- new; new, not counted; changed; changed, not counted; ended (counted before, no longer does); counts again; NULL where not grouped by it
  superseded_reason VARCHAR, -- Why it does not count now, as in claim; NULL when it counts and where not grouped by it
  claim_type VARCHAR, -- Type of claim; NULL where not grouped by it
  service_month DATE, -- First day of the month of the last day of service; NULL for claims without one and where not grouped by it
  claims BIGINT NOT NULL, -- Claims
  people BIGINT NOT NULL, -- People whose claims they are
  paid_before DECIMAL(38,2) NOT NULL, -- Medicare payment that counted before the run, USD; drug events have none
  paid_now DECIMAL(38,2) NOT NULL -- Medicare payment that counts after the run, USD; drug events have none
);
