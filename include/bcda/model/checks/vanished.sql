-- Current claims of people on the roster that the full pull did not bring. Nothing was switched off; run a full export again, and ask BCDA if it happens twice.
-- Level: error
-- Threshold: 0.02
SELECT
  claim_type AS scope,
  delivered + missing AS rows_checked,
  missing AS rows_failed
FROM ops.reconciliation
WHERE run_id = $run_id
  AND api_version = $api_version;
