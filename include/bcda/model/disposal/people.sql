-- Everything of the Patients in wanted.
-- An MBI that someone else had as well does not say whose an unfinished claim or a gap is.
INSERT INTO gone_mbi
WITH theirs AS (
  SELECT i.id_value AS mbi
  FROM patient_identifier AS i
  JOIN wanted AS w
    ON w.api_version = i.api_version
    AND w.patient_id = i.patient_id
  WHERE i.id_kind = 'MBI'
  UNION
  SELECT p.mbi_current
  FROM patient AS p
  JOIN wanted AS w
    ON w.api_version = p.api_version
    AND w.patient_id = p.patient_id
  UNION
  SELECT mbi
  FROM asked_mbi
),
others AS (
  SELECT i.id_value AS mbi
  FROM patient_identifier AS i
  ANTI JOIN wanted AS w
    ON w.api_version = i.api_version
    AND w.patient_id = i.patient_id
  WHERE i.id_kind = 'MBI'
  UNION
  SELECT p.mbi_current
  FROM patient AS p
  ANTI JOIN wanted AS w
    ON w.api_version = p.api_version
    AND w.patient_id = p.patient_id
)
SELECT mbi
FROM theirs
WHERE mbi IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM others AS o WHERE o.mbi = theirs.mbi);

INSERT INTO gone
SELECT DISTINCT api_version, 'Patient', patient_id
FROM wanted;

INSERT INTO gone
SELECT c.api_version, 'ExplanationOfBenefit', c.claim_id
FROM claim AS c
SEMI JOIN wanted AS w
  ON w.api_version = c.api_version
  AND w.patient_id = c.patient_id;

INSERT INTO gone
SELECT c.api_version, 'Coverage', c.coverage_id
FROM coverage AS c
SEMI JOIN wanted AS w
  ON w.api_version = c.api_version
  AND w.patient_id = c.patient_id;

INSERT INTO gone
SELECT api_version, 'Claim', claim_id
FROM partial.claim
WHERE mbi IN (SELECT mbi FROM gone_mbi);

INSERT INTO gone
SELECT api_version, 'ClaimResponse', claim_id
FROM partial.claim_response
WHERE mbi IN (SELECT mbi FROM gone_mbi);

-- Merged contents can have had a row of a resource that is listed twice.
CREATE OR REPLACE TEMP TABLE gone AS
SELECT DISTINCT *
FROM gone;

INSERT INTO gone_key
SELECT p.person_key
FROM patient AS p
SEMI JOIN wanted AS w
  ON w.api_version = p.api_version
  AND w.patient_id = p.patient_id
WHERE p.person_key IS NOT NULL
EXCEPT
SELECT p.person_key
FROM patient AS p
ANTI JOIN wanted AS w
  ON w.api_version = p.api_version
  AND w.patient_id = p.patient_id;

INSERT INTO needle
SELECT mbi
FROM gone_mbi
UNION
SELECT resource_id
FROM gone;
