-- Claims with a service before 1970 or after the run.
-- Level: warning
-- Threshold: 0
-- Suspect: a service is before 1970 or after the export
SELECT claim_id
FROM claim
WHERE api_version = $api_version
  AND (
    service_from < DATE '1970-01-01'
    OR service_thru > (SELECT CAST(transaction_time AS DATE) FROM ops.export_run WHERE run_id = $run_id)
  );
