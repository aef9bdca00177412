-- Whoever is tied together takes the smallest label among them, that of the oldest. Run until nothing changes; gives the number of changes.
UPDATE person_label AS l
SET label = smallest.label
FROM (
  SELECT t.api_version, t.patient_id, min(g.label) AS label
  FROM person_tie AS t
  JOIN (
    SELECT k.tie, min(o.label) AS label
    FROM person_tie AS k
    JOIN person_label AS o
      ON o.api_version = k.api_version
      AND o.patient_id = k.patient_id
    GROUP BY k.tie
  ) AS g
    ON g.tie = t.tie
  GROUP BY t.api_version, t.patient_id
) AS smallest
WHERE smallest.api_version = l.api_version
  AND smallest.patient_id = l.patient_id
  AND smallest.label < l.label;
