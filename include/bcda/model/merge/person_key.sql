-- The key of each group: that of its oldest member, so that whoever joins or leaves changes nobody else's. Parameters: run_id.
-- A member's own key is what an earlier release gave it, else the hash of the smallest MBI of its first export. What two
-- groups could claim, because they had a key or an MBI in common, belongs to the oldest who could; the other group takes
-- the next in place, at last the hash of its oldest member's version and id. All of it follows from identifiers and
-- transactionTimes, never from the order in which runs were merged. Source: docs/table-model.md#persons.
CREATE TEMP TABLE person_candidate AS
SELECT l.own, l.label, 1 AS place, e.person_key
FROM person_label AS l
JOIN ops.earlier_person_key AS e
  ON e.api_version = l.api_version
  AND e.patient_id = l.patient_id
UNION ALL
SELECT l.own, l.label, 2, sha256(min(i.id_value))
FROM person_label AS l
JOIN patient_identifier AS i
  ON i.api_version = l.api_version
  AND i.patient_id = l.patient_id
  AND i.id_kind = 'MBI'
  AND i.first_seen = l.first_seen
GROUP BY l.own, l.label
UNION ALL
SELECT own, label, 3, sha256('~' || api_version || ':' || patient_id)
FROM person_label;

UPDATE patient AS p
SET person_key = chosen.person_key
FROM person_label AS l
JOIN (
  SELECT c.label, min_by(c.person_key, c.place) AS person_key
  FROM person_candidate AS c
  JOIN (SELECT person_key, min_by(label, own) AS label FROM person_candidate GROUP BY person_key) AS owner
    ON owner.person_key = c.person_key
    AND owner.label = c.label
  WHERE c.own = c.label
  GROUP BY c.label
) AS chosen
  ON chosen.label = l.label
WHERE l.api_version = p.api_version
  AND l.patient_id = p.patient_id
  AND p.person_key IS DISTINCT FROM chosen.person_key;

-- A person whose Patients have several keys now was split; one whose Patients had several before was merged.
INSERT INTO ops.person_change BY NAME
WITH moved AS (
  SELECT
    p.api_version,
    p.patient_id,
    b.person_key AS person_key_before,
    p.person_key AS person_key_now
  FROM member AS m
  JOIN patient AS p
    ON p.api_version = m.api_version
    AND p.patient_id = m.patient_id
  JOIN person_before AS b
    ON b.api_version = m.api_version
    AND b.patient_id = m.patient_id
),
told AS (
  SELECT
    m.*,
    m.person_key_before IN (
      SELECT person_key_before FROM moved GROUP BY ALL HAVING count(DISTINCT person_key_now) > 1
    ) AS is_split,
    m.person_key_now IN (
      SELECT person_key_now FROM moved GROUP BY ALL HAVING count(DISTINCT person_key_before) > 1
    ) AS is_merge
  FROM moved AS m
  WHERE m.person_key_before <> m.person_key_now
)
SELECT $run_id AS run_id, api_version, patient_id, c.change, person_key_before, person_key_now
FROM told
JOIN (VALUES ('split'), ('merge'), ('new key')) AS c(change)
  ON CASE c.change WHEN 'split' THEN is_split WHEN 'merge' THEN is_merge ELSE NOT is_split AND NOT is_merge END;

INSERT INTO ops.setting
SELECT 'person_keys', '1'
WHERE NOT EXISTS (SELECT 1 FROM ops.setting WHERE name = 'person_keys');

DROP TABLE member;

DROP TABLE person_label;

DROP TABLE person_tie;

DROP TABLE person_candidate;

DROP TABLE person_before;
