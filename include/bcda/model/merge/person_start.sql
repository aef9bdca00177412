-- The Patients of the run, where the search for their groups begins; all Patients in a database whose persons an earlier
-- release made, which never parted anybody. Parameters: api_version.
CREATE TEMP TABLE member AS
SELECT $api_version AS api_version, resource_id AS patient_id
FROM touched
WHERE resource_type = 'Patient'
UNION
SELECT api_version, patient_id
FROM patient
WHERE NOT EXISTS (SELECT 1 FROM ops.setting WHERE name = 'person_keys');
