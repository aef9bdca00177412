-- People of a full run without any Coverage. Everyone in Medicare has one, so BCDA left them out without saying so.
-- Level: warning
-- Threshold: 0
SELECT
  '' AS scope,
  count(*) AS rows_checked,
  count(*) FILTER (WHERE v.patient_id IS NULL) AS rows_failed
FROM roster AS o
JOIN ops.export_run AS r
  ON r.run_id = o.run_id
  AND r.is_full
JOIN patient AS p
  ON p.api_version = o.api_version
  AND p.patient_id = o.patient_id
  AND NOT p.is_stub
LEFT JOIN (SELECT DISTINCT patient_id FROM coverage WHERE api_version = $api_version) AS v
  ON v.patient_id = o.patient_id
WHERE o.run_id = $run_id
  AND EXISTS (SELECT 1 FROM coverage WHERE api_version = $api_version);
