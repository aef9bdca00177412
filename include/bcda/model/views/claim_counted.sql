-- One row per claim that counts now, of every version of the API, with the person's current MBI.
-- Key: api_version, claim_id.
-- Source: claim, patient, ops.suspect_claim.
-- Column mbi_current: MBI in force of the person; of a Patient that was replaced by another, the other's
-- Column payer_type: FFS, or MA for records of stays that a Medicare Advantage plan covers: NCH types 61 to 63, encounters 4000 to 4999
-- Column is_suspect: Something is wrong with the claim, as ops.suspect_claim says; it counts anyway
-- Trap: A claim that was loaded from two versions is here twice. Sum over claim_current or claim_across_versions.
CREATE OR REPLACE VIEW main.claim_counted AS
SELECT
  c.*,
  p.person_key,
  coalesce(q.mbi_current, p.mbi_current) AS mbi_current,
  CASE
    WHEN c.nch_claim_type IN ('61', '62', '63') OR c.nch_claim_type LIKE '4___' THEN 'MA'
    ELSE 'FFS'
  END AS payer_type,
  EXISTS (
    SELECT 1
    FROM ops.suspect_claim AS s
    WHERE s.api_version = c.api_version
      AND s.claim_id = c.claim_id
  ) AS is_suspect
FROM main.claim AS c
LEFT JOIN main.patient AS p
  ON p.api_version = c.api_version
  AND p.patient_id = c.patient_id
LEFT JOIN main.patient AS q
  ON q.api_version = p.api_version
  AND q.patient_id = p.merged_into_patient_id
WHERE c.is_current;
