-- What the run did to the claims that count, by change, reason, claim type and service month. Records of Medicare Advantage, as
-- claim_counted.payer_type tells them, are in a row of their own and in none of the others.
-- Reads claim_before and touched, after the last decision on which claims count. Parameters: api_version, run_id.
CREATE TEMP TABLE claim_change AS
SELECT
  c.claim_id,
  c.patient_id,
  c.claim_type,
  CASE
    WHEN b.claim_id IS NULL AND c.is_current THEN 'new'
    WHEN b.claim_id IS NULL THEN 'new, not counted'
    WHEN b.counted AND c.is_current THEN 'changed'
    WHEN b.counted THEN 'ended'
    WHEN c.is_current THEN 'counts again'
    ELSE 'changed, not counted'
  END AS change,
  coalesce(b.counted, false) AS counted_before,
  c.is_current AS counts_now,
  c.superseded_reason,
  (c.nch_claim_type IN ('61', '62', '63') OR c.nch_claim_type LIKE '4___') IS TRUE AS is_advantage,
  b.service_month AS month_before,
  CAST(date_trunc('month', c.service_thru) AS DATE) AS month_now,
  CASE WHEN b.counted THEN coalesce(b.paid_amount, 0) ELSE 0 END AS paid_before,
  CASE WHEN c.is_current THEN coalesce(c.paid_amount, 0) ELSE 0 END AS paid_now
FROM claim AS c
LEFT JOIN claim_before AS b
  ON b.claim_id = c.claim_id
LEFT JOIN touched AS t
  ON t.resource_type = 'ExplanationOfBenefit'
  AND t.resource_id = c.claim_id
  AND t.verdict = 'new'
WHERE c.api_version = $api_version
  AND (t.resource_id IS NOT NULL OR b.is_changed OR b.counted <> c.is_current);

INSERT INTO ops.export_change BY NAME
SELECT
  $run_id AS run_id,
  CASE
    WHEN grouping(change) = 1 THEN 'run'
    WHEN grouping(superseded_reason) = 0 THEN 'reason'
    WHEN grouping(claim_type) = 0 THEN 'claim type'
    ELSE 'change'
  END AS grouped_by,
  change,
  superseded_reason,
  claim_type,
  count(*) AS claims,
  count(DISTINCT patient_id) AS people,
  sum(paid_before) AS paid_before,
  sum(paid_now) AS paid_now
FROM claim_change
WHERE NOT is_advantage
GROUP BY GROUPING SETS ((), (change), (change, superseded_reason), (change, claim_type))
-- Without any change the empty set would give a row of zeros.
HAVING count(*) > 0
UNION ALL BY NAME
SELECT
  $run_id AS run_id,
  'Medicare Advantage' AS grouped_by,
  count(*) AS claims,
  count(DISTINCT patient_id) AS people,
  sum(paid_before) AS paid_before,
  sum(paid_now) AS paid_now
FROM claim_change
WHERE is_advantage
HAVING count(*) > 0;

-- A claim whose month changed takes its money from one month to another. Drug events have no payment: counted here, their people
-- would make an amount look as if it were about many.
INSERT INTO ops.export_change BY NAME
SELECT
  $run_id AS run_id,
  'service month' AS grouped_by,
  service_month,
  count(DISTINCT claim_id) AS claims,
  count(DISTINCT patient_id) AS people,
  sum(paid_before) AS paid_before,
  sum(paid_now) AS paid_now
FROM (
  SELECT claim_id, patient_id, month_before AS service_month, paid_before, 0 AS paid_now
  FROM claim_change
  WHERE counted_before
    AND claim_type <> 'PDE'
    AND NOT is_advantage
  UNION ALL
  SELECT claim_id, patient_id, month_now, 0, paid_now
  FROM claim_change
  WHERE counts_now
    AND claim_type <> 'PDE'
    AND NOT is_advantage
)
GROUP BY service_month;

DROP TABLE claim_change;

DROP TABLE claim_before;
