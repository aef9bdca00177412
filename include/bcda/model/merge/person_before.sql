-- The person of each Patient before the run, kept before rows are replaced.
CREATE TEMP TABLE person_before AS
SELECT api_version, patient_id, person_key
FROM patient
WHERE person_key IS NOT NULL;

-- An earlier release made keys otherwise. Those that it gave stay.
INSERT INTO ops.earlier_person_key BY NAME
SELECT api_version, patient_id, person_key
FROM person_before
WHERE NOT EXISTS (SELECT 1 FROM ops.setting WHERE name = 'person_keys');
