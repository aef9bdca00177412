-- Why lines were set aside, per type. Parameters: run_id.
SELECT resource_type, reason, count(*) AS lines
FROM ops.quarantine
WHERE run_id = $run_id
GROUP BY ALL
ORDER BY ALL;
