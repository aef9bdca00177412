-- One row per claim that is not finished and was seen in the sixty days before the newest run, with the answer to it.
-- Key: claim_id.
-- Source: partial.claim, partial.claim_response.
-- Trap: Amounts are charges; nothing here was paid yet.
CREATE OR REPLACE VIEW partial.claim_current AS
SELECT
  c.*,
  r.outcome,
  r.current_status,
  r.received_date,
  r.status_date
FROM partial.claim AS c
JOIN ops.export_run AS seen
  ON seen.run_id = c.last_seen_run_id
LEFT JOIN partial.claim_response AS r
  ON r.api_version = c.api_version
  AND r.claim_id = c.claim_id
WHERE seen.transaction_time >= (
    SELECT max(transaction_time) - INTERVAL 60 DAY FROM ops.export_run WHERE api_version = c.api_version
  )
  AND c.status = 'active';
