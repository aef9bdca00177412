-- One row per claim that counts now, each person's from one version of the API: the shown one, or the newest that has the person.
-- Key: api_version, claim_id.
-- Source: claim_counted, patient; the shown version is the row `shown_api_version` of ops.setting.
-- Column mbi_current: MBI in force of the person; of a Patient that was replaced by another, the other's
-- Column payer_type: FFS, or MA for records of stays that a Medicare Advantage plan covers
-- Column is_suspect: Something is wrong with the claim, as ops.suspect_claim says; it counts anyway
-- Trap: People who left before the shown version was loaded are here and not in claim_current. Nobody's claims are here twice.
CREATE OR REPLACE VIEW main.claim_across_versions AS
WITH shown AS (SELECT value AS api_version FROM ops.setting WHERE name = 'shown_api_version'),
person AS (
  SELECT p.person_key, coalesce(max(s.api_version), max(p.api_version)) AS api_version
  FROM main.patient AS p
  LEFT JOIN shown AS s
    ON s.api_version = p.api_version
  WHERE NOT p.is_stub
  GROUP BY p.person_key
)
SELECT c.*
FROM main.claim_counted AS c
LEFT JOIN person AS p
  ON p.person_key = c.person_key
-- Of a person without a Patient nothing tells who it is.
WHERE c.api_version = coalesce(p.api_version, (SELECT api_version FROM shown));
