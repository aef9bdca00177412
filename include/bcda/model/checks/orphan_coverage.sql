-- Claims whose coverage is not among the coverages.
-- Level: warning
-- Threshold: 0
SELECT
  '' AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE v.coverage_id IS NULL) AS rows_failed
FROM claim AS c
LEFT JOIN coverage AS v
  ON v.api_version = c.api_version
  AND v.coverage_id = c.coverage_id
WHERE c.api_version = $api_version
  AND c.coverage_id IS NOT NULL;
