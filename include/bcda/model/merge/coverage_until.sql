-- v3: the month up to which a period without end counts, of each Coverage: that of the newest export of Coverage while the person is
-- on the newest list. After that nothing says whether the period goes on: it counts up to the month of the last list with the
-- person, or of the last delivery of the Coverage, if that is later. Without any list everyone counts as listed.
-- Asked before and after a run's periods are in place. Parameters: api_version, is_before, left_out_run (run that does not count).
INSERT INTO coverage_until
WITH run AS (
  SELECT
    run_id,
    transaction_time,
    list_contains(resource_types, 'Coverage') AS has_coverage,
    is_full AND list_contains(resource_types, 'Patient') AS is_list,
    export_scope IN ('patient', 'group-all') AS is_of_everybody
  FROM ops.export_run
  WHERE api_version = $api_version
    AND $api_version = 'v3'
    AND run_id <> $left_out_run
),
person AS (
  SELECT
    o.patient_id,
    max(r.transaction_time) AS listed_at,
    max(r.transaction_time) FILTER (WHERE r.is_of_everybody) AS listed_with_everybody_at
  FROM roster AS o
  JOIN run AS r
    ON r.run_id = o.run_id
  WHERE o.api_version = $api_version
    AND r.is_list
  GROUP BY o.patient_id
),
newest AS (
  SELECT
    (SELECT date_trunc('month', max(transaction_time)) FROM run WHERE has_coverage) AS month,
    (SELECT max(listed_with_everybody_at) FROM person) AS list_at
),
stated AS (
  SELECT coverage_id, max(patient_id) AS patient_id, max(as_of) AS as_of
  FROM coverage_period
  WHERE api_version = $api_version
    AND $api_version = 'v3'
  GROUP BY coverage_id
)
SELECT
  $is_before AS is_before,
  s.coverage_id,
  CASE
    WHEN n.list_at IS NULL OR p.listed_at >= n.list_at THEN n.month
    ELSE least(n.month, date_trunc('month', greatest(p.listed_at, s.as_of)))
  END AS until
FROM stated AS s
CROSS JOIN newest AS n
LEFT JOIN person AS p
  ON p.patient_id = s.patient_id;
