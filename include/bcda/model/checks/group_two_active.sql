-- Claim groups with more than one active claim; normal in old synthetic data.
-- Level: info
-- Threshold: 0
SELECT
  '' AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE claims > 1) AS rows_failed
FROM (
  SELECT claim_group, count(*) FILTER (WHERE is_current) AS claims
  FROM claim
  WHERE api_version = $api_version
    AND claim_group IS NOT NULL
  GROUP BY claim_group
);
