-- One row per person and part of Medicare: the newest Coverage that is not an empty one.
-- Key: api_version, patient_id, part.
-- Source: coverage.
CREATE OR REPLACE VIEW main.coverage_by_part AS
SELECT *
FROM main.coverage
WHERE NOT is_stub
QUALIFY row_number() OVER (
  PARTITION BY api_version, patient_id, part
  ORDER BY period_start DESC NULLS LAST, meta_last_updated DESC NULLS LAST, coverage_id
) = 1;
