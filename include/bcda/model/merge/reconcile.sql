-- Claims of people on the roster of a full pull that the pull did not bring no longer count, unless so many would go that
-- the pull itself is in doubt. Asked again for every full pull with each merge, so that the order of runs makes no
-- difference. Parameters: api_version, vanished_share (largest share of a claim type that may go, 0 to 1).
-- Source: docs/table-model.md#reconciliation; checked by `vanished`.
CREATE TEMP TABLE missing AS
SELECT f.run_id, c.claim_type, c.claim_id
FROM ops.full_pull AS f
JOIN roster AS p
  ON p.run_id = f.run_id
  AND p.api_version = f.api_version
JOIN claim AS c
  ON c.api_version = f.api_version
  AND c.patient_id = p.patient_id
JOIN ops.export_run AS r
  ON r.run_id = c.last_seen_run_id
WHERE f.api_version = $api_version
  AND r.transaction_time < f.transaction_time
  -- Unfinished claims are not part of every pull and do not count; they end by being finished or by expiring.
  AND (c.is_current OR c.superseded_reason = 'not in full pull');

DELETE FROM ops.reconciliation WHERE api_version = $api_version;

INSERT INTO ops.reconciliation BY NAME
SELECT
  $api_version AS api_version,
  f.run_id,
  f.claim_type,
  f.delivered,
  coalesce(m.missing, 0) AS missing,
  bool_and(coalesce(m.missing, 0) <= $vanished_share * (f.delivered + coalesce(m.missing, 0))) OVER (PARTITION BY f.run_id) AS is_applied
FROM (
  SELECT run_id, claim_type, max(delivered) AS delivered
  FROM (
    SELECT run_id, unnest(delivered).claim_type AS claim_type, unnest(delivered).claims AS delivered
    FROM ops.full_pull
    WHERE api_version = $api_version
    UNION ALL
    SELECT run_id, claim_type, 0 FROM missing
  )
  GROUP BY ALL
) AS f
LEFT JOIN (SELECT run_id, claim_type, count(*) AS missing FROM missing GROUP BY ALL) AS m
  ON m.run_id = f.run_id
  AND m.claim_type = f.claim_type;

CREATE TEMP TABLE reconciled AS
SELECT
  c.claim_id,
  gone.claim_id IS NOT NULL AS is_gone,
  c.is_current,
  c.paid_amount,
  CAST(date_trunc('month', c.service_thru) AS DATE) AS service_month
FROM claim AS c
LEFT JOIN (
  SELECT DISTINCT m.claim_id
  FROM missing AS m
  JOIN ops.reconciliation AS r
    ON r.run_id = m.run_id
    AND r.claim_type = m.claim_type
    AND r.is_applied
) AS gone
  ON gone.claim_id = c.claim_id
WHERE c.api_version = $api_version
  AND ((c.is_current AND gone.claim_id IS NOT NULL) OR (c.superseded_reason = 'not in full pull' AND gone.claim_id IS NULL));

INSERT INTO claim_before
SELECT claim_id, false, is_current, service_month, paid_amount
FROM reconciled
WHERE claim_id NOT IN (SELECT claim_id FROM claim_before)
  AND claim_id NOT IN (SELECT resource_id FROM touched WHERE resource_type = 'ExplanationOfBenefit' AND verdict = 'new');

UPDATE claim AS c
SET
  is_current = NOT g.is_gone,
  superseded_reason = CASE WHEN g.is_gone THEN 'not in full pull' END
FROM reconciled AS g
WHERE c.api_version = $api_version
  AND c.claim_id = g.claim_id;

DROP TABLE reconciled;

DROP TABLE missing;
