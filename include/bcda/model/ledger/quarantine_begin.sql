-- The lines of the run that could not land, to be filled from its lake files; empty for a run without any.
-- Files that an earlier release landed do not say whom a line names.
CREATE OR REPLACE TEMP TABLE quarantined (
  run_id VARCHAR,
  raw_file VARCHAR,
  raw_line BIGINT,
  reason VARCHAR,
  line_bytes BIGINT,
  patient_id VARCHAR,
  mbi VARCHAR
);
