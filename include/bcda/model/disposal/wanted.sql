-- The Patients of a person, and one that only claims, coverages or gaps name. Parameters: identifier, person (NULL when there is none).
INSERT INTO wanted
SELECT api_version, patient_id
FROM patient
WHERE coalesce(person_key, api_version || ' ' || patient_id) = $person
UNION
SELECT api_version, patient_id
FROM claim
WHERE patient_id = $identifier
UNION
SELECT api_version, patient_id
FROM coverage
WHERE patient_id = $identifier
UNION
SELECT api_version, patient_id
FROM ops.gap
WHERE patient_id = $identifier;
