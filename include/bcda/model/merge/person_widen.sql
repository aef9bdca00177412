-- Whoever ever shared an MBI with a member, shares a link or had the same key is looked at with it: who belongs together is
-- decided again among them. Run until nobody joins; gives the number of those who did.
INSERT INTO member
SELECT api_version, patient_id
FROM (
  SELECT other.api_version, other.patient_id
  FROM member AS m
  JOIN patient_identifier AS mine
    ON mine.api_version = m.api_version
    AND mine.patient_id = m.patient_id
    AND mine.id_kind = 'MBI'
  JOIN patient_identifier AS other
    ON other.id_value = mine.id_value
    AND other.id_kind = 'MBI'
  UNION
  SELECT p.api_version, unnest(p.linked_patient_ids)
  FROM patient AS p
  JOIN member AS m
    ON m.api_version = p.api_version
    AND m.patient_id = p.patient_id
  UNION
  SELECT l.api_version, l.patient_id
  FROM (SELECT api_version, patient_id, unnest(linked_patient_ids) AS linked FROM patient) AS l
  JOIN member AS m
    ON m.api_version = l.api_version
    AND m.patient_id = l.linked
  UNION
  SELECT other.api_version, other.patient_id
  FROM member AS m
  JOIN (FROM person_before UNION ALL FROM ops.earlier_person_key) AS mine
    ON mine.api_version = m.api_version
    AND mine.patient_id = m.patient_id
  JOIN (FROM person_before UNION ALL FROM ops.earlier_person_key) AS other
    ON other.person_key = mine.person_key
)
EXCEPT
SELECT api_version, patient_id FROM member;
