-- What the run did to the claims that count. Parameters: run_id.
SELECT grouped_by, change, superseded_reason, claim_type, claims, people, paid_now - paid_before AS moved
FROM ops.export_change
WHERE run_id = $run_id
  AND grouped_by <> 'service month'
ORDER BY ALL;
