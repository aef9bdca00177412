-- Modifiers that have not two places, procedure codes that have not five, NPIs without a valid check digit.
-- Level: warning
-- Threshold: 0.01
SELECT
  'modifier' AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE length(modifier) <> 2) AS rows_failed
FROM (
  SELECT unnest([modifier_1, modifier_2, modifier_3, modifier_4, modifier_5]) AS modifier
  FROM claim_line
  WHERE api_version = $api_version
)
WHERE modifier IS NOT NULL
UNION ALL
SELECT
  'hcpcs_code',
  count(*),
  count(*) FILTER (WHERE length(hcpcs_code) <> 5)
FROM claim_line
WHERE api_version = $api_version
  AND hcpcs_code IS NOT NULL
UNION ALL
SELECT
  'npi',
  count(*),
  count(*) FILTER (WHERE NOT npi_is_valid(provider_id))
FROM (
  SELECT DISTINCT provider_id
  FROM claim_care_team
  WHERE api_version = $api_version
    AND lower(provider_id_type) = 'npi'
    AND provider_id IS NOT NULL
);
