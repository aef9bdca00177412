-- Which persons an identifier is or was that of. Parameters: identifier, mbi (NULL when it cannot be one).
SELECT DISTINCT coalesce(person_key, api_version || ' ' || patient_id) AS person
FROM patient AS p
WHERE person_key = $identifier
  OR patient_id = $identifier
  OR mbi_current = $mbi
  OR EXISTS (
    SELECT 1
    FROM patient_identifier AS i
    WHERE i.api_version = p.api_version
      AND i.patient_id = p.patient_id
      AND i.id_value IN ($identifier, $mbi)
  );
