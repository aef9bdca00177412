-- One row per claim of v3 that does not count yet: a shared system has not finished it, or CMS calls it not final.
-- Key: claim_id.
-- Source: claim, patient; the shown version is the row `shown_api_version` of ops.setting.
-- Column person_key: Person, stable across MBI changes and versions
-- Column mbi_current: MBI in force of the person; of a Patient that was replaced by another, the other's
-- Trap: Amounts can still change, and a claim can be finished as another one. Never add these to claim_current.
CREATE OR REPLACE VIEW main.claim_pending AS
SELECT
  c.*,
  p.person_key,
  coalesce(q.mbi_current, p.mbi_current) AS mbi_current
FROM main.claim AS c
LEFT JOIN main.patient AS p
  ON p.api_version = c.api_version
  AND p.patient_id = c.patient_id
LEFT JOIN main.patient AS q
  ON q.api_version = p.api_version
  AND q.patient_id = p.merged_into_patient_id
WHERE c.superseded_reason IN ('unfinished', 'not final')
  AND c.api_version = (SELECT value FROM ops.setting WHERE name = 'shown_api_version');
