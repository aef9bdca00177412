-- One row per claim that counts now, with the person's current MBI: a plain SUM over it is right.
-- Key: api_version, claim_id. Filter on one api_version: the same claim has other ids in v3.
CREATE VIEW claim_current AS
SELECT
  c.*,
  p.mbi_current
FROM claim AS c
LEFT JOIN patient AS p
  ON p.api_version = c.api_version
  AND p.patient_id = c.patient_id
WHERE c.is_current;
