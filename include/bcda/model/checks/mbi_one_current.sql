-- People who have not exactly one current MBI.
-- Level: warning
-- Threshold: 0
SELECT
  '' AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE mbis <> 1) AS rows_failed
FROM (
  SELECT p.patient_id, count(i.id_value) FILTER (WHERE i.currency = 'current') AS mbis
  FROM patient AS p
  LEFT JOIN patient_identifier AS i
    ON i.api_version = p.api_version
    AND i.patient_id = p.patient_id
    AND i.id_kind = 'MBI'
  WHERE p.api_version = $api_version
    AND NOT p.is_stub
    AND p.merged_into_patient_id IS NULL
  GROUP BY p.patient_id
);
