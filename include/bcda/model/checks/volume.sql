-- Current claims per person in the newest month that is complete are far from those of the year before it.
-- Level: warning
-- Threshold: 0.5
WITH monthly AS (
  SELECT
    claim_type,
    date_trunc('month', service_from) AS month,
    count(*) AS claims
  FROM claim
  WHERE api_version = $api_version
    AND is_current
    AND service_from IS NOT NULL
  GROUP BY ALL
),
-- Claims go on coming for three months.
newest AS (
  SELECT date_trunc('month', transaction_time) - INTERVAL 4 MONTH AS month
  FROM ops.export_run
  WHERE run_id = $run_id
)
SELECT
  claim_type AS scope,
  coalesce(sum(claims) FILTER (WHERE monthly.month = newest.month), 0) AS rows_checked,
  0 AS rows_failed,
  abs(
    coalesce(sum(claims) FILTER (WHERE monthly.month = newest.month), 0)
    / (sum(claims) FILTER (WHERE monthly.month < newest.month) / 12) - 1
  ) AS observed
FROM monthly
CROSS JOIN newest
WHERE monthly.month > newest.month - INTERVAL 13 MONTH
GROUP BY claim_type
-- Fewer claims than these say nothing.
HAVING sum(claims) FILTER (WHERE monthly.month < newest.month) >= 120;
