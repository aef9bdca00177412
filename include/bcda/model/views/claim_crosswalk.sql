-- One row per claim that v2 and v3 both have, joined by claim control number and person.
-- Key: v2_claim_id, v3_claim_id.
-- Source: claim of v2 and v3; drug events of v2 have no control number and so are not here.
-- Column v2_claim_id: Id of the claim in v2
-- Column v3_claim_id: Id of the claim in v3
-- Column v2_claim_type: Type of the claim in v2
-- Column v3_claim_type: Type of the claim in v3
-- Column v2_is_current: Whether it counts in v2
-- Column v3_is_current: Whether it counts in v3
-- Trap: Ids of v2 and v3 have nothing in common; never join by them.
CREATE OR REPLACE VIEW main.claim_crosswalk AS
SELECT
  a.claim_id AS v2_claim_id,
  b.claim_id AS v3_claim_id,
  a.control_number,
  p.person_key,
  p.mbi_current,
  a.claim_type AS v2_claim_type,
  b.claim_type AS v3_claim_type,
  a.is_current AS v2_is_current,
  b.is_current AS v3_is_current
FROM main.claim AS a
JOIN main.patient AS p
  ON p.api_version = a.api_version
  AND p.patient_id = a.patient_id
JOIN main.claim AS b
  ON b.api_version = 'v3'
  AND b.control_number = a.control_number
  AND b.claim_type = a.claim_type
JOIN main.patient AS q
  ON q.api_version = b.api_version
  AND q.patient_id = b.patient_id
  AND q.person_key = p.person_key
WHERE a.api_version = 'v2';
