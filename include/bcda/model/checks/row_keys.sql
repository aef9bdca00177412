-- Rows of the run that have the same key as another one: a join by it would count twice. Report the table.
-- Level: error
-- Threshold: 0
SELECT 'patient' AS scope, count(*) AS rows_checked, count(*) - count(DISTINCT patient_id) AS rows_failed
FROM patient
WHERE api_version = $api_version
UNION ALL
SELECT 'coverage', count(*), count(*) - count(DISTINCT coverage_id)
FROM coverage
WHERE api_version = $api_version
UNION ALL
SELECT 'claim', count(*), count(*) - count(DISTINCT claim_id)
FROM claim
WHERE api_version = $api_version
UNION ALL
SELECT 'claim_line', count(*), count(*) - count(DISTINCT (l.claim_id, l.line_number))
FROM claim_line AS l
JOIN claim AS c
  ON c.api_version = l.api_version
  AND c.claim_id = l.claim_id
WHERE c.api_version = $api_version
  AND c.run_id = $run_id
UNION ALL
SELECT 'claim_diagnosis', count(*), count(*) - count(DISTINCT (l.claim_id, l.sequence))
FROM claim_diagnosis AS l
JOIN claim AS c
  ON c.api_version = l.api_version
  AND c.claim_id = l.claim_id
WHERE c.api_version = $api_version
  AND c.run_id = $run_id;
