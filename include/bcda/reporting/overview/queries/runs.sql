-- The newest loaded runs in numbers. A line is of one person, so that ten or fewer are of few people: NULL. Lines of error files
-- each name someone who is missing, and are not counted: the headline does not have them either.
SELECT
  r.run_id,
  r.api_version,
  r.export_scope,
  r.resource_types,
  r.since_ts,
  r.transaction_time,
  r.is_full,
  r.reason,
  r.job_id,
  r.started_at,
  r.finished_at,
  r.output_files + r.error_files AS files,
  coalesce(f.wire_bytes, 0) AS bytes,
  shown(coalesce(c.lines, 0)) AS lines,
  coalesce(c.quarantined, 0) > 0 AS has_quarantined
FROM ops.export_run AS r
LEFT JOIN (SELECT run_id, sum(wire_bytes)::BIGINT AS wire_bytes FROM ops.export_file GROUP BY ALL) AS f USING (run_id)
LEFT JOIN (
  SELECT run_id, sum(lines)::BIGINT AS lines, sum(quarantined)::BIGINT AS quarantined FROM ops.export_count GROUP BY ALL
) AS c USING (run_id)
ORDER BY r.finished_at DESC, r.run_id DESC
LIMIT 50;
