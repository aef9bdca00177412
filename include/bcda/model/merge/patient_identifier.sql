-- Identifiers of every Patient of the run, joined with those it had: rows stay when a later version leaves them out.
-- Reads `delivered_identifier`, the run's rows. Parameters: api_version, run_id, transaction_time.
-- Currency and period are those of the newest Patient version that has the identifier.
CREATE TEMP TABLE gathered_identifier AS
WITH every AS (
  SELECT
    patient_id, id_system, id_value, id_kind, type_code, currency, period_start, period_end,
    first_run_id, first_seen, last_run_id, last_seen, meta_last_updated, as_of
  FROM patient_identifier
  WHERE api_version = $api_version
    AND patient_id IN (SELECT resource_id FROM touched WHERE resource_type = 'Patient')
  UNION ALL
  SELECT
    l.patient_id, l.id_system, l.id_value, l.id_kind, l.type_code, l.currency, l.period_start, l.period_end,
    $run_id, $transaction_time, $run_id, $transaction_time, s.meta_last_updated, $transaction_time
  FROM delivered_identifier AS l
  JOIN staged AS s
    ON s.raw_file = l.raw_file
    AND s.raw_line = l.raw_line
  WHERE s.verdict <> 'duplicate'
),
ranked AS (
  SELECT *, (coalesce(meta_last_updated, TIMESTAMP '-infinity'), as_of) AS age FROM every
)
SELECT
  patient_id,
  id_system,
  id_value,
  any_value(id_kind) AS id_kind,
  arg_max(type_code, (age, type_code)) AS type_code,
  arg_max(currency, (age, currency)) AS currency,
  arg_max_null(period_start, (age, currency)) AS period_start,
  arg_max_null(period_end, (age, currency)) AS period_end,
  arg_min(first_run_id, (first_seen, first_run_id)) AS first_run_id,
  min(first_seen) AS first_seen,
  arg_max(last_run_id, (last_seen, last_run_id)) AS last_run_id,
  max(last_seen) AS last_seen,
  arg_max_null(meta_last_updated, age) AS meta_last_updated,
  arg_max(as_of, age) AS as_of
FROM ranked
GROUP BY patient_id, id_system, id_value;

DELETE FROM patient_identifier
WHERE api_version = $api_version
  AND patient_id IN (SELECT resource_id FROM touched WHERE resource_type = 'Patient');

INSERT INTO patient_identifier BY NAME
SELECT
  $api_version AS api_version,
  g.* REPLACE (
    -- An MBI that the newest version no longer sends is a former one.
    CASE
      WHEN g.id_kind = 'MBI'
        AND (coalesce(g.meta_last_updated, TIMESTAMP '-infinity'), g.as_of)
          < (coalesce(t.meta_last_updated, TIMESTAMP '-infinity'), t.as_of) THEN 'historic'
      ELSE g.currency
    END AS currency
  )
FROM gathered_identifier AS g
JOIN touched AS t
  ON t.resource_type = 'Patient'
  AND t.resource_id = g.patient_id;

DROP TABLE gathered_identifier;

DROP TABLE delivered_identifier;
