-- One row per person, version, population and type of which data is missing for some time: claims and months of that person can
-- lack something. A row without a person_key is about everyone, since nothing says whom a gap is about.
-- Key: api_version, population, resource_type, person_key.
-- Source: ops.open_gap; the MBIs of patient_identifier.
-- Column population: current or runout: which of the two lists of people it is about
-- Column person_key: The person, as in patient; NULL: a gap can be about anybody
-- Column since_ts: Changes after this instant can be missing, UTC; NULL from the beginning
-- Column until_ts: Changes up to this instant can be missing, UTC
-- Column is_tried_again: Whether a later run requests all of it automatically
-- Trap: Someone of whom nothing has been loaded has no person_key, so only ops.open_gap has those.
CREATE OR REPLACE VIEW ops.incomplete_person AS
WITH named AS (
  SELECT
    g.*,
    p.person_key
  FROM ops.open_gap AS g
  JOIN main.patient AS p
    ON p.api_version = g.api_version
    AND p.patient_id = g.patient_id
  UNION ALL
  SELECT
    g.*,
    p.person_key
  FROM ops.open_gap AS g
  JOIN (
    SELECT api_version, id_value AS mbi, patient_id
    FROM main.patient_identifier
    WHERE id_kind = 'MBI'
    UNION
    SELECT api_version, mbi_current, patient_id
    FROM main.patient
    WHERE mbi_current IS NOT NULL
  ) AS i
    ON i.api_version = g.api_version
    AND i.mbi = g.mbi
  JOIN main.patient AS p
    ON p.api_version = i.api_version
    AND p.patient_id = i.patient_id
),
whole AS (
  SELECT *
  FROM named
  WHERE person_key IS NOT NULL
  UNION ALL
  SELECT *, NULL AS person_key
  FROM ops.open_gap
  WHERE mbi IS NULL
    AND patient_id IS NULL
)
SELECT
  api_version,
  CASE WHEN export_scope = 'group-runout' THEN 'runout' ELSE 'current' END AS population,
  resource_type,
  person_key,
  CASE WHEN count(since_ts) = count(*) THEN min(since_ts) END AS since_ts,
  max(transaction_time) AS until_ts,
  bool_and(is_tried_again) AS is_tried_again
FROM whole
GROUP BY ALL;
