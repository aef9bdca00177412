-- How many resources have a meta.lastUpdated more than a day after the latest time of the run that brought it last.
SELECT count(DISTINCT (v.api_version, v.resource_type, v.resource_id))
FROM resource_version AS v
JOIN ops.export_run AS r
  ON r.run_id = v.last_run_id
WHERE v.meta_last_updated > greatest(r.finished_at, coalesce(r.asked_at, r.finished_at)) + INTERVAL 1 DAY;
