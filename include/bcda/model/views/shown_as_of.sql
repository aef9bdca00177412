-- One row: the newest run of the version that is shown.
-- Key: none.
-- Source: ops.export_run.
-- Column run_id: The newest run
-- Column file_date: Its transactionTime as date
CREATE OR REPLACE VIEW main.shown_as_of AS
SELECT
  max_by(run_id, (transaction_time, run_id)) AS run_id,
  CAST(max(transaction_time) AS DATE) AS file_date
FROM ops.export_run
WHERE api_version = (SELECT value FROM ops.setting WHERE name = 'shown_api_version');
