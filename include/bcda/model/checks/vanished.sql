-- Current claims of people on the roster that the last full pull did not bring. Nothing was switched off; run a full export again, and ask BCDA if it happens twice.
-- Level: warning
-- Threshold: 0.02
SELECT
  claim_type AS scope,
  delivered + missing AS rows_checked,
  missing AS rows_failed
FROM ops.reconciliation
WHERE api_version = $api_version
  AND run_id = (
    SELECT max_by(run_id, (transaction_time, run_id)) FROM ops.full_pull WHERE api_version = $api_version
  );
