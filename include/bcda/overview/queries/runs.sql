-- The newest loaded runs in numbers. A resource is of one person, so that ten or fewer are of few people: NULL.
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
  shown(r.lines_read) AS lines,
  shown(r.lines_quarantined) AS quarantined,
  shown(coalesce(c.new_resources, 0)) AS new_resources,
  shown(coalesce(c.changed, 0)) AS changed
FROM ops.export_run AS r
LEFT JOIN (SELECT run_id, sum(wire_bytes)::BIGINT AS wire_bytes FROM ops.export_file GROUP BY ALL) AS f USING (run_id)
LEFT JOIN (
  SELECT run_id, sum(new_resources)::BIGINT AS new_resources, sum(changed)::BIGINT AS changed FROM ops.export_count GROUP BY ALL
) AS c USING (run_id)
ORDER BY r.finished_at DESC, r.run_id DESC
LIMIT 50;
