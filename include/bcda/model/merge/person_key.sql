-- The person behind each member: hash of the smallest MBI of the group. Source: table model §3, person_key.
UPDATE patient AS p
SET person_key = sha256(l.label)
FROM person_label AS l
WHERE l.api_version = p.api_version
  AND l.patient_id = p.patient_id
  AND p.person_key IS DISTINCT FROM sha256(l.label);

DROP TABLE member;

DROP TABLE person_label;

DROP TABLE person_tie;
