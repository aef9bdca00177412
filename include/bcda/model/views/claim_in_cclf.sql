-- One row per claim of the CCLF views: those that count, and pairs of a claim and the claim that voids it.
-- Key: claim_id.
-- Source: claim_current, claim. CMS's CCLF information packet: types of claim in CCLF1, CLM_ADJSMT_TYPE_CD.
-- Column mbi_current: MBI in force of the person; of a Patient that was replaced by another, the other's
-- Column payer_type: FFS, or MA for records of stays that a Medicare Advantage plan covers
-- Column is_suspect: Something is wrong with the claim, as ops.suspect_claim says; it counts anyway
-- Trap: As in CCLF, subtract the amounts of claims whose CLM_ADJSMT_TYPE_CD is 1: a pair sums to zero. A void without the claim
-- that it names is left out, since nothing is there to take away from. So are types of Medicare Advantage that CCLF1 does not list.
CREATE OR REPLACE VIEW main.claim_in_cclf AS
-- One void a claim and one claim a void, or a pair would not sum to zero.
WITH pair AS (
  SELECT v.api_version, v.claim_id AS void_id, o.claim_id AS voided_id
  FROM main.claim AS v
  JOIN main.claim AS o
    ON o.api_version = v.api_version
    AND o.patient_id = v.patient_id
    AND o.control_number = v.prior_control_number
    AND o.superseded_reason = 'replaced by newer'
    AND o.source_system = 'NCH'
    AND o.adjustment_code IS DISTINCT FROM '1'
  WHERE v.superseded_reason = 'void'
    AND v.source_system = 'NCH'
  QUALIFY row_number() OVER (PARTITION BY o.api_version, o.claim_id ORDER BY v.processed_date, v.claim_id) = 1
    AND row_number() OVER (PARTITION BY v.api_version, v.claim_id ORDER BY o.processed_date DESC, o.claim_id DESC) = 1
)
SELECT *
FROM main.claim_current
WHERE nch_claim_type IS NULL
  OR NOT (nch_claim_type IN ('62', '63', '64') OR nch_claim_type LIKE '4___')
UNION ALL BY NAME
SELECT
  c.*,
  p.person_key,
  coalesce(q.mbi_current, p.mbi_current) AS mbi_current,
  'FFS' AS payer_type,
  false AS is_suspect
FROM main.claim AS c
LEFT JOIN main.patient AS p
  ON p.api_version = c.api_version
  AND p.patient_id = c.patient_id
LEFT JOIN main.patient AS q
  ON q.api_version = p.api_version
  AND q.patient_id = p.merged_into_patient_id
WHERE c.api_version = (SELECT value FROM ops.setting WHERE name = 'shown_api_version')
  AND EXISTS (
    SELECT 1
    FROM pair AS w
    WHERE w.api_version = c.api_version
      AND c.claim_id IN (w.void_id, w.voided_id)
  );
