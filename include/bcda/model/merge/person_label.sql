-- Each member begins with its own smallest MBI; without one, with something that sorts behind every MBI.
CREATE TEMP TABLE person_label AS
SELECT
  m.api_version,
  m.patient_id,
  coalesce(min(i.id_value), '~' || m.api_version || ':' || m.patient_id) AS label
FROM member AS m
LEFT JOIN patient_identifier AS i
  ON i.api_version = m.api_version
  AND i.patient_id = m.patient_id
  AND i.id_kind = 'MBI'
GROUP BY m.api_version, m.patient_id;

CREATE TEMP TABLE person_tie AS
SELECT m.api_version, m.patient_id, 'mbi:' || i.id_value AS tie
FROM member AS m
JOIN patient_identifier AS i
  ON i.api_version = m.api_version
  AND i.patient_id = m.patient_id
  AND i.id_kind = 'MBI'
UNION
SELECT m.api_version, m.patient_id, 'id:' || m.api_version || ':' || m.patient_id
FROM member AS m
UNION
SELECT p.api_version, p.patient_id, 'id:' || p.api_version || ':' || unnest(p.linked_patient_ids)
FROM patient AS p
JOIN member AS m
  ON m.api_version = p.api_version
  AND m.patient_id = p.patient_id;
