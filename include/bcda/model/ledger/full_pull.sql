-- A run without `_since` that brought people and claims of everyone attributed, without gap and without bad line.
-- Parameters: run_id.
INSERT INTO ops.full_pull BY NAME
SELECT
  r.run_id,
  r.api_version,
  r.transaction_time,
  coalesce(
    (SELECT list({'claim_type': d.claim_type, 'claims': d.claims} ORDER BY d.claim_type)
     FROM (
       SELECT c.claim_type, count(*) AS claims
       FROM claim AS c
       JOIN touched AS t
         ON t.resource_type = 'ExplanationOfBenefit'
         AND t.resource_id = c.claim_id
       WHERE c.api_version = r.api_version
       GROUP BY c.claim_type
     ) AS d),
    []) AS delivered
FROM ops.export_run AS r
WHERE r.run_id = $run_id
  AND r.is_full
  AND r.export_scope IN ('patient', 'group-all')
  AND list_contains(r.resource_types, 'Patient')
  AND list_contains(r.resource_types, 'ExplanationOfBenefit')
  AND r.lines_quarantined = 0
  -- A filter that leaves claims out covers none.
  AND EXISTS (SELECT 1 FROM ops.coverage AS c WHERE c.run_id = r.run_id AND c.resource_type = 'ExplanationOfBenefit')
  AND NOT EXISTS (SELECT 1 FROM ops.gap AS g WHERE g.opened_run_id = r.run_id);
