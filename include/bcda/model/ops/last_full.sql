-- People and claims of the full run that is being merged, and of the last one before it; NULL for what one of them did not ask for.
-- Reads staged. Parameters: api_version, is_runout, has_people, has_claims.
WITH earlier AS (
  SELECT run_id, resource_types, transaction_time
  FROM ops.export_run
  WHERE api_version = $api_version
    AND (export_scope = 'group-runout') = $is_runout
    AND is_full
),
arrived AS (
  SELECT resource_type, count(DISTINCT resource_id) AS resources
  FROM staged
  GROUP BY resource_type
)
SELECT
  CASE WHEN $has_people THEN coalesce((SELECT resources FROM arrived WHERE resource_type = 'Patient'), 0) END AS people,
  (
    SELECT count(*)
    FROM main.roster
    WHERE run_id = (
      SELECT max_by(run_id, (transaction_time, run_id)) FROM earlier WHERE list_contains(resource_types, 'Patient')
    )
  ) AS people_before,
  CASE
    WHEN $has_claims THEN coalesce((SELECT resources FROM arrived WHERE resource_type = 'ExplanationOfBenefit'), 0)
  END AS claims,
  (
    SELECT sum(f.rows_landed)
    FROM ops.export_file AS f
    WHERE f.resource_type = 'ExplanationOfBenefit'
      AND f.kind = 'output'
      AND f.run_id = (
        SELECT max_by(run_id, (transaction_time, run_id)) FROM earlier WHERE list_contains(resource_types, 'ExplanationOfBenefit')
      )
  ) AS claims_before;
