-- One row per line of a claim that counts now, of the version that is shown, without lines that repeat the sum of others.
-- Key: claim_id, line_number.
-- Source: claim_line, claim_current.
-- Trap: Inpatient and SNF claims of v1 and v2 are paid as a whole: their lines have no paid_amount.
CREATE OR REPLACE VIEW main.claim_line_current AS
SELECT
  l.*,
  c.claim_type,
  c.patient_id,
  c.person_key,
  c.mbi_current
FROM main.claim_line AS l
JOIN main.claim_current AS c
  ON c.api_version = l.api_version
  AND c.claim_id = l.claim_id
-- A total line stays where it is all there is.
WHERE NOT l.is_total_line
  OR NOT EXISTS (
    SELECT 1
    FROM main.claim_line AS o
    WHERE o.api_version = l.api_version
      AND o.claim_id = l.claim_id
      AND NOT o.is_total_line
  );
