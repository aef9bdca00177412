-- Lines of the run that could not land, without their text.
-- Reads quarantined.
INSERT INTO ops.quarantine
SELECT
  q.run_id,
  q.raw_file,
  q.raw_line,
  f.resource_type,
  q.reason,
  q.line_bytes
FROM quarantined AS q
JOIN ops.export_file AS f
  ON f.run_id = q.run_id
  AND f.file_name = q.raw_file;
