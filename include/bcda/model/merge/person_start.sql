-- The Patients of the run, where the search for their groups begins.
-- Parameters: api_version.
CREATE TEMP TABLE member AS
SELECT $api_version AS api_version, resource_id AS patient_id
FROM touched
WHERE resource_type = 'Patient';
