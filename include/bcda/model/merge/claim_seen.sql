-- Claims that came again unchanged were seen by this run.
-- Parameters: api_version, run_id.
UPDATE claim AS c
SET last_seen_run_id = $run_id
FROM staged AS s
WHERE s.verdict = 'unchanged'
  AND s.resource_type = 'ExplanationOfBenefit'
  AND c.api_version = $api_version
  AND c.claim_id = s.resource_id;
