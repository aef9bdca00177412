-- Claims whose person is not among the patients. Load Patient for everyone, then look at which ids are missing.
-- Level: warning
-- Threshold: 0.001
-- Suspect: the person is not among the patients
SELECT claim_id
FROM claim AS c
WHERE api_version = $api_version
  -- Where nobody ever asked for Patient there is nothing to compare with.
  AND EXISTS (SELECT 1 FROM patient WHERE api_version = $api_version)
  AND NOT EXISTS (
    SELECT 1
    FROM patient AS p
    WHERE p.api_version = c.api_version
      AND p.patient_id = c.patient_id
  );
