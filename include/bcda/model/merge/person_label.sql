-- Each member begins as a group of its own, and what ties members together now: an MBI that the newest version of both
-- Patients has, current or former, and a link of a newest version. An MBI that a newer version leaves out ties nobody.
-- own: sorts members by their first export, so that the smallest of a group is that of its oldest member.
CREATE TEMP TABLE person_label AS
SELECT
  m.api_version,
  m.patient_id,
  min(v.first_seen) AS first_seen,
  concat_ws(' ', coalesce(strftime(min(v.first_seen), '%Y-%m-%dT%H:%M:%S.%f'), '~'), m.api_version, m.patient_id) AS own,
  own AS label
FROM member AS m
-- Who is only named by a link has no version, and sorts behind all others.
LEFT JOIN resource_version AS v
  ON v.api_version = m.api_version
  AND v.resource_type = 'Patient'
  AND v.resource_id = m.patient_id
GROUP BY m.api_version, m.patient_id;

CREATE TEMP TABLE person_tie AS
SELECT m.api_version, m.patient_id, 'mbi:' || i.id_value AS tie
FROM member AS m
JOIN patient_identifier AS i
  ON i.api_version = m.api_version
  AND i.patient_id = m.patient_id
  AND i.id_kind = 'MBI'
JOIN resource_version AS v
  ON v.api_version = m.api_version
  AND v.resource_type = 'Patient'
  AND v.resource_id = m.patient_id
  AND v.is_latest
WHERE (coalesce(i.meta_last_updated, TIMESTAMP '-infinity'), i.as_of)
  >= (coalesce(v.meta_last_updated, TIMESTAMP '-infinity'), v.transaction_time)
UNION
SELECT m.api_version, m.patient_id, 'id:' || m.api_version || ':' || m.patient_id
FROM member AS m
UNION
SELECT p.api_version, p.patient_id, 'id:' || p.api_version || ':' || unnest(p.linked_patient_ids)
FROM patient AS p
JOIN member AS m
  ON m.api_version = p.api_version
  AND m.patient_id = p.patient_id;
