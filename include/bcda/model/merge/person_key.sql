-- The person behind each new or changed Patient: hash of the smallest MBI, so that it stays when the current MBI changes.
-- A Patient without an MBI has none.
-- Parameters: api_version.
UPDATE patient AS p
SET person_key = k.person_key
FROM (
  SELECT
    i.patient_id,
    sha256(min(i.id_value)) AS person_key
  FROM patient_identifier AS i
  JOIN staged AS s
    ON s.resource_type = 'Patient'
    AND s.verdict IN ('new', 'changed')
    AND s.resource_id = i.patient_id
  WHERE i.api_version = $api_version
    AND i.id_kind = 'MBI'
  GROUP BY i.patient_id
) AS k
WHERE p.api_version = $api_version
  AND p.patient_id = k.patient_id;
