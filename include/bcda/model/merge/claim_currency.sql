-- Whether each claim counts now. Looked at: claims of the people whose claims came in this run, for whom others may have
-- taken a claim's place, and unfinished claims, which may have expired. Parameters: api_version.
-- Sources: docs/concepts.md#which-claims-count; CMS's data dictionary, CLM_ADJSTMT_TYPE_CD (0 original, 1 void, 2 adjustment).
-- A claim that is missing from a full pull is dealt with afterwards.
CREATE TEMP TABLE weighed AS
WITH newest AS (
  SELECT max(transaction_time) AS transaction_time
  FROM ops.export_run
  WHERE api_version = $api_version
),
people AS (
  SELECT DISTINCT c.patient_id
  FROM claim AS c
  JOIN touched AS t
    ON t.resource_type = 'ExplanationOfBenefit'
    AND t.resource_id = c.claim_id
  WHERE c.api_version = $api_version
),
looked_at AS (
  SELECT c.*, r.transaction_time AS last_seen
  FROM claim AS c
  LEFT JOIN ops.export_run AS r
    ON r.run_id = c.last_seen_run_id
  WHERE c.api_version = $api_version
    AND (c.patient_id IN (SELECT patient_id FROM people) OR c.superseded_reason = 'unfinished')
),
-- v3: what a final system says, a void included. Whatever else names a claim leaves it as it is: an adjustment that is under
-- way, or that was itself dropped, can still come to nothing.
in_force AS (
  SELECT *
  FROM looked_at
  WHERE source_system IN ('NCH', 'DDPS')
    AND final_action <> 'NOT_FINAL'
    AND eob_status = 'active'
),
replaced AS (
  SELECT DISTINCT c.claim_id
  FROM looked_at AS c
  JOIN in_force AS n
    ON n.patient_id = c.patient_id
    AND n.prior_control_number = c.control_number
    AND n.claim_id <> c.claim_id
    AND coalesce(n.processed_date, n.meta_last_updated) >= coalesce(c.processed_date, c.meta_last_updated)
  WHERE $api_version = 'v3'
),
finished AS (
  SELECT DISTINCT patient_id, control_number
  FROM looked_at
  WHERE source_system = 'NCH'
    AND control_number IS NOT NULL
)
SELECT
  c.claim_id,
  CASE
    WHEN c.eob_status IS DISTINCT FROM 'active' THEN 'cancelled'
    WHEN c.claim_use = 'preauthorization' THEN 'prior authorization'
    WHEN c.claim_type = 'PDE' AND (c.adjustment_code = 'D' OR ($api_version = 'v3' AND c.nch_claim_type = '3'))
      THEN 'deleted drug event'
    WHEN c.final_action = 'NOT_FINAL' THEN 'not final'
    WHEN $api_version = 'v3' AND c.claim_type <> 'PDE' AND c.adjustment_code = '1' THEN 'void'
    WHEN n.claim_id IS NOT NULL THEN 'replaced by newer'
    WHEN $api_version = 'v3' AND c.source_system = 'SHARED' AND f.control_number IS NOT NULL THEN 'duplicate of final claim'
    WHEN $api_version = 'v3' AND c.source_system = 'SHARED'
      AND c.last_seen < newest.transaction_time - INTERVAL 60 DAY THEN 'expired'
    WHEN $api_version = 'v3' AND c.source_system IS DISTINCT FROM 'NCH' AND c.source_system IS DISTINCT FROM 'DDPS'
      THEN 'unfinished'
  END AS reason
FROM looked_at AS c
CROSS JOIN newest
LEFT JOIN replaced AS n
  ON n.claim_id = c.claim_id
LEFT JOIN finished AS f
  ON f.patient_id = c.patient_id
  AND f.control_number = c.control_number;

-- Claims whose content is new have no state before, and those whose content changed are there already.
INSERT INTO claim_before
SELECT c.claim_id, false, c.is_current, CAST(date_trunc('month', c.service_thru) AS DATE), c.paid_amount
FROM claim AS c
JOIN weighed AS w
  ON w.claim_id = c.claim_id
WHERE c.api_version = $api_version
  AND c.is_current <> (w.reason IS NULL)
  AND c.claim_id NOT IN (
    SELECT resource_id FROM touched WHERE resource_type = 'ExplanationOfBenefit' AND verdict IN ('new', 'changed')
  );

UPDATE claim AS c
SET
  is_current = w.reason IS NULL,
  superseded_reason = w.reason
FROM weighed AS w
WHERE c.api_version = $api_version
  AND c.claim_id = w.claim_id
  AND (c.superseded_reason IS DISTINCT FROM w.reason OR c.is_current <> (w.reason IS NULL));

DROP TABLE weighed;
