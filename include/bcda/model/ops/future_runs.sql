-- Loaded runs with a date more than a day after the latest time that BCDA's clock, or ours at the merge, showed.
SELECT run_id
FROM ops.export_run
WHERE greatest(
  transaction_time,
  coalesce(list_at, transaction_time),
  coalesce(since_ts, transaction_time)
) > greatest(finished_at, coalesce(asked_at, finished_at)) + INTERVAL 1 DAY
ORDER BY finished_at, run_id;
