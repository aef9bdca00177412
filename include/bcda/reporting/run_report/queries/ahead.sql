-- Where the next run begins, for the version and population of the run: the earliest of its types; NULL from the beginning.
-- Parameters: run_id.
SELECT
  CASE WHEN count(*) = count(s.asks_from) THEN min(s.asks_from) END AS asks_from,
  count(*) AS types
FROM ops.export_run AS r
JOIN ops.data_status AS s
  ON s.api_version = r.api_version
  AND s.population = CASE WHEN r.export_scope = 'group-runout' THEN 'runout' ELSE 'current' END
WHERE r.run_id = $run_id;
