-- What a run says about coverage, to be filled from its lake files; empty for a run without any.
CREATE OR REPLACE TEMP TABLE delivered_coverage (
  raw_file VARCHAR,
  raw_line BIGINT,
  coverage_id VARCHAR,
  patient_id VARCHAR,
  part VARCHAR,
  period_start DATE,
  period_end DATE,
  reference_year INTEGER,
  dual_status_code VARCHAR,
  buy_in_code VARCHAR,
  contract_id VARCHAR,
  pbp_id VARCHAR,
  plan_type_code VARCHAR,
  plan_segment_id VARCHAR,
  cost_share_code VARCHAR,
  disposed_months DATE[]
);

-- Up to which month a period without end counts, before the run and with it: see coverage_until.
CREATE OR REPLACE TEMP TABLE coverage_until (
  is_before BOOLEAN,
  coverage_id VARCHAR,
  until TIMESTAMP
);

CREATE OR REPLACE TEMP TABLE delivered_month AS
SELECT NULL::VARCHAR AS raw_file, NULL::BIGINT AS raw_line, m.* EXCLUDE (api_version)
FROM coverage_month AS m
LIMIT 0;
