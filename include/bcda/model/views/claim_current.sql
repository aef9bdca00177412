-- One row per claim that counts now, of the one version of the API that is shown, with the person's current MBI.
-- Key: claim_id.
-- Source: claim, patient, ops.suspect_claim; the shown version is the row `shown_api_version` of ops.setting.
-- Column mbi_current: MBI in force of the person; of a Patient that was replaced by another, the other's
-- Column payer_type: FFS, or MA for records of stays that a Medicare Advantage plan covers: NCH types 61 to 63, encounters 4000 to 4999
-- Column is_suspect: Something is wrong with the claim, as ops.suspect_claim says; it counts all the same
-- Trap: A plain SUM of paid_amount is right here. Drug events have none: their money is in claim_drug. Add
-- `payer_type = 'FFS'` where you count services, such as stays: Medicare pays those of the type MA through the plan.
CREATE OR REPLACE VIEW main.claim_current AS
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
WHERE c.is_current
  AND c.api_version = (SELECT value FROM ops.setting WHERE name = 'shown_api_version');
