-- Claims whose person is not among the patients. Load Patient for everybody, then look at which ids are missing.
-- Level: error
-- Threshold: 0.001
SELECT
  '' AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE p.patient_id IS NULL) AS rows_failed
FROM claim AS c
LEFT JOIN patient AS p
  ON p.api_version = c.api_version
  AND p.patient_id = c.patient_id
WHERE c.api_version = $api_version
  -- Where nobody ever asked for Patient there is nothing to compare with.
  AND EXISTS (SELECT 1 FROM patient WHERE api_version = $api_version);
