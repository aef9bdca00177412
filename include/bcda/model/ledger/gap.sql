-- People whose data BCDA could not retrieve: they are missing from the run although it completed.
-- The type is that of the data file beside the error file, and that which the text names. Without either, all requested types
-- count, but for a failed look-up of a person: parts of Claim and ClaimResponse look nobody up.
-- Source: docs/bcda.md#error-files, docs/bcda.md#manifest.
-- Whom an earlier full run of the type has brought lacks only what came after that run, whatever this one asked for.
-- From a Group run with `_since` a new person would have got everything, so two things are missing then.
-- Reads outcome. Parameters: run columns, resource_types, brings_history, error_files and error_types (names of error files, and
-- the type of the data file beside each).
-- Trap: Whatever is not said to be harmless is a failure: a severity or a text that is missing must not move the watermark.
INSERT INTO ops.gap BY NAME
WITH failure AS (
  SELECT
    raw_file,
    regexp_extract(coalesce(text, ''), 'Error retrieving ([A-Za-z]+) for beneficiary MBI', 1) AS named_type,
    nullif(regexp_extract(coalesce(text, ''), 'MBI ([0-9A-Za-z]+)', 1), '') AS mbi,
    coalesce(text, '') LIKE '%Error retrieving BlueButton ID%' AS is_look_up
  FROM outcome
  WHERE coalesce(severity, '') NOT IN ('warning', 'information')
),
-- A quarantined line, or one without an issue, may concern any person.
silent AS (
  SELECT
    f.file_name AS raw_file,
    '' AS named_type,
    NULL AS mbi,
    false AS is_look_up
  FROM ops.export_file AS f
  LEFT JOIN (SELECT raw_file, count(DISTINCT raw_line) AS lines FROM outcome GROUP BY raw_file) AS o
    ON o.raw_file = f.file_name
  WHERE f.run_id = $run_id
    AND f.kind = 'error'
    AND f.lines_read > coalesce(o.lines, 0)
),
told AS (
  SELECT
    f.*,
    list_filter([f.named_type, p.paired_type], lambda name: list_contains($resource_types::VARCHAR[], name)) AS told_types,
    list_filter(
      $resource_types::VARCHAR[], lambda name: NOT (f.is_look_up AND name IN ('Claim', 'ClaimResponse'))
    ) AS possible_types
  FROM (FROM failure UNION ALL FROM silent) AS f
  LEFT JOIN (
    SELECT unnest($error_files::VARCHAR[]) AS raw_file, unnest($error_types::VARCHAR[]) AS paired_type
  ) AS p
    ON p.raw_file = f.raw_file
),
missing AS (
  SELECT
    mbi,
    unnest(
      CASE
        WHEN len(told_types) > 0 THEN told_types
        WHEN len(possible_types) > 0 THEN possible_types
        ELSE $resource_types::VARCHAR[]
      END
    ) AS resource_type
  FROM told
),
brought AS (
  SELECT o.mbi_current AS mbi, c.resource_type, max(c.until_ts) AS until_ts
  FROM ops.coverage AS c
  JOIN ops.export_run AS r
    ON r.run_id = c.run_id
  JOIN ops.export_run AS now
    ON now.run_id = $run_id
    AND (r.finished_at, r.run_id) < (now.finished_at, now.run_id)
  -- Their Patient came with that run, so they were on its list.
  JOIN main.roster AS o
    ON o.run_id = c.run_id
  WHERE c.api_version = $api_version
    AND (c.export_scope = 'group-runout') = ($export_scope = 'group-runout')
    AND c.since_ts IS NULL
    AND o.mbi_current IN (SELECT mbi FROM missing)
    AND NOT EXISTS (
      SELECT 1
      FROM ops.gap AS g
      WHERE g.opened_run_id = c.run_id
        AND g.resource_type = c.resource_type
        AND (g.mbi = o.mbi_current OR g.patient_id = o.patient_id OR (g.mbi IS NULL AND g.patient_id IS NULL))
    )
  GROUP BY ALL
)
SELECT DISTINCT
  $api_version AS api_version,
  $export_scope AS export_scope,
  f.resource_type,
  f.mbi,
  n.needs,
  CASE
    WHEN n.needs = 'changes' AND b.until_ts IS NOT NULL
      THEN least(greatest(b.until_ts, coalesce($since_ts::TIMESTAMP, b.until_ts)), $transaction_time)
    ELSE $since_ts::TIMESTAMP
  END AS since_ts,
  $transaction_time AS transaction_time,
  $run_id AS opened_run_id
FROM missing AS f
LEFT JOIN brought AS b
  ON b.mbi = f.mbi
  AND b.resource_type = f.resource_type
JOIN (VALUES ('changes'), ('history')) AS n(needs)
  ON n.needs = 'changes'
  OR $brings_history;
