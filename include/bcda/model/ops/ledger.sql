-- The ledger: what each run asked for, what it got, and what the warehouse therefore covers.
-- Written in the transaction that commits the rows, so that it cannot say anything else than the tables do.
-- All instants are UTC without zone.
CREATE SCHEMA ops;

CREATE TABLE ops.schema_info (schema_version INTEGER NOT NULL);

-- One row per loaded export run. Key: run_id.
CREATE TABLE ops.export_run (
  run_id VARCHAR NOT NULL,
  api_version VARCHAR NOT NULL,
  export_scope VARCHAR NOT NULL,
  resource_types VARCHAR[] NOT NULL,
  since_ts TIMESTAMP,
  transaction_time TIMESTAMP NOT NULL,
  is_full BOOLEAN NOT NULL,
  job_id VARCHAR NOT NULL,
  status VARCHAR NOT NULL,
  started_at TIMESTAMP NOT NULL,
  finished_at TIMESTAMP NOT NULL,
  output_files INTEGER NOT NULL,
  error_files INTEGER NOT NULL,
  lines_read BIGINT NOT NULL,
  rows_landed BIGINT NOT NULL,
  lines_quarantined BIGINT NOT NULL
);

-- One row per file of a run's manifest. Key: run_id, file_name. lines_read = rows_landed + lines_quarantined.
CREATE TABLE ops.export_file (
  run_id VARCHAR NOT NULL,
  batch INTEGER NOT NULL,
  file_name VARCHAR NOT NULL,
  kind VARCHAR NOT NULL,
  resource_type VARCHAR NOT NULL,
  wire_bytes BIGINT NOT NULL,
  wire_sha256 VARCHAR NOT NULL,
  content_bytes BIGINT NOT NULL,
  lines_read BIGINT NOT NULL,
  rows_landed BIGINT NOT NULL,
  lines_quarantined BIGINT NOT NULL
);

-- One row per run and requested resource type: what became of its resources.
-- new_resources + changed + unchanged + older + duplicates = rows landed of the type.
CREATE TABLE ops.export_count (
  run_id VARCHAR NOT NULL,
  resource_type VARCHAR NOT NULL,
  files INTEGER NOT NULL,
  lines BIGINT NOT NULL,
  new_resources BIGINT NOT NULL,
  changed BIGINT NOT NULL,
  unchanged BIGINT NOT NULL,
  older BIGINT NOT NULL,
  duplicates BIGINT NOT NULL,
  quarantined BIGINT NOT NULL
);

-- One row per run and resource type that left no gap: changes after since_ts (NULL: from the beginning) up to until_ts.
CREATE TABLE ops.coverage (
  api_version VARCHAR NOT NULL,
  export_scope VARCHAR NOT NULL,
  resource_type VARCHAR NOT NULL,
  since_ts TIMESTAMP,
  until_ts TIMESTAMP NOT NULL,
  run_id VARCHAR NOT NULL
);

-- One row per person and type that BCDA reported as not retrieved. An MBI never leaves the warehouse.
-- closed_run_id is the later run that covered the interval without a gap; NULL while the gap is open.
CREATE TABLE ops.gap (
  api_version VARCHAR NOT NULL,
  export_scope VARCHAR NOT NULL,
  resource_type VARCHAR NOT NULL,
  mbi VARCHAR,
  since_ts TIMESTAMP,
  transaction_time TIMESTAMP NOT NULL,
  opened_run_id VARCHAR NOT NULL,
  closed_run_id VARCHAR
);

-- One row per line that could not land; the line itself is in the lake table `quarantine`.
CREATE TABLE ops.quarantine (
  run_id VARCHAR NOT NULL,
  file_name VARCHAR NOT NULL,
  line_number BIGINT NOT NULL,
  resource_type VARCHAR NOT NULL,
  reason VARCHAR NOT NULL,
  line_bytes BIGINT NOT NULL
);

-- One row per element that no declaration knows. Key: api_version, resource_type, path.
CREATE TABLE ops.drift (
  api_version VARCHAR NOT NULL,
  resource_type VARCHAR NOT NULL,
  path VARCHAR NOT NULL,
  first_run_id VARCHAR NOT NULL,
  first_file_name VARCHAR NOT NULL,
  first_line_number BIGINT NOT NULL,
  occurrences BIGINT NOT NULL
);

-- One row per check and scope of a run. Key: run_id, check_id, scope.
CREATE TABLE ops.dq_result (
  run_id VARCHAR NOT NULL,
  check_id VARCHAR NOT NULL,
  scope VARCHAR NOT NULL,
  severity VARCHAR NOT NULL,
  rows_checked BIGINT,
  rows_failed BIGINT,
  observed DOUBLE,
  threshold DOUBLE,
  passed BOOLEAN NOT NULL,
  detail VARCHAR
);

-- One row per full pull that brought people and claims without an error. Key: run_id.
-- delivered: claims it brought, by type.
CREATE TABLE ops.full_pull (
  run_id VARCHAR NOT NULL,
  api_version VARCHAR NOT NULL,
  transaction_time TIMESTAMP NOT NULL,
  delivered STRUCT(claim_type VARCHAR, claims BIGINT)[] NOT NULL
);

-- One row per full pull and claim type: current claims of people on its roster that it did not bring.
-- is_applied: they no longer count; false when so many are missing that the pull is in doubt.
CREATE TABLE ops.reconciliation (
  api_version VARCHAR NOT NULL,
  run_id VARCHAR NOT NULL,
  claim_type VARCHAR NOT NULL,
  delivered BIGINT NOT NULL,
  missing BIGINT NOT NULL,
  is_applied BOOLEAN NOT NULL
);

-- What the views show. Key: name. api_version: the version of the API whose rows they show.
CREATE TABLE ops.setting (
  name VARCHAR NOT NULL,
  value VARCHAR NOT NULL
);
