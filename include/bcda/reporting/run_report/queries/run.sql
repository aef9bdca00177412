-- What one run asked for and got. Parameters: run_id.
SELECT
  *,
  (SELECT coalesce(sum(lines_read), 0)::BIGINT FROM ops.export_file AS f WHERE f.run_id = r.run_id AND f.kind = 'error') AS error_lines,
  (SELECT count(*) > 0 FROM ops.dq_result AS d WHERE d.run_id = r.run_id) AS is_checked,
  (SELECT count(*) FROM ops.drift AS d WHERE d.first_run_id = r.run_id) AS new_elements,
  -- A filter that leaves claims out covers none; every run of v3 has some filter.
  list_contains(r.resource_types, 'ExplanationOfBenefit')
  AND NOT EXISTS (SELECT 1 FROM ops.coverage AS c WHERE c.run_id = r.run_id AND c.resource_type = 'ExplanationOfBenefit') AS leaves_claims_out,
  EXISTS (SELECT 1 FROM ops.setting AS d WHERE d.name = 'disposed at' AND CAST(d.value AS TIMESTAMP) >= r.finished_at) AS is_disposed,
  r.finished_at = (SELECT max(finished_at) FROM ops.export_run) AS is_newest
FROM ops.export_run AS r
WHERE run_id = $run_id;
